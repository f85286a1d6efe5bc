"""Aggregates, bound: which rows contribute which atom (DESIGN section 5, stage 1).

A bare measure contributes itself, arithmetic of measures the atoms that it expands into.
Everything else inside an aggregate (FILTER, CASE, coalesce, a condition cast to a number)
becomes a hidden group key whose pieces contribute a column, a constant or nothing; each
piece is controlled as a cell of its own.
"""

from __future__ import annotations

from policies.shape import Usage
from sandbox.binding.arguments import ArgumentBinder
from sandbox.binding.constants import constant_of
from sandbox.binding.facts import Facts
from sandbox.binding.functions import (
    AGGREGATES,
    INSTEAD,
    PAIRS,
    QUANTILES,
    RETURNS_A_VALUE,
)
from sandbox.binding.measure_statistics import MeasureBinder
from sandbox.binding.pieces import ONE, PieceBinder
from sandbox.binding.terms import TermBinder
from sandbox.plan.atoms import Piece
from sandbox.plan.block import Aggregate
from sandbox.plan.canonical import canonical
from sandbox.plan.terms import Predicate, Term
from sandbox.sql import syntax


class AggregateBinder:
    """Collects the aggregates and hidden keys of one query."""

    def __init__(self, facts: Facts, terms: TermBinder) -> None:
        self._facts = facts
        self._terms = terms
        self._pieces = PieceBinder(facts, terms)
        self._arguments = ArgumentBinder(facts, terms, self._pieces)
        self._measures = MeasureBinder(facts, terms, self._pieces)
        self.aggregates: list[Aggregate] = []

    @property
    def hidden(self) -> list[Term]:
        """The hidden keys, by number."""
        return self._pieces.hidden

    def index_of(self, call: syntax.Call) -> int | None:
        """Bind an aggregate call; returns its number, or None where it is refused."""
        bound = self._bind(call)
        if bound is None:
            return None
        if bound not in self.aggregates:
            self.aggregates.append(bound)
        return self.aggregates.index(bound)

    def _bind(self, call: syntax.Call) -> Aggregate | None:
        if call.name in PAIRS and not call.distinct:
            return self._measures.pair(call)
        if call.name in QUANTILES and not call.distinct:
            return self._measures.quantile(call)
        known = AGGREGATES.get(call.name)
        if known is None:
            self._refuse(call)
            return None
        family, function = known
        if call.distinct or function == "count_distinct":
            return self._distinct(call)
        self._facts.families.add(family)
        if call.name == "count_star":
            return self._pieces.aggregate(call, function, None, ONE)
        if len(call.arguments) != 1:
            self._terms.give_up(
                call, "function_arguments", "an aggregate of several arguments"
            )
            return None
        if call.name in ("count_if", "countif"):
            return self._count_if(call)
        return self._arguments.aggregate(call, family, function, call.arguments[0])

    def _refuse(self, call: syntax.Call) -> None:
        if call.name in RETURNS_A_VALUE:
            self._facts.refuse(
                "value_returning_aggregate",
                f"`{call.name}` returns single values of single units",
                INSTEAD.get(call.name, "Use count, sum or avg, or counts per bin."),
                call.place,
            )
        self._terms.blame(call)

    # --- counts

    def _count_if(self, call: syntax.Call) -> Aggregate | None:
        condition = self._terms.predicate(call.arguments[0])
        if condition is None:
            return None
        return self._pieces.aggregate(
            call, "count", ((canonical(condition),), (ONE,)), None
        )

    def _distinct(self, call: syntax.Call) -> Aggregate | None:
        argument = call.arguments[0] if len(call.arguments) == 1 else None
        cases: tuple[tuple[Predicate, ...], tuple[Piece, ...]] | None = None
        condition = None
        if isinstance(argument, syntax.Case) and len(argument.branches) == 1:
            nothing = constant_of(argument.otherwise)
            if nothing is not None and nothing.value is None:
                condition, argument = argument.branches[0]
        ref = None if argument is None else self._terms.ref(argument)
        if call.name not in ("count", "approx_count_distinct") or ref is None:
            self._terms.give_up(
                call, "distinct_unavailable", "DISTINCT in this aggregate",
                "Count distinct units: count(DISTINCT unit_key).",
            )  # fmt: skip
            return None
        unit = self._facts.found.get(ref)
        if unit is not None and argument is not None:
            # The units that an outer join found.
            known: syntax.Expression = syntax.Not(syntax.NullTest(argument, call.place))
            condition = (
                known if condition is None else syntax.Logical("AND", (condition, known))
            )
            ref = unit
        family = "count_distinct" if call.name == "count" else call.name
        self._facts.families.add(family)
        self._facts.use(ref, Usage.COUNT_DISTINCT, call.place, aggregate=family)
        if condition is None:
            return self._pieces.aggregate(call, "count_distinct", None, ref)
        bound = self._terms.predicate(condition)
        if bound is None:
            return None
        cases = ((canonical(bound),), (ref,))
        return self._pieces.aggregate(call, "count_distinct", cases, None)

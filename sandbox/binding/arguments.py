"""Arguments of aggregates, bound: measures, combinations of them, pieces of a CASE."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from policies.document import Role
from sandbox.binding.choices import case_in
from sandbox.binding.combinations import read_combination
from sandbox.binding.constants import constant_of
from sandbox.binding.facts import Facts
from sandbox.binding.items import RowTerms
from sandbox.binding.measures import check_measure, check_measures
from sandbox.binding.pieces import ONE, PieceBinder
from sandbox.binding.terms import TermBinder
from sandbox.plan.atoms import Piece
from sandbox.plan.block import Aggregate
from sandbox.plan.canonical import canonical
from sandbox.plan.terms import NUMBERS, Kind, Literal, Missing, Negate, Predicate, Ref
from sandbox.sql import syntax

_ARITHMETIC = frozenset({"sum", "avg", "count"})


class ArgumentBinder:
    """Binds what one aggregate is of, over the rows of one query."""

    def __init__(self, facts: Facts, terms: TermBinder, pieces: PieceBinder) -> None:
        self._facts = facts
        self._terms = terms
        self._pieces = pieces

    def aggregate(
        self, call: syntax.Call, family: str, function: str, argument: syntax.Expression
    ) -> Aggregate | None:
        """Make the aggregate of this argument; None where it is refused."""
        constant = constant_of(argument)
        if constant is not None:
            return self._constant(call, function, constant)
        if isinstance(argument, syntax.Column) and self._terms.ref(argument) is None:
            inner = self._terms.expanded(argument)
            if inner is not None:
                with self._inside(inner[1]):
                    return self.aggregate(call, family, function, inner[0])
        ref = self._terms.ref(argument)
        if ref is not None and not (function == "sum" and ref.kind is Kind.BOOLEAN):
            if not check_measure(self._facts, call, family, ref):
                return None
            if function == "count" and self._is_plain_dimension(ref):
                # A condition, so that history knows which rows were counted.
                known = canonical(Negate(Missing(ref)))
                return self._pieces.aggregate(call, function, ((known,), (ONE,)), None)
            return self._pieces.aggregate(call, function, None, ref)
        case = case_in(self._terms, call, function, argument)
        if case is not None:
            return self._case(call, family, function, case)
        found = read_combination(argument, self._terms)
        if isinstance(found, Ref) or (found is not None and function in _ARITHMETIC):
            refs = (found,) if isinstance(found, Ref) else found.present
            if not check_measures(self._facts, call, family, refs):
                return None
            return self._pieces.aggregate(call, function, None, found)
        self._terms.give_up(
            call,
            "aggregate_argument",
            f"`{call.name}` of this expression",
            _argument_hint(argument),
        )
        return None

    def _is_plain_dimension(self, ref: Ref) -> bool:
        column = self._facts.column(ref)
        if column is None or column.has(Role.MEASURE) or ref.kind in NUMBERS:
            return False
        return column.has(Role.DIMENSION) or column.has(Role.LABEL)

    @contextlib.contextmanager
    def _inside(self, terms: RowTerms) -> Iterator[None]:
        """Read what follows where a derived table wrote it."""
        assert isinstance(terms, TermBinder)
        kept, self._terms = self._terms, terms
        try:
            yield
        finally:
            self._terms = kept

    def _constant(
        self, call: syntax.Call, function: str, value: Literal
    ) -> Aggregate | None:
        if value.kind not in NUMBERS:
            self._terms.give_up(call, "aggregate_argument", "an aggregate of this constant")
            return None
        return self._pieces.aggregate(call, function, None, value)

    def _case(
        self, call: syntax.Call, family: str, function: str, case: syntax.Case
    ) -> Aggregate | None:
        conditions: list[Predicate] = []
        pieces: list[Piece] = []
        for condition, result in case.branches:
            predicate = self._terms.predicate(condition)
            found, piece = self._piece(call, family, result)
            if predicate is None or not found:
                return None
            conditions.append(canonical(predicate))
            pieces.append(piece)
        found, otherwise = self._piece(call, family, case.otherwise)
        if not found:
            return None
        cases = (tuple(conditions), tuple(pieces))
        return self._pieces.aggregate(call, function, cases, otherwise)

    def _piece(
        self, call: syntax.Call, family: str, result: syntax.Expression
    ) -> tuple[bool, Piece]:
        constant = constant_of(result)
        if constant is not None:
            if constant.value is None:
                return True, None
            if constant.kind in NUMBERS or (
                family == "count" and constant.kind is Kind.TEXT
            ):
                return True, ONE if family == "count" else constant
        ref = self._terms.ref(result)
        if ref is not None:
            return check_measure(self._facts, call, family, ref), ref
        self._terms.give_up(
            call,
            "aggregate_argument",
            "CASE inside an aggregate with anything but a measure or a number",
            "Give each branch a bare measure, a number or NULL.",
        )
        return False, None


def _argument_hint(argument: syntax.Expression) -> str:
    name = argument.name if isinstance(argument, syntax.Call) else ""
    if name in ("least", "greatest", "abs"):
        # sum(x) - sum(least(x, c)) is what the richest have above c.
        return (
            "A bound inside tells of the few beyond it: use CASE WHEN x < c THEN x END "
            "with c on the grid, or counts per bin."
        )
    if name in ("power", "pow", "**", "^"):
        return "Write x * x; higher powers are in skewness and kurtosis."
    return (
        "Aggregate a bare measure, arithmetic of measures and constants (a + 2 * b, "
        "a * b, in sum and avg), or CASE WHEN condition THEN measure END; combine "
        "aggregates afterwards."
    )

"""Aggregates, bound: which rows contribute which atom (DESIGN section 5, stage 1).

A bare measure contributes itself. Everything else inside an aggregate (FILTER, CASE, a
condition cast to a number) becomes a hidden group key whose pieces contribute a column, a
constant or nothing; each piece is controlled as a cell of its own.
"""

from __future__ import annotations

from decimal import Decimal

from policies.shape import Usage
from sandbox.binding.constants import constant_of
from sandbox.binding.facts import Facts
from sandbox.binding.functions import AGGREGATES, RETURNS_A_VALUE, STATISTICS
from sandbox.binding.terms import TermBinder
from sandbox.plan.block import Aggregate
from sandbox.plan.canonical import canonical
from sandbox.plan.terms import (
    NUMBERS,
    All,
    Choose,
    Kind,
    Literal,
    Predicate,
    Ref,
    Term,
)
from sandbox.sql import syntax

Piece = Ref | Literal | None
ONE = Literal(Decimal(1), Kind.INTEGER)
MAX_PIECES = 40
_ZERO_OR_ONE = frozenset({"INTEGER", "BIGINT", "TINYINT", "SMALLINT", "DOUBLE"})


class AggregateBinder:
    """Collects the aggregates and hidden keys of one query."""

    def __init__(self, facts: Facts, terms: TermBinder) -> None:
        self._facts = facts
        self._terms = terms
        self.aggregates: list[Aggregate] = []
        self.hidden: list[Term] = []

    def index_of(self, call: syntax.Call) -> int | None:
        """Bind an aggregate call; returns its number, or None where it is refused."""
        bound = self._bind(call)
        if bound is None:
            return None
        if bound not in self.aggregates:
            self.aggregates.append(bound)
        return self.aggregates.index(bound)

    def _bind(self, call: syntax.Call) -> Aggregate | None:
        known = AGGREGATES.get(call.name)
        if known is None:
            self._refuse(call)
            return None
        family, function = known
        if call.distinct:
            return self._distinct(call)
        self._facts.families.add(family)
        if call.name == "count_star":
            return self._pieces(call, function, None, ONE)
        if len(call.arguments) != 1:
            self._terms.give_up(
                call, "function_arguments", "an aggregate of several arguments"
            )
            return None
        return self._argument(call, family, function, call.arguments[0])

    def _refuse(self, call: syntax.Call) -> None:
        if call.name in STATISTICS:
            self._facts.refuse(
                "aggregate_unavailable",
                f"`{call.name}` is not computed by this node yet",
                "Use count, sum and avg.",
                call.place,
            )
        elif call.name in RETURNS_A_VALUE:
            self._facts.refuse(
                "value_returning_aggregate",
                f"`{call.name}` returns single values of single units",
                "Use count, sum or avg, or counts per bin.",
                call.place,
            )
        self._terms.blame(call)

    def _distinct(self, call: syntax.Call) -> Aggregate | None:
        argument = call.arguments[0] if len(call.arguments) == 1 else None
        ref = None if argument is None else self._terms.ref(argument)
        if call.name != "count" or ref is None:
            self._terms.give_up(
                call, "distinct_unavailable", "DISTINCT in this aggregate",
                "Count distinct units: count(DISTINCT unit_key).",
            )  # fmt: skip
            return None
        self._facts.families.add("count_distinct")
        self._facts.use(ref, Usage.COUNT_DISTINCT, call.place, aggregate="count_distinct")
        table = self._facts.policy.table(ref.table)
        if table is None or ref.column not in {unit.column for unit in table.units}:
            self._facts.refuse(
                "distinct_unavailable",
                f"the distinct values of `{ref.table}.{ref.column}` cannot be counted yet; "
                "only those of a unit key can",
                f"Ask for its groups: GROUP BY {ref.column}.",
                call.place,
            )
            return None
        return self._pieces(call, "count_distinct", None, ref)

    # --- arguments

    def _argument(
        self, call: syntax.Call, family: str, function: str, argument: syntax.Expression
    ) -> Aggregate | None:
        constant = constant_of(argument)
        if constant is not None:
            return self._constant(call, function, constant)
        ref = self._terms.ref(argument)
        if ref is not None:
            if not self._check_measure(call, family, ref):
                return None
            return self._pieces(call, function, None, ref)
        if isinstance(argument, syntax.Case):
            return self._case(call, family, function, argument)
        condition = _condition_in(argument) or self._boolean_in(argument)
        if condition is not None:
            one = syntax.Constant("integer", "1")
            zero = syntax.Constant("integer", "0")
            null = syntax.Constant("null", "")
            case = syntax.Case(
                ((condition, one), (syntax.Not(condition), zero)), null, call.place
            )
            return self._case(call, family, function, case)
        self._terms.give_up(
            call,
            "aggregate_argument",
            f"`{call.name}` of an expression",
            "Aggregate a bare measure, or CASE WHEN condition THEN measure END; combine "
            "aggregates afterwards.",
        )
        return None

    def _boolean_in(self, argument: syntax.Expression) -> syntax.Expression | None:
        """Return the column in `failure::INT`, where it is a boolean."""
        if not isinstance(argument, syntax.Cast) or argument.type not in _ZERO_OR_ONE:
            return None
        ref = self._terms.ref(argument.item)
        return argument.item if ref is not None and ref.kind is Kind.BOOLEAN else None

    def _constant(
        self, call: syntax.Call, function: str, value: Literal
    ) -> Aggregate | None:
        if value.kind not in NUMBERS:
            self._terms.give_up(call, "aggregate_argument", "an aggregate of this constant")
            return None
        return self._pieces(call, function, None, value)

    def _check_measure(self, call: syntax.Call, family: str, ref: Ref) -> bool:
        if self._facts.is_public(ref) and family != "count":
            self._facts.refuse(
                "aggregate_of_public",
                f"`{ref.table}.{ref.column}` is public: the digits of its sum would tell "
                "how many rows it was added for",
                "Group by it, and multiply with the count afterwards.",
                call.place,
            )
            return False
        self._facts.use(ref, Usage.AGGREGATE, call.place, aggregate=family)
        if family != "count" and ref.kind not in NUMBERS:
            self._facts.refuse(
                "types_differ",
                f"`{ref.table}.{ref.column}` is no number, so it has no {family}",
                "Count it, or group by it.",
                call.place,
            )
            return False
        return True

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
        return self._pieces(call, function, (tuple(conditions), tuple(pieces)), otherwise)

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
            return self._check_measure(call, family, ref), ref
        self._terms.give_up(
            call,
            "aggregate_argument",
            "CASE inside an aggregate with anything but a measure or a number",
            "Give each branch a bare measure, a number or NULL.",
        )
        return False, None

    # --- hidden keys

    def _pieces(
        self,
        call: syntax.Call,
        function: str,
        cases: tuple[tuple[Predicate, ...], tuple[Piece, ...]] | None,
        otherwise: Piece,
    ) -> Aggregate | None:
        """Make the aggregate; piece 0 is ELSE (or what FILTER leaves out)."""
        conditions, pieces = cases or ((), ())
        if call.condition is not None:
            keep = self._terms.predicate(call.condition)
            if keep is None:
                return None
            return self._filtered(function, canonical(keep), conditions, pieces, otherwise)
        if not conditions:
            return Aggregate(function, (otherwise,))
        branches = tuple(
            (condition, _number(index + 1)) for index, condition in enumerate(conditions)
        )
        return self._with_hidden(function, branches, (otherwise, *pieces))

    def _filtered(
        self,
        function: str,
        keep: Predicate,
        conditions: tuple[Predicate, ...],
        pieces: tuple[Piece, ...],
        otherwise: Piece,
    ) -> Aggregate | None:
        branches = tuple(
            (_both(keep, condition), _number(index + 1))
            for index, condition in enumerate(conditions)
        )
        last = len(conditions) + 1
        return self._with_hidden(
            function, (*branches, (keep, _number(last))), (None, *pieces, otherwise)
        )

    def _with_hidden(
        self,
        function: str,
        branches: tuple[tuple[Predicate, Term], ...],
        pieces: tuple[Piece, ...],
    ) -> Aggregate | None:
        if len(pieces) > MAX_PIECES:
            self._facts.refuse(
                "too_many_pieces",
                f"a conditional aggregate has {len(pieces)} branches, at most {MAX_PIECES}",
                "Use GROUP BY.",
            )
            return None
        key = Choose(branches, _number(0), Kind.INTEGER)
        if key not in self.hidden:
            self.hidden.append(key)
        return Aggregate(function, pieces, self.hidden.index(key))


def _number(value: int) -> Literal:
    return Literal(Decimal(value), Kind.INTEGER)


def _both(left: Predicate, right: Predicate) -> Predicate:
    return canonical(All((left, right)))


def _condition_in(argument: syntax.Expression) -> syntax.Expression | None:
    """Return the condition in `(city = 'x')::INT`, or None: nothing else is a 0/1 value."""
    if isinstance(argument, syntax.Cast) and argument.type in _ZERO_OR_ONE:
        inner = argument.item
        if isinstance(
            inner,
            (syntax.Comparison, syntax.Logical, syntax.Not, syntax.NullTest, syntax.Among),
        ):
            return inner
    return None

"""Aggregates, bound: which rows contribute which atom (DESIGN section 5, stage 1).

A bare measure contributes itself, arithmetic of measures the atoms that it expands into.
Everything else inside an aggregate (FILTER, CASE, coalesce, a condition cast to a number)
becomes a hidden group key whose pieces contribute a column, a constant or nothing; each
piece is controlled as a cell of its own.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from decimal import Decimal

from policies.document import Role
from policies.shape import Usage
from sandbox.binding.combinations import read_combination
from sandbox.binding.constants import constant_of
from sandbox.binding.facts import Facts
from sandbox.binding.functions import (
    AGGREGATES,
    INSTEAD,
    PAIRS,
    QUANTILES,
    RETURNS_A_VALUE,
    SCALARS,
)
from sandbox.binding.items import RowTerms
from sandbox.binding.pieces import PieceBinder
from sandbox.binding.terms import TermBinder
from sandbox.plan.atoms import Combination, Pair, Piece, Weighted
from sandbox.plan.block import Aggregate
from sandbox.plan.canonical import canonical
from sandbox.plan.terms import NUMBERS, Kind, Literal, Missing, Negate, Predicate, Ref, Term
from sandbox.sql import syntax

ONE = Literal(Decimal(1), Kind.INTEGER)
# Nearer to the ends a quantile is the value of few.
LEVELS = (Decimal("0.01"), Decimal("0.99"))
_LIKES = frozenset({"~~", "!~~", "~~*", "!~~*"})
_ARITHMETIC = frozenset({"sum", "avg", "count"})
_ZERO_OR_ONE = frozenset({"INTEGER", "BIGINT", "TINYINT", "SMALLINT", "DOUBLE"})
_CONDITIONS = (
    syntax.Comparison,
    syntax.Logical,
    syntax.Not,
    syntax.NullTest,
    syntax.Among,
)


class AggregateBinder:
    """Collects the aggregates and hidden keys of one query."""

    def __init__(self, facts: Facts, terms: TermBinder) -> None:
        self._facts = facts
        self._terms = terms
        self._pieces = PieceBinder(facts, terms)
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
            return self._pair(call)
        if call.name in QUANTILES and not call.distinct:
            return self._quantile(call)
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
        return self._argument(call, family, function, call.arguments[0])

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

    # --- two measures, and quantiles

    def _pair(self, call: syntax.Call) -> Aggregate | None:
        family, function = PAIRS[call.name]
        self._facts.families.add(family)
        refs = [self._measure_in(argument) for argument in call.arguments]
        if len(refs) != 2 or refs[0] is None or refs[1] is None:
            self._terms.give_up(
                call,
                "aggregate_argument",
                f"`{call.name}` of anything but two bare measures",
                "Give it two measures; of a condition ask the averages on both sides: "
                "avg(y) ... GROUP BY condition.",
            )
            return None
        y, x = refs[0], refs[1]
        if not self._check_measures(call, family, (y, x)):
            return None
        pair = Pair(y, x)
        piece: Piece = pair
        if function == "avg":
            taken = x if call.name == "regr_avgx" else y
            piece = Combination(pair.present, (Weighted(1, 1, (taken,)),))
        return self._pieces.aggregate(call, function, None, piece)

    def _quantile(self, call: syntax.Call) -> Aggregate | None:
        self._facts.families.add("quantile")
        ref = self._measure_in(call.arguments[0]) if call.arguments else None
        level: object = Decimal("0.5")
        if call.name != "median":
            found = constant_of(call.arguments[1]) if len(call.arguments) == 2 else None
            level = None if found is None else found.value
        elif len(call.arguments) != 1:
            level = None
        if ref is None or not isinstance(level, Decimal):
            self._terms.give_up(
                call,
                "quantile_arguments",
                f"`{call.name}` of anything but a bare measure and one constant level",
                "Write quantile_cont(x, 0.5), once for each level.",
            )
            return None
        if not LEVELS[0] <= level <= LEVELS[1]:
            self._facts.refuse(
                "quantile_extreme",
                f"a quantile's level must be between {LEVELS[0]} and {LEVELS[1]}: nearer "
                "to the ends it is the value of few",
                "Use a level between them, or counts per bin.",
                call.place,
            )
            self._terms.blame(call)
            return None
        if not self._check_measure(call, "quantile", ref):
            return None
        column = self._facts.column(ref)
        if column is None or column.grid is None:
            self._facts.refuse(
                "quantile_without_grid",
                f"`{ref.table}.{ref.column}` has no grid, over whose bins its quantiles "
                "would be interpolated",
                "Use avg and stddev, or ask the provider for a grid.",
                call.place,
            )
            return None
        return self._pieces.aggregate(call, "quantile", None, ref, level=level)

    def _measure_in(self, expression: syntax.Expression) -> Ref | None:
        found = read_combination(expression, self._terms)
        if isinstance(found, Ref):
            return found
        return self._terms.ref(expression)

    # --- arguments

    def _argument(
        self, call: syntax.Call, family: str, function: str, argument: syntax.Expression
    ) -> Aggregate | None:
        constant = constant_of(argument)
        if constant is not None:
            return self._constant(call, function, constant)
        if isinstance(argument, syntax.Column) and self._terms.ref(argument) is None:
            inner = self._terms.expanded(argument)
            if inner is not None:
                with self._inside(inner[1]):
                    return self._argument(call, family, function, inner[0])
        ref = self._terms.ref(argument)
        if ref is not None and not (function == "sum" and ref.kind is Kind.BOOLEAN):
            if not self._check_measure(call, family, ref):
                return None
            if function == "count" and self._is_plain_dimension(ref):
                # A condition, so that history knows which rows were counted.
                known = canonical(Negate(Missing(ref)))
                return self._pieces.aggregate(call, function, ((known,), (ONE,)), None)
            return self._pieces.aggregate(call, function, None, ref)
        case = self._case_in(call, function, argument)
        if case is not None:
            return self._case(call, family, function, case)
        found = read_combination(argument, self._terms)
        if isinstance(found, Ref) or (found is not None and function in _ARITHMETIC):
            refs = (found,) if isinstance(found, Ref) else found.present
            if not self._check_measures(call, family, refs):
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

    def _case_in(
        self, call: syntax.Call, function: str, argument: syntax.Expression
    ) -> syntax.Case | None:
        """Return an argument that chooses among pieces as the CASE that it means."""
        if isinstance(argument, syntax.Case):
            return argument
        if isinstance(argument, syntax.Call) and argument.name == "if":
            if len(argument.arguments) == 3:
                when, then, otherwise = argument.arguments
                return syntax.Case(((when, then),), otherwise, call.place)
            return None
        if isinstance(argument, syntax.Call) and len(argument.arguments) == 2:
            item, other = argument.arguments
            if self._terms.ref(item) is not None and constant_of(other) is not None:
                if argument.name in ("coalesce", "ifnull"):
                    return syntax.Case(
                        ((syntax.NullTest(item, call.place), other),), item, call.place
                    )
                if argument.name == "nullif":
                    equal = syntax.Comparison("=", item, other, call.place)
                    return syntax.Case(((equal, _NULL),), item, call.place)
        condition = _condition_in(argument) or self._boolean_in(argument)
        if condition is None and function == "sum":
            condition = self._summed_condition(argument)
        if condition is None:
            return None
        branches = ((condition, _ONE), (syntax.Not(condition), _ZERO))
        return syntax.Case(branches, _NULL, call.place)

    def _summed_condition(self, argument: syntax.Expression) -> syntax.Expression | None:
        """Return the condition or boolean column that `sum` counts, as the engine's."""
        ref = self._terms.ref(argument)
        if _is_condition(argument) or (ref and ref.kind is Kind.BOOLEAN):
            return argument
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
        return self._pieces.aggregate(call, function, None, value)

    def _check_measures(
        self, call: syntax.Call, family: str, refs: tuple[Ref, ...]
    ) -> bool:
        # Each of them, so that every finding is told.
        return len([r for r in refs if self._check_measure(call, family, r)]) == len(refs)

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
            return self._check_measure(call, family, ref), ref
        self._terms.give_up(
            call,
            "aggregate_argument",
            "CASE inside an aggregate with anything but a measure or a number",
            "Give each branch a bare measure, a number or NULL.",
        )
        return False, None


_ONE = syntax.Constant("integer", "1")
_ZERO = syntax.Constant("integer", "0")
_NULL = syntax.Constant("null", "")


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


def _condition_in(argument: syntax.Expression) -> syntax.Expression | None:
    """Return the condition in `(city = 'x')::INT`, or None: nothing else is a 0/1 value."""
    if not isinstance(argument, syntax.Cast) or argument.type not in _ZERO_OR_ONE:
        return None
    return argument.item if _is_condition(argument.item) else None


def _is_condition(expression: syntax.Expression) -> bool:
    """Whether an expression is a condition by its form, whatever it is about."""
    if not isinstance(expression, syntax.Call):
        return isinstance(expression, _CONDITIONS)
    known = SCALARS.get(expression.name)
    return expression.name in _LIKES or (known is not None and known[2] is Kind.BOOLEAN)

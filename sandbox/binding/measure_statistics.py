"""Statistics of two measures, and quantiles of one: of bare measures alone."""

from __future__ import annotations

from decimal import Decimal

from sandbox.binding.combinations import read_combination
from sandbox.binding.constants import constant_of
from sandbox.binding.facts import Facts
from sandbox.binding.functions import PAIRS
from sandbox.binding.measures import check_measure, check_measures
from sandbox.binding.pieces import PieceBinder
from sandbox.binding.terms import TermBinder
from sandbox.plan.atoms import Combination, Pair, Piece, Weighted
from sandbox.plan.block import Aggregate
from sandbox.plan.terms import Ref
from sandbox.sql import syntax

# Nearer to the ends a quantile is the value of few.
LEVELS = (Decimal("0.01"), Decimal("0.99"))


class MeasureBinder:
    """Binds correlations, regressions and quantiles over the rows of one query."""

    def __init__(self, facts: Facts, terms: TermBinder, pieces: PieceBinder) -> None:
        self._facts = facts
        self._terms = terms
        self._pieces = pieces

    def pair(self, call: syntax.Call) -> Aggregate | None:
        """Bind a statistic of two measures; None where it is refused."""
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
        if not check_measures(self._facts, call, family, (y, x)):
            return None
        pair = Pair(y, x)
        piece: Piece = pair
        if function == "avg":
            taken = x if call.name == "regr_avgx" else y
            piece = Combination(pair.present, (Weighted(1, 1, (taken,)),))
        return self._pieces.aggregate(call, function, None, piece)

    def quantile(self, call: syntax.Call) -> Aggregate | None:
        """Bind a quantile, interpolated over the grid; None where it is refused."""
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
        if not check_measure(self._facts, call, "quantile", ref):
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

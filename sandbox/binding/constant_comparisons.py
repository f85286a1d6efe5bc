"""Comparisons with constants, bound: on which grid the constants lie, and IN over them."""

from __future__ import annotations

from policies.document import Role
from policies.shape import Place, Usage
from sandbox.binding.constants import constant_of, fitted, half_open, is_on_grid
from sandbox.binding.facts import Facts, place_of
from sandbox.binding.terms import TermBinder
from sandbox.plan.gaps import gap_bound, gap_grid
from sandbox.plan.terms import (
    Always,
    AnyOf,
    Compare,
    Gap,
    Literal,
    Predicate,
    Ref,
    Term,
    Within,
    kind_of,
    refs_of,
)
from sandbox.plan.view_columns import is_gap
from sandbox.sql import syntax

MAX_OPTIONS = 1_000


class ConstantComparisons:
    """Binds comparisons with constants, with the terms of one `TermBinder`."""

    def __init__(self, terms: TermBinder) -> None:
        self._terms = terms
        self._facts = terms.facts

    def compare(
        self, side: syntax.Expression, operator: str, constant: Literal, place: Place | None
    ) -> Predicate | None:
        """Bind a comparison of something of a row with a constant."""
        ref = self._terms.ref(side)
        if ref is not None and is_gap(ref, self._facts.views):
            return self.gap(ref, operator, constant, place)
        if ref is not None:
            return self._column_with_constant(ref, side, operator, constant, place)
        gap = self._terms.gap(side)
        if gap is not None:
            return self.gap(gap, operator, constant, place)
        term = self._terms.term(side, Usage.EQUALITY)
        if term is None:
            return None
        if isinstance(term, Ref):  # an alias of a column
            return self._column_with_constant(term, side, operator, constant, place)
        if constant.value is None:
            return Always(None)
        value = fitted(constant, kind_of(term))
        if value is None:
            refuse_types(self._facts, place)
            return None
        return Compare(operator, term, value)

    def gap(
        self, term: Gap | Ref, operator: str, constant: Literal, place: Place | None
    ) -> Predicate | None:
        """Compare a difference of dates with a multiple of its grid, in the closed form.

        Were `< 30` possible beside `<= 30`, the two would tell of those at exactly 30.
        """
        if constant.value is None:
            return Always(None)
        if isinstance(term, Gap):
            grid = gap_grid(term, self._facts.policy)
            for ref in sorted(refs_of(term), key=str):
                self._facts.use(ref, Usage.PER_UNIT, place)
        else:
            column = self._facts.column(term)
            grid = None if column is None else column.grid
        if grid is None:
            self._facts.refuse(
                "gap_unavailable",
                "dates are subtracted that are not both dates of one unit, or in a unit of "
                "time that is finer than they may be seen",
                "Subtract two date columns of protected tables, in days.",
                place,
            )
            return None
        if not gap_bound(operator, grid, constant.value):
            self._facts.refuse(
                "gap_off_grid",
                f"a difference of dates may be compared only as `<= k` or `> k`, k a "
                f"multiple of {grid:f} that is not negative",
                f"Write `<= {grid:f}` or `> {grid:f}`, or a multiple of it.",
                place,
            )
            return None
        return Compare(operator, term, constant)

    def _column_with_constant(
        self,
        ref: Ref,
        side: syntax.Expression,
        operator: str,
        constant: Literal,
        place: Place | None,
    ) -> Predicate | None:
        usage = Usage.EQUALITY if operator in ("=", "<>") else Usage.RANGE
        where = place_of(side) or place
        if constant.value is None:
            self._facts.use(ref, Usage.NULL_TEST, where)
            return Always(None)
        value = fitted(constant, ref.kind)
        if value is None:
            self._facts.use(ref, usage, where, on_grid=False)
            refuse_types(self._facts, where)
            return None
        if not is_gridded(self._facts, ref):
            self._facts.use(ref, usage, where)
            return Compare(operator, ref, value)
        predicate, bounds, exact = half_open(
            operator, ref, value, kind=ref.kind, scale=ref.scale
        )
        column = self._facts.column(ref)
        on_grid = (
            exact and column is not None and all(is_on_grid(column, b) for b in bounds)
        )
        self._facts.use(ref, usage, where, on_grid=on_grid)
        return predicate

    def among(self, node: syntax.Among) -> Predicate | None:
        """Bind IN over constants."""
        options = [constant_of(option) for option in node.options]
        if not options or len(options) > MAX_OPTIONS:
            self._terms.give_up(
                node, "list_too_long", f"IN with no or more than {MAX_OPTIONS} constants"
            )
            return None
        if any(option is None or option.value is None for option in options):
            self._terms.give_up(
                node,
                "list_of_constants",
                "IN over anything but constants that are not NULL",
                "List constants, or compare with OR.",
            )
            return None
        known = [option for option in options if option is not None]
        ref = self._terms.ref(node.item)
        if ref is not None and is_gridded(self._facts, ref):
            parts = [
                self._column_with_constant(ref, node.item, "=", option, node.place)
                for option in known
            ]
            if any(part is None for part in parts):
                return None
            return AnyOf(tuple(part for part in parts if part is not None))
        term = self._terms.term(node.item, Usage.EQUALITY)
        if term is None:
            return None
        return self._within(term, known, node.place)

    def _within(
        self, term: Term, known: list[Literal], place: Place | None
    ) -> Predicate | None:
        values = [fitted(option, kind_of(term)) for option in known]
        if any(value is None for value in values):
            refuse_types(self._facts, place)
            return None
        return Within(term, tuple(value for value in values if value is not None))


def is_gridded(facts: Facts, ref: Ref) -> bool:
    """Whether a column of rows may be compared on its grid or grain alone."""

    column = facts.column(ref)
    if facts.is_public(ref) or column is None:
        return False
    return column.grid is not None or column.grain is not None or column.has(Role.MEASURE)


def refuse_types(facts: Facts, place: Place | None) -> None:
    """Leave the finding that a constant is not of its column's type."""

    # A cast of a column would raise on the row that does not fit, and name its value.
    facts.refuse(
        "types_differ",
        "a column is compared with a constant of another type",
        "Write the constant in the column's type: text in quotes, DATE '2024-01-01'.",
        place,
    )

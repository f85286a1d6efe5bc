"""Comparisons of two columns of a row, bound: for equality, and of dates for order."""

from __future__ import annotations

from decimal import Decimal

from policies.shape import Place, Usage
from sandbox.binding.constant_comparisons import is_gridded
from sandbox.binding.gridded_calls import is_counted
from sandbox.binding.terms import TermBinder
from sandbox.plan.gaps import gap_grid
from sandbox.plan.terms import Compare, Equal, Gap, Kind, Literal, Predicate, Ref, kind_of
from sandbox.sql import syntax


class ColumnComparisons:
    """Binds comparisons of columns, with the terms of one `TermBinder`."""

    def __init__(self, terms: TermBinder) -> None:
        self._terms = terms
        self._facts = terms.facts

    def compare(self, node: syntax.Comparison) -> Predicate | None:
        """Bind a comparison that no constant and no result stands in."""
        one, other = self._terms.ref(node.left), self._terms.ref(node.right)
        if one is not None and other is not None and one.kind is other.kind:
            gap = Gap("day", one, other, elapsed=True)
            if gap_grid(gap, self._facts.policy) is not None:
                return self._dates(one, node.operator, other, node.place)
            if is_counted(self._facts, one) and is_counted(self._facts, other):
                for ref in (one, other):
                    self._facts.use(ref, Usage.GROUP_BIN, node.place)
                return Equal(node.operator, one, other)
        left = self._terms.term(node.left, Usage.EQUALITY)
        right = self._terms.term(node.right, Usage.EQUALITY)
        if left is None or right is None:
            return None
        for term in (left, right):
            # `income > population` is a literal in disguise.
            if isinstance(term, Ref) and is_gridded(self._facts, term):
                self._facts.use(term, Usage.RANGE, node.place, on_grid=False)
        if node.operator not in ("=", "<>") or kind_of(left) != kind_of(right):
            self._facts.refuse(
                "columns_compared",
                "two columns may be compared only for equality, in one type",
                "Compare each with a constant.",
                node.place,
            )
            return None
        return Equal(node.operator, left, right)

    def _dates(
        self, left: Ref, operator: str, right: Ref, place: Place | None
    ) -> Predicate:
        """Compare two dates of one unit's rows: which of them is first."""
        for ref in (left, right):
            self._facts.use(ref, Usage.PER_UNIT, place)
        if operator in ("=", "<>"):
            return Equal(operator, left, right)
        # a < b is a gap above zero from a to b; a <= b is one up to zero from b to a.
        start, end = (left, right) if operator in ("<", ">=") else (right, left)
        closed = "<=" if operator in ("<=", ">=") else ">"
        gap = Gap("day", start, end, elapsed=True)
        return Compare(closed, gap, Literal(Decimal(0), Kind.INTEGER))

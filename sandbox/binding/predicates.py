"""Predicates over one row, bound: what a filter may ask and where its constants lie."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from operator import eq, ge, gt, le, lt, ne
from typing import Any

from policies.document import Role
from policies.shape import Place, Usage
from sandbox.binding.constants import constant_of, fitted, half_open, is_on_grid
from sandbox.binding.facts import place_of
from sandbox.binding.gaps import read_shifted
from sandbox.binding.terms import MAX_PATTERN, TermBinder
from sandbox.plan.canonical import canonical
from sandbox.plan.terms import (
    NUMBERS,
    All,
    Always,
    AnyOf,
    Compare,
    Equal,
    Gap,
    Holds,
    Kind,
    Like,
    Literal,
    Missing,
    Negate,
    Predicate,
    Ref,
    Term,
    Truth,
    Within,
    kind_of,
    refs_of,
)
from sandbox.plan.view_columns import gap_bound, gap_grid, is_gap
from sandbox.sql import syntax

MAX_OPTIONS = 1_000
_MIRRORED = {"=": "=", "<>": "<>", "<": ">", ">": "<", "<=": ">=", ">=": "<="}
_FOLDED: dict[str, Callable[[Any, Any], Any]] = {
    "=": eq,
    "<>": ne,
    "<": lt,
    "<=": le,
    ">": gt,
    ">=": ge,
}
_LIKES = {
    "~~": (False, False),
    "!~~": (False, True),
    "~~*": (True, False),
    "!~~*": (True, True),
}


class PredicateBinder:
    """Binds predicates with the terms of one `TermBinder`."""

    def __init__(self, terms: TermBinder) -> None:
        self._terms = terms
        self._facts = terms.facts
        terms.predicate = self.predicate

    def where(self, expression: syntax.Expression) -> Predicate | None:
        """Bind a whole filter; returns its canonical form."""
        predicate = self.predicate(expression)
        return None if predicate is None else canonical(predicate)

    def predicate(self, expression: syntax.Expression) -> Predicate | None:
        """Bind one predicate; findings and uses are left behind where it is refused."""
        match expression:
            case syntax.Logical(operator=operator, items=items):
                bound = [self.predicate(item) for item in items]
                if any(item is None for item in bound):
                    return None
                parts = tuple(item for item in bound if item is not None)
                return All(parts) if operator == "AND" else AnyOf(parts)
            case syntax.Not(item=item):
                inner = self.predicate(item)
                return None if inner is None else Negate(inner)
            case syntax.Comparison():
                return self._comparison(expression)
            case syntax.Among():
                return self._among(expression)
            case syntax.NullTest(item=item):
                term = self._terms.term(item, Usage.NULL_TEST)
                return None if term is None else Missing(term)
            case syntax.Subquery():
                return self._subquery(expression)
            case syntax.Call(name=name) if name in _LIKES:
                return self._like(expression)
            case syntax.Column() if self._terms.alias_of(expression) is not None:
                with self._terms.unfolding(expression) as target:
                    return None if target is None else self.predicate(target)
        return self._boolean(expression)

    def _boolean(self, expression: syntax.Expression) -> Predicate | None:
        term = self._terms.term(expression, Usage.EQUALITY)
        if term is None:
            return None
        if isinstance(term, Truth) and not term.as_integer:
            return term.predicate
        if isinstance(term, Literal) and isinstance(term.value, bool):
            return Always(term.value)
        if isinstance(term, Literal) and term.value is None:
            return Always(None)
        if kind_of(term) is Kind.BOOLEAN:
            return Holds(term)
        self._facts.refuse(
            "condition_expected",
            "a value stands where a condition is expected",
            "Compare it with a constant.",
            place_of(expression),
        )
        return None

    def _subquery(self, node: syntax.Subquery) -> Predicate | None:
        if node.kind != "scalar" and self._terms.results is not None:
            return self._terms.results.subquery(node)
        self._terms.give_up(
            node, "subquery_here", "a subquery at this place", "Compare with it in WHERE."
        )
        return None

    # --- comparisons

    def _comparison(self, node: syntax.Comparison) -> Predicate | None:
        results = self._terms.results
        if results is not None and node.operator in _MIRRORED:
            if results.is_result(node.right):
                return results.compare(node.left, node.operator, node.right)
            if results.is_result(node.left):
                return results.compare(node.right, _MIRRORED[node.operator], node.left)
        left, right = constant_of(node.left), constant_of(node.right)
        if left is not None and right is not None and node.operator in _MIRRORED:
            return self._folded(node, left, right)
        if node.operator not in _MIRRORED:
            return self._distinct_from(node)
        shifted = read_shifted(node, self._terms.ref)
        if shifted is not None:
            return self._gap(*shifted, node.place)
        if right is not None:
            return self._with_constant(node.left, node.operator, right, node.place)
        if left is not None:
            return self._with_constant(
                node.right, _MIRRORED[node.operator], left, node.place
            )
        return self._between_columns(node)

    def _folded(
        self, node: syntax.Comparison, left: Literal, right: Literal
    ) -> Predicate | None:
        if left.value is None or right.value is None:
            return Always(None)
        same = left.kind == right.kind or {left.kind, right.kind} <= NUMBERS
        if not same or left.kind not in (*NUMBERS, Kind.TEXT, Kind.BOOLEAN, Kind.DATE):
            self._types(node.place)
            return None
        return Always(bool(_FOLDED[node.operator](left.value, right.value)))

    def _types(self, place: Place | None) -> None:
        # A cast of a column would raise on the row that does not fit, and name its value.
        self._facts.refuse(
            "types_differ",
            "a column is compared with a constant of another type",
            "Write the constant in the column's type: text in quotes, DATE '2024-01-01'.",
            place,
        )

    def _with_constant(
        self, side: syntax.Expression, operator: str, constant: Literal, place: Place | None
    ) -> Predicate | None:
        ref = self._terms.ref(side)
        if ref is not None and is_gap(ref, self._facts.views):
            return self._gap(ref, operator, constant, place)
        if ref is not None:
            return self._column_with_constant(ref, side, operator, constant, place)
        gap = self._terms.gap(side)
        if gap is not None:
            return self._gap(gap, operator, constant, place)
        term = self._terms.term(side, Usage.EQUALITY)
        if term is None:
            return None
        if isinstance(term, Ref):  # an alias of a column
            return self._column_with_constant(term, side, operator, constant, place)
        if constant.value is None:
            return Always(None)
        value = fitted(constant, kind_of(term))
        if value is None:
            self._types(place)
            return None
        return Compare(operator, term, value)

    def _gap(
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
            self._types(where)
            return None
        if not self._is_gridded(ref):
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

    def _is_gridded(self, ref: Ref) -> bool:
        column = self._facts.column(ref)
        if self._facts.is_public(ref) or column is None:
            return False
        return (
            column.grid is not None or column.grain is not None or column.has(Role.MEASURE)
        )

    def _distinct_from(self, node: syntax.Comparison) -> Predicate | None:
        """Read `a IS NOT DISTINCT FROM b` as `a = b`, where NULL equals only NULL."""
        left, right = node.left, node.right
        one, other = constant_of(left), constant_of(right)
        null = next((c for c in (one, other) if c is not None and c.value is None), None)
        if null is not None:
            inner = self.predicate(syntax.NullTest(right if null is one else left))
        else:
            equal = self.predicate(syntax.Comparison("=", left, right, node.place))
            if equal is None:
                return None
            tests: list[Predicate | None] = [
                self.predicate(syntax.NullTest(side))
                for side, constant in ((left, one), (right, other))
                if constant is None
            ]
            missing = [test for test in tests if test is not None]
            if len(missing) != len(tests):
                return None
            # Neither side is NULL, and they are equal; or both are NULL.
            inner = All((equal, *(Negate(test) for test in missing)))
            if len(missing) == 2:
                inner = AnyOf((inner, All(tuple(missing))))
        if inner is None:
            return None
        return inner if node.operator == "is not distinct" else Negate(inner)

    def _between_columns(self, node: syntax.Comparison) -> Predicate | None:
        one, other = self._terms.ref(node.left), self._terms.ref(node.right)
        if one is not None and other is not None and one.kind is other.kind:
            gap = Gap("day", one, other, elapsed=True)
            if gap_grid(gap, self._facts.policy) is not None:
                return self._dates(one, node.operator, other, node.place)
            if self._is_count(one) and self._is_count(other):
                for ref in (one, other):
                    self._facts.use(ref, Usage.GROUP_BIN, node.place)
                return Equal(node.operator, one, other)
        left = self._terms.term(node.left, Usage.EQUALITY)
        right = self._terms.term(node.right, Usage.EQUALITY)
        if left is None or right is None:
            return None
        for term in (left, right):
            # `income > population` is a literal in disguise.
            if isinstance(term, Ref) and self._is_gridded(term):
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

    def _is_count(self, ref: Ref) -> bool:
        column = self._facts.column(ref) if ref.table in self._facts.views else None
        return column is not None and column.grid == 1 and ref.kind is Kind.INTEGER

    # --- IN and LIKE

    def _among(self, node: syntax.Among) -> Predicate | None:
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
        if ref is not None and self._is_gridded(ref):
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
            self._types(place)
            return None
        return Within(term, tuple(value for value in values if value is not None))

    def _like(self, node: syntax.Call) -> Predicate | None:
        ignore_case, negated = _LIKES[node.name]
        if len(node.arguments) != 2:
            self._terms.give_up(node, "function_arguments", "LIKE with these arguments")
            return None
        pattern = constant_of(node.arguments[1])
        text = None if pattern is None else pattern.value
        if not isinstance(text, str) or len(text) > MAX_PATTERN:
            self._terms.give_up(
                node, "pattern_constant", "LIKE with anything but a short constant pattern",
                f"Write a constant pattern of at most {MAX_PATTERN} characters.",
            )  # fmt: skip
            return None
        if text.count("%") > 4:
            # Many wildcards make matching quadratic and worse in the length of the text.
            self._terms.give_up(
                node, "pattern_too_complex", "a pattern with more than four %", "Use fewer."
            )
            return None
        term = self._terms.term(node.arguments[0], Usage.EQUALITY)
        if term is None:
            return None
        if kind_of(term) is not Kind.TEXT:
            self._types(node.place)
            return None
        found = Like(term, text, ignore_case)
        return Negate(found) if negated else found

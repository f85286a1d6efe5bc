"""Predicates over one row, bound: what a filter may ask and where its constants lie."""

from __future__ import annotations

from collections.abc import Callable
from operator import eq, ge, gt, le, lt, ne
from typing import Any

from policies.shape import Usage
from sandbox.binding.column_comparisons import ColumnComparisons
from sandbox.binding.constant_comparisons import ConstantComparisons, refuse_types
from sandbox.binding.constants import constant_of
from sandbox.binding.facts import place_of
from sandbox.binding.gaps import read_shifted
from sandbox.binding.terms import TermBinder
from sandbox.plan.canonical import canonical
from sandbox.plan.terms import (
    NUMBERS,
    All,
    Always,
    AnyOf,
    Holds,
    Kind,
    Like,
    Literal,
    Missing,
    Negate,
    Predicate,
    Truth,
    kind_of,
)
from sandbox.sql import syntax

MAX_PATTERN = 200
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
        self._constants = ConstantComparisons(terms)
        self._columns = ColumnComparisons(terms)

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
                return self._constants.among(expression)
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
            return self._constants.gap(*shifted, node.place)
        if right is not None:
            return self._constants.compare(node.left, node.operator, right, node.place)
        if left is not None:
            return self._constants.compare(
                node.right, _MIRRORED[node.operator], left, node.place
            )
        return self._columns.compare(node)

    def _folded(
        self, node: syntax.Comparison, left: Literal, right: Literal
    ) -> Predicate | None:
        if left.value is None or right.value is None:
            return Always(None)
        same = left.kind == right.kind or {left.kind, right.kind} <= NUMBERS
        if not same or left.kind not in (*NUMBERS, Kind.TEXT, Kind.BOOLEAN, Kind.DATE):
            refuse_types(self._facts, node.place)
            return None
        return Always(bool(_FOLDED[node.operator](left.value, right.value)))

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
            refuse_types(self._facts, node.place)
            return None
        found = Like(term, text, ignore_case)
        return Negate(found) if negated else found

"""Conditions that exclude each other by their own text, whatever the data.

Two conditional aggregates that may overlap are withheld where nobody is in both, as they
are where few are; of a pivot's columns it is known from the text that nobody can be.
"""

from __future__ import annotations

from decimal import Decimal

from sandbox.plan.canonical import canonical
from sandbox.plan.terms import (
    All,
    AnyOf,
    Choose,
    Compare,
    Literal,
    Missing,
    Negate,
    Predicate,
    Term,
    Within,
)


def condition_of(key: Term, code: int) -> Predicate | None:
    """Return the condition of a piece of a hidden key; code 0 is what no branch takes."""
    if not isinstance(key, Choose):
        return None
    if code == 0:
        return canonical(Negate(AnyOf(tuple(found for found, _ in key.branches))))
    for found, result in key.branches:
        if isinstance(result, Literal) and result.value == code:
            return found
    return None


def excludes(one: Predicate | None, other: Predicate | None) -> bool:
    """Whether no row can satisfy both; False where the text does not show it."""
    if one is None or other is None:
        return False
    for alternatives, rest in ((one, other), (other, one)):
        if isinstance(alternatives, AnyOf):
            return all(excludes(item, rest) for item in alternatives.items)
    return any(_contradict(a, b) for a in _conjuncts(one) for b in _conjuncts(other))


def _conjuncts(predicate: Predicate) -> tuple[Predicate, ...]:
    return predicate.items if isinstance(predicate, All) else (predicate,)


def _contradict(one: Predicate, other: Predicate) -> bool:
    if Negate(one) == other or one == Negate(other):
        return True
    for a, b in ((one, other), (other, one)):
        if isinstance(a, Missing) and isinstance(b, (Compare, Within)):
            return a.term == b.term
        if isinstance(a, AnyOf):
            return all(_contradict(item, b) for item in a.items)
    if not isinstance(one, (Compare, Within)) or not isinstance(other, (Compare, Within)):
        if isinstance(one, Negate) and isinstance(other, (Compare, Within)):
            return _outside(one.item, other)
        if isinstance(other, Negate) and isinstance(one, (Compare, Within)):
            return _outside(other.item, one)
        return False
    if one.term != other.term:
        return False
    mine, its = _values(one), _values(other)
    if mine is not None and its is not None:
        return not mine & its
    if mine is not None and isinstance(other, Compare):
        return not any(_fits(value, other) for value in mine)
    if its is not None and isinstance(one, Compare):
        return not any(_fits(value, one) for value in its)
    return isinstance(one, Compare) and isinstance(other, Compare) and _apart(one, other)


def _outside(excluded: Predicate, found: Compare | Within) -> bool:
    """Whether NOT `excluded` leaves nothing of `found`."""
    if not isinstance(excluded, Within) or excluded.term != found.term:
        return False
    values = _values(found)
    return values is not None and values <= frozenset(excluded.constants)


def _values(item: Compare | Within) -> frozenset[Literal] | None:
    if isinstance(item, Within):
        return frozenset(item.constants)
    return frozenset({item.constant}) if item.operator == "=" else None


def _fits(value: Literal, bound: Compare) -> bool:
    if bound.operator == "<>":
        return value != bound.constant
    a, b = value.value, bound.constant.value
    if not isinstance(a, Decimal) or not isinstance(b, Decimal):
        return True
    return {"<": a < b, "<=": a <= b, ">": a > b, ">=": a >= b}.get(bound.operator, True)


def _apart(one: Compare, other: Compare) -> bool:
    if {one.operator, other.operator} != {"<", ">="}:
        return False
    below, above = (one, other) if one.operator == "<" else (other, one)
    low, high = above.constant.value, below.constant.value
    if isinstance(low, Decimal) and isinstance(high, Decimal):
        return low >= high
    # Dates and times are ISO text of one form, which sorts as they do.
    same = above.constant.kind == below.constant.kind
    return isinstance(low, str) and isinstance(high, str) and same and low >= high

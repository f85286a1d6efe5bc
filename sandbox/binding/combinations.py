"""Arithmetic of bare measures inside an aggregate, as sums of products with coefficients.

`2 * a - b / 100 + 3` and `a * b` are read; anything that is no polynomial of degree 2 at
most (a function, a division by a measure, a third power) is not. Coefficients are constants
of the query and exact fractions.
"""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from fractions import Fraction

from sandbox.binding.constants import constant_of
from sandbox.binding.items import RowTerms
from sandbox.plan.atoms import Combination, Weighted, ordered, product
from sandbox.plan.terms import NUMBERS, Kind, Ref
from sandbox.sql import syntax

MAX_TERMS = 20
MAX_DEGREE = 2
# Coefficients multiply: past this they are no measure's unit any more, and an answer of so
# many digits would be no double.
_LARGEST = 10**40
Factors = tuple[Ref, ...]
Polynomial = Mapping[Factors, Fraction]


def read_combination(
    expression: syntax.Expression, terms: RowTerms
) -> Ref | Combination | None:
    """Return the combination of measures that an expression is, or None where it is none.

    A bare column, also as `x::DOUBLE` or `1 * x`, comes back as that column.
    """
    found = _read(expression, terms)
    if found is None:
        return None
    present: set[Ref] = {ref for factors in found for ref in factors}
    weighted = tuple(
        Weighted(number.numerator, number.denominator, factors)
        for factors, number in sorted(found.items(), key=lambda item: str(item[0]))
        if number
    )
    if not present or len(weighted) > MAX_TERMS:
        return None
    if {ref for term in weighted for ref in term.factors} != present:
        # `x + 0 * y` is x again, asked under another name and over other rows.
        return None
    alone = len(weighted) == 1 == len(present) == len(weighted[0].factors)
    if alone and weighted[0].coefficient == 1:
        return weighted[0].factors[0]
    return Combination(ordered(present), weighted)


def _read(expression: syntax.Expression, terms: RowTerms) -> Polynomial | None:
    constant = constant_of(expression)
    if constant is not None:
        value = constant.value
        return {(): Fraction(value)} if isinstance(value, Decimal) else None
    match expression:
        case syntax.Column():
            return _column(expression, terms)
        case syntax.Cast(item=item, type="DOUBLE"):
            return _read(item, terms)
        case syntax.Cast(item=item, type="BIGINT" | "HUGEINT"):
            ref = terms.ref(item)
            return {(ref,): Fraction(1)} if ref and ref.kind is Kind.INTEGER else None
        case syntax.Call(name="power" | "pow" | "^" | "**", arguments=(base, exponent)):
            number, one = constant_of(exponent), _read(base, terms)
            if one is None or number is None or number.value != 2:
                return None
            return _combined("*", [one, one])
        case syntax.Call(name=name, arguments=arguments, distinct=False, condition=None):
            if name not in ("+", "-", "*", "/") or len(arguments) not in (1, 2):
                return None
            parts = [_read(argument, terms) for argument in arguments]
            known = [part for part in parts if part is not None]
            return _combined(name, known) if len(known) == len(parts) else None
    return None


def _column(column: syntax.Column, terms: RowTerms) -> Polynomial | None:
    ref = terms.ref(column)
    if ref is not None:
        return {(ref,): Fraction(1)} if ref.kind in NUMBERS else None
    inner = terms.expanded(column)
    return None if inner is None else _read(*inner)


def _combined(name: str, parts: list[Polynomial]) -> Polynomial | None:
    match name, parts:
        case "+", [one]:
            return one
        case "-", [one]:
            return _scaled(one, Fraction(-1))
        case "+", [left, right]:
            return _sum(left, right)
        case "-", [left, right]:
            return _sum(left, _scaled(right, Fraction(-1)))
        case "/", [left, right] if set(right) == {()} and right[()]:
            return _bounded(_scaled(left, 1 / right[()]))
        case "*", [left, right]:
            return _bounded(_product(left, right))
    return None


def _scaled(one: Polynomial, factor: Fraction) -> dict[Factors, Fraction]:
    return {factors: number * factor for factors, number in one.items()}


def _sum(left: Polynomial, right: Polynomial) -> Polynomial:
    # A term that cancels stays with coefficient 0, so that it is seen.
    found = dict(left)
    for factors, number in right.items():
        found[factors] = found.get(factors, Fraction(0)) + number
    return found


def _product(left: Polynomial, right: Polynomial) -> dict[Factors, Fraction] | None:
    found: dict[Factors, Fraction] = {}
    for one, a in left.items():
        for other, b in right.items():
            factors = product((*one, *other), ()).factors
            if len(factors) > MAX_DEGREE:
                return None
            found[factors] = found.get(factors, Fraction(0)) + a * b
    return found


def _bounded(found: dict[Factors, Fraction] | None) -> Polynomial | None:
    if found is None or len(found) > 4 * MAX_TERMS:
        return None
    large = any(
        max(abs(number.numerator), number.denominator) > _LARGEST
        for number in found.values()
    )
    return None if large else found

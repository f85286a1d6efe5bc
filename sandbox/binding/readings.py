"""Readings of call syntax: bins of numbers and cuts of dates, in the forms people write.

`floor(x / w) * w`, `x // w * w` and `x - x % w` are one thing, a bin of constant width;
`date_trunc`, `date_part`, `year()` and `strftime` show a date at a grain.
"""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal

from sandbox.binding.constants import constant_of
from sandbox.plan.terms import NUMBERS, Bin, DatePart, DateText, Kind, Ref, Trunc
from sandbox.sql import syntax

RefOf = Callable[[syntax.Expression], Ref | None]
_GRAINS = {"day", "week", "month", "quarter", "year"}
_ORDER = ("day", "month", "quarter", "year")
_FORMATS = {
    "%Y": "year",
    "%m": "month",
    "%b": "month",
    "%B": "month",
    "%d": "day",
}


def read_bin(call: syntax.Call, ref_of: RefOf) -> Bin | None:
    """Read floor(x / w) [* w], x // w [* w] and x - x % w as a bin of constant width."""
    if call.name == "*" and len(call.arguments) == 2:
        for inner, factor in (call.arguments, call.arguments[::-1]):
            index = _read_index(inner, ref_of)
            if index is not None and _width(factor) == index.width:
                return Bin(
                    index.ref, index.width, index_only=False, truncating=index.truncating
                )
        return None
    if call.name == "-" and len(call.arguments) == 2:
        left, right = call.arguments
        if isinstance(right, syntax.Call) and right.name in ("%", "mod"):
            ref, again = ref_of(left), ref_of(right.arguments[0])
            width = _width(right.arguments[-1])
            if ref is not None and ref == again and width and ref.kind is Kind.INTEGER:
                return Bin(ref, width, index_only=False, truncating=True)
        return None
    return _read_index(call, ref_of)


def _read_index(expression: syntax.Expression, ref_of: RefOf) -> Bin | None:
    if isinstance(expression, syntax.Cast) and expression.type in ("INTEGER", "BIGINT"):
        expression = expression.item
    if (
        not isinstance(expression, syntax.Call)
        or expression.distinct
        or expression.condition
    ):
        return None
    if expression.name == "floor" and len(expression.arguments) == 1:
        division = expression.arguments[0]
        if isinstance(division, syntax.Call) and division.name == "/":
            return _divided(division, ref_of, truncating=False)
    if expression.name in ("//", "divide"):
        return _divided(expression, ref_of, truncating=True)
    return None


def _divided(
    division: syntax.Call,
    ref_of: RefOf,
    *,
    truncating: bool,
) -> Bin | None:
    if len(division.arguments) != 2:
        return None
    ref, width = ref_of(division.arguments[0]), _width(division.arguments[1])
    if ref is None or width is None or ref.kind not in NUMBERS:
        return None
    if truncating and (ref.kind is not Kind.INTEGER or width != width.to_integral_value()):
        return None
    return Bin(ref, width, index_only=True, truncating=truncating)


def _width(expression: syntax.Expression) -> Decimal | None:
    found = constant_of(expression)
    if found is None or not isinstance(found.value, Decimal) or found.value <= 0:
        return None
    return found.value


def read_date(
    call: syntax.Call, ref_of: RefOf
) -> tuple[Trunc | DatePart | DateText, str] | None:
    """Read date_trunc, date_part, year(), month(), quarter(), strftime of a date column."""
    if call.name in ("year", "month", "quarter") and len(call.arguments) == 1:
        ref = _date_ref(call.arguments[0], ref_of)
        return None if ref is None else (DatePart(ref, call.name), call.name)
    if len(call.arguments) != 2:
        return None
    first, second = call.arguments
    if call.name == "strftime":
        ref, pattern = _date_ref(first, ref_of), constant_of(second)
        if ref is None:
            ref, pattern = _date_ref(second, ref_of), constant_of(first)
        grain = None if pattern is None else _format_grain(pattern.value)
        if ref is None or pattern is None or grain is None:
            return None
        return DateText(ref, str(pattern.value)), grain
    word, ref = constant_of(first), _date_ref(second, ref_of)
    if word is None or ref is None or not isinstance(word.value, str):
        return None
    grain = word.value.lower()
    if call.name in ("date_trunc", "datetrunc") and grain in _GRAINS:
        return Trunc(ref, grain), grain
    if call.name in ("date_part", "datepart") and grain in ("year", "month", "quarter"):
        return DatePart(ref, grain), grain
    return None


def _date_ref(expression: syntax.Expression, ref_of: RefOf) -> Ref | None:
    ref = ref_of(expression)
    return ref if ref is not None and ref.kind in (Kind.DATE, Kind.TIMESTAMP) else None


def _format_grain(pattern: object) -> str | None:
    """Return the finest grain that a strftime format shows; None for unknown directives."""
    if not isinstance(pattern, str) or len(pattern) > 40:
        return None
    grains, index = [], 0
    while index < len(pattern):
        if pattern[index] != "%":
            index += 1
            continue
        grain = _FORMATS.get(pattern[index : index + 2])
        if grain is None:
            return None
        grains.append(grain)
        index += 2
    return min(grains, key=_ORDER.index) if grains else None

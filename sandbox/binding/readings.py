"""Readings of call syntax: bins of numbers and cuts of dates, in the forms people write.

`floor(x / w) * w`, `x // w * w` and `x - x % w` are one thing, a bin of constant width;
`date_trunc`, `date_part`, `year()` and `strftime` show a date at a grain.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal

from policies.document import Column, Role
from sandbox.binding.constants import constant_of
from sandbox.plan.terms import (
    NUMBERS,
    Apply,
    Bin,
    DatePart,
    DateText,
    Kind,
    Literal,
    Ref,
    Term,
    Trunc,
)
from sandbox.sql import syntax

RefOf = Callable[[syntax.Expression], Ref | None]
_GRAINS = {"day", "week", "month", "quarter", "year"}
_ORDER = ("day", "month", "quarter", "year")
# part -> the coarsest grain that shows it
_PARTS = {
    **dict.fromkeys(("year", "decade", "century", "millennium"), "year"),
    "quarter": "quarter",
    "month": "month",
    **dict.fromkeys(("week", "isoyear", "yearweek"), "week"),
    **dict.fromkeys(("day", "dow", "isodow", "doy"), "day"),
    "hour": "hour",
    "minute": "minute",
}
_TIMES = ("hour", "minute")
_SAME_PART = {
    "dayofmonth": "day",
    "dayofweek": "dow",
    "weekday": "dow",
    "dayofyear": "doy",
    "weekofyear": "week",
}
_PLURALS = {
    f"{part}s": part for part in ("year", "quarter", "month", "week", "day", "hour")
}
_NAMES_OF = {"monthname": ("%B", "month"), "dayname": ("%A", "day")}
_FORMATS = {
    "%a": "day",
    "%A": "day",
    "%j": "day",
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


@dataclass(frozen=True, slots=True)
class Steps:
    """A step function of a column that is no plain bin, and where its steps are.

    Values are told apart at `edges[1]` + multiples of `edges[0]`, half-open.
    """

    term: Apply
    ref: Ref
    edges: tuple[Decimal, Decimal]


def read_steps(call: syntax.Call, ref_of: RefOf) -> Steps | None:
    """Read floor((x - c) / w), ceil((x - c) / w) and (x - c) // w of a column.

    ceil() steps just above, which only whole numbers name: `ceil(x / 10)` has 1 to 10 in
    one. `//` cuts towards zero, so that both -9 and 9 are in its middle.
    """
    if call.distinct or call.condition:
        return None
    division: syntax.Expression = call
    if call.name in ("floor", "ceil", "ceiling") and len(call.arguments) == 1:
        division = call.arguments[0]
    name = "ceil" if call.name == "ceiling" else call.name
    if not isinstance(division, syntax.Call) or len(division.arguments) != 2:
        return None
    if division.name != ("//" if name in ("//", "divide") else "/"):
        return None
    width, inner = _width(division.arguments[1]), _moved(division.arguments[0], ref_of)
    if width is None or inner is None:
        return None
    ref, start, moved = inner
    divided = Apply(division.name, (moved, Literal(width, Kind.DECIMAL)), Kind.DOUBLE)
    if name == "floor":
        return Steps(Apply("floor", (divided,), Kind.DOUBLE), ref, (width, start))
    whole = ref.kind is Kind.INTEGER and all(
        n == n.to_integral_value() for n in (width, start)
    )
    if not whole:
        return None
    if name == "ceil":
        return Steps(Apply("ceil", (divided,), Kind.DOUBLE), ref, (width, start + 1))
    # Up to the first step below zero, where every whole number may be an edge.
    term = Apply("//", (moved, Literal(width, Kind.INTEGER)), Kind.INTEGER)
    return Steps(term, ref, (Decimal(1), start))


def _moved(
    expression: syntax.Expression, ref_of: RefOf
) -> tuple[Ref, Decimal, Term] | None:
    """Return the column in x, x - c, x + c or c + x, where the whole is 0, and the term."""
    ref = ref_of(expression)
    if ref is not None:
        return (ref, Decimal(0), ref) if ref.kind in NUMBERS else None
    if not isinstance(expression, syntax.Call) or len(expression.arguments) != 2:
        return None
    left, right = expression.arguments
    if expression.name == "+" and ref_of(left) is None:
        left, right = right, left
    ref, constant = ref_of(left), constant_of(right)
    if ref is None or ref.kind not in NUMBERS or expression.name not in ("+", "-"):
        return None
    if constant is None or not isinstance(constant.value, Decimal):
        return None
    sign = 1 if expression.name == "-" else -1
    kind = ref.kind if constant.kind is Kind.INTEGER else Kind.DOUBLE
    return ref, sign * constant.value, Apply(expression.name, (ref, constant), kind)


def is_whole(ref: Ref, column: Column) -> bool:
    """Whether every value of a dimension is a bin of its grid: whole numbers on grid 1."""
    return (
        ref.kind is Kind.INTEGER
        and column.grid is not None
        and 1 % column.grid == 0
        and (column.has(Role.DIMENSION) or column.has(Role.LABEL))
    )


def read_date(
    call: syntax.Call, ref_of: RefOf
) -> tuple[Trunc | DatePart | DateText, str] | None:
    """Read date_trunc, date_part, year(), monthname(), strftime of a date column.

    Returns the term and the coarsest grain that shows as much: the number of a week tells
    which week it was, and a day of the week exists for days only.
    """
    if len(call.arguments) == 1:
        ref = _date_ref(call.arguments[0], ref_of)
        if ref is None:
            return None
        if call.name in _NAMES_OF:
            pattern, grain = _NAMES_OF[call.name]
            return DateText(ref, pattern), grain
        return _part(ref, call.name)
    if len(call.arguments) != 2:
        return None
    first, second = call.arguments
    if call.name == "strftime":
        ref, pattern_ = _date_ref(first, ref_of), constant_of(second)
        if ref is None:
            ref, pattern_ = _date_ref(second, ref_of), constant_of(first)
        found = None if pattern_ is None else _format_grain(pattern_.value)
        if ref is None or pattern_ is None or found is None:
            return None
        return DateText(ref, str(pattern_.value)), found
    word, ref = constant_of(first), _date_ref(second, ref_of)
    if word is None or ref is None or not isinstance(word.value, str):
        return None
    grain = word.value.lower()
    if call.name in ("date_trunc", "datetrunc") and grain in _GRAINS:
        return Trunc(ref, grain), grain
    if call.name in ("date_part", "datepart"):
        return _part(ref, _PLURALS.get(grain, grain))
    return None


def _part(ref: Ref, name: str) -> tuple[DatePart, str] | None:
    part = _SAME_PART.get(name, name)
    grain = _PARTS.get(part)
    if grain is None or (grain in _TIMES and ref.kind is not Kind.TIMESTAMP):
        return None
    return DatePart(ref, part), grain


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

"""Differences of dates, in the forms people write them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal

from sandbox.binding.constants import constant_of
from sandbox.plan.terms import Gap, Kind, Literal, Ref
from sandbox.sql import syntax

RefOf = Callable[[syntax.Expression], Ref | None]
_DATES = (Kind.DATE, Kind.TIMESTAMP)
_MIRRORED = {"<": ">", ">": "<", "<=": ">=", ">=": "<="}
_UNITS = frozenset({"hour", "day", "week", "month", "quarter", "year"})
# date_diff counts the borders of its unit: cutting to that unit, or to a finer one whose
# periods lie in it, moves nothing across one.
_UNSEEN = {
    "day": ("day",),
    "week": ("day", "week"),
    "month": ("day", "month"),
    "quarter": ("day", "month", "quarter"),
    "year": ("day", "month", "quarter", "year"),
}


def read_gap(node: syntax.Expression, ref_of: RefOf) -> Gap | None:
    """Read `end - start` and date_diff(unit, start, end) of two date columns."""
    if not isinstance(node, syntax.Call) or node.distinct or node.condition is not None:
        return None
    if node.name == "-" and len(node.arguments) == 2:
        end, start = (ref_of(item) for item in node.arguments)
        return _gap("day", start, end, elapsed=True)
    if node.name in ("date_diff", "datediff", "date_sub", "datesub"):
        if len(node.arguments) != 3:
            return None
        word = constant_of(node.arguments[0])
        unit = word.value.lower() if word and isinstance(word.value, str) else ""
        unit = unit.removesuffix("s")
        start, end = (ref_of(_uncut(item, unit)) for item in node.arguments[1:])
        if unit not in _UNITS or node.name in ("date_sub", "datesub"):
            return None
        dates = start is not None and start.kind is Kind.DATE
        return _gap(unit, start, end, elapsed=unit in ("day", "hour") and dates)
    return None


def _uncut(node: syntax.Expression, unit: str) -> syntax.Expression:
    """Return what date_trunc cuts, where a difference in `unit` does not see the cut."""
    if not isinstance(node, syntax.Call) or node.name not in ("date_trunc", "datetrunc"):
        return node
    word = constant_of(node.arguments[0]) if len(node.arguments) == 2 else None
    if word is None or word.value not in _UNSEEN.get(unit, ()):
        return node
    return node.arguments[1]


def _gap(unit: str, start: Ref | None, end: Ref | None, *, elapsed: bool) -> Gap | None:
    if (
        start is None
        or end is None
        or start.kind is not end.kind
        or start.kind not in _DATES
    ):
        return None
    return Gap(unit, start, end, elapsed)


def read_shifted(node: syntax.Comparison, ref_of: RefOf) -> tuple[Gap, str, Literal] | None:
    """Read `b <= a + INTERVAL 30 DAY` and its like as a gap compared with days."""
    if node.operator not in _MIRRORED:
        return None
    for one, operator, other in (
        (node.left, node.operator, node.right),
        (node.right, _MIRRORED[node.operator], node.left),
    ):
        end, moved = ref_of(one), _moved(other, ref_of)
        if end is None or moved is None:
            continue
        start, days = moved
        if days.value < 0:
            # b >= a - 30 days: the gap from b to a is at most 30.
            gap = _gap("day", end, start, elapsed=True)
            operator, days = _MIRRORED[operator], _negative(days)
        else:
            gap = _gap("day", start, end, elapsed=True)
        if gap is None:
            return None
        return gap, operator, Literal(days.value, Kind.INTEGER)
    return None


def _moved(node: syntax.Expression, ref_of: RefOf) -> tuple[Ref, _Days] | None:
    if not isinstance(node, syntax.Call) or node.name not in ("+", "-"):
        return None
    if len(node.arguments) != 2:
        return None
    ref, days = ref_of(node.arguments[0]), days_of(node.arguments[1])
    if ref is None or days is None or ref.kind not in _DATES:
        return None
    return ref, days if node.name == "+" else _negative(days)


def days_of(node: syntax.Expression) -> _Days | None:
    """Read a number of days: an integer, to_days(n), to_weeks(n) or INTERVAL 'n days'."""
    constant = constant_of(node)
    if constant is not None:
        return _days(constant.value)
    if isinstance(node, syntax.Call) and len(node.arguments) == 1:
        factor = {"to_days": 1, "to_weeks": 7}.get(node.name)
        inner = constant_of(_untruncated(node.arguments[0]))
        if factor is not None and inner is not None:
            return _days(inner.value, factor)
    if isinstance(node, syntax.Cast) and node.type == "INTERVAL":
        text = constant_of(node.item)
        words = str(text.value).lower().split() if text is not None else []
        if len(words) == 2 and words[0].isdigit():
            factor = {"day": 1, "week": 7}.get(words[1].removesuffix("s"))
            return None if factor is None else _days(Decimal(words[0]), factor)
    return None


def _untruncated(node: syntax.Expression) -> syntax.Expression:
    """Return the number in CAST(trunc(n) AS ...), as the engine reads INTERVAL n DAY."""
    while isinstance(node, syntax.Cast):
        node = node.item
    if isinstance(node, syntax.Call) and node.name == "trunc" and len(node.arguments) == 1:
        return _untruncated(node.arguments[0])
    return node


def _days(value: object, factor: int = 1) -> _Days | None:
    if not isinstance(value, Decimal) or value != value.to_integral_value():
        return None
    return _Days(value * factor)


def _negative(days: _Days) -> _Days:
    return _Days(-days.value)


@dataclass(frozen=True, slots=True)
class _Days:
    value: Decimal

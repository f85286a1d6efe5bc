"""Differences of dates, in the forms people write them."""

from __future__ import annotations

from collections.abc import Callable

from sandbox.binding.constants import constant_of
from sandbox.plan.terms import Gap, Kind, Ref
from sandbox.sql import syntax

RefOf = Callable[[syntax.Expression], Ref | None]
_DATES = (Kind.DATE, Kind.TIMESTAMP)
_UNITS = frozenset({"hour", "day", "week", "month", "quarter", "year"})


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
        start, end = (ref_of(item) for item in node.arguments[1:])
        unit = word.value.lower() if word and isinstance(word.value, str) else ""
        unit = unit.removesuffix("s")
        if unit not in _UNITS or node.name in ("date_sub", "datesub"):
            return None
        dates = start is not None and start.kind is Kind.DATE
        return _gap(unit, start, end, elapsed=unit in ("day", "hour") and dates)
    return None


def _gap(unit: str, start: Ref | None, end: Ref | None, *, elapsed: bool) -> Gap | None:
    if (
        start is None
        or end is None
        or start.kind is not end.kind
        or start.kind not in _DATES
    ):
        return None
    return Gap(unit, start, end, elapsed)

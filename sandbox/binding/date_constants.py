"""Constants of dates, folded: `DATE '2024-01-31' + INTERVAL 1 MONTH`, `make_date(...)`.

There is no clock here: `current_date` is no constant, the query writes its date out.
"""

from __future__ import annotations

import calendar
import datetime
import re
from collections.abc import Sequence
from decimal import Decimal

from sandbox.plan.terms import Kind, Literal
from sandbox.sql import syntax

_DAY = datetime.timedelta(days=1)
_LARGEST = 100_000
# function -> months and days of one
_LENGTHS = {
    "to_days": (0, 1),
    "to_weeks": (0, 7),
    "to_months": (1, 0),
    "to_quarters": (3, 0),
    "to_years": (12, 0),
}
_WORDS = re.compile(
    r"\s*([+-]?\d{1,6})\s+(day|week|month|quarter|year)s?\s*", re.IGNORECASE
)
_CUTS = {"year": 12, "quarter": 3, "month": 1}


def shifted(
    name: str, arguments: Sequence[syntax.Expression], date: Literal | None
) -> Literal | None:
    """Return a date moved by an interval or by days, or None where it is none of these.

    `date` is the first argument as a constant. A day past the end of its month becomes the
    last one, as the engine has it.
    """
    sign = {"+": 1, "date_add": 1, "add": 1, "-": -1, "date_sub": -1, "subtract": -1}
    if name not in sign or len(arguments) != 2 or date is None:
        return None
    length = interval_of(arguments[1])
    if length is None or date.kind not in (Kind.DATE, Kind.TIMESTAMP):
        return None
    months, days = (part * sign[name] for part in length)
    try:
        moment = datetime.datetime.fromisoformat(str(date.value))
        total = moment.year * 12 + moment.month - 1 + months
        year, month = divmod(total, 12)
        last = calendar.monthrange(year, month + 1)[1]
        moved = moment.replace(year=year, month=month + 1, day=min(moment.day, last))
        return _literal(moved + days * _DAY, date.kind)
    except (ValueError, OverflowError):
        return None


def interval_of(expression: syntax.Expression) -> tuple[int, int] | None:
    """Return the months and days of a constant interval (or number of days), or None."""
    match expression:
        case syntax.Call(name=name, arguments=(inner,), distinct=False, condition=None):
            length = _LENGTHS.get(name)
            count = None if length is None else _count(inner)
            if length is None or count is None:
                return None
            return length[0] * count, length[1] * count
        case syntax.Cast(item=syntax.Constant(kind="string", text=text), type="INTERVAL"):
            found = _WORDS.fullmatch(text)
            if found is None:
                return None
            months, days = _LENGTHS[f"to_{found[2].lower()}s"]
            return months * int(found[1]), days * int(found[1])
        case syntax.Constant(kind="integer"):
            count = _count(expression)
            return None if count is None else (0, count)
    return None


def _count(expression: syntax.Expression) -> int | None:
    # The engine writes INTERVAL 6 MONTH as to_months(CAST(trunc(CAST(6 AS DOUBLE)) AS ..)).
    match expression:
        case syntax.Cast(item=item, type="DOUBLE" | "INTEGER" | "BIGINT"):
            return _count(item)
        case syntax.Call(name="trunc", arguments=(item,)):
            return _count(item)
        case syntax.Call(name="-", arguments=(item,)):
            count = _count(item)
            return None if count is None else -count
        case syntax.Constant(kind="integer", text=text):
            digits = text.replace("_", "")
            if digits.isascii() and digits.isdigit() and len(digits) <= 6:
                return int(digits) if int(digits) <= _LARGEST else None
    return None


def made(name: str, values: Sequence[Literal]) -> Literal | None:
    """Return make_date(y, m, d), date_trunc('month', d) or last_day(d) of constants."""
    match name, list(values):
        case "make_date", [year, month, day]:
            parts = [item.value for item in (year, month, day)]
            if not all(isinstance(p, Decimal) and 0 < p < 9999 for p in parts):
                return None
            y, m, d = (int(p) for p in parts if isinstance(p, Decimal))
            try:
                return _literal(datetime.datetime(y, m, d), Kind.DATE)  # noqa: DTZ001 - a date
            except ValueError:
                return None
        case "date_trunc" | "datetrunc", [word, date] if date.kind is Kind.DATE:
            cut = _CUTS.get(str(word.value).lower())
            if cut is None:
                return None
            moment = datetime.datetime.fromisoformat(str(date.value))
            first = (moment.month - 1) // cut * cut + 1
            return _literal(moment.replace(month=first, day=1), Kind.DATE)
        case "last_day", [date] if date.kind is Kind.DATE:
            moment = datetime.datetime.fromisoformat(str(date.value))
            last = calendar.monthrange(moment.year, moment.month)[1]
            return _literal(moment.replace(day=last), Kind.DATE)
    return None


def _literal(moment: datetime.datetime, kind: Kind) -> Literal | None:
    if not 1 < moment.year < 9999:
        return None
    if kind is Kind.DATE:
        return Literal(moment.date().isoformat(), Kind.DATE)
    return Literal(moment.isoformat(sep=" "), Kind.TIMESTAMP)

"""Some values of one term: those a condition allows, and whether two lots share any.

Values are compared only where the engine and Python surely agree: text byte by byte and
never by its order; numbers of at most six digits, which no cast to a narrower type makes
equal; dates and moments as ISO text, of the years 2 to 9998. NaN and infinity stand at the
ends of the engine's order, as a range without end does. NULL passes no comparison; it is a
value of its own, which IS NULL alone allows.
"""

from __future__ import annotations

import datetime
from dataclasses import dataclass
from decimal import Decimal

from sandbox.plan.terms import NUMBERS, Kind, Literal

_MOST_DIGITS = 6  # what the narrowest float keeps apart
_LARGEST, _SMALLEST = Decimal(10) ** 9, Decimal(10) ** -6

Value = str | bool | Decimal | datetime.datetime | None  # None is NULL
# A place in the order of values: just below a value (0), or just above it (1).
Cut = tuple[Decimal, int] | tuple[datetime.datetime, int]


@dataclass(frozen=True, slots=True)
class Listed:
    """These values and no others."""

    values: frozenset[Value]

    @property
    def is_empty(self) -> bool:
        """Whether there is none."""
        return not self.values


@dataclass(frozen=True, slots=True)
class Ranged:
    """Every value but NULL between two cuts (None: no end), without those left out."""

    low: Cut | None = None
    high: Cut | None = None
    left_out: frozenset[Value] = frozenset()

    @property
    def is_empty(self) -> bool:
        """Whether it is seen from the cuts that there is none."""
        if self.low is None or self.high is None:
            return False
        return self.high <= self.low  # type: ignore[operator]  # of one kind, as their term

    def has(self, value: Value) -> bool:
        """Whether a value is one of these; requires one that compares with the cuts."""
        if value is None or value in self.left_out:
            return False
        above = self.low is None or self.low <= (value, 0)
        return above and (self.high is None or (value, 1) <= self.high)


Values = Listed | Ranged
KNOWN = Ranged()  # whatever is not NULL


def common(one: Values, other: Values) -> Values:
    """Return the values in both."""
    if isinstance(one, Ranged) and isinstance(other, Ranged):
        lows = [cut for cut in (one.low, other.low) if cut is not None]
        highs = [cut for cut in (one.high, other.high) if cut is not None]
        left_out = one.left_out | other.left_out
        return Ranged(max(lows, default=None), min(highs, default=None), left_out)
    if isinstance(one, Listed) and isinstance(other, Listed):
        return Listed(one.values & other.values)
    listed, ranged = (one, other) if isinstance(one, Listed) else (other, one)
    assert isinstance(listed, Listed)
    assert isinstance(ranged, Ranged)
    return Listed(frozenset(value for value in listed.values if ranged.has(value)))


def either(one: Values, other: Values) -> Values | None:
    """Return values among which are all of both; None where that is no lot of these."""
    if isinstance(one, Listed) and isinstance(other, Listed):
        return Listed(one.values | other.values)
    if isinstance(one, Ranged) and isinstance(other, Ranged):
        low = None if one.low is None or other.low is None else min(one.low, other.low)
        high = None if one.high is None or other.high is None else max(one.high, other.high)
        return Ranged(low, high, one.left_out & other.left_out)
    listed = one if isinstance(one, Listed) else other
    assert isinstance(listed, Listed)
    return None if None in listed.values else KNOWN


def value_of(literal: Literal, kind: Kind) -> Value:
    """Return a constant that a term of `kind` is compared with; None where in doubt."""
    value = literal.value
    match kind:
        case Kind.TEXT if literal.kind is Kind.TEXT and isinstance(value, str):
            return value
        case Kind.BOOLEAN if isinstance(value, bool):
            return value
        case Kind.DATE | Kind.TIMESTAMP if literal.kind is kind and isinstance(value, str):
            return moment_of(value)
        case _ if kind in NUMBERS and isinstance(value, Decimal):
            return _number_of(value)
    return None


def _number_of(value: Decimal) -> Decimal | None:
    small = not value or _SMALLEST <= abs(value) <= _LARGEST
    if not value.is_finite() or not small:
        return None
    number = value.normalize() + 0
    return number if len(number.as_tuple().digits) <= _MOST_DIGITS else None


def moment_of(text: str) -> datetime.datetime | None:
    """Return an ISO date or moment without a zone; None where it is none, or far away."""
    try:
        moment = datetime.datetime.fromisoformat(text)
    except ValueError:
        return None
    return moment if moment.tzinfo is None and 1 < moment.year < 9999 else None

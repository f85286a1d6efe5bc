"""How the rows of one statement, run over each part of the data, make those of the whole.

A part holds all rows of its units. So units of two parts are different ones, and what is
counted or summed of units, rows and values adds up; extremes and the largest contributions
are those of all parts; which groups there are is their union. What does not merge so (an
average, a count of values that are no units, how many weights there are) is not asked: the
statements give what merges, and the rest is computed from the whole.

All of it is exact, associative and free of order, but for sums of DOUBLE, which stand in
stage 1 only as bounds by which third and fourth powers are judged.
"""

from __future__ import annotations

import decimal
import heapq
import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum

from sandbox.errors import ResourceExceeded

# What is held of one statement at a time, beside its own limit: cells, labels, pairs.
MOST_GROUPS = 1_000_000
# More digits than the widest exact type has, with room for as many parts as there are.
_EXACT = decimal.Context(prec=120, traps=[decimal.Inexact, decimal.InvalidOperation])
_NAN = math.nan
_DECIMAL = re.compile(r"DECIMAL\((\d+),(\d+)\)")
_LARGEST_HUGEINT = 2**127


class Merge(StrEnum):
    """What becomes of one column."""

    SUM = "sum"
    MIN = "min"
    MAX = "max"
    LARGEST = "largest"  # a list, descending, of `Fold.top` at most


class SumOutOfRange(Exception):
    """A merged sum is one that the engine would have refused to hold."""


@dataclass(frozen=True, slots=True)
class Fold:
    """The columns of a statement: first those of the group, then one for each of `merges`.

    Without `merges` the rows are a set. More than `limit` groups are refused. Once there
    are `enough`, no more are looked for: what is asked is whether there are so many.
    `top` is how many of the largest contributions are kept.
    """

    keys: int
    merges: tuple[Merge, ...] = ()
    top: int = 1
    limit: int | None = None
    enough: int | None = None

    @property
    def at_most(self) -> int | None:
        """How many rows are worth fetching from one part."""
        if self.enough is not None:
            return self.enough
        return None if self.limit is None else self.limit + 1

    def check(self, groups: int) -> None:
        """Raise ResourceExceeded where there are more groups than may be."""
        most = MOST_GROUPS if self.limit is None else self.limit
        if groups > most:
            raise ResourceExceeded(
                f"the query makes more than {most} groups",
                hint="Group by fewer or coarser keys.",
            )


Row = tuple[object, ...]


class Merged:
    """The groups of all parts so far."""

    def __init__(self, fold: Fold) -> None:
        self._fold = fold
        self._types: tuple[str, ...] = ()
        self._groups: dict[Row, tuple[Row, list[object]]] = {}

    def add(self, rows: Iterable[Sequence[object]], types: Sequence[str]) -> None:
        """Add the rows of one more part; `types` are the engine's, of every column.

        Raises ResourceExceeded, or SumOutOfRange where a sum leaves its type.
        """
        fold, width = self._fold, self._fold.keys
        self._types = tuple(types)
        for row in rows:
            if fold.enough is not None and len(self._groups) >= fold.enough:
                return
            name = tuple(comparable(value) for value in row[:width])
            known = self._groups.get(name)
            if known is None:
                self._groups[name] = (tuple(row[:width]), list(row[width:]))
                if len(self._groups) > MOST_GROUPS or fold.limit is not None:
                    fold.check(len(self._groups))
                continue
            values = known[1]
            for index, merge in enumerate(fold.merges):
                values[index] = merged(
                    merge,
                    values[index],
                    row[width + index],
                    kind=self._types[width + index],
                    top=fold.top,
                )

    def rows(self) -> list[Row]:
        """Return the rows of the whole."""
        return [(*keys, *values) for keys, values in self._groups.values()]


def merged(
    merge: Merge, one: object, other: object, *, kind: str = "", top: int = 1
) -> object:
    """Return the value of two parts together; None is that of a part without any.

    `kind` is the engine's type, whose range a sum may not leave.
    """
    if one is None or other is None:
        return other if one is None else one
    match merge:
        case Merge.SUM:
            return _sum(one, other, kind)
        case Merge.MIN:
            return min(one, other)  # type: ignore[call-overload]  # both of one engine type
        case Merge.MAX:
            return max(one, other)  # type: ignore[call-overload]  # both of one engine type
        case Merge.LARGEST:
            assert isinstance(one, list)
            assert isinstance(other, list)
            return heapq.nlargest(top, [*one, *other])


def _sum(one: object, other: object, kind: str) -> object:
    if isinstance(one, str) and isinstance(other, str):
        return str(int(one) + int(other))  # BIGNUM, which has no end
    if isinstance(one, decimal.Decimal) and isinstance(other, decimal.Decimal):
        total = _EXACT.add(one, other)
        found = _DECIMAL.fullmatch(kind)
        if found is not None:
            whole, scale = int(found[1]), int(found[2])
            if abs(total) >= decimal.Decimal(10) ** (whole - scale):
                raise SumOutOfRange
        return total
    if isinstance(one, int) and isinstance(other, int):
        if not -_LARGEST_HUGEINT <= one + other < _LARGEST_HUGEINT:
            raise SumOutOfRange
        return one + other
    if isinstance(one, float) and isinstance(other, float):
        return one + other
    raise AssertionError("a sum of a type that stage 1 does not give was asked for")


def comparable(value: object) -> object:
    """Return a value by which groups are told apart as the engine does."""
    if isinstance(value, float) and math.isnan(value):
        return _NAN  # the engine's NaN equals itself; Python's does as one object
    if isinstance(value, dict):
        return tuple(comparable(item) for item in value.values())
    if isinstance(value, (list, tuple)):
        return tuple(comparable(item) for item in value)
    return value

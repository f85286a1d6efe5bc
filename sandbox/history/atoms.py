"""The rows of a new answer and of earlier releases, by the cells that they lie in.

One statement (`laying`) for all of them. Rows that lie in the same cells of every release
are one atom. What two releases share is had from the atoms: their rows add up; there are at
least as many units as in the largest atom, and at most as many as in all together.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

from policies.document import Policy
from sandbox.history.entry import Label
from sandbox.history.laying import BITS, Laying
from sandbox.passes.folds import Fold, Merge
from sandbox.passes.rows import Rows
from sandbox.plan.block import Unit
from sandbox.plan.expanding import Rows as BaseRows
from sandbox.plan.scalars import scalar

MAX_ATOMS = 5_000  # more would take minutes; pairs are compared in any case
MAX_LABELS = 20 * MAX_ATOMS


@dataclass(frozen=True, slots=True)
class Atom:
    """Rows in one new cell (or none) and in a cell of each of some earlier releases."""

    new: Label | None
    old: tuple[tuple[int, Label], ...]  # by number of the release
    units: int


@dataclass(frozen=True, slots=True)
class Part:
    """Rows that lie in one new cell (or none) and one earlier cell (or none)."""

    new: Label | None
    old: Label | None
    least: int  # units, at least
    most: int  # units, at most


class _Side:
    """One side of the comparison: its bit, and the columns of its keys."""

    def __init__(self, bit: int, columns: Sequence[int]) -> None:
        self.bit, self._columns = bit, columns

    def label(self, values: Sequence[object]) -> Label:
        return tuple([values[column] for column in self._columns])


class Atoms:
    """The atoms of a new answer and of earlier releases, for one unit."""

    def __init__(
        self,
        mine: BaseRows,
        others: Sequence[BaseRows],
        unit: Unit,
        rows: Rows,
        *,
        policy: Policy,
    ) -> None:
        """Ask; requires that the rows of all can stand side by side."""
        laying = Laying((mine, *others), unit, policy=policy, most=MAX_LABELS + 1)
        self._words = laying.words
        self._sides = [
            _Side(bit, columns)
            for bit, columns in zip(laying.bits, laying.columns, strict=True)
        ]
        fold = Fold(laying.width, (Merge.SUM,), enough=MAX_LABELS + 1)
        self._asked = rows.ask(laying.sql, fold)

    @property
    def are_too_many(self) -> bool:
        """Whether there are more than can be looked at: `each` and `parts` are unknown."""
        return len(self._asked.rows) > MAX_LABELS

    def each(self) -> Iterator[Atom]:
        """Yield every atom, in no order; requires that they are not too many."""
        mine, *others = self._sides
        for row in self._rows:
            old = [
                (number, side.label(row.values))
                for number, side in enumerate(others)
                if row.bits >> side.bit & 1
            ]
            new = mine.label(row.values) if row.bits >> mine.bit & 1 else None
            yield Atom(new, tuple(old), row.units)

    def parts(self, number: int) -> list[Part]:
        """Return what the new answer and one earlier release share and do not share.

        Requires that the atoms are not too many.
        """
        mine, other = self._sides[0], self._sides[number + 1]
        found: dict[tuple[Label | None, Label | None], tuple[int, int]] = {}
        shared: Counter[Label | None] = Counter()
        for row in self._by_bit.get(other.bit, ()):
            new = mine.label(row.values) if row.bits >> mine.bit & 1 else None
            name = new, other.label(row.values)
            least, most = found.get(name, (0, 0))
            found[name] = max(least, row.units), most + row.units
            shared[new] += row.units
        # The rest of each new cell, without a look at every atom of it: the largest come
        # first, so that what is passed over lies in the earlier release.
        for new, (rows, total) in self._by_new.items():
            if shared[new] < total:
                least = next(row.units for row in rows if not row.bits >> other.bit & 1)
                found[new, None] = least, total - shared[new]
        return [Part(new, old, *units) for (new, old), units in found.items()]

    @cached_property
    def _rows(self) -> list[_Row]:
        return [_read(row, self._words) for row in self._asked.rows]

    @cached_property
    def _by_bit(self) -> dict[int, list[_Row]]:
        found: dict[int, list[_Row]] = {}
        for row in self._rows:
            rest = row.bits
            while rest:
                lowest = rest & -rest
                found.setdefault(lowest.bit_length() - 1, []).append(row)
                rest ^= lowest
        return found

    @cached_property
    def _by_new(self) -> dict[Label, tuple[list[_Row], int]]:
        mine = self._sides[0]
        found: dict[Label, list[_Row]] = {}
        for row in sorted(self._by_bit.get(mine.bit, ()), key=lambda row: -row.units):
            found.setdefault(mine.label(row.values), []).append(row)
        return {
            label: (rows, sum(row.units for row in rows)) for label, rows in found.items()
        }


@dataclass(frozen=True, slots=True)
class _Row:
    """One atom as the engine gives it: a bit for each filter, the keys, the units."""

    bits: int
    values: Sequence[object]
    units: int


def _read(row: Sequence[object], words: int) -> _Row:
    bits = 0
    for place, word in enumerate(row[:words]):
        assert isinstance(word, int)
        bits |= word << place * BITS
    units = row[-1]
    assert isinstance(units, int)
    return _Row(bits, [scalar(value) for value in row[words:-1]], units)

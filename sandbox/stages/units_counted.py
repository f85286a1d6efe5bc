"""How many units stand in a set, as far as it takes to call them enough.

To tell every unit from every other costs far more than to see that there are several: so
buckets of units are looked at first. A bucket with rows has a unit, and none has none.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

from sandbox.passes.folds import Fold, Merge
from sandbox.passes.rows import Answer, Rows
from sandbox.stages.stage_one import bucket_sql

BUCKETS = 64  # as many as one number has bits

Name = tuple[object, ...]


def seen_sql(unit: str, condition: str = "") -> str:
    """Return the aggregate of the buckets that have a unit, as bits; NULL: none has."""
    return f"bit_or(1::UBIGINT << {bucket_sql(unit, BUCKETS)}){condition}"


def buckets_seen(value: object) -> int:
    """Return how many buckets stand in a value of `seen_sql`."""
    return value.bit_count() if isinstance(value, int) else 0


class UnitsCounted:
    """The units, by group, that stand in each of several sets of units."""

    def __init__(
        self,
        rows: Rows,
        base: str,
        keys: Sequence[str],
        marks: Sequence[str],
        *,
        sides: Sequence[str] = ("TRUE",),
        samples: Sequence[str] = (),
    ) -> None:
        """Ask over `base`, which has the keys, the unit `u` and what `sides` name.

        Each of `marks` selects units; they are counted on the rows of each side of it.
        `samples` are some of the rows of `base`, fewer first.
        """
        self._rows, self._keys, self._width = rows, keys, len(keys)
        self._marks, self._sides, self._samples = marks, sides, samples
        flags = [f"u IN ({mark}) AS q{i}" for i, mark in enumerate(marks)]
        marked = f"SELECT *, {', '.join(flags)} FROM ({base}) AS b WHERE u IS NOT NULL"
        filters = [
            f" FILTER (({side}) AND q{i})" for i in range(len(marks)) for side in sides
        ]
        # Where rows come in parts, all that is asked is run: what is exact is enough.
        self._seen = (
            self._ask(marked, [seen_sql("u", text) for text in filters], Merge.MAX)
            if rows.facts is not None
            else None
        )
        self._exact = self._ask(
            marked, [f"count(DISTINCT u){text}" for text in filters], Merge.SUM
        )

    def at_least(self, enough: int, names: Collection[Name]) -> dict[Name, list[int]]:
        """Return by group the units of each set and side: enough, or exactly how many.

        Groups other than `names` may be missing.
        """
        for sample in self._samples:
            found = self._seen_in(sample)
            if all(min(found.get(name, [0])) >= enough for name in names):
                return found
        if self._seen is not None:
            found = {
                row[: self._width]: [buckets_seen(value) for value in row[self._width :]]
                for row in self._seen.rows
            }
            units = [number for numbers in found.values() for number in numbers]
            if all(not number or number >= enough for number in units):
                return found
        return {
            row[: self._width]: [n if isinstance(n, int) else 0 for n in row[self._width :]]
            for row in self._exact.rows
        }

    def _seen_in(self, sample: str) -> dict[Name, list[int]]:
        """Return what is seen among some rows, set by set: each is looked up in them."""
        found: dict[Name, list[int]] = {}
        counts = [seen_sql("u", f" FILTER ({side})") for side in self._sides]
        width = len(self._marks) * len(counts)
        for number, mark in enumerate(self._marks):
            marked = f"SELECT * FROM ({sample}) AS b WHERE u IN ({mark})"
            for row in self._ask(marked, counts, Merge.MAX).rows:
                units = found.setdefault(row[: self._width], [0] * width)
                for side, value in enumerate(row[self._width :]):
                    units[number * len(counts) + side] = buckets_seen(value)
        return found

    def _ask(self, base: str, counts: Sequence[str], merge: Merge) -> Answer:
        grouped = f" GROUP BY {', '.join(self._keys)}" if self._keys else ""
        return self._rows.ask(
            f"SELECT {', '.join([*self._keys, *counts])} FROM ({base}) AS m{grouped}",
            Fold(self._width, (merge,) * len(counts)),
        )

"""The rows of a new answer and of earlier releases, by the cells that they lie in.

One statement for all of them. Rows that lie in the same cells of every release are one
atom; which these are is had from a bit for each filter and a column for each key, and each
filter and each key is computed once, however many releases share it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from policies.document import Policy
from sandbox.history.entry import Label
from sandbox.passes.folds import Fold, Merge
from sandbox.passes.rows import Rows
from sandbox.plan.block import Unit
from sandbox.plan.expanding import Rows as BaseRows
from sandbox.plan.joint_rows import belongs_sql, joint_from, unit_sql
from sandbox.plan.render import term_sql
from sandbox.plan.scalars import scalar

MAX_ATOMS = 5_000  # more would take minutes; pairs are compared in any case
MAX_LABELS = 20 * MAX_ATOMS
_BITS = 60  # of a word, which is a BIGINT


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


class _Laid:
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
        every = (mine, *others)
        sources = [item.source for item in every]
        bits: dict[str, int] = {}
        terms: dict[str, list[int]] = {}  # of each key, the bits of those that have it
        places: dict[str, int] = {}
        self._sides: list[_Laid] = []
        for item in every:
            bit = bits.setdefault(belongs_sql(item.source), len(bits))
            keys = [term_sql(term) for term in item.keys]
            for key in keys:
                places.setdefault(key, len(places))
                terms.setdefault(key, []).append(bit)
            self._sides.append(_Laid(bit, [places[key] for key in keys]))
        self._words = -(-len(bits) // _BITS)
        name = "1" if unit.ref is None else unit_sql(mine.base(unit.ref), sources)
        inner = [*_words_sql(list(bits)), *(f"{t} AS t{i}" for i, t in enumerate(terms))]
        shown = [f"w{i}" for i in range(self._words)]
        shown += [
            f"CASE WHEN {_any_sql(used)} THEN t{i} END"
            for i, used in enumerate(terms.values())
        ]
        counted = "count(*)" if unit.ref is None else "count(DISTINCT u)"
        self._asked = rows.ask(
            f"SELECT {', '.join(shown)}, {counted} FROM (SELECT {', '.join(inner)}, "
            f"{name} AS u FROM {joint_from(sources, policy)} WHERE {name} IS NOT NULL) "
            f"AS l WHERE {' OR '.join(f'w{i} <> 0' for i in range(self._words))} "
            f"GROUP BY ALL LIMIT {MAX_LABELS + 1}",
            Fold(len(shown), (Merge.SUM,), enough=MAX_LABELS + 1),
        )
        self._found: list[tuple[int, list[object], int]] | None = None

    @property
    def are_too_many(self) -> bool:
        """Whether there are more than can be looked at: `each` and `parts` are unknown."""
        return len(self._asked.rows) > MAX_LABELS

    def each(self) -> Iterator[Atom]:
        """Yield every atom, in no order; requires that they are not too many."""
        mine, *others = self._sides
        for bits, values, units in self._read():
            new = mine.label(values) if bits >> mine.bit & 1 else None
            old = [
                (number, side.label(values))
                for number, side in enumerate(others)
                if bits >> side.bit & 1
            ]
            yield Atom(new, tuple(old), units)

    def parts(self, number: int) -> list[Part]:
        """Return what the new answer and one earlier release share and do not share.

        Requires that the atoms are not too many.
        """
        mine, other = self._sides[0], self._sides[number + 1]
        found: dict[tuple[Label | None, Label | None], tuple[int, int]] = {}
        for bits, values, units in self._read():
            new = mine.label(values) if bits >> mine.bit & 1 else None
            old = other.label(values) if bits >> other.bit & 1 else None
            if new is not None or old is not None:
                least, most = found.get((new, old), (0, 0))
                found[new, old] = max(least, units), most + units
        return [Part(new, old, *units) for (new, old), units in found.items()]

    def _read(self) -> list[tuple[int, list[object], int]]:
        if self._found is None:
            self._found = [self._read_row(row) for row in self._asked.rows]
        return self._found

    def _read_row(self, row: Sequence[object]) -> tuple[int, list[object], int]:
        bits = 0
        for place, word in enumerate(row[: self._words]):
            assert isinstance(word, int)
            bits |= word << place * _BITS
        units = row[-1]
        assert isinstance(units, int)
        return bits, [scalar(value) for value in row[self._words : -1]], units


def _words_sql(conditions: Sequence[str]) -> Iterator[str]:
    for start in range(0, len(conditions), _BITS):
        word = " + ".join(
            f"CASE WHEN {condition} THEN {1 << place}::BIGINT ELSE 0 END"
            for place, condition in enumerate(conditions[start : start + _BITS])
        )
        yield f"{word} AS w{start // _BITS}"


def _any_sql(bits: Sequence[int]) -> str:
    """Return the condition that one of some bits is set."""
    words: dict[int, int] = {}
    for bit in bits:
        words[bit // _BITS] = words.get(bit // _BITS, 0) | 1 << bit % _BITS
    return " OR ".join(f"(w{word} & {mask}) <> 0" for word, mask in words.items())

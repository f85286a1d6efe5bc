"""A CSV's columns while it is read: what each is supposed to be, and what its values say.

Types are proposed on the first records. Counts of every chunk are added up; at the end, as
after any chunk, they tell whether each column is what was supposed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import duckdb

from sandbox.intake.column_types import (
    Candidate,
    ColumnType,
    Counts,
    count_values,
    decide,
    is_certainly_text,
    propose,
)
from sandbox.intake.fast_values import (
    FastValue,
    counts_of,
    fast_value,
    is_right,
    whole_digits,
)


@dataclass(slots=True)
class Column:
    """What is known and supposed of a column. `v` is its name in SQL over the text."""

    name: str
    v: str
    candidate: Candidate | None
    sample: Counts
    supposed: ColumnType
    fast: FastValue | None = None  # None: read by the exact rule
    is_counted: bool = False  # whether each chunk's values are counted by the exact rule
    counts: Counts = field(default_factory=Counts)

    @property
    def cast(self) -> str:
        """The name in SQL of its cast, where it is read fast."""
        return f"f{self.v.removeprefix('c')}"

    @property
    def cast_value(self) -> str:
        """SQL over the text: its cast."""
        return self._fast.value

    @property
    def is_same(self) -> str:
        """SQL: whether its cast is surely the value; says nothing where it is not."""
        return self._fast.same.replace("{f}", self.cast)

    @property
    def is_right(self) -> str:
        """SQL: whether its cast is the value that the exact rule gives."""
        return f"({is_right(self.v, self._fast, value=self.cast, same=self.is_same)})"

    @property
    def _fast(self) -> FastValue:
        assert self.fast is not None
        return self.fast

    @property
    def known_candidate(self) -> Candidate:
        """How it may be read, of one that is more than text."""
        assert self.candidate is not None
        return self.candidate

    def decided(self) -> ColumnType:
        """Return what its values, counted so far, make of it."""
        return decide(self.v, self.candidate, self.counts)

    def settle(self, found: ColumnType) -> None:
        """Be read as that by the exact rule, whatever comes."""
        self.supposed, self.fast = found, None
        self.candidate, self.is_counted = None, False


def suppose(
    connection: duckdb.DuckDBPyConnection,
    sample: str,
    names: Sequence[str],
    warnings: list[str],
) -> list[Column]:
    """Return the columns with what the values in the relation `sample` make them.

    In the relation they are called c0, c1, ...; `warnings` may be added to.
    """
    named = [(f"c{i}", name) for i, name in enumerate(names)]
    found = propose(connection, sample, named, warnings)
    wanted = [(v, c) for (v, _), c in zip(named, found, strict=True) if c is not None]
    counted = iter(count_values(connection, sample, wanted))
    return [
        _column(name, v, candidate, next(counted) if candidate is not None else Counts())
        for (v, name), candidate in zip(named, found, strict=True)
    ]


def _column(name: str, v: str, candidate: Candidate | None, sample: Counts) -> Column:
    supposed = decide(v, candidate, sample)
    column = Column(name, v, candidate, sample, supposed)
    column.counts = sample.without_rows()
    if candidate is None or is_certainly_text(candidate, sample):
        column.counts = sample
    elif supposed.type == "VARCHAR" or supposed.mistakes:
        column.is_counted = True
    else:
        column.fast = fast_value(v, candidate, supposed)
    return column


def add_counts(
    columns: Sequence[Column], present: Mapping[int, int], exact: Mapping[int, Counts]
) -> None:
    """Add a chunk's counts: exact ones, and of what was read fast how many values."""
    for i, column in enumerate(columns):
        if i in exact:
            column.counts += exact[i]
            # Its values are of a kind that has to be looked at closely: so they are.
            column.is_counted = True
        elif i in present:
            column.counts += counts_of(column.supposed, present[i], column.sample)


def add_digits(columns: Sequence[Column], ranges: Sequence[tuple[object, object]]) -> None:
    """How long numbers are, of those that were never counted as texts."""
    for column, (low, high) in zip(columns, ranges, strict=True):
        if column.fast is not None and column.supposed.type != "VARCHAR":
            digits = whole_digits(low, high)
            column.counts = replace(column.counts, whole=max(column.counts.whole, digits))


def are_as_supposed(columns: Sequence[Column]) -> bool:
    """Whether the counts so far make of each column what was supposed."""
    for column in columns:
        if column.candidate is None:
            continue
        found = column.decided()
        if (found.type, found.value) != (column.supposed.type, column.supposed.value):
            return False
    return True

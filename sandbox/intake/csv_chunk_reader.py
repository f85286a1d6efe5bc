"""One chunk of a CSV to an image of its rows, by the engine.

Every value is read as if it were of its column's supposed type. Beside the rows it is
written whether one of them is odd; then the columns at fault are found, counted by the
exact rules, and the image is written once more.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import duckdb
import pyarrow.parquet as pq

from sandbox.intake.chunks import Chunk
from sandbox.intake.column_types import Counts, count_values
from sandbox.intake.csv_columns import Column
from sandbox.intake.csv_dialect import MOST_LINE_BYTES
from sandbox.quoting import quoted, text_literal

_ODD = "odd"


class Unreadable(Exception):
    """The engine could not read a chunk; `csv_rejection` finds out why."""

    def __init__(self, chunk: Chunk) -> None:
        super().__init__()
        self.chunk = chunk


@dataclass(frozen=True, slots=True)
class ReadChunk:
    """A chunk that was read: the image of its rows, and the exact counts of columns."""

    chunk: Chunk
    image: int
    rows: int
    present: dict[int, int]  # how many values each column has that was read fast
    exact: dict[int, Counts]


@contextlib.contextmanager
def naming(chunk: Chunk) -> Iterator[None]:
    """Say in which chunk the engine failed; its own words quote values."""
    try:
        yield
    except duckdb.OutOfMemoryException:
        raise
    except duckdb.Error as error:
        raise Unreadable(chunk) from error


def image_relation(descriptor: int) -> str:
    """The SQL relation of an image's rows."""
    return f"read_parquet('/proc/self/fd/{descriptor}')"


class ChunkReader:
    """Reads chunks of one file, from any thread; `options` are those of its images."""

    def __init__(
        self, names: Sequence[str], delimiter: str, *, header: bool, options: str = ""
    ) -> None:
        self._names = names
        self._delimiter = delimiter
        self._header = header
        self.options = options

    def relation(self, chunk: Chunk) -> str:
        """The chunk as a SQL relation of text columns c0, c1, ..., in file order."""
        columns = ", ".join(f"'c{i}': 'VARCHAR'" for i in range(len(self._names)))
        header = "true" if self.has_header(chunk) else "false"
        return (
            f"read_csv({text_literal(chunk.path)}, auto_detect = false,"
            f" delim = {text_literal(self._delimiter)},"
            " quote = '\"', escape = '\"', comment = '', nullstr = '', strict_mode = true,"
            f" null_padding = false, header = {header},"
            f" max_line_size = {MOST_LINE_BYTES}, compression = 'none', parallel = false,"
            f" columns = {{{columns}}})"
        )

    def has_header(self, chunk: Chunk) -> bool:
        """Whether its first record is the header."""
        return chunk.is_first and self._header

    def read(
        self,
        cursor: duckdb.DuckDBPyConnection,
        chunk: Chunk,
        columns: Sequence[Column],
        image: int,
    ) -> ReadChunk:
        """Write the image of a chunk's rows. Raises Unreadable if the engine cannot."""
        with naming(chunk):
            return self._read(cursor, chunk, columns, image)

    def _read(
        self,
        cursor: duckdb.DuckDBPyConnection,
        chunk: Chunk,
        columns: Sequence[Column],
        image: int,
    ) -> ReadChunk:
        relation = self.relation(chunk)
        exact = {i for i, column in enumerate(columns) if column.is_counted}
        fast = {i for i, column in enumerate(columns) if column.fast is not None} - exact
        self._write(cursor, relation, columns, fast, image)
        if _present(image)[1][-1]:
            rights = ", ".join(
                f"count(*) FILTER (NOT {columns[i].is_right})" for i in sorted(fast)
            )
            inner = _with_casts(relation, columns, fast)
            found = cursor.execute(f"SELECT {rights} FROM {inner}").fetchall()[0]
            strange = {i for i, n in zip(sorted(fast), found, strict=True) if n}
            exact |= strange
            fast -= strange
            self._write(cursor, relation, columns, fast, image)
        rows, present = _present(image)
        wanted = [(columns[i].v, columns[i].known_candidate) for i in sorted(exact)]
        counted = count_values(cursor, relation, wanted)
        by_column = dict(zip(sorted(exact), counted, strict=True))
        return ReadChunk(chunk, image, rows, {i: present[i] for i in fast}, by_column)

    def _write(
        self,
        cursor: duckdb.DuckDBPyConnection,
        relation: str,
        columns: Sequence[Column],
        fast: set[int],
        image: int,
    ) -> None:
        """Write all rows as supposed, and beside them whether each is an odd one."""
        values = [
            column.cast if i in fast else column.supposed.value
            for i, column in enumerate(columns)
        ]
        named = ", ".join(
            f"{value} AS {quoted(column.name)}"
            for value, column in zip(values, columns, strict=True)
        )
        # Rows that come back the same, all of them, are the most; the others are looked at.
        same = " AND ".join(f"({columns[i].is_same})" for i in sorted(fast)) or "true"
        right = " AND ".join(columns[i].is_right for i in sorted(fast)) or "true"
        odd = quoted(_odd_name(self._names))
        cursor.execute(
            f"COPY (SELECT {named},"
            f" CASE WHEN {same} THEN NULL WHEN {right} THEN NULL ELSE true END AS {odd}"
            f" FROM {_with_casts(relation, columns, fast)})"
            f" TO '/proc/self/fd/{image}' ({self.options})"
        )


def _with_casts(relation: str, columns: Sequence[Column], fast: set[int]) -> str:
    """The relation with f0, f1, ... the casts beside its texts."""
    casts = "".join(f", {columns[i].cast_value} AS {columns[i].cast}" for i in sorted(fast))
    return f"(SELECT *{casts} FROM {relation})"


def _present(image: int) -> tuple[int, list[int]]:
    """How many rows an image has, and how many values each of its columns."""
    with os.fdopen(os.dup(image), "rb") as file:
        metadata = pq.ParquetFile(file).metadata
    present = [metadata.num_rows] * metadata.num_columns
    for position in range(metadata.num_row_groups):
        group = metadata.row_group(position)
        for i in range(metadata.num_columns):
            present[i] -= group.column(i).statistics.null_count
    return metadata.num_rows, present


def _odd_name(names: Sequence[str]) -> str:
    """A name that no column has."""
    taken = {name.lower() for name in names}
    name = _ODD
    while name in taken:
        name += "_"
    return name

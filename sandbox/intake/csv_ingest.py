"""A CSV upload of any size to a staged table, chunk by chunk and on all cores.

Types are proposed on the first records. Then every chunk is read as if all its values were
of these types, and told apart where one is not: an odd chunk is counted by the exact rules.
At the end the counts of all chunks decide, as if the whole file had been looked at before.
Where they decide otherwise than was supposed, the staged table is written once more.
"""

from __future__ import annotations

import contextlib
import os
import queue
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace

import duckdb
import pyarrow.parquet as pq

from sandbox.engine import open_engine
from sandbox.errors import UploadRejected
from sandbox.intake.chunks import Chunk, Chunks, malformed
from sandbox.intake.column_types import (
    SAMPLE_ROWS,
    Candidate,
    ColumnType,
    Counts,
    count_values,
    decide,
    is_certainly_text,
    propose,
)
from sandbox.intake.csv_dialect import (
    MOST_LINE_BYTES,
    column_names,
    find_delimiter,
    line_of_record,
    reject_ragged,
)
from sandbox.intake.fast_values import (
    FastValue,
    counts_of,
    fast_value,
    is_right,
    whole_digits,
)
from sandbox.intake.profile import Profiler
from sandbox.intake.recode import NotUtf8, Text
from sandbox.intake.staging import StagedTable, in_order, staged_parquet
from sandbox.intake.upload import Upload
from sandbox.protocol import ProfileJob, ProfileOutcome
from sandbox.quoting import quoted, text_literal

# Just less than what the allocator maps anew, and the kernel clears, for each chunk.
CHUNK_BYTES = 30 * 1024**2
_HEAD_BYTES = 2 * MOST_LINE_BYTES
_SAMPLE_BYTES = 4 * 1024**2  # more than most samples take
_SAMPLE = "sample"
_ODD = "odd"


@dataclass(slots=True)
class _Column:
    """What is known and supposed of a column. `v` is its name in SQL over the text."""

    name: str
    v: str
    candidate: Candidate | None
    sample: Counts
    supposed: ColumnType
    fast: FastValue | None = None  # None: read by the exact rule
    is_counted: bool = False  # whether each chunk's values are counted by the exact rule
    counts: Counts = field(default_factory=Counts)


@dataclass(frozen=True, slots=True)
class _Read:
    """A chunk that was read: the image of its rows, and the exact counts of columns."""

    chunk: Chunk
    image: int
    rows: int
    present: dict[int, int]  # how many values each column has that was read fast
    exact: dict[int, Counts]


def profile_csv(
    job: ProfileJob, upload: Upload, outputs: Sequence[int], scratch: Sequence[int]
) -> ProfileOutcome:
    """Stage the CSV `upload` in `outputs`; `scratch` are empty files in memory, in pairs.

    Raises UploadRejected with a code and, where one record is at fault, line and column.
    """
    text = Text.of(upload, job.csv.encoding)
    try:
        return _Ingest(job, text, outputs, scratch).run()
    except NotUtf8:
        return _Ingest(job, text.guessed(), outputs, scratch).run()


class _Ingest:
    """One upload in one encoding."""

    def __init__(
        self, job: ProfileJob, text: Text, outputs: Sequence[int], scratch: Sequence[int]
    ) -> None:
        half = len(scratch) // 2
        self._job = job
        self._text = text
        self._outputs = outputs
        self._texts, self._images = tuple(scratch[:half]), tuple(scratch[half : 2 * half])
        head = text.head(_HEAD_BYTES)
        self._delimiter = find_delimiter(head, job.csv.delimiter)
        names, warnings = column_names(head, self._delimiter, header=job.csv.header)
        self._names = tuple(names)
        self._warnings = [*text.warnings, *warnings]
        # Chunks that wait, their images and what the engine makes of them: a few each.
        self._chunk_bytes = min(CHUNK_BYTES, job.limits.memory_bytes // 48)
        self._options = ""  # how the engine writes the staged table

    def run(self) -> ProfileOutcome:
        """Return the outcome; the staged table is whole."""
        paths = [f"/proc/self/fd/{d}" for d in (*self._texts, *self._images)]
        engine = open_engine({}, self._job.limits, files=paths, reuses_paths=True)
        with contextlib.closing(engine) as connection:
            try:
                return self._run(connection)
            except _Unreadable as unreadable:
                raise self._reject(unreadable.chunk) from unreadable

    def _run(self, connection: duckdb.DuckDBPyConnection) -> ProfileOutcome:
        columns = self._suppose(connection)
        outcome = self._stage(connection, columns)
        types = [decide(c.v, c.candidate, c.counts) for c in columns]
        self._reject_mistakes(connection, columns, types)
        if outcome is not None:
            return outcome
        for column, found in zip(columns, types, strict=True):
            column.supposed, column.fast = found, None
            column.candidate, column.is_counted = None, False
        outcome = self._stage(connection, columns)
        assert outcome is not None  # nothing is counted that could decide otherwise
        return outcome

    def _suppose(self, connection: duckdb.DuckDBPyConnection) -> list[_Column]:
        """The columns with what their first values make them."""
        sampled = lines = size = 0
        texts = ", ".join(f"c{i} VARCHAR" for i in range(len(self._names)))
        connection.execute(f"CREATE TABLE {_SAMPLE} ({texts})")
        for chunk in self._chunks(min(self._chunk_bytes, _SAMPLE_BYTES)):
            lines, size = lines + chunk.read().count(b"\n"), size + chunk.size_bytes
            try:
                with _naming(chunk):
                    connection.execute(
                        f"INSERT INTO {_SAMPLE} SELECT * FROM {self._relation(chunk)}"
                        f" LIMIT {SAMPLE_ROWS - sampled}"
                    )
            finally:
                self._free.put(chunk.descriptor)
            counted = connection.execute(f"SELECT count(*) FROM {_SAMPLE}").fetchall()
            sampled = int(counted[0][0])
            if sampled >= SAMPLE_ROWS:
                break
        if not sampled:
            raise UploadRejected(
                "the file has a header and no row",
                code="upload_no_rows",
                hint="Upload a file with at least one row below its header.",
            )
        # About: quoted line ends count as well, and what is recoded has another size.
        chunk_rows, rows = (
            lines * content // size + 1
            for content in (self._chunk_bytes, self._text.upload_bytes)
        )
        self._options = staged_parquet(min(chunk_rows, rows), rows)
        named = [(f"c{i}", name) for i, name in enumerate(self._names)]
        found = propose(connection, _SAMPLE, named, self._warnings)
        wanted = [(v, c) for (v, _), c in zip(named, found, strict=True) if c is not None]
        counted = iter(count_values(connection, _SAMPLE, wanted))
        connection.execute(f"DROP TABLE {_SAMPLE}")
        columns = []
        for (v, name), candidate in zip(named, found, strict=True):
            sample = next(counted) if candidate is not None else Counts()
            supposed = decide(v, candidate, sample)
            column = _Column(name, v, candidate, sample, supposed)
            column.counts = sample.without_rows()
            if candidate is None or is_certainly_text(candidate, sample):
                column.counts = sample
            elif supposed.type == "VARCHAR" or supposed.mistakes:
                column.is_counted = True
            else:
                column.fast = fast_value(v, candidate, supposed)
            columns.append(column)
        return columns

    def _chunks(self, chunk_bytes: int) -> Iterator[Chunk]:
        self._free: queue.SimpleQueue[int] = queue.SimpleQueue()
        for descriptor in self._texts:
            self._free.put(descriptor)
        return iter(
            Chunks(
                self._text,
                self._free,
                delimiter=self._delimiter,
                names=self._names,
                chunk_bytes=chunk_bytes,
            )
        )

    def _relation(self, chunk: Chunk) -> str:
        """The chunk as a SQL relation of text columns c0, c1, ..., in file order."""
        columns = ", ".join(f"'c{i}': 'VARCHAR'" for i in range(len(self._names)))
        header = "true" if self._has_header(chunk) else "false"
        return (
            f"read_csv({text_literal(chunk.path)}, auto_detect = false,"
            f" delim = {text_literal(self._delimiter)},"
            " quote = '\"', escape = '\"', comment = '', nullstr = '', strict_mode = true,"
            f" null_padding = false, header = {header},"
            f" max_line_size = {MOST_LINE_BYTES}, compression = 'none', parallel = false,"
            f" columns = {{{columns}}})"
        )

    def _has_header(self, chunk: Chunk) -> bool:
        return chunk.is_first and self._job.csv.header

    def _stage(
        self, connection: duckdb.DuckDBPyConnection, columns: list[_Column]
    ) -> ProfileOutcome | None:
        """Write the staged table as supposed; None if the counts decide otherwise."""
        kinds = [(column.name, column.supposed.type) for column in columns]
        profiler = Profiler(connection, kinds)
        with StagedTable(self._job, self._outputs) as staged:
            if not self._fill(staged, connection, columns, profiler):
                return None
            files = staged.finish()
        rows, profiles = profiler.finish()
        return ProfileOutcome(
            rows=rows,
            columns=profiles,
            staged=files,
            encoding=self._text.encoding,
            delimiter=self._delimiter,
            warnings=tuple(self._warnings),
        )

    def _fill(
        self,
        staged: StagedTable,
        connection: duckdb.DuckDBPyConnection,
        columns: list[_Column],
        profiler: Profiler,
    ) -> bool:
        """Stage every chunk and count it; whether all is as supposed, and staged."""
        is_as_supposed = True
        free: queue.SimpleQueue[int] = queue.SimpleQueue()
        for image in self._images:
            free.put(image)

        def read(chunk: Chunk) -> _Read:
            with contextlib.closing(connection.cursor()) as cursor:
                with _naming(chunk):
                    found = self._read(cursor, chunk, columns, free.get())
                profiler.measure(cursor, _image(found.image))
                return found

        at_once = min(self._job.limits.threads, len(self._texts))
        for found in in_order(
            read, self._chunks(self._chunk_bytes), at_once, waiting=len(self._texts)
        ):
            _add_counts(columns, found)
            is_as_supposed = is_as_supposed and _holds(columns)
            if is_as_supposed:
                staged.add(found.image, columns=self._names)
                profiler.keep(_image(found.image), found.rows)
            free.put(found.image)
            self._free.put(found.chunk.descriptor)
        if is_as_supposed:
            _add_digits(columns, profiler)
        return is_as_supposed and _holds(columns)

    def _read(
        self,
        cursor: duckdb.DuckDBPyConnection,
        chunk: Chunk,
        columns: Sequence[_Column],
        image: int,
    ) -> _Read:
        """Write the image of a chunk's rows; from any thread."""
        relation = self._relation(chunk)
        exact = {i for i, column in enumerate(columns) if column.is_counted}
        fast = {i for i, column in enumerate(columns) if column.fast is not None} - exact
        self._write(cursor, relation, columns, fast, image)
        if _present(image)[1][-1]:
            rights = ", ".join(
                f"count(*) FILTER (NOT {_is_right(columns[i])})" for i in sorted(fast)
            )
            inner = _with_casts(relation, columns, fast)
            found = cursor.execute(f"SELECT {rights} FROM {inner}").fetchall()[0]
            strange = {i for i, n in zip(sorted(fast), found, strict=True) if n}
            exact |= strange
            fast -= strange
            self._write(cursor, relation, columns, fast, image)
        rows, present = _present(image)
        wanted = [(columns[i].v, _known(columns[i].candidate)) for i in sorted(exact)]
        counted = count_values(cursor, relation, wanted)
        by_column = dict(zip(sorted(exact), counted, strict=True))
        return _Read(chunk, image, rows, {i: present[i] for i in fast}, by_column)

    def _write(
        self,
        cursor: duckdb.DuckDBPyConnection,
        relation: str,
        columns: Sequence[_Column],
        fast: set[int],
        image: int,
    ) -> None:
        """Write all rows as supposed, and beside them whether each is an odd one."""
        values = [
            f"{f'f{i}' if i in fast else column.supposed.value} AS {quoted(column.name)}"
            for i, column in enumerate(columns)
        ]
        # Rows that come back the same, all of them, are the most; the others are looked at.
        same = " AND ".join(f"({_same(columns[i])})" for i in sorted(fast)) or "true"
        right = " AND ".join(_is_right(columns[i]) for i in sorted(fast)) or "true"
        odd = quoted(_odd_name(self._names))
        cursor.execute(
            f"COPY (SELECT {', '.join(values)},"
            f" CASE WHEN {same} THEN NULL WHEN {right} THEN NULL ELSE true END AS {odd}"
            f" FROM {_with_casts(relation, columns, fast)})"
            f" TO '/proc/self/fd/{image}' ({self._options})"
        )

    def _reject_mistakes(
        self,
        connection: duckdb.DuckDBPyConnection,
        columns: Sequence[_Column],
        types: Sequence[ColumnType],
    ) -> None:
        """Raise `upload_bad_row` for the first record in which a column breaks its type."""
        broken = [
            (column, found)
            for column, found in zip(columns, types, strict=True)
            if found.mistakes
        ]
        if not broken:
            return
        which = ", ".join(f"({found.mistakes})" for _, found in broken)
        anything = " OR ".join(f"({found.mistakes})" for _, found in broken)
        for chunk in self._chunks(self._chunk_bytes):
            rows = connection.execute(
                f"SELECT n, {which} FROM (SELECT row_number() OVER () AS n, *"
                f" FROM {self._relation(chunk)}) WHERE {anything} ORDER BY n LIMIT 1"
            ).fetchall()
            data = chunk.read()
            self._free.put(chunk.descriptor)
            if rows:
                number, *flags = rows[0]
                column, found = broken[flags.index(True)]
                base = self._text.lines_before(chunk.position)
                number += int(self._has_header(chunk))
                line = line_of_record(data, self._delimiter, number, lines_before=base)
                raise UploadRejected(
                    f"line {line}, column {column.name}: {_article(found.type)} was"
                    " expected, as in nearly every other row; the value is none",
                    code="upload_bad_row",
                    line=line,
                    column=column.name,
                    hint="Correct that value, or leave it empty; nothing was published.",
                )

    def _reject(self, chunk: Chunk) -> UploadRejected:
        """Return why the engine could not read a chunk: its line if it can be named."""
        base = self._text.lines_before(chunk.position)
        try:
            reject_ragged(chunk.read(), self._delimiter, self._names, lines_before=base)
        except UploadRejected as rejected:
            return rejected
        return malformed()


class _Unreadable(Exception):
    """Where the engine failed; `run` finds out why."""

    def __init__(self, chunk: Chunk) -> None:
        super().__init__()
        self.chunk = chunk


@contextlib.contextmanager
def _naming(chunk: Chunk) -> Iterator[None]:
    """Say in which chunk the engine failed; its own words quote values."""
    try:
        yield
    except duckdb.OutOfMemoryException:
        raise
    except duckdb.Error as error:
        raise _Unreadable(chunk) from error


def _image(descriptor: int) -> str:
    """The SQL relation of an image's rows."""
    return f"read_parquet('/proc/self/fd/{descriptor}')"


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


def _with_casts(relation: str, columns: Sequence[_Column], fast: set[int]) -> str:
    """The relation with f0, f1, ... the casts beside its texts."""
    casts = "".join(f", {_fast(columns[i]).value} AS f{i}" for i in sorted(fast))
    return f"(SELECT *{casts} FROM {relation})"


def _same(column: _Column) -> str:
    """Whether a text is surely the one of its cast; tells nothing where it is not."""
    return _fast(column).same.replace("{f}", _cast_name(column))


def _is_right(column: _Column) -> str:
    value = _cast_name(column)
    return f"({is_right(column.v, _fast(column), value=value, same=_same(column))})"


def _cast_name(column: _Column) -> str:
    return f"f{column.v.removeprefix('c')}"


def _fast(column: _Column) -> FastValue:
    assert column.fast is not None
    return column.fast


def _known(candidate: Candidate | None) -> Candidate:
    assert candidate is not None
    return candidate


def _odd_name(names: Sequence[str]) -> str:
    """A name that no column has."""
    taken = {name.lower() for name in names}
    name = _ODD
    while name in taken:
        name += "_"
    return name


def _add_counts(columns: Sequence[_Column], found: _Read) -> None:
    for i, column in enumerate(columns):
        if i in found.exact:
            column.counts += found.exact[i]
            # Its values are of a kind that has to be looked at closely: so they are.
            column.is_counted = True
        elif i in found.present:
            column.counts += counts_of(column.supposed, found.present[i], column.sample)


def _add_digits(columns: Sequence[_Column], profiler: Profiler) -> None:
    """How long numbers are, of those that were never counted as texts."""
    for column, (low, high) in zip(columns, profiler.ranges(), strict=True):
        if column.fast is not None and column.supposed.type != "VARCHAR":
            digits = whole_digits(low, high)
            column.counts = replace(column.counts, whole=max(column.counts.whole, digits))


def _holds(columns: Sequence[_Column]) -> bool:
    """Whether the counts so far make of each column what was supposed."""
    for column in columns:
        if column.candidate is None:
            continue
        found = decide(column.v, column.candidate, column.counts)
        if (found.type, found.value) != (column.supposed.type, column.supposed.value):
            return False
    return True


def _article(kind: str) -> str:
    if kind == "BIGINT":
        return "a whole number"
    if kind in ("DATE", "TIMESTAMP"):
        return f"a {kind.lower()}"
    return "true or false" if kind == "BOOLEAN" else "a number"

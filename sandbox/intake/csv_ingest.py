"""A CSV upload of any size to a staged table, chunk by chunk and on all cores.

Types are proposed on the first records. Then every chunk is read as if all its values were
of these types, and told apart where one is not: an odd chunk is counted by the exact rules.
At the end the counts of all chunks decide, as if the whole file had been looked at before.
Where they decide otherwise than was supposed, the staged table is written once more.
"""

from __future__ import annotations

import contextlib
import queue
from collections.abc import Iterator, Sequence

import duckdb

from sandbox.engine import open_engine
from sandbox.errors import UploadRejected
from sandbox.intake.chunks import Chunk, Chunks
from sandbox.intake.column_types import SAMPLE_ROWS
from sandbox.intake.csv_chunk_reader import (
    ChunkReader,
    ReadChunk,
    Unreadable,
    image_relation,
    naming,
)
from sandbox.intake.csv_columns import (
    Column,
    add_counts,
    add_digits,
    are_as_supposed,
    suppose,
)
from sandbox.intake.csv_dialect import MOST_LINE_BYTES, column_names, find_delimiter
from sandbox.intake.csv_rejection import bad_value, first_mistake, why_unreadable
from sandbox.intake.profile import Profiler
from sandbox.intake.recode import NotUtf8, Text
from sandbox.intake.staging import StagedTable, in_order, staged_parquet
from sandbox.intake.upload import Upload
from sandbox.protocol import ProfileJob, ProfileOutcome

# Just less than what the allocator maps anew, and the kernel clears, for each chunk.
CHUNK_BYTES = 30 * 1024**2
_HEAD_BYTES = 2 * MOST_LINE_BYTES
_SAMPLE_BYTES = 4 * 1024**2  # more than most samples take
_SAMPLE = "sample"


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
        self._reader = ChunkReader(names, self._delimiter, header=job.csv.header)
        # Chunks that wait, their images and what the engine makes of them: a few each.
        self._chunk_bytes = min(CHUNK_BYTES, job.limits.memory_bytes // 48)

    def run(self) -> ProfileOutcome:
        """Return the outcome; the staged table is whole."""
        paths = [f"/proc/self/fd/{d}" for d in (*self._texts, *self._images)]
        engine = open_engine({}, self._job.limits, files=paths, reuses_paths=True)
        with contextlib.closing(engine) as connection:
            try:
                return self._run(connection)
            except Unreadable as unreadable:
                raise why_unreadable(
                    unreadable.chunk, self._text, self._delimiter, self._names
                ) from unreadable

    def _run(self, connection: duckdb.DuckDBPyConnection) -> ProfileOutcome:
        self._take_sample(connection)
        columns = suppose(connection, _SAMPLE, self._names, self._warnings)
        connection.execute(f"DROP TABLE {_SAMPLE}")
        outcome = self._stage(connection, columns)
        self._reject_mistakes(connection, columns)
        if outcome is not None:
            return outcome
        for column in columns:
            column.settle(column.decided())
        outcome = self._stage(connection, columns)
        assert outcome is not None  # nothing is counted that could decide otherwise
        return outcome

    def _take_sample(self, connection: duckdb.DuckDBPyConnection) -> None:
        """Have the first records in a table, and settle how many rows are expected."""
        sampled = lines = size = 0
        texts = ", ".join(f"c{i} VARCHAR" for i in range(len(self._names)))
        connection.execute(f"CREATE TABLE {_SAMPLE} ({texts})")
        for chunk in self._chunks(min(self._chunk_bytes, _SAMPLE_BYTES)):
            lines, size = lines + chunk.read().count(b"\n"), size + chunk.size_bytes
            relation = self._reader.relation(chunk)
            try:
                with naming(chunk):
                    connection.execute(
                        f"INSERT INTO {_SAMPLE} SELECT * FROM {relation}"
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
        self._reader.options = staged_parquet(min(chunk_rows, rows), rows)

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

    def _stage(
        self, connection: duckdb.DuckDBPyConnection, columns: list[Column]
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
        columns: list[Column],
        profiler: Profiler,
    ) -> bool:
        """Stage every chunk and count it; whether all is as supposed, and staged."""
        is_as_supposed = True
        free: queue.SimpleQueue[int] = queue.SimpleQueue()
        for image in self._images:
            free.put(image)

        def read(chunk: Chunk) -> ReadChunk:
            with contextlib.closing(connection.cursor()) as cursor:
                found = self._reader.read(cursor, chunk, columns, free.get())
                profiler.measure(cursor, image_relation(found.image))
                return found

        at_once = min(self._job.limits.threads, len(self._texts))
        for found in in_order(
            read, self._chunks(self._chunk_bytes), at_once, waiting=len(self._texts)
        ):
            add_counts(columns, found.present, found.exact)
            is_as_supposed = is_as_supposed and are_as_supposed(columns)
            if is_as_supposed:
                staged.add(found.image, columns=self._names)
                profiler.keep(image_relation(found.image), found.rows)
            free.put(found.image)
            self._free.put(found.chunk.descriptor)
        if is_as_supposed:
            add_digits(columns, profiler.ranges())
        return is_as_supposed and are_as_supposed(columns)

    def _reject_mistakes(
        self, connection: duckdb.DuckDBPyConnection, columns: Sequence[Column]
    ) -> None:
        """Raise `upload_bad_row` for the first record in which a column breaks its type."""
        types = [(column, column.decided()) for column in columns]
        broken = [(column, found) for column, found in types if found.mistakes]
        if not broken:
            return
        for chunk in self._chunks(self._chunk_bytes):
            mistake = first_mistake(connection, self._reader.relation(chunk), broken)
            data = chunk.read()
            self._free.put(chunk.descriptor)
            if mistake is not None:
                raise bad_value(
                    data,
                    self._delimiter,
                    mistake,
                    header=self._reader.has_header(chunk),
                    lines_before=self._text.lines_before(chunk.position),
                )

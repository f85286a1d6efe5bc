"""A Parquet upload of any size to a staged table, some row groups at a time.

The file is a stranger's. Its footer is read by Arrow and checked; then the bytes of some
row groups become a small Parquet file of their own in memory, which the engine reads with
simpler types.
"""

from __future__ import annotations

import contextlib
import io
import os
import queue
import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

from sandbox.engine import open_engine
from sandbox.errors import ResourceExceeded, UploadRejected
from sandbox.files.footers import MALFORMED
from sandbox.files.thrift import I64, STRUCT, Items, Reader, Struct, write_struct
from sandbox.intake.csv_dialect import MOST_COLUMNS, check_names
from sandbox.intake.profile import Profiler
from sandbox.intake.staging import StagedTable, in_order, staged_parquet
from sandbox.intake.upload import Upload
from sandbox.protocol import ProfileJob, ProfileOutcome
from sandbox.quoting import quoted

_MAGIC = b"PAR1"
_TAIL_BYTES = 8
_PART_BYTES = 16 * 1024**2
# Engine types of Parquet columns -> what they become; types not here are refused by name.
_SIMPLER = {
    "TINYINT": "BIGINT",
    "SMALLINT": "BIGINT",
    "INTEGER": "BIGINT",
    "BIGINT": "BIGINT",
    "UTINYINT": "BIGINT",
    "USMALLINT": "BIGINT",
    "UINTEGER": "BIGINT",
    "UBIGINT": "DECIMAL(20,0)",
    "FLOAT": "DOUBLE",
    "DOUBLE": "DOUBLE",
    "BOOLEAN": "BOOLEAN",
    "DATE": "DATE",
    "TIMESTAMP": "TIMESTAMP",
    "TIMESTAMP_S": "TIMESTAMP",
    "TIMESTAMP_MS": "TIMESTAMP",
    "TIMESTAMP_NS": "TIMESTAMP",
    "TIMESTAMP WITH TIME ZONE": "TIMESTAMP",
    "TIME": "VARCHAR",
    "UUID": "VARCHAR",
    "VARCHAR": "VARCHAR",
}


@dataclass(frozen=True, slots=True)
class _Part:
    """Row groups as a file in memory."""

    descriptor: int
    rows: int = 0

    @property
    def relation(self) -> str:
        return f"read_parquet(['/proc/self/fd/{self.descriptor}'])"


def profile_parquet(
    job: ProfileJob, upload: Upload, outputs: Sequence[int], scratch: Sequence[int]
) -> ProfileOutcome:
    """Stage the Parquet `upload` in `outputs`; `scratch` are empty files in memory.

    Raises UploadRejected with a code, ResourceExceeded if one row group is more than the
    job may use.
    """
    half = len(scratch) // 2
    parts, images = tuple(scratch[:half]), tuple(scratch[half : 2 * half])
    source = RowGroups(upload, job.limits.memory_bytes)
    paths = [f"/proc/self/fd/{descriptor}" for descriptor in (*parts, *images)]
    engine = open_engine({}, job.limits, files=paths, reuses_paths=True)
    with contextlib.closing(engine) as connection:
        try:
            return _stage(connection, job, source, outputs, (parts, images))
        except duckdb.OutOfMemoryException:
            raise
        except duckdb.Error as error:
            raise _truncated("its pages cannot be read") from error


def _stage(
    connection: duckdb.DuckDBPyConnection,
    job: ProfileJob,
    source: RowGroups,
    outputs: Sequence[int],
    scratch: tuple[tuple[int, ...], tuple[int, ...]],
) -> ProfileOutcome:
    free: queue.SimpleQueue[int] = queue.SimpleQueue()
    free_images: queue.SimpleQueue[int] = queue.SimpleQueue()
    for held in scratch[0]:
        free.put(held)
    for held in scratch[1]:
        free_images.put(held)
    warnings: list[str] = []
    first = _Part(scratch[0][0])
    source.write_part((), first.descriptor)
    described = connection.execute(f"DESCRIBE SELECT * FROM {first.relation}").fetchall()
    columns = [(str(row[0]), str(row[1])) for row in described]
    values = ", ".join(_parquet_value(name, kind, warnings) for name, kind in columns)
    described = connection.execute(
        f"DESCRIBE SELECT {values} FROM {first.relation}"
    ).fetchall()
    profiler = Profiler(connection, [(str(row[0]), str(row[1])) for row in described])

    def read(part: _Part) -> tuple[_Part, int]:
        image = free_images.get()
        with contextlib.closing(connection.cursor()) as cursor:
            cursor.execute(
                f"COPY (SELECT {values} FROM {part.relation})"
                f" TO '/proc/self/fd/{image}' ({staged_parquet(part.rows, source.rows)})"
            )
            profiler.measure(cursor, _Part(image).relation)
        return part, image

    at_once = min(job.limits.threads, len(scratch[0]))
    parts = source.parts(free)
    with StagedTable(job, outputs) as staged:
        for part, image in in_order(read, parts, at_once, waiting=len(scratch[0])):
            profiler.keep(_Part(image).relation, staged.add(image))
            free_images.put(image)
            free.put(part.descriptor)
        files = staged.finish()
    rows, profiles = profiler.finish()
    return ProfileOutcome(
        rows=rows,
        columns=profiles,
        staged=files,
        warnings=tuple(warnings),
    )


class RowGroups:
    """A Parquet file's footer, checked, and files of some of its row groups."""

    def __init__(self, upload: Upload, memory_bytes: int) -> None:
        self._upload = upload
        self._memory_bytes = memory_bytes
        self._footer = _checked_footer(upload)
        self._groups = self._footer.structs(4)

    @property
    def rows(self) -> int:
        """How many rows the file has."""
        return int(self._footer.integer(3))

    def parts(self, free: queue.SimpleQueue[int]) -> Iterator[_Part]:
        """Yield all row groups in order, small ones together; waits for descriptors."""
        waiting: list[int] = []
        start = stop = unpacked = 0
        for position, group in enumerate(self._groups):
            begins, ends, size = self._extent(group)
            if waiting and max(stop, ends) - min(start, begins) > _PART_BYTES:
                yield self._part(waiting, free)
                waiting, unpacked = [], 0
            if not waiting:
                start, stop = begins, ends
            start, stop, unpacked = min(start, begins), max(stop, ends), unpacked + size
            self._check_unpacked(unpacked)
            waiting.append(position)
            if unpacked > self._memory_bytes // 16:
                yield self._part(waiting, free)
                waiting, unpacked = [], 0
        if waiting:
            yield self._part(waiting, free)

    def _part(self, positions: Sequence[int], free: queue.SimpleQueue[int]) -> _Part:
        rows = sum(self._groups[position].integer(3) for position in positions)
        part = _Part(free.get(), rows)
        self.write_part(positions, part.descriptor)
        return part

    def write_part(self, positions: Sequence[int], descriptor: int) -> None:
        """Write a Parquet file of these row groups, with the whole file's schema."""
        extents = [self._extent(self._groups[position])[:2] for position in positions]
        start = min((extent[0] for extent in extents), default=0)
        stop = max((extent[1] for extent in extents), default=0)
        os.ftruncate(descriptor, 0)
        written = os.pwrite(descriptor, _MAGIC, 0)
        for block in self._upload.between(start, stop):
            written += os.pwrite(descriptor, block, written)
        groups = [
            _moved(self._groups[position], len(_MAGIC) - start) for position in positions
        ]
        footer = Struct(
            [field for field in self._footer.fields if field.id in (1, 2, 6, 7)]
        )
        rows = sum(group.integer(3) for group in groups)
        footer.put_integer(3, I64, rows)
        footer.put(4, 9, Items(STRUCT, groups))
        plain = bytearray()
        write_struct(plain, footer)
        plain += struct.pack("<I", len(plain)) + _MAGIC
        os.pwrite(descriptor, plain, written)

    def _extent(self, group: Struct) -> tuple[int, int, int]:
        """Where a row group's pages begin and end, and its size when unpacked."""
        begins, ends = [], []
        for chunk in group.structs(1):
            meta = chunk.get(3)
            start = meta.integer(9)
            if meta.get(11) is not None and 0 < meta.integer(11) < start:
                start = meta.integer(11)
            begins.append(start)
            ends.append(start + meta.integer(7))
        begin, end = min(begins, default=4), max(ends, default=4)
        if not 4 <= begin <= end <= self._upload.size_bytes:
            raise _truncated("a row group lies outside the file")
        return begin, end, group.integer(2)

    def _check_unpacked(self, unpacked: int) -> None:
        if unpacked > self._memory_bytes:
            raise ResourceExceeded(
                f"a row group unpacks to {unpacked} bytes,"
                f" the job may use {self._memory_bytes}",
                hint="Write smaller row groups, or have the node's operator raise the"
                " limit.",
            )


def _moved(group: Struct, by: int) -> Struct:
    """The row group with its pages' places moved, and without what lies elsewhere."""
    chunks = []
    for chunk in group.structs(1):
        meta = Struct([field for field in chunk.get(3).fields if field.id <= 9])
        meta.put_integer(9, I64, meta.integer(9) + by)
        dictionary = chunk.get(3).get(11)
        if dictionary is not None and chunk.get(3).integer(11) > 0:
            meta.put_integer(11, I64, chunk.get(3).integer(11) + by)
        moved = Struct([])
        moved.put_integer(2, I64, 0)
        moved.put(3, STRUCT, meta)
        chunks.append(moved)
    found = Struct([field for field in group.fields if field.id in (2, 3)])
    found.put(1, 9, Items(STRUCT, chunks))
    return found


def _checked_footer(upload: Upload) -> Struct:
    size = upload.size_bytes
    head, tail = upload.head(4), upload.tail(_TAIL_BYTES)
    if size == 0:
        raise UploadRejected(
            "the file is empty", code="upload_empty", hint="Upload a file with rows."
        )
    if b"PARE" in (head, tail[-4:]):
        raise UploadRejected(
            "the Parquet file is encrypted",
            code="upload_encrypted",
            hint="Upload it in clear over this connection: the node encrypts it itself.",
        )
    if head != _MAGIC:
        raise UploadRejected(
            "the file is not Parquet: its first four bytes are not PAR1",
            code="upload_not_parquet",
            hint="Choose the format CSV, or export the table as Parquet.",
        )
    if size < 12 or tail[-4:] != _MAGIC:
        raise _truncated("it does not end as Parquet does")
    (length,) = struct.unpack("<I", tail[:4])
    if length > size - 12:
        raise _truncated("its footer cannot be read")
    raw = upload.tail(length + _TAIL_BYTES)
    try:
        metadata = pq.ParquetFile(io.BytesIO(_MAGIC + raw)).metadata
        schema = metadata.schema.to_arrow_schema()
        footer = Reader(raw).struct()
        footer.structs(4)
    except (pa.ArrowException, OSError, *MALFORMED) as error:
        raise _truncated("its footer cannot be read") from error
    if metadata.num_rows == 0:
        raise UploadRejected(
            "the Parquet file has no row",
            code="upload_no_rows",
            hint="Upload one with rows.",
        )
    _check_schema(schema)
    return footer


def _check_schema(schema: pa.Schema) -> None:
    if len(schema) > MOST_COLUMNS:
        raise UploadRejected(
            f"the file has {len(schema)} columns, at most {MOST_COLUMNS} are read",
            code="upload_too_many_columns",
            hint="Split the table.",
        )
    check_names(schema.names)
    for field in schema:
        if pa.types.is_nested(field.type):
            raise UploadRejected(
                f"column {field.name} is nested; only flat tables are read",
                code="upload_nested",
                column=field.name,
                hint="Unnest it into columns or rows first.",
            )


def _parquet_value(name: str, kind: str, warnings: list[str]) -> str:
    if kind.startswith("DECIMAL"):
        simpler = kind
    elif kind.startswith("ENUM"):
        simpler = "VARCHAR"
    elif kind in _SIMPLER:
        simpler = _SIMPLER[kind]
    else:
        raise UploadRejected(
            f"column {name} has the type {kind.split('(')[0]}, which is not read here",
            code="upload_unsupported_type",
            column=name,
            hint="Cast it to a number, text, boolean, date or timestamp, or leave it out.",
        )
    if kind == "TIMESTAMP WITH TIME ZONE":
        warnings.append(f"Column {name} is taken in UTC.")
    return f"CAST({quoted(name)} AS {simpler}) AS {quoted(name)}"


def _truncated(what: str) -> UploadRejected:
    return UploadRejected(
        f"the file begins as Parquet, but {what}: it was cut off or damaged",
        code="upload_truncated",
        hint="Upload it again; compare sizes if it happens twice.",
    )

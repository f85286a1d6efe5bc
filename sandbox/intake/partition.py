"""Job kind `partition`: a staged table to encrypted shards, each unit's rows in one shard.

The shard of a row is a keyed hash of its unit as text, so that tables whose units are one
domain and whose key is the same are co-partitioned, whatever type the unit has in each.
"""

from __future__ import annotations

import contextlib
import queue
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import duckdb

from sandbox.engine import open_engine, show
from sandbox.errors import ProtocolError
from sandbox.intake.parquet_ingest import RowGroups
from sandbox.intake.staging import VaultFile, in_order, parquet_of
from sandbox.intake.taking_over import TakingOver
from sandbox.intake.unit_counts import UnitCounts
from sandbox.intake.upload import Images, Upload
from sandbox.protocol import PartitionJob, PartitionOutcome, StoredFile, TableSchema
from sandbox.quoting import quoted, text_literal

_STAGED, _SLAB, _NO_SHARD = "staged", "slab", 255
_KEY_BYTES = 32


def partition(
    job: PartitionJob,
    source: Images,
    outputs: Sequence[int],
    scratch: Sequence[int],
) -> PartitionOutcome:
    """Write every row of the staged table to exactly one of `outputs`, encrypted.

    Of `source` one file of the staged table is open at a time. Rows without a unit go to
    the first shard; the order of rows within a shard says nothing. `scratch` are three or
    more empty files in memory. Raises ProtocolError if a unit column is absent, or if
    several unit columns are to be split over several shards: then a row's units need not
    agree on a shard.
    """
    table = job.source.table
    paths = [f"/proc/self/fd/{descriptor}" for descriptor in scratch]
    engine = open_engine(
        {}, job.limits, files=paths, any_descriptor=True, reuses_paths=True
    )
    with contextlib.closing(engine) as connection, contextlib.ExitStack() as stack:
        path = _open(connection, source, table, 0)
        described = connection.execute(f"DESCRIBE {_STAGED}").fetchall()
        columns = tuple((str(row[0]), str(row[1])) for row in described)
        _check(job, columns, outputs)
        names = [name for name, _ in columns]
        shards = [
            [(stack.enter_context(_file(job, index, t)), t.columns) for t in targets]
            for index, targets in enumerate(_targets(job, names, outputs))
        ]
        taking = TakingOver(job, shards)
        writing = (
            taking
            if taking.can_take(path)
            else _Writing(connection, job, columns, shards, scratch)
        )
        writing.add(path)
        counts = UnitCounts(connection, job.units)
        counts.add(_STAGED)
        for index in range(1, len(source.tables[table])):
            writing.add(_open(connection, source, table, index))
            counts.add(_STAGED)
        writing.finish()
        most_rows = counts.most_rows()
        for files in shards:
            for file, _ in files:
                file.finish(most_rows)
        by_shard = [files[0][0].rows for files in shards]
        rows = sum(by_shard)
        units = counts.units() if job.units else rows
    return PartitionOutcome(
        _files(job.outputs, by_shard),
        rows,
        units,
        TableSchema(table, columns),
        groups=tuple(_files(group.outputs, by_shard) for group in job.groups),
    )


def _open(
    connection: duckdb.DuckDBPyConnection, source: Images, table: str, index: int
) -> str:
    """Have one file of the staged table open and shown, instead of the one before."""
    ((path,),) = source.open({table: [index]}).values()
    show(connection, {_STAGED: [path]})
    return path


def _file(job: PartitionJob, shard: int, target: _Target) -> VaultFile:
    return VaultFile(
        target.descriptor,
        key=target.key,
        version_id=job.version_id,
        shard=shard,
        group=target.group,
    )


def _files(names: Sequence[str], rows: Sequence[int]) -> tuple[StoredFile, ...]:
    return tuple(
        StoredFile(name, "", 0, count) for name, count in zip(names, rows, strict=True)
    )


@dataclass(frozen=True, slots=True)
class _Target:
    """One file of a shard: the columns it takes, and under what."""

    descriptor: int
    columns: list[str]
    key: bytes
    group: str = ""


def _targets(
    job: PartitionJob, names: Sequence[str], outputs: Sequence[int]
) -> list[list[_Target]]:
    """By shard its own file, then one for each group; every column is in exactly one."""
    apart = [name for group in job.groups for name in group.columns]
    kept = [name for name in names if name not in apart]
    if len(set(apart)) != len(apart) or not set(apart) <= set(names) or not kept:
        raise ProtocolError("each column is in one group or in none, and one is in none")
    shards = len(job.outputs)
    found = [[_Target(outputs[index], kept, job.output_key)] for index in range(shards)]
    for number, group in enumerate(job.groups, start=1):
        for index in range(shards):
            descriptor = outputs[number * shards + index]
            columns = [name for name in names if name in group.columns]
            found[index].append(_Target(descriptor, columns, group.key, group.name))
    return found


def _check(
    job: PartitionJob, columns: Sequence[tuple[str, str]], outputs: Sequence[int]
) -> None:
    names = {name for name, _ in columns}
    absent = [unit for unit in job.units if unit not in names]
    if absent:
        raise ProtocolError(
            f"the unit column {absent[0]} is not in the staged table",
            hint="Correct the policy's units, then publish again.",
        )
    expected = len(job.outputs) + sum(len(group.outputs) for group in job.groups)
    uneven = any(len(group.outputs) != len(job.outputs) for group in job.groups)
    if not job.outputs or uneven or len(outputs) != expected:
        raise ProtocolError("a partition needs one output for each of its names")
    if len(job.units) > 1 and len(job.outputs) > 1:
        raise ProtocolError(
            f"{len(job.units)} unit columns cannot be split over {len(job.outputs)} shards",
            hint="Write such a table as one shard.",
        )
    if len(job.shard_key) != _KEY_BYTES:
        raise ProtocolError(f"a shard key has {_KEY_BYTES} bytes")


class _Writing:
    """One pass over a staged table, as many rows at a time as memory takes."""

    def __init__(
        self,
        connection: duckdb.DuckDBPyConnection,
        job: PartitionJob,
        columns: Sequence[tuple[str, str]],
        shards: Sequence[Sequence[tuple[VaultFile, list[str]]]],
        scratch: Sequence[int],
    ) -> None:
        self._connection = connection
        self._job = job
        self._names = [name for name, _ in columns]
        self._unit = _unit(job, dict(columns))
        self._shards = shards
        self._part, *self._images = scratch
        self._all = max(1, sum(file.rows for file in job.source.files))
        self._seen = self._held = 0  # rows: of all, and of those in the slab
        self._shard = _free_name("shard", self._names)

        self._empty()

    def add(self, path: str) -> None:
        """Take the rows of a staged file's image, and write whenever they are many."""
        memory = self._job.limits.memory_bytes
        free: queue.SimpleQueue[int] = queue.SimpleQueue()
        free.put(self._part)
        for part in RowGroups(Upload(_OneImage(path)), memory).parts(free):
            added = self._take(part.relation, self._seen)
            free.put(self._part)
            self._seen, self._held = self._seen + added, self._held + added
            if self._held_bytes() > memory // 4:
                self._write()

    def finish(self) -> None:
        """Add the rows that are left to the files, which are not finished then."""
        if self._held or not self._seen:
            self._write()

    def _empty(self) -> None:
        self._connection.execute(
            f"CREATE OR REPLACE TABLE {_SLAB} AS SELECT *, 0::UTINYINT AS"
            f" {self._shard} FROM {_STAGED} LIMIT 0"
        )
        self._held = 0
        # Of no shard: where the engine knows of no NULL in a column it writes the column as
        # required, and the images of one file must have one schema.
        nothing = "NULL, " * len(self._names)
        self._connection.execute(f"INSERT INTO {_SLAB} SELECT {nothing}{_NO_SHARD}")

    def _held_bytes(self) -> int:
        found = self._connection.execute(
            "SELECT sum(memory_usage_bytes) FROM duckdb_memory()"
        ).fetchall()
        return int(found[0][0])

    def _take(self, relation: str, seen: int) -> int:
        """Add rows with the numbers of their shards; return how many."""
        shards = len(self._job.outputs)
        if shards == 1:
            numbered = f"SELECT *, 0 FROM {relation}"
        elif not self._job.units:
            # Each row is its own unit: any split will do, and ranges keep the file's order.
            place = f"({seen} + row_number() OVER () - 1)"
            shard = f"least({place} * {shards} // {self._all}, {shards - 1})"
            numbered = f"SELECT *, {shard} FROM {relation}"
        else:
            numbered = self._by_unit(relation, shards)
        found = self._connection.execute(f"INSERT INTO {_SLAB} {numbered}").fetchall()
        return int(found[0][0])

    def _by_unit(self, relation: str, shards: int) -> str:
        # A digest costs more than to look one up: each unit gets one where they come again.
        unit = self._unit
        text = f"CAST({unit} AS VARCHAR)"
        keyed = f"sha256({text_literal(self._job.shard_key.hex())} || {text})"
        shard = f"CAST('0x' || left({keyed}, 12) AS BIGINT) % {shards}"
        different, rows = self._connection.execute(
            f"SELECT approx_count_distinct({unit}), count(*) FROM {relation} r"
        ).fetchall()[0]
        if different * 4 > rows:
            return f"SELECT *, coalesce({shard}, 0) FROM {relation} r"
        digests = (
            f"SELECT u, {shard.replace(unit, 'u')} AS s"
            f" FROM (SELECT DISTINCT {unit} AS u FROM {relation} r)"
        )
        return (
            f"SELECT r.*, coalesce(d.s, 0) FROM {relation} r"
            f" LEFT JOIN ({digests}) d ON {unit} = d.u"
        )

    def _write(self) -> None:
        counted = dict(
            self._connection.execute(
                f"SELECT {self._shard}, count(*) FROM {_SLAB} GROUP BY ALL"
            ).fetchall()
        )
        free: queue.SimpleQueue[int] = queue.SimpleQueue()
        for descriptor in self._images:
            free.put(descriptor)
        names = ", ".join(quoted(name) for name in self._names)

        def write(shard: int) -> tuple[int, int]:
            image = free.get()
            with contextlib.closing(self._connection.cursor()) as cursor:
                cursor.execute(
                    f"COPY (SELECT {names} FROM {_SLAB} WHERE {self._shard} = {shard})"
                    f" TO '/proc/self/fd/{image}' ({parquet_of(counted.get(shard, 0))})"
                )
            return shard, image

        at_once = len(self._images)
        written = in_order(write, range(len(self._shards)), at_once, waiting=at_once)
        for shard, image in written:
            for file, columns in self._shards[shard]:
                file.add(image, columns=columns)
            free.put(image)
        self._empty()


class _OneImage:
    """An image that is open already, as an upload of one segment."""

    def __init__(self, path: str) -> None:
        self._path = path
        self.tables = {"": (Path(path).stat().st_size,)}

    def open(self, wanted: Mapping[str, Sequence[int]]) -> dict[str, list[str]]:
        """Return its path."""
        return {table: [self._path for _ in parts] for table, parts in wanted.items()}


def _unit(job: PartitionJob, types: Mapping[str, str]) -> str:
    """SQL over `r`: what is one for the rows of one unit; empty where there is no unit."""
    if not job.units:
        return ""
    unit = f"r.{quoted(job.units[0])}"
    # 0.0 and -0.0 are equal, but are not one text, and it is the text that has a place.
    is_floating = types[job.units[0]] in ("DOUBLE", "FLOAT")
    return f"CAST({unit} AS VARCHAR)" if is_floating else unit


def _free_name(name: str, taken: Sequence[str]) -> str:
    lower = {other.lower() for other in taken}
    while name in lower:
        name += "_"
    return quoted(name)

"""Job kind `partition`: a staged table to encrypted shards, each unit's rows in one shard.

The shard of a row is a keyed hash of its unit as text, so that tables whose units are one
domain and whose key is the same are co-partitioned, whatever type the unit has in each.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import duckdb
import pyarrow as pa

from sandbox.engine import open_engine
from sandbox.errors import ProtocolError
from sandbox.files.parquet import encrypted_writer
from sandbox.files.pme import aad_prefix
from sandbox.protocol import PartitionJob, PartitionOutcome, StoredFile, TableSchema
from sandbox.quoting import quoted, text_literal

_BATCH_ROWS = 50_000
_KEY_BYTES = 32


def partition(
    job: PartitionJob, images: Mapping[str, Sequence[str]], outputs: Sequence[int]
) -> PartitionOutcome:
    """Write every row of the staged table to exactly one of `outputs`, encrypted.

    Rows without a unit go to the first shard. Raises ProtocolError if a unit column is
    absent, or if several unit columns are to be split over several shards: then a row's
    units need not agree on a shard.
    """
    table = job.source.table
    with contextlib.closing(open_engine(images, job.limits)) as connection:
        described = connection.execute(f"DESCRIBE {quoted(table)}").fetchall()
        columns = tuple((str(row[0]), str(row[1])) for row in described)
        _check(job, columns, outputs)
        names = [name for name, _ in columns]
        by_shard = [
            _write_shard(connection, job, index, targets)
            for index, targets in enumerate(_targets(job, names, outputs))
        ]
        rows = sum(by_shard)
        units = _count_units(connection, job, rows)
    return PartitionOutcome(
        _files(job.outputs, by_shard),
        rows,
        units,
        TableSchema(table, columns),
        groups=tuple(_files(group.outputs, by_shard) for group in job.groups),
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


def _shard_relation(
    connection: duckdb.DuckDBPyConnection, job: PartitionJob, index: int
) -> str:
    """SQL for the rows of one shard."""
    table, shards = quoted(job.source.table), len(job.outputs)
    if shards == 1:
        return f"SELECT * FROM {table}"
    if not job.units:
        # Each row is its own unit: any split will do, and ranges keep the file's order.
        rows = int(connection.execute(f"SELECT count(*) FROM {table}").fetchall()[0][0])
        start, end = index * rows // shards, (index + 1) * rows // shards
        return f"SELECT * FROM {table} LIMIT {end - start} OFFSET {start}"
    unit = f"CAST({quoted(job.units[0])} AS VARCHAR)"
    keyed = f"sha256({text_literal(job.shard_key.hex())} || {unit})"
    shard = f"coalesce(CAST('0x' || left({keyed}, 12) AS BIGINT) % {shards}, 0)"
    return f"SELECT * FROM {table} WHERE {shard} = {index}"


def _write_shard(
    connection: duckdb.DuckDBPyConnection,
    job: PartitionJob,
    index: int,
    targets: Sequence[_Target],
) -> int:
    relation = _shard_relation(connection, job, index)
    with contextlib.ExitStack() as stack:
        reader = connection.sql(relation).to_arrow_reader(_BATCH_ROWS)
        writers = []
        for target in targets:
            file = stack.enter_context(os.fdopen(os.dup(target.descriptor), "wb"))
            schema = pa.schema([reader.schema.field(name) for name in target.columns])
            prefix = aad_prefix(job.version_id, index, target.group)
            writer = encrypted_writer(file, schema, key=target.key, prefix=prefix)
            writers.append((writer, target.columns))
        for batch in reader:
            for writer, columns in writers:
                writer.write(batch.select(columns))
        for writer, _ in writers:
            writer.close()
    return writers[0][0].rows


def _count_units(
    connection: duckdb.DuckDBPyConnection, job: PartitionJob, rows: int
) -> int:
    if not job.units:
        return rows
    every = " UNION ALL ".join(
        f"SELECT CAST({quoted(unit)} AS VARCHAR) AS u FROM {quoted(job.source.table)}"
        for unit in job.units
    )
    found = connection.execute(f"SELECT count(DISTINCT u) FROM ({every})").fetchall()
    return int(found[0][0])

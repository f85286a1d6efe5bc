"""Job kind `partition`: a staged table to encrypted shards, each unit's rows in one shard.

The shard of a row is a keyed hash of its unit as text, so that tables whose units are one
domain and whose key is the same are co-partitioned, whatever type the unit has in each.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Mapping, Sequence

import duckdb

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
        files = []
        for index, output in enumerate(outputs):
            rows = _write_shard(connection, job, index, output)
            files.append(StoredFile(job.outputs[index], "", 0, rows))
        rows = sum(file.rows for file in files)
        units = _count_units(connection, job, rows)
    return PartitionOutcome(tuple(files), rows, units, TableSchema(table, columns))


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
    if not outputs or len(outputs) != len(job.outputs):
        raise ProtocolError("a partition needs one output for each of its names")
    if len(job.units) > 1 and len(outputs) > 1:
        raise ProtocolError(
            f"{len(job.units)} unit columns cannot be split over {len(outputs)} shards",
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
    connection: duckdb.DuckDBPyConnection, job: PartitionJob, index: int, output: int
) -> int:
    relation = _shard_relation(connection, job, index)
    with os.fdopen(os.dup(output), "wb") as target:
        reader = connection.sql(relation).to_arrow_reader(_BATCH_ROWS)
        writer = encrypted_writer(
            target,
            reader.schema,
            key=job.output_key,
            prefix=aad_prefix(job.version_id, index),
        )
        for batch in reader:
            writer.write(batch)
        writer.close()
    return writer.rows


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

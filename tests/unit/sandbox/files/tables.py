"""Encrypted tables in a vault, with columns in groups of their own if asked for."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa

from sandbox.files.parquet import encrypted_writer
from sandbox.files.pme import aad_prefix
from sandbox.protocol import ColumnGroup, EncryptedTable, StoredFile

KEY, GROUP_KEY = b"k" * 32, b"g" * 32
ROWS = 3000


def rows_of(shard: int, rows: int = ROWS) -> pa.Table:
    rng = random.Random(shard)
    return pa.table(
        {
            "id": pa.array([shard * rows + i for i in range(rows)], pa.int64()),
            "city": [rng.choice(["a", "bé", None]) for _ in range(rows)],
            "x": [rng.random() for _ in range(rows)],
            "secret": [f"secret {rng.random()}" for _ in range(rows)],
        }
    )


def write(
    path: Path, table: pa.Table, prefix: bytes, *, key: bytes = KEY, batch: int = ROWS
) -> StoredFile:
    with path.open("wb") as target:
        writer = encrypted_writer(target, table.schema, key=key, prefix=prefix)
        for part in table.to_batches(max_chunksize=batch):
            writer.write(part)
        writer.close()
    return recorded(path, table.num_rows)


def recorded(path: Path, rows: int = 0) -> StoredFile:
    content = path.read_bytes()
    return StoredFile(path.name, hashlib.sha256(content).hexdigest(), len(content), rows)


def stored_table(
    vault: Path,
    *,
    version: str = "v",
    shards: int = 2,
    apart: Sequence[str] = (),
    rows: int = ROWS,
) -> EncryptedTable:
    """A table of these shards; the columns `apart` lie in the group `hidden`."""
    files, group = [], []
    for shard in range(shards):
        whole = rows_of(shard, rows)
        kept = [name for name in whole.column_names if name not in apart]
        path = vault / f"{version}-{shard}"
        files.append(write(path, whole.select(kept), aad_prefix(version, shard)))
        if apart:
            path = vault / f"{version}-hidden-{shard}"
            prefix = aad_prefix(version, shard, "hidden")
            group.append(write(path, whole.select(list(apart)), prefix, key=GROUP_KEY))
    groups = (ColumnGroup("hidden", tuple(apart), tuple(group), GROUP_KEY),)
    return EncryptedTable("t", version, tuple(files), KEY, groups if apart else ())

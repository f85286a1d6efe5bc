"""Encrypted tables in a vault, with columns in groups of their own if asked for."""

from __future__ import annotations

import hashlib
import io
import os
import random
from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from sandbox.files.chunk_digests import footer_sha256
from sandbox.files.parquet import encrypted_writer
from sandbox.files.pme import aad_prefix
from sandbox.files.pme_writer import EncryptedFile
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


def write_pinned(
    path: Path, table: pa.Table, prefix: bytes, *, key: bytes = KEY, batch: int = 1000
) -> StoredFile:
    """As an ingest writes it and the door records it; one row group for each `batch`.

    Neither compressed nor by a dictionary: a byte of a page is a byte of a value.
    """
    with path.open("wb") as target:
        file = EncryptedFile(target, key=key, prefix=prefix)
        plain = io.BytesIO()
        pq.write_table(
            table, plain, row_group_size=batch, compression="none", use_dictionary=False
        )
        file.append(memoryview(plain.getvalue()))
        file.close()
    return recorded(path, table.num_rows, pinned=True)


def recorded(path: Path, rows: int = 0, *, pinned: bool = False) -> StoredFile:
    content = path.read_bytes()
    footer = ""
    if pinned:
        descriptor = os.open(path, os.O_RDONLY)
        footer = footer_sha256(descriptor)
        os.close(descriptor)
    digest = hashlib.sha256(content).hexdigest()
    return StoredFile(path.name, digest, len(content), rows, footer)


def stored_table(
    vault: Path,
    *,
    version: str = "v",
    shards: int = 2,
    apart: Sequence[str] = (),
    rows: int = ROWS,
    pinned: bool = False,
) -> EncryptedTable:
    """A table of these shards; the columns `apart` lie in the group `hidden`."""
    files, group = [], []
    put = write_pinned if pinned else write
    for shard in range(shards):
        whole = rows_of(shard, rows)
        kept = [name for name in whole.column_names if name not in apart]
        path = vault / f"{version}-{shard}"
        files.append(put(path, whole.select(kept), aad_prefix(version, shard)))
        if apart:
            path = vault / f"{version}-hidden-{shard}"
            prefix = aad_prefix(version, shard, "hidden")
            group.append(put(path, whole.select(list(apart)), prefix, key=GROUP_KEY))
    groups = (ColumnGroup("hidden", tuple(apart), tuple(group), GROUP_KEY),)
    return EncryptedTable("t", version, tuple(files), KEY, groups if apart else ())

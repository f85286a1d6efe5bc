"""Writing Parquet: encrypted shards for the vault, plain packages for consumers.

Encryption is Parquet Modular Encryption by pyarrow: AES_GCM_V1 with a 256-bit key, footer
and columns under one uniform key, the AAD prefix not stored (only who knows which version
and shard a file should be can open it). The schema is flat and names engine types only.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Protocol

import pyarrow as pa
import pyarrow.parquet as pq
from pyarrow.parquet.encryption import create_encryption_properties

from sandbox.errors import KeyUnusable

# DuckDB scans row groups in parallel and its own are 122,880 rows.
ROW_GROUP_ROWS = 122_880


class Sink(Protocol):
    """What a table is written to: it takes bytes in order and says how many came."""

    def write(self, data: Any, /) -> int:
        """Take all of `data`."""

    def tell(self) -> int:
        """How many bytes were taken."""


class TableWriter:
    """Writes record batches of one schema to `target`; whole only after `close()`."""

    def __init__(self, target: Sink, schema: pa.Schema, **options: Any) -> None:
        self._schema = schema
        self._writer = pq.ParquetWriter(
            target,
            schema,
            compression="zstd",
            compression_level=1,
            store_schema=False,
            **options,
        )
        self._pending: list[pa.RecordBatch] = []
        self._pending_rows = 0
        self.rows = 0

    def write(self, batch: pa.RecordBatch) -> None:
        """Add the rows of `batch`; row groups are written as they fill."""
        self._pending.append(batch)
        self._pending_rows += batch.num_rows
        self.rows += batch.num_rows
        if self._pending_rows >= ROW_GROUP_ROWS:
            self._flush()

    def describe(self, metadata: dict[str, str]) -> None:
        """Have the footer carry these words beside the data."""
        self._writer.add_key_value_metadata(metadata)

    def close(self) -> None:
        """Write what is left and the footer."""
        self._flush()
        self._writer.close()

    def _flush(self) -> None:
        if self._pending_rows:
            table = pa.Table.from_batches(self._pending, self._schema)
            self._writer.write_table(table, row_group_size=ROW_GROUP_ROWS)
            self._pending, self._pending_rows = [], 0


def encrypted_writer(
    target: Sink, schema: pa.Schema, *, key: bytes, prefix: bytes
) -> TableWriter:
    """Return a writer of encrypted Parquet under `key` (32 bytes) and the AAD `prefix`."""
    if len(key) != 32:
        raise KeyUnusable(f"a data key has 32 bytes, {len(key)} came")
    encryption = create_encryption_properties(
        footer_key=key, aad_prefix=prefix, store_aad_prefix=False
    )
    return TableWriter(target, schema, encryption_properties=encryption)


def plain_writer(
    target: Sink, schema: pa.Schema, *, metadata: Iterable[tuple[str, str]]
) -> TableWriter:
    """Return a writer of plain Parquet whose footer carries `metadata`."""
    writer = TableWriter(target, schema.remove_metadata())
    writer.describe(dict(metadata))
    return writer

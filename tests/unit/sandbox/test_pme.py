import datetime as dt
import io
import os
import random
from decimal import Decimal

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pyarrow.parquet.encryption import create_encryption_properties

from sandbox.errors import DistributionCorrupt, KeyUnusable
from sandbox.files.parquet import encrypted_writer
from sandbox.files.pme import aad_prefix
from tests.unit.sandbox import unsealing

KEY, PREFIX = b"k" * 32, aad_prefix("v1", 0)


def sample(rows: int) -> pa.Table:
    rng = random.Random(rows)
    return pa.table(
        {
            "id": pa.array(range(rows), pa.int64()),
            "city": [rng.choice(["a", "bé", None]) for _ in range(rows)],
            "x": pa.array([rng.random() for _ in range(rows)], pa.float64()),
            "d": pa.array([Decimal(i) / 100 for i in range(rows)], pa.decimal128(18, 2)),
            "day": pa.array(
                [dt.date(2020, 1, 1 + i % 28) for i in range(rows)], pa.date32()
            ),
            "at": pa.array([1_600_000_000_000_000] * rows, pa.timestamp("us")),
            "b": pa.array([i % 3 == 0 for i in range(rows)], pa.bool_()),
            "text": [f"unique text number {i}" for i in range(rows)],
        }
    )


def encrypt(table: pa.Table) -> bytes:
    target = io.BytesIO()
    writer = encrypted_writer(target, table.schema, key=KEY, prefix=PREFIX)
    for batch in table.to_batches(max_chunksize=50_000):
        writer.write(batch)
    writer.close()
    return target.getvalue()


def image(
    data: bytes,
    *,
    key: bytes = KEY,
    prefix: bytes = PREFIX,
    columns: set[str] | None = None,
) -> int:
    return unsealing.image(data, key=key, prefix=prefix, columns=columns)


@pytest.mark.parametrize("rows", [0, 1, 1000, 300_000])
def test_unseal_image_equals_the_source(rows: int) -> None:
    table = sample(rows)
    data = encrypt(table)

    descriptor = image(data)

    try:
        path = f"/proc/self/fd/{descriptor}"
        assert pq.read_table(path).equals(table)
        connection = duckdb.connect()
        count, total = connection.execute(
            "SELECT count(*), sum(d) FROM read_parquet(?)", [path]
        ).fetchall()[0]
        assert (count, total or 0) == (rows, Decimal(sum(range(rows))) / 100)
        if rows:
            assert connection.execute(
                "SELECT text FROM read_parquet(?) WHERE id = ?", [path, rows - 1]
            ).fetchall() == [(f"unique text number {rows - 1}",)]
    finally:
        os.close(descriptor)
    assert b"unique text" not in data
    assert b"city" not in data


@pytest.mark.parametrize("columns", [{"city"}, {"text", "id"}, {"b", "x", "absent"}, set()])
def test_unseal_image_holds_only_the_columns_asked_for(columns: set[str]) -> None:
    table = sample(200_000)

    descriptor = image(encrypt(table), columns=columns)

    kept = [name for name in table.column_names if name in columns]
    try:
        with open(descriptor, "rb", closefd=False) as file:
            raw = file.read()
        assert pq.ParquetFile(io.BytesIO(raw)).schema_arrow.names == kept
        if kept:
            assert pq.read_table(io.BytesIO(raw)).equals(table.select(kept))
            path = f"/proc/self/fd/{descriptor}"
            assert duckdb.connect().execute(
                f"SELECT count(\"{kept[0]}\") FROM read_parquet('{path}')"
            ).fetchall() == [(table[kept[0]].length() - table[kept[0]].null_count,)]
        for absent in set(table.column_names) - columns:
            assert absent.encode() not in raw or len(absent) < 4
    finally:
        os.close(descriptor)


def test_unseal_image_cannot_be_written() -> None:
    descriptor = image(encrypt(sample(10)))

    try:
        with pytest.raises(PermissionError):
            os.pwrite(descriptor, b"x", 0)
        with pytest.raises(PermissionError):
            os.ftruncate(descriptor, 0)
    finally:
        os.close(descriptor)


def test_unseal_image_refuses_another_key_version_or_shard() -> None:
    data = encrypt(sample(10))

    with pytest.raises(KeyUnusable):
        image(data, key=b"x" * 32)
    for prefix in (aad_prefix("v1", 1), aad_prefix("v2", 0), b""):
        with pytest.raises(KeyUnusable):
            image(data, prefix=prefix)


def test_unseal_image_refuses_every_flipped_byte() -> None:
    data = encrypt(sample(5))
    table_bytes = len(data)

    for position in range(4, table_bytes):  # the magic at the start is not authenticated
        altered = bytearray(data)
        altered[position] ^= 0x10
        with pytest.raises((DistributionCorrupt, KeyUnusable)):
            os.close(image(bytes(altered)))


def test_unseal_image_refuses_every_truncation() -> None:
    data = encrypt(sample(5))

    for length in range(0, len(data), 7):
        with pytest.raises((DistributionCorrupt, KeyUnusable)):
            image(data[:length])


@pytest.mark.parametrize(
    "options",
    [
        {"encryption_algorithm": "AES_GCM_CTR_V1"},
        {"store_aad_prefix": True},
        {"plaintext_footer": True},
    ],
)
def test_unseal_image_refuses_other_ways_of_encryption(options: dict[str, object]) -> None:
    settings = {"store_aad_prefix": False, **options}
    encryption = create_encryption_properties(footer_key=KEY, aad_prefix=PREFIX, **settings)
    target = io.BytesIO()
    pq.write_table(sample(5), target, encryption_properties=encryption)

    with pytest.raises(DistributionCorrupt):
        image(target.getvalue())


def test_unseal_image_leaves_no_descriptor_behind_on_failure() -> None:
    data = encrypt(sample(10))
    before = len(os.listdir("/proc/self/fd"))  # noqa: PTH208

    for _ in range(5):
        with pytest.raises(KeyUnusable):
            image(data, key=b"x" * 32)
    assert len(os.listdir("/proc/self/fd")) == before  # noqa: PTH208

"""The engine's plain images, encrypted without decoding; pyarrow and the unsealer read."""

import io
import os
from collections.abc import Iterator, Mapping, Sequence

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pyarrow.parquet.encryption import create_decryption_properties

from sandbox.errors import DistributionCorrupt, KeyUnusable
from sandbox.files.pme import aad_prefix
from sandbox.files.pme_writer import MOST_ROWS, EncryptedFile
from tests.unit.sandbox import unsealing

KEY, PREFIX = b"k" * 32, aad_prefix("v1", 3)
ROWS = 300_000
COLUMNS = (
    "i AS id, 'city ' || i % 40 AS city, (i / 100)::DECIMAL(18,2) AS price,"
    " DATE '2020-01-01' + (i % 999)::INT AS day,"
    " TIMESTAMP '2020-01-01' + to_seconds(i) AS at, i * 1.5 AS x, i % 3 = 0 AS flag,"
    " CASE WHEN i % 7 > 0 THEN 'unique text ' || i END AS note"
)
WRITERS = [
    "COMPRESSION zstd, PARQUET_VERSION V1",
    "COMPRESSION zstd, PARQUET_VERSION V2",
    "COMPRESSION uncompressed, DICTIONARY_SIZE_LIMIT 1",
]


@pytest.fixture(scope="module")
def engine() -> Iterator[duckdb.DuckDBPyConnection]:
    with duckdb.connect() as connection:
        yield connection


def image(
    engine: duckdb.DuckDBPyConnection,
    *,
    start: int = 0,
    rows: int = ROWS,
    columns: str = COLUMNS,
    options: str = WRITERS[1],
) -> bytes:
    descriptor = os.memfd_create("plain")
    with os.fdopen(descriptor, "rb") as file:
        engine.execute(
            f"COPY (SELECT {columns} FROM range({start}, {start + rows}) r(i)) TO "
            f"'/proc/self/fd/{descriptor}' (FORMAT parquet, USE_TMP_FILE false, {options})"
        ).fetchall()
        return file.read()


def written(
    images: Sequence[bytes],
    *,
    columns: set[str] | None = None,
    most_rows: Mapping[str, int] | None = None,
) -> bytes:
    target = io.BytesIO()
    file = EncryptedFile(target, key=KEY, prefix=PREFIX)
    for plain in images:
        file.append(memoryview(plain), columns=columns)
    file.close(most_rows)
    return target.getvalue()


def read_by_pyarrow(data: bytes, *, key: bytes = KEY, prefix: bytes = PREFIX) -> pa.Table:
    opened = create_decryption_properties(footer_key=key, aad_prefix=prefix)
    return pq.read_table(io.BytesIO(data), decryption_properties=opened)


def unsealed(data: bytes, *, columns: set[str] | None = None) -> pa.Table:
    wanted = None if columns is None else frozenset(columns)
    found = unsealing.image(data, key=KEY, prefix=PREFIX, columns=wanted)
    with os.fdopen(found, "rb") as file:
        return pq.read_table(io.BytesIO(file.read()))


@pytest.mark.parametrize("options", WRITERS)
def test_an_encrypted_file_is_read_by_pyarrow_and_by_the_unsealer(
    engine: duckdb.DuckDBPyConnection, options: str
) -> None:
    plain = image(engine, options=options)

    data = written([plain])

    expected = pq.read_table(io.BytesIO(plain))
    assert read_by_pyarrow(data).equals(expected)
    assert unsealed(data).equals(expected)
    assert unsealed(data, columns={"note", "id"}).equals(expected.select(["id", "note"]))
    assert b"unique text" not in data
    assert b"city" not in data


def test_the_row_groups_of_several_images_make_one_file(
    engine: duckdb.DuckDBPyConnection,
) -> None:
    images = [image(engine, start=i * 1000, rows=1000) for i in range(5)]
    images.insert(2, image(engine, rows=0))

    data = written(images)

    table = read_by_pyarrow(data)
    assert table.column("id").to_pylist() == list(range(5000))
    assert unsealed(data).equals(table)
    sums = table.column("id").to_pylist()
    assert sum(sums) == sum(range(5000))


def test_a_subset_of_columns_and_groups_is_taken(engine: duckdb.DuckDBPyConnection) -> None:
    plain = image(engine)

    target = io.BytesIO()
    file = EncryptedFile(target, key=KEY, prefix=PREFIX)
    rows = file.append(memoryview(plain), columns={"city", "flag"}, groups={1})
    file.close()

    table = read_by_pyarrow(target.getvalue())
    assert table.column_names == ["city", "flag"]
    assert table.num_rows == rows == file.rows == 122_880
    expected = pq.ParquetFile(io.BytesIO(plain)).read_row_group(1, ["city", "flag"])
    assert table.equals(expected)


@pytest.mark.parametrize("columns", [None, {"note", "city"}])
def test_the_first_row_group_tells_the_most_rows_and_the_engine_reads_it(
    engine: duckdb.DuckDBPyConnection, columns: set[str] | None
) -> None:
    images = [image(engine), image(engine, start=ROWS)]
    most_rows = {"city": 15_000, "note": 1, "of another file": 7}

    data = written(images, columns=columns, most_rows=most_rows)

    assert read_by_pyarrow(data).num_rows == 2 * ROWS
    found = unsealing.image(data, key=KEY, prefix=PREFIX, columns={"city", "x"})
    try:
        told = engine.execute(
            "SELECT row_group_id, path_in_schema, key_value_metadata"
            " FROM parquet_metadata(?) WHERE cardinality(key_value_metadata) > 0",
            [f"/proc/self/fd/{found}"],
        ).fetchall()
    finally:
        os.close(found)
    assert told == [(0, "city", {MOST_ROWS.encode(): b"15000"})]


def test_a_file_without_row_groups_tells_no_most_rows(
    engine: duckdb.DuckDBPyConnection,
) -> None:
    data = written([image(engine, rows=0)], most_rows={"city": 1})

    assert read_by_pyarrow(data).num_rows == 0


def test_another_key_or_prefix_opens_nothing(engine: duckdb.DuckDBPyConnection) -> None:
    data = written([image(engine, rows=10)])

    for key, prefix in ((b"x" * 32, PREFIX), (KEY, b""), (KEY, aad_prefix("v1", 2))):
        with pytest.raises(OSError, match=r".+"):
            read_by_pyarrow(data, key=key, prefix=prefix)
    with pytest.raises(KeyUnusable):
        EncryptedFile(io.BytesIO(), key=b"short", prefix=PREFIX)


def test_the_engine_reads_the_unsealed_file(engine: duckdb.DuckDBPyConnection) -> None:
    data = written([image(engine), image(engine, start=ROWS)])

    found = unsealing.image(data, key=KEY, prefix=PREFIX)

    try:
        row = engine.execute(
            "SELECT count(*), sum(id), max(note), sum(price) FROM read_parquet(?)",
            [f"/proc/self/fd/{found}"],
        ).fetchall()[0]
    finally:
        os.close(found)
    assert row[:2] == (2 * ROWS, sum(range(2 * ROWS)))


def test_images_of_different_schemas_are_refused(engine: duckdb.DuckDBPyConnection) -> None:
    file = EncryptedFile(io.BytesIO(), key=KEY, prefix=PREFIX)
    file.append(memoryview(image(engine, rows=5)))

    with pytest.raises(DistributionCorrupt):
        file.append(memoryview(image(engine, rows=5, columns="i AS other")))


def test_no_image_is_no_file() -> None:
    with pytest.raises(ValueError, match="schema"):
        EncryptedFile(io.BytesIO(), key=KEY, prefix=PREFIX).close()


def test_junk_is_refused_and_never_crashes(engine: duckdb.DuckDBPyConnection) -> None:
    plain = image(engine, rows=5)

    for junk in (b"", b"PAR1", plain[:-1], plain[:60] + plain[-40:]):
        with pytest.raises(DistributionCorrupt):
            written([junk])
    for position in range(len(plain) - 600, len(plain)):
        altered = bytearray(plain)
        altered[position] ^= 0x11
        try:
            written([bytes(altered)])
        except DistributionCorrupt:
            continue


def test_every_flipped_byte_of_a_file_is_found(engine: duckdb.DuckDBPyConnection) -> None:
    data = written([image(engine, rows=3, columns="i AS id, 'x' AS t")])

    for position in range(4, len(data)):
        altered = bytearray(data)
        altered[position] ^= 0x10
        with pytest.raises((DistributionCorrupt, KeyUnusable)):
            unsealed(bytes(altered))

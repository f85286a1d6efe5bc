from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from sandbox.engine import open_engine
from sandbox.protocol import Limits


@pytest.fixture
def image(tmp_path: Path) -> Path:
    path = tmp_path / "it's.parquet"
    pq.write_table(pa.table({"a": [1, 2, 3]}), path)
    return path


def test_open_engine_reads_its_images(image: Path) -> None:
    connection = open_engine({'ta"ble': [str(image), str(image)]}, Limits())

    assert connection.execute('SELECT sum(a) FROM "ta""ble"').fetchall() == [(12,)]


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT * FROM read_parquet('{other}')",
        "SELECT * FROM read_csv('/etc/passwd')",
        "SELECT * FROM read_text('/etc/passwd')",
        "SELECT * FROM '/etc/passwd'",
        "COPY (SELECT 1) TO '{other}'",
        "ATTACH '{other}' AS o",
        "INSTALL httpfs",
        "LOAD httpfs",
        "SET enable_external_access = true",
        "SET threads = 4",
        "SET allowed_paths = ['/etc/passwd']",
        "SET memory_limit = '20GB'",
        "PRAGMA temp_directory = '/tmp'",
        "SELECT * FROM some_python_variable",
    ],
)
def test_open_engine_refuses_what_is_not_an_image(
    image: Path, tmp_path: Path, sql: str
) -> None:
    other = tmp_path / "other.parquet"
    pq.write_table(pa.table({"a": [1]}), other)
    some_python_variable = pa.table({"a": [1]})
    connection = open_engine({"t": [str(image)]}, Limits())

    with pytest.raises(duckdb.Error):
        connection.execute(sql.format(other=other)).fetchall()
    assert some_python_variable.num_rows == 1


def test_open_engine_limits_memory(image: Path) -> None:
    connection = open_engine({"t": [str(image)]}, Limits(memory_bytes=50_000_000))

    with pytest.raises(duckdb.OutOfMemoryException):
        connection.execute(
            "SELECT count(*) FROM (SELECT DISTINCT i FROM range(20000000) r(i))"
        ).fetchall()

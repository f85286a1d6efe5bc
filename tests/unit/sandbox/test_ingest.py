"""Uploads as strangers send them, read in-process; the daemon's tests run them locked."""

import contextlib
import datetime as dt
import io
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from sandbox.errors import ResourceExceeded, UploadRejected
from sandbox.files.pme import aad_prefix
from sandbox.intake.ingest import profile_upload
from sandbox.intake.profile import proposed_grid
from sandbox.protocol import (
    CsvOptions,
    Format,
    Limits,
    ProfileJob,
    ProfileOutcome,
    SealedSource,
    StoredFile,
)
from tests.unit.sandbox import unsealing

KEY = b"k" * 32
PLAIN, LIMITS = CsvOptions(), Limits()


@contextmanager
def memory(content: bytes = b"") -> Iterator[int]:
    descriptor = os.memfd_create("test", os.MFD_CLOEXEC)
    try:
        os.write(descriptor, content)
        yield descriptor
    finally:
        os.close(descriptor)


class Segments:
    """An image source over bytes in memory, as the unsealer's."""

    budget_bytes = 2**40

    def __init__(self, content: bytes, size: int) -> None:
        starts = range(0, max(len(content), 1), size)
        self._parts = [content[start : start + size] for start in starts]
        self.tables = {"": tuple(len(part) for part in self._parts)}
        self.opened: list[int] = []

    def open(self, wanted: Mapping[str, Sequence[int]]) -> dict[str, list[str]]:
        self.close()
        for index in wanted[""]:
            self.opened.append(os.memfd_create("segment", os.MFD_CLOEXEC))
            os.write(self.opened[-1], self._parts[index])
        return {"": [f"/proc/self/fd/{descriptor}" for descriptor in self.opened]}

    def close(self) -> None:
        for descriptor in self.opened:
            os.close(descriptor)
        self.opened = []


def ingest(
    content: bytes,
    form: Format = Format.CSV,
    options: CsvOptions = PLAIN,
    limits: Limits = LIMITS,
    segment_bytes: int = 64 * 1024**2,
    files: int = 1,
) -> tuple[ProfileOutcome, pa.Table]:
    source = SealedSource(StoredFile("u", "", 0), b"")
    names = tuple(f"o{i}" for i in range(files))
    job = ProfileJob("j", source, form, options, "v", names, KEY, limits)
    images = Segments(content, segment_bytes)
    with contextlib.ExitStack() as stack:
        stack.callback(images.close)
        held = [stack.enter_context(memory()) for _ in range(files + 6)]
        outputs, scratch = held[:files], held[files:]
        outcome = profile_upload(job, images, outputs, scratch)
        parts = []
        for index, (named, output) in enumerate(zip(outcome.staged, outputs, strict=False)):
            staged = os.pread(output, os.fstat(output).st_size, 0)
            image = unsealing.image(staged, key=KEY, prefix=aad_prefix("v", index))
            with os.fdopen(image, "rb") as file:
                parts.append(pq.read_table(io.BytesIO(file.read())))
            assert (named.name, named.rows) == (names[index], parts[-1].num_rows)
        return outcome, pa.concat_tables(parts)


def types_of(outcome: ProfileOutcome) -> dict[str, str]:
    return {column.name: column.type for column in outcome.columns}


def test_csv_types_are_found() -> None:
    content = (
        "i,d,f,b,day,de,at,t,code,empty\n"
        "1,1.50,1e3,true,2026-01-31,31.01.2026,2026-01-31 10:00:00,a,007,\n"
        "-2,2.25,2.5,FALSE,2026-02-01,01.02.2026,2026-01-31T11:30:00Z,NA,010,\n"
        ",,NaN,,,,,,001,\n"
    )

    outcome, table = ingest(content.encode())

    assert types_of(outcome) == {
        "i": "BIGINT",
        "d": "DECIMAL(18,2)",
        "f": "DOUBLE",
        "b": "BOOLEAN",
        "day": "DATE",
        "de": "DATE",
        "at": "TIMESTAMP",
        "t": "VARCHAR",
        "code": "VARCHAR",
        "empty": "VARCHAR",
    }
    rows = table.to_pylist()
    assert rows[0]["d"] == Decimal("1.50")
    assert rows[0]["de"] == dt.date(2026, 1, 31)
    assert rows[1]["t"] == "NA"
    assert rows[1]["at"].hour == 11
    assert [row["i"] for row in rows] == [1, -2, None]
    assert rows[2]["f"] is None


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
def test_csv_delimiter_is_found(delimiter: str) -> None:
    lines = [delimiter.join(("a", "b", "c"))]
    lines += [delimiter.join((str(i), f'"x{delimiter}y"', "z")) for i in range(30)]

    outcome, table = ingest("\n".join(lines).encode())

    assert outcome.delimiter == delimiter
    assert table.column("b")[0].as_py() == f"x{delimiter}y"
    assert outcome.rows == 30


@pytest.mark.parametrize(
    ("encoding", "named", "found"),
    [
        ("utf-8", None, "utf-8"),
        ("utf-8-sig", None, "utf-8-sig"),
        ("utf-16", None, "utf-16"),
        ("gb18030", None, "gb18030"),
        ("gb18030", "GBK", "gb18030"),
        ("utf-8", "UTF8", "utf-8"),
    ],
)
def test_csv_encoding_is_found(encoding: str, named: str | None, found: str) -> None:
    content = "设备,故障\n" + "数控机床,刀具磨损\n" * 40

    outcome, table = ingest(content.encode(encoding), options=CsvOptions(encoding=named))

    assert table.column_names == ["设备", "故障"]
    assert table.column("故障")[0].as_py() == "刀具磨损"
    assert outcome.encoding == found


def test_csv_in_latin_1_is_found() -> None:
    content = "größe,ort\n" + "5,Köln\n6,Düsseldorf\n" * 20

    outcome, table = ingest(content.encode("latin-1"))

    assert outcome.encoding == "latin-1"
    assert table.column("ort")[1].as_py() == "Düsseldorf"
    assert outcome.warnings


def test_csv_quoted_newlines_and_quotes_are_data() -> None:
    _, table = ingest(b'a,b\r\n1,"x\ny ""z"""\r\n2,w\r\n')

    assert table.column("b").to_pylist() == ['x\ny "z"', "w"]


def test_csv_without_header_gets_names() -> None:
    _, table = ingest(b"1,a\n2,b\n", options=CsvOptions(header=False))

    assert table.column_names == ["column_1", "column_2"]
    assert table.num_rows == 2


def many_rows(bad: str, at: int = 50_000, rows: int = 60_000) -> bytes:
    lines = ["id,wear,note", *(f'{i},{i % 97}.5,"n\n{i}"' for i in range(rows))]
    lines[at] = bad
    return ("\n".join(lines) + "\n").encode()


@pytest.mark.parametrize(
    ("bad", "column"),
    [("7,broken,n", "wear"), ("x,1.5,n", "id"), ("7,1.5", "note"), ("7,1.5,n,more", None)],
)
def test_one_bad_row_is_named_by_line_and_column(bad: str, column: str | None) -> None:
    with pytest.raises(UploadRejected) as caught:
        ingest(many_rows(bad))

    # Each record before it spans two lines, the header one.
    assert caught.value.code == "upload_bad_row"
    assert caught.value.line == 2 * 49_999 + 2
    assert caught.value.column == column
    assert "broken" not in str(caught.value)
    assert caught.value.hint


def test_a_quote_that_is_not_closed_is_a_bad_row() -> None:
    with pytest.raises(UploadRejected) as caught:
        ingest(b'a,b\n1,x\n2,"y\n3,z\n')

    assert (caught.value.code, caught.value.line) == ("upload_bad_row", 3)


REFUSED: list[tuple[str, bytes, Any, str]] = [
    ("empty", b"", CsvOptions(), "upload_empty"),
    ("blank", b"\n\n\n", CsvOptions(), "upload_empty"),
    ("header only", b"a,b\n", CsvOptions(), "upload_no_rows"),
    ("duplicate", b"a,A\n1,2\n", CsvOptions(), "upload_duplicate_column"),
    ("nul", b"a,b\n1,\0\n", CsvOptions(), "upload_nul"),
    ("zip", b"PK\x03\x04" + bytes(50), CsvOptions(), "upload_compressed"),
    ("gzip", b"\x1f\x8b\x08" + bytes(50), CsvOptions(), "upload_compressed"),
    ("parquet", b"PAR1" + bytes(50), CsvOptions(), "upload_is_parquet"),
    ("not utf-8", b"a\n\xff\n", CsvOptions(encoding="utf-8"), "upload_encoding"),
    ("unknown", b"a\n1\n", CsvOptions(encoding="klingon"), "upload_encoding"),
    ("delimiter", b"a\n1\n", CsvOptions(delimiter="x"), "upload_delimiter"),
    ("name", b"a\x07,b\n1,2\n", CsvOptions(), "upload_column_name"),
    ("wide", b",".join([b"c"] * 3000) + b"\n", CsvOptions(), "upload_too_many_columns"),
]


@pytest.mark.parametrize(
    ("content", "options", "code"), [r[1:] for r in REFUSED], ids=[r[0] for r in REFUSED]
)
def test_bad_csv_is_refused_by_name(content: bytes, options: CsvOptions, code: str) -> None:
    with pytest.raises(UploadRejected) as caught:
        ingest(content, options=options)

    assert caught.value.code == code
    assert caught.value.hint


def parquet(table: pa.Table, **options: Any) -> bytes:
    target = io.BytesIO()
    pq.write_table(table, target, **options)
    return target.getvalue()


def test_parquet_is_read_with_simpler_types() -> None:
    table = pa.table(
        {
            "small": pa.array([1, 2, None], pa.int16()),
            "huge": pa.array([1, 2**63, 3], pa.uint64()),
            "f": pa.array([0.5, 1.5, 2.5], pa.float32()),
            "word": pa.array(["a", "b", "a"]).dictionary_encode(),
            "at": pa.array([0, 1, 2], pa.timestamp("ms", tz="UTC")),
            "d": pa.array([Decimal("1.25")] * 3, pa.decimal128(9, 2)),
        }
    )

    outcome, staged = ingest(parquet(table), Format.PARQUET)

    assert types_of(outcome) == {
        "small": "BIGINT",
        "huge": "DECIMAL(20,0)",
        "f": "DOUBLE",
        "word": "VARCHAR",
        "at": "TIMESTAMP",
        "d": "DECIMAL(9,2)",
    }
    assert staged.column("word").to_pylist() == ["a", "b", "a"]
    assert any("UTC" in warning for warning in outcome.warnings)


GOOD = parquet(pa.table({"a": list(range(1000))}))
NESTED = parquet(pa.table({"a": [1], "deep": [[1, 2]]}))
BAD_PARQUET = {
    "csv": (b"a,b\n1,2\n", "upload_not_parquet"),
    "empty": (b"", "upload_empty"),
    "cut": (GOOD[:-100], "upload_truncated"),
    "no middle": (GOOD[:50] + GOOD[-8:], "upload_truncated"),
    "overwritten": (GOOD[:4] + bytes(len(GOOD) - 8) + b"PAR1", "upload_truncated"),
    "nested": (NESTED, "upload_nested"),
    "no rows": (parquet(pa.table({"a": pa.array([], pa.int64())})), "upload_no_rows"),
    "binary": (parquet(pa.table({"a": [b"x"]})), "upload_unsupported_type"),
    "duplicate": (
        parquet(pa.table([[1], [2]], names=["a", "A"])),
        "upload_duplicate_column",
    ),
}


@pytest.mark.parametrize("case", BAD_PARQUET)
def test_bad_parquet_is_refused_by_name(case: str) -> None:
    content, code = BAD_PARQUET[case]

    with pytest.raises(UploadRejected) as caught:
        ingest(content, Format.PARQUET)
    assert caught.value.code == code
    assert caught.value.hint


def test_a_parquet_bomb_is_refused_by_its_unpacked_size() -> None:
    table = pa.table({"a": pa.array(["x" * 1000] * 200_000)})
    bomb = parquet(table, use_dictionary=False, compression="zstd")
    assert len(bomb) < 1_000_000

    with pytest.raises(ResourceExceeded):
        ingest(bomb, Format.PARQUET, limits=Limits(memory_bytes=64 * 1024**2))


def test_profile_proposes_roles_and_shows_no_value() -> None:
    rows = 2000
    lines = ["machine_id,name,city,torque,failure,started,visits"]
    lines += [
        f"{i},person {i},{'ABC'[i % 3]},{(i * 7919) % 1000}.{i % 10},{int(i % 50 == 0)},"
        f"2026-{i % 12 + 1:02d}-15,{i % 40}"
        for i in range(rows)
    ]

    outcome, _ = ingest("\n".join(lines).encode())

    found = {column.name: column for column in outcome.columns}
    roles = {name: column.proposed_roles for name, column in found.items()}
    assert roles == {
        "machine_id": ("unit_key",),
        "name": ("hidden",),
        "city": ("dimension",),
        "torque": ("measure",),
        "failure": ("label",),
        "started": ("dimension",),
        "visits": ("measure",),
    }
    assert (found["torque"].minimum, found["torque"].maximum) == ("0", "1000")
    assert found["torque"].proposed_grid == "20"
    assert found["started"].minimum == "2026-01"
    assert found["city"].minimum is None
    assert "person" not in repr(outcome.columns)
    assert all(column.reason for column in outcome.columns)


@pytest.mark.parametrize(
    ("low", "high", "whole", "grid"),
    [
        (0, 100, False, "5"),
        (0, 99, False, "2"),
        (18, 95, True, "2"),
        (0, 1, True, "1"),
        (0, 1, False, "0.05"),
        (0, 500_000, True, "20000"),
        (5, 5, False, "1"),
        (Decimal("0.001"), Decimal("0.002"), False, "0.00005"),
    ],
)
def test_proposed_grid_is_round(low: Any, high: Any, whole: bool, grid: str) -> None:
    assert proposed_grid(low, high, whole=whole) == grid

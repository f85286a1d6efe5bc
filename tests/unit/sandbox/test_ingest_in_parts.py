"""An upload in many small segments and chunks comes out as it does in one."""

import csv
import io
from collections.abc import Sequence
from typing import Any

import duckdb
import pyarrow as pa
import pytest
from hypothesis import Phase, example, given, settings
from hypothesis import strategies as st

from sandbox.errors import UploadRejected
from sandbox.intake import csv_columns, csv_ingest, staging
from sandbox.intake.chunks import last_record_end
from sandbox.intake.column_types import ISO_DATE, ColumnType, candidates
from sandbox.intake.fast_values import FastValue, fast_value
from sandbox.protocol import CsvOptions, Format, Limits, ProfileOutcome
from tests.unit.sandbox.test_ingest import ingest, parquet, types_of

Read = tuple[ProfileOutcome, pa.Table] | tuple[str, int | None, str | None]
VALUES = {
    "integer": st.integers(-(2**63), 2**63 - 1).map(str),
    "small": st.integers(-20, 20).map(str),
    "code": st.sampled_from(["007", "1", "010", "23", "0"]),
    "precise": st.sampled_from(["9007199254740993", "12345678901234567890", "5"]),
    "decimal": st.decimals(-1000, 1000, places=2).map(str),
    "mixed": st.sampled_from(["1.5", "2", "-0.25", "3.125", "10.0", "-0", ".5", "7."]),
    "double": st.floats(allow_nan=False, allow_infinity=False).map(repr),
    "exponent": st.sampled_from(["1e3", "2E-2", "100", "1.0e1", "1e2"]),
    "strange": st.sampled_from(["+5", " 7", "7 ", "1_000", "0x1f", "1.", "1,5", "inf"]),
    "date": st.dates().map(str),
    "ambiguous": st.sampled_from(["01/02/2026", "03/04/2026", "11/12/2025"]),
    "european": st.sampled_from(["31/01/2026", "01/02/2026", "13/05/2025"]),
    "german": st.sampled_from(["31.01.2026", "01.02.2026"]),
    "moment": st.datetimes().map(lambda at: at.isoformat(sep=" ")),
    "zoned": st.sampled_from(["2026-01-31T11:30:00Z", "2026-01-31 11:30:00+02:00"]),
    "flag": st.sampled_from(["true", "false", "TRUE", "False"]),
    "nothing": st.sampled_from(["", "NA", "NULL", "nan", "-", " ", "None"]),
    "text": st.text("ab,\"'\n é漢;|\t5", max_size=6).filter(lambda t: t.strip("\n ") == t),
}


@st.composite
def columns(draw: st.DrawFn) -> list[str]:
    """The values of one column: mostly of a kind, with some of another at any place."""
    kinds = sorted(VALUES)
    first, other = draw(st.sampled_from(kinds)), draw(st.sampled_from(kinds))
    rows = draw(st.integers(1, 90))
    values = draw(st.lists(VALUES[first], min_size=rows, max_size=rows))
    for _ in range(draw(st.integers(0, 3))):
        values[draw(st.integers(0, rows - 1))] = draw(VALUES[other])
    return values


@st.composite
def tables(draw: st.DrawFn) -> list[list[str]]:
    found = draw(st.lists(columns(), min_size=2, max_size=4))
    rows = min(len(values) for values in found)
    return [values[:rows] for values in found]


def written(table: Sequence[Sequence[str]], ending: str) -> bytes:
    out = io.StringIO(newline="")
    writer = csv.writer(out, lineterminator=ending)
    writer.writerow([f"column {i}" for i in range(len(table))])
    writer.writerows(zip(*table, strict=True))
    return out.getvalue().encode()


def read(
    content: bytes, *, segment: int, chunk: int, form: Format = Format.CSV, **options: Any
) -> Read:
    before = csv_ingest.CHUNK_BYTES
    csv_ingest.CHUNK_BYTES = chunk
    try:
        return ingest(content, form, CsvOptions(**options), segment_bytes=segment)
    except UploadRejected as rejected:
        return rejected.code, rejected.line, rejected.column
    finally:
        csv_ingest.CHUNK_BYTES = before


def assert_same(parts: Read, whole: Read) -> None:
    if not isinstance(parts[0], ProfileOutcome) or not isinstance(whole[0], ProfileOutcome):
        assert parts == whole
        return
    assert types_of(parts[0]) == types_of(whole[0])
    # As text: NaN is not equal to itself.
    assert repr(parts[1].to_pylist()) == repr(whole[1].to_pylist())
    assert parts[0].columns == whole[0].columns
    assert parts[0].warnings == whole[0].warnings


@settings(
    max_examples=40, deadline=None, phases=[Phase.explicit, Phase.reuse, Phase.generate]
)
@given(tables(), st.sampled_from(["\n", "\r\n"]), st.integers(20, 400), st.integers(7, 90))
@example([["1"] * 60 + ["007"], ["x"] * 61], "\n", 40, 30)
@example([["1"] * 60 + ["1.5"], ["2026-01-31"] * 60 + ["x"]], "\n", 40, 30)
@example([['"a\nb"'] * 60, ["5"] * 60], "\r\n", 40, 30)
@example([["1e2"] * 60 + ["5"], ['a"\n"b'] * 61], "\n", 40, 30)
def test_small_parts_are_read_as_the_whole(
    table: list[list[str]], ending: str, chunk: int, segment: int
) -> None:
    content = written(table, ending)

    parts = read(content, segment=segment, chunk=chunk)

    assert_same(parts, read(content, segment=2**26, chunk=2**25))


@settings(
    max_examples=40, deadline=None, phases=[Phase.explicit, Phase.reuse, Phase.generate]
)
@given(columns())
def test_what_is_read_fast_is_what_the_exact_rule_reads(values: list[str]) -> None:
    """The whole file in one chunk, with and without the fast way."""
    content = written([values, ["x"] * len(values)], "\n")
    fast = read(content, segment=2**26, chunk=2**25)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            csv_columns,
            "fast_value",
            # Nothing is ever surely right: every chunk is an odd one.
            lambda *known: FastValue(fast_value(*known).value, "false"),
        )
        exact = read(content, segment=2**26, chunk=2**25)

    assert_same(fast, exact)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "gb18030"])
def test_encodings_are_recoded_across_segments(encoding: str) -> None:
    content = ("设备,故障\n" + '数控机床,"刀具\n磨损"\n' * 60).encode(encoding)

    parts = read(content, segment=61, chunk=100, encoding=encoding)

    assert_same(parts, read(content, segment=2**26, chunk=2**25, encoding=encoding))


def test_an_encoding_that_shows_late_is_found() -> None:
    content = b"a,b\n" + b"1,x\n" * 500 + "2,Köln\n".encode("latin-1") * 20

    parts = read(content, segment=64, chunk=128)

    assert_same(parts, read(content, segment=2**26, chunk=2**25))
    assert isinstance(parts[0], ProfileOutcome)
    assert parts[0].encoding == "latin-1"


@pytest.mark.parametrize(
    ("bad", "line", "column"),
    [
        ("7,broken,n", 802, "wear"),
        ("7,1.5", 802, "note"),
        ("7,1.5,n,more", 802, None),
        ('7,1.5,"n', 802, None),
        ('7,1.5,"n"more', 802, None),
    ],
)
def test_a_bad_row_far_in_is_named_by_its_line(
    bad: str, line: int, column: str | None
) -> None:
    lines = ["id,wear,note", *(f'{i},{i % 97}.5,"n\n{i}"' for i in range(500))]
    lines[401] = bad
    content = ("\n".join(lines) + "\n").encode()

    found = read(content, segment=64, chunk=200)

    assert found == ("upload_bad_row", line, column)


@pytest.mark.parametrize(
    ("junk", "code"), [(b"\xff", "upload_encoding"), (b"\0", "upload_nul")]
)
def test_bad_bytes_far_in_are_named_by_their_line(junk: bytes, code: str) -> None:
    content = b"a,b\n" + b"1,x\n" * 300 + b"2," + junk + b"\n" + b"1,x\n" * 300

    found = read(content, segment=64, chunk=200, encoding="utf-8")

    assert found == (code, 302, None)


def test_line_ends_that_change_far_in_are_refused() -> None:
    content = b"a,b\n" + b"1,x\n" * 300 + b"1,x\r\n" * 300

    found = read(content, segment=64, chunk=200)

    assert found[0] == "upload_malformed"


def test_parquet_is_staged_some_row_groups_at_a_time() -> None:
    table = pa.table({"a": list(range(5000)), "t": [f"t{i % 7}" for i in range(5000)]})
    content = parquet(table, row_group_size=300)

    outcome, staged = ingest(content, Format.PARQUET, segment_bytes=1000)

    assert staged.equals(table)
    assert outcome.rows == 5000


def test_parquet_larger_than_the_memory_is_staged() -> None:
    table = pa.table({"a": pa.array(["x" * 1000] * 200_000)})
    content = parquet(table, row_group_size=5000, use_dictionary=False)
    limits = Limits(memory_bytes=96 * 1024**2)

    outcome, staged = ingest(content, Format.PARQUET, limits=limits)

    assert outcome.rows == 200_000
    assert staged.column("a")[-1].as_py() == "x" * 1000


@given(
    st.lists(
        st.sampled_from(['"', "\n", ",", "a", " ", '""', '"x\ny"', ',"a""b",']), max_size=40
    )
)
def test_last_record_end_is_never_inside_quotes(pieces: list[str]) -> None:
    data = "".join(pieces).encode()

    end = last_record_end(data, ",", b"\n")

    assert end == 0 or data[end - 1 : end] == b"\n"
    before = list(csv.reader(io.StringIO(data[:end].decode(), newline=""), strict=False))
    if '"' not in data.decode().replace('""', "").replace('"x\ny"', ""):
        whole = list(csv.reader(io.StringIO(data.decode(), newline=""), strict=False))
        assert before == whole[: len(before)]


def test_staged_row_groups_are_those_of_the_engine() -> None:
    content = b"a,b\n" + b"1,x\n" * 300_000

    _, staged = ingest(content)

    assert staged.num_rows == 300_000


@pytest.mark.parametrize("form", [Format.CSV, Format.PARQUET])
@pytest.mark.parametrize(("files", "expected"), [(1, 1), (3, 3), (64, 4)])
def test_a_staged_table_goes_on_in_its_next_file(
    form: Format, files: int, expected: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Four chunks or parts, each of which fills a file."""
    monkeypatch.setattr(staging, "STAGED_FILE_BYTES", 1)
    monkeypatch.setattr(csv_ingest, "CHUNK_BYTES", 300)
    monkeypatch.setattr("sandbox.intake.parquet_ingest._PART_BYTES", 1)
    numbers, texts = list(range(100)), [f"text {i}" for i in range(100)]
    table = pa.table({"n": numbers, "t": texts})
    content = written([list(map(str, numbers)), texts], "\n")
    if form is Format.PARQUET:
        content = parquet(table, row_group_size=25)

    outcome, staged = ingest(content, form, segment_bytes=300, files=files)

    assert len(outcome.staged) == expected
    assert staged.num_rows == 100
    assert [column.to_pylist() for column in staged.columns] == [
        column.to_pylist() for column in table.columns
    ]


def test_a_date_that_is_surely_right_is_the_one_of_the_exact_rule() -> None:
    """Every text of that length with signs that a lenient cast might take for a date."""
    (candidate,) = (c for c in candidates("v") if c.type == "DATE" and ISO_DATE in c.value)
    fast = fast_value("v", candidate, ColumnType("DATE", candidate.value))
    text = "a.x || '9' || b.x || c.x || '-' || d.x || '1-' || e.x || f.x"
    signs = "(SELECT unnest(string_split('0129 +-/.é', '')) AS x)"
    texts = f"SELECT {text} AS v FROM " + ", ".join(f"{signs} {name}" for name in "abcdef")
    same = fast.same.replace("{f}", "f")

    found = duckdb.sql(
        f"SELECT count(*) FILTER ({same}), count(*) FILTER ({same} AND"
        f" f IS DISTINCT FROM {candidate.value}) FROM (SELECT *, {fast.value} AS f"
        f" FROM ({texts}))"
    ).fetchall()

    ((taken, wrong),) = found
    assert taken > 1000
    assert wrong == 0

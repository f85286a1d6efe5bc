from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import httpx
import pandas as pd
import pytest
from bonded.config import Config
from bonded.errors import AnswerMalformed, IntegrityFailed
from bonded.receipts import Receipt
from bonded.results import Package, digest_header, parse_package, parse_result
from bonded.transport import Transport

DOCUMENT: dict[str, Any] = {
    "columns": [
        {"name": "type", "type": "VARCHAR"},
        {"name": "n", "type": "BIGINT"},
        {"name": "mean", "type": "DECIMAL(18,2)"},
        {"name": "share", "type": "DOUBLE"},
        {"name": "month", "type": "DATE"},
        {"name": "ok", "type": "BOOLEAN"},
    ],
    "rows": [
        ["L", 97, "40.25", 0.5, "2024-01-01", True],
        [None, None, None, None, None, None],
        ["M", 100, "39.00", 0.25, "2024-02-01", None],
    ],
    "withheld": [[1, 0], [1, 1]],
    "suppressed": 1,
    "partial": True,
    "fingerprint": "f" * 64,
    "dataset_version": "v",
    "policy_digest": "d",
}


def no_receipt() -> Receipt:
    raise AssertionError("no receipt was to be fetched")


def parse(document: Any) -> Any:
    content = json.dumps(document).encode() if not isinstance(document, bytes) else document
    return parse_result(content, release_id="r", receipt=no_receipt)


def test_withheld_is_not_null() -> None:
    result = parse(DOCUMENT)

    assert result.is_withheld(1, "n")
    assert result.is_withheld(1, 0)
    assert not result.is_withheld(1, "mean")
    assert not result.is_withheld(2, "ok")


def test_to_pandas_keeps_types_and_says_what_is_withheld() -> None:
    frame = parse(DOCUMENT).to_pandas()

    assert frame["n"].dtype == "Int64"
    assert frame["mean"].tolist()[0] == 40.25
    assert frame["share"].dtype == "float64"
    assert frame["month"].iloc[2] == pd.Timestamp("2024-02-01")
    assert frame["ok"].dtype == "boolean"
    assert frame["n"].isna().tolist() == [False, True, False]
    assert frame.attrs == {"withheld": [(1, 0), (1, 1)], "partial": True, "release": "r"}


def test_to_pandas_of_no_rows_has_the_columns() -> None:
    frame = parse({**DOCUMENT, "rows": [], "withheld": []}).to_pandas()

    assert list(frame.columns) == ["type", "n", "mean", "share", "month", "ok"]
    assert len(frame) == 0


def test_saved_result_is_the_released_bytes(tmp_path: Path) -> None:
    result = parse(DOCUMENT)

    path = result.save(tmp_path / "result.json")

    assert path.read_bytes() == result.content
    assert result.sha256 == hashlib.sha256(result.content).hexdigest()
    assert list(tmp_path.iterdir()) == [path]


def test_repr_shows_no_cell() -> None:
    assert "40.25" not in repr(parse(DOCUMENT))


@pytest.mark.parametrize(
    "document",
    [
        b"{",
        b"[]",
        {**DOCUMENT, "rows": [["L"]]},
        {**DOCUMENT, "withheld": [["a", "b"]]},
        {key: value for key, value in DOCUMENT.items() if key != "partial"},
    ],
)
def test_content_of_another_form_is_malformed(document: Any) -> None:
    with pytest.raises(AnswerMalformed, match="release r"):
        parse(document)


def package(content: bytes, served: bytes | None = None, **record: Any) -> Package:
    def answer(request: httpx.Request) -> httpx.Response:
        assert request.headers["Authorization"] == "Bearer bnd_t"
        return httpx.Response(200, content=content if served is None else served)

    transport = Transport(
        Config("http://localhost", "bnd_t"),
        client=httpx.Client(transport=httpx.MockTransport(answer)),
    )
    stated = {
        "id": "r",
        "rows": 2,
        "size_bytes": len(content),
        "sha256": hashlib.sha256(content).hexdigest(),
        "licence": "CC0-1.0",
        **record,
    }
    return parse_package(
        stated,
        transport=transport,
        url="http://localhost/c",
        path="releases/r/content",
        receipt=no_receipt,
    )


def parquet(tmp_path: Path) -> bytes:
    path = tmp_path / "source.parquet"
    pd.DataFrame({"type": ["L", "M"], "n": [1, 2]}).to_parquet(path)
    content = path.read_bytes()
    path.unlink()
    return content


def test_package_to_pandas(tmp_path: Path) -> None:
    frame = package(parquet(tmp_path)).to_pandas()

    assert frame["n"].tolist() == [1, 2]
    assert frame.attrs == {"licence": "CC0-1.0", "release": "r"}


def test_package_is_downloaded_into_a_folder_or_file(tmp_path: Path) -> None:
    found = package(b"content")

    assert found.download(tmp_path) == tmp_path / "r.parquet"
    assert found.download(tmp_path / "x").read_bytes() == b"content"
    assert found.storage_options == {"Authorization": "Bearer bnd_t"}
    assert "bnd_t" not in repr(found)


def test_package_with_an_altered_byte_is_refused_and_leaves_nothing(tmp_path: Path) -> None:
    kept = tmp_path / "x"
    kept.write_bytes(b"old")

    with pytest.raises(IntegrityFailed, match="digest"):
        package(b"content", served=b"conteNt").download(kept)

    assert kept.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [kept]


@pytest.mark.parametrize("field", ["rows", "size_bytes", "sha256"])
def test_package_record_without_a_figure_is_malformed(field: str) -> None:
    with pytest.raises(AnswerMalformed, match="lacks"):
        package(b"", **{field: None})


def test_digest_header() -> None:
    value = "sha-512=:AA==:, sha-256=:q80=:"

    assert digest_header({"Repr-Digest": value}) == "abcd"
    assert digest_header({"Repr-Digest": "sha-256=abc"}) is None
    assert digest_header({}) is None

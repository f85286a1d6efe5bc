"""HEAD, Range, ETag and their conditions, over content in memory."""

from __future__ import annotations

import base64
import hashlib
from dataclasses import dataclass
from typing import Any

import pytest
from django.http import HttpResponseBase, StreamingHttpResponse
from django.test import RequestFactory
from hypothesis import given
from hypothesis import strategies as st
from rest_framework.request import Request

from exchange.api import ranges
from exchange.api.errors import HttpProblem

DATA = bytes(range(256)) * 10


@dataclass(frozen=True)
class InMemory:
    data: bytes = DATA
    filename: str = "größe.parquet"
    media_type: str = "application/vnd.apache.parquet"

    @property
    def sha256(self) -> str:
        return hashlib.sha256(self.data).hexdigest()

    @property
    def size_bytes(self) -> int:
        return len(self.data)

    def read_range(self, start: int, end: int) -> bytes:
        assert 0 <= start <= end <= len(self.data)
        return self.data[start:end]


ETAG = f'"{InMemory().sha256}"'


def asking(**headers: str) -> Request:
    return Request(RequestFactory().get("/", headers=headers))


def body(response: HttpResponseBase) -> bytes:
    assert isinstance(response, StreamingHttpResponse)
    return b"".join(response.streaming_content)  # type: ignore[arg-type]


def test_content_response_without_range_is_the_whole() -> None:
    response = ranges.content_response(asking(), InMemory())

    assert (response.status_code, body(response)) == (200, DATA)
    assert response["Content-Length"] == str(len(DATA))
    assert response["Accept-Ranges"] == "bytes"
    assert response["ETag"] == ETAG
    digest = base64.b64encode(hashlib.sha256(DATA).digest()).decode()
    assert response["Repr-Digest"] == f"sha-256=:{digest}:"
    assert "filename*=utf-8''gr%C3%B6%C3%9Fe.parquet" in response["Content-Disposition"]


@pytest.mark.parametrize(
    ("header", "start", "end"),
    [
        ("bytes=0-0", 0, 1),
        ("bytes=10-19", 10, 20),
        ("bytes=2550-", 2550, 2560),
        ("bytes=-8", 2552, 2560),
        ("bytes=-9999", 0, 2560),
        ("bytes=2559-99999", 2559, 2560),
        ("bytes = 1 - 2", 1, 3),
    ],
)
def test_content_response_with_range(header: str, start: int, end: int) -> None:
    response = ranges.content_response(asking(Range=header), InMemory())

    assert (response.status_code, body(response)) == (206, DATA[start:end])
    assert response["Content-Range"] == f"bytes {start}-{end - 1}/2560"
    assert response["Content-Length"] == str(end - start)


@pytest.mark.parametrize(
    "header", ["bytes=-", "bytes=5-2", "bytes=0-1,4-5", "lines=0-1", "bytes=a-b", "0-1"]
)
def test_content_response_ignores_other_ranges(header: str) -> None:
    response = ranges.content_response(asking(Range=header), InMemory())

    assert (response.status_code, body(response)) == (200, DATA)


@pytest.mark.parametrize("header", ["bytes=2560-", "bytes=9999-10000", "bytes=-0"])
def test_content_response_refuses_range_outside(header: str) -> None:
    with pytest.raises(HttpProblem) as refused:
        ranges.content_response(asking(Range=header), InMemory())

    assert refused.value.code == "range_not_satisfiable"
    assert refused.value.headers == {"Content-Range": "bytes */2560"}


@pytest.mark.parametrize(("condition", "status"), [(ETAG, 206), ('"other"', 200)])
def test_if_range_of_other_bytes_gives_the_whole(condition: str, status: int) -> None:
    asked = asking(Range="bytes=0-1", **{"If-Range": condition})

    assert ranges.content_response(asked, InMemory()).status_code == status


@given(
    size=st.integers(0, 700),
    first=st.none() | st.integers(0, 800),
    last=st.none() | st.integers(0, 800),
)
def test_ranges_are_what_slices_are(size: int, first: int | None, last: int | None) -> None:
    content: Any = InMemory(data=DATA[:size])
    asked = asking(
        Range=f"bytes={'' if first is None else first}-{'' if last is None else last}"
    )
    try:
        found = ranges.wanted_range(asked, content)
    except HttpProblem:
        behind = first is not None and first >= size
        assert behind or (first is None and (not last or not size))
        return
    if found is None:
        assert (first is None and last is None) or (
            first is not None and last is not None and last < first
        )
        return
    start, end = found
    expected = (
        content.data[first : None if last is None else last + 1]
        if first is not None
        else content.data[-last:]  # type: ignore[operator]
    )
    assert content.data[start:end] == expected


def test_pieces_are_read_no_larger_than_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ranges, "PIECE_BYTES", 100)

    response = ranges.content_response(asking(Range="bytes=50-349"), InMemory())

    pieces = list(response)
    assert [len(piece) for piece in pieces] == [100, 100, 100]
    assert b"".join(pieces) == DATA[50:350]


def test_head_has_the_headers_of_get_and_no_body() -> None:
    head = ranges.head_of(InMemory())
    whole = ranges.content_response(asking(), InMemory())

    assert head.headers == whole.headers
    assert getattr(head, "content", None) == b""


@pytest.mark.parametrize("header", [ETAG, f'W/{ETAG}, "x"', "*", f'"x", {ETAG}'])
def test_not_modified_where_the_reader_has_the_bytes(header: str) -> None:
    response = ranges.not_modified(asking(**{"If-None-Match": header}), InMemory())

    assert response is not None
    assert (response.status_code, response["ETag"]) == (304, ETAG)


def test_not_modified_is_none_where_bytes_are_to_be_sent() -> None:
    assert ranges.not_modified(asking(**{"If-None-Match": '"x"'}), InMemory()) is None
    assert ranges.not_modified(asking(**{"If-Match": ETAG}), InMemory()) is None


@pytest.mark.parametrize("header", ['"x"', f"W/{ETAG}"])
def test_if_match_of_other_bytes_is_refused(header: str) -> None:
    with pytest.raises(HttpProblem, match="other bytes"):
        ranges.not_modified(asking(**{"If-Match": header}), InMemory())

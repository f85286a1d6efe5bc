"""Answering HEAD, Range and conditional requests over content that is read by ranges."""

from __future__ import annotations

import base64
import re
from collections.abc import Iterator
from typing import Protocol

from django.http import HttpResponse, HttpResponseBase, StreamingHttpResponse
from django.utils.http import content_disposition_header
from rest_framework.request import Request

from exchange.api.errors import HttpProblem
from exchange.api.preconditions import matches

PIECE_BYTES = 256 * 1024
_RANGE = re.compile(r"bytes=(\d*)-(\d*)")


class Described(Protocol):
    """What may be said of content before any of it is opened."""

    @property
    def filename(self) -> str: ...

    @property
    def media_type(self) -> str: ...

    @property
    def sha256(self) -> str: ...

    @property
    def size_bytes(self) -> int: ...


class Content(Described, Protocol):
    """Bytes of a known size and digest. Reading a range twice gives the same bytes."""

    def read_range(self, start: int, end: int) -> bytes:
        """Bytes start..end-1, 0 <= start <= end <= size_bytes."""


def content_headers(content: Described) -> dict[str, str]:
    """The headers of the whole: they are the same for HEAD, GET and each part."""
    digest = base64.b64encode(bytes.fromhex(content.sha256)).decode("ascii")
    return {
        "ETag": f'"{content.sha256}"',
        "Accept-Ranges": "bytes",
        "Repr-Digest": f"sha-256=:{digest}:",
        "Content-Type": content.media_type,
        "Content-Disposition": content_disposition_header(
            as_attachment=True, filename=content.filename
        )
        or "attachment",
        "Cache-Control": "private, no-cache",
        "X-Content-Type-Options": "nosniff",
    }


def not_modified(request: Request, content: Described) -> HttpResponseBase | None:
    """304 where the reader has these bytes already, else None; 412 by If-Match."""
    etag = f'"{content.sha256}"'
    wanted = request.headers.get("If-Match", "")
    if wanted and not matches(wanted, etag, weak=False):
        raise HttpProblem("precondition_failed", "If-Match names other bytes than these")
    if matches(request.headers.get("If-None-Match", ""), etag, weak=True):
        response = HttpResponse(status=304, headers=content_headers(content))
        del response["Content-Type"]
        return response
    return None


def head_of(content: Described) -> HttpResponseBase:
    """The answer to HEAD: all headers of GET and no byte of content."""
    headers = content_headers(content)
    headers["Content-Length"] = str(content.size_bytes)
    return HttpResponse(headers=headers)


def content_response(request: Request, content: Content) -> HttpResponseBase:
    """The content or the range asked for, piece by piece."""
    headers = content_headers(content)
    wanted = wanted_range(request, content)
    start, end = wanted or (0, content.size_bytes)
    headers["Content-Length"] = str(end - start)
    if wanted is not None:
        headers["Content-Range"] = f"bytes {start}-{end - 1}/{content.size_bytes}"
    return StreamingHttpResponse(
        _pieces(content, start, end), status=206 if wanted else 200, headers=headers
    )


def wanted_range(request: Request, content: Described) -> tuple[int, int] | None:
    """The half-open range asked for, or None for the whole.

    Several ranges, other units and malformed ones are ignored, as RFC 9110 section 14.2
    allows. Raises HttpProblem (416) if the range lies outside the content.
    """
    match = _RANGE.fullmatch(request.headers.get("Range", "").replace(" ", ""))
    if match is None or not any(match.groups()):
        return None
    # If-Range: a part of other bytes than the reader began with would corrupt its copy.
    condition = request.headers.get("If-Range", "")
    if condition and condition != f'"{content.sha256}"':
        return None
    first, last = match.groups()
    size = content.size_bytes
    if not first:
        start, end = max(0, size - int(last)), size
    else:
        start, end = int(first), min(size, int(last) + 1) if last else size
        if last and int(last) < int(first):
            return None
    if start >= end:
        raise HttpProblem(
            "range_not_satisfiable",
            f"the content has {size} bytes, the range begins behind them",
            headers={"Content-Range": f"bytes */{size}"},
        )
    return start, end


def _pieces(content: Content, start: int, end: int) -> Iterator[bytes]:
    for offset in range(start, end, PIECE_BYTES):
        yield content.read_range(offset, min(end, offset + PIECE_BYTES))

"""ETag, If-None-Match and If-Match (RFC 9110 section 13) over JSON representations."""

from __future__ import annotations

import hashlib
from typing import Any

from rest_framework import status
from rest_framework.renderers import JSONRenderer
from rest_framework.request import Request
from rest_framework.response import Response

from exchange.api.errors import HttpProblem


def etag_of(representation: Any) -> str:
    """A strong validator: equal representations have equal tags, others other ones."""
    return f'"{hashlib.sha256(JSONRenderer().render(representation)).hexdigest()[:32]}"'


def tagged(request: Request, representation: Any) -> Response:
    """The representation with its ETag, or 304 where the reader has it already."""
    etag = etag_of(representation)
    headers = {"ETag": etag, "Cache-Control": "private, no-cache"}
    if matches(request.headers.get("If-None-Match", ""), etag, weak=True):
        return Response(status=status.HTTP_304_NOT_MODIFIED, headers=headers)
    return Response(representation, headers=headers)


def check_if_match(request: Request, representation: Any) -> None:
    """Raise HttpProblem (412) if the request was made upon another representation.

    Without an If-Match header anything goes: the state machines guard themselves, this
    guards against deciding on something that one has not read.
    """
    wanted = request.headers.get("If-Match", "")
    if wanted and not matches(wanted, etag_of(representation), weak=False):
        raise HttpProblem(
            "precondition_failed",
            "If-Match names another version of this resource than the present one",
        )


def matches(header: str, etag: str, *, weak: bool) -> bool:
    """Whether a list of entity tags, or `*`, covers `etag`."""
    tags = [tag.strip() for tag in header.split(",")]
    if "*" in tags:
        return True
    return any((tag.removeprefix("W/") if weak else tag) == etag for tag in tags)

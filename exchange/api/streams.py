"""The body of an upload as a stream: raw, or the first file of a form, never spooled.

Django's own form parsing would put files into memory or a temporary file; rows in clear
must reach neither. Its pull parser is used directly instead, so that the upload is sealed
piece by piece while it arrives.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol, cast

from django.http import HttpRequest, UnreadablePostError
from django.http.multipartparser import FILE, ChunkIter, LazyStream, MultiPartParser, Parser
from django.utils.encoding import force_str
from django.utils.http import parse_header_parameters

from exchange.api.errors import HttpProblem
from exchange.errors import Invalid

PIECE_BYTES = 64 * 1024
MAX_FIELD_BYTES = 64 * 1024


class Readable(Protocol):
    def read(self, size: int = ..., /) -> bytes: ...


@dataclass(frozen=True, slots=True)
class Incoming:
    """A file on its way in: its name as the sender gave it ("" if none) and its bytes."""

    filename: str
    stream: Iterator[bytes]


def incoming(request: HttpRequest) -> Incoming:
    """The file that the body carries.

    Raises HttpProblem if it has none, or no length; Invalid `upload_interrupted` if the
    sender went away before the file began.
    """
    if not request.META.get("CONTENT_LENGTH"):
        raise HttpProblem(
            "length_required",
            "an upload says its length in Content-Length, this one does not",
        )
    kind, parameters = parse_header_parameters(request.META.get("CONTENT_TYPE", ""))
    if kind == "multipart/form-data":
        try:
            return _file_of_form(request, parameters.get("boundary", ""))
        except UnreadablePostError as error:
            raise Invalid(
                "the upload stopped before its end",
                code="upload_interrupted",
                hint="Send the file again.",
            ) from error
    return Incoming("", _pieces(cast("Readable", request)))


def _file_of_form(request: HttpRequest, boundary: str) -> Incoming:
    if not boundary or len(boundary) > 200 or not boundary.isascii():
        raise HttpProblem(
            "body_malformed", "the form's Content-Type names no usable boundary"
        )
    source = LazyStream(ChunkIter(request, PIECE_BYTES))
    for kind, headers, stream in Parser(source, boundary.encode("ascii")):
        if kind == FILE:
            disposition = headers["content-disposition"][1]
            name = force_str(disposition.get("filename", b""), errors="replace")
            cleaned = MultiPartParser.sanitize_file_name(
                cast("MultiPartParser", None), name
            )
            return Incoming(cleaned or "", _pieces(cast("Readable", stream)))
        # Fields before the file are read past; options go in the address.
        if len(stream.read(MAX_FIELD_BYTES + 1)) > MAX_FIELD_BYTES:
            raise HttpProblem("body_malformed", "a field of the form is too long to be one")
    raise HttpProblem("multipart_without_file", "the form has fields but no file")


def _pieces(stream: Readable) -> Iterator[bytes]:
    while piece := stream.read(PIECE_BYTES):
        yield piece

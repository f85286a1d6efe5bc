"""Request bodies arrive whole, or reading them fails.

A sender that goes away leaves a shorter body than it announced. The server ends it like any
other, so that half a table would be taken for a table.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterable
from typing import Any, Protocol

Environ = dict[str, Any]
Application = Callable[[Environ, Any], Iterable[bytes]]


class Readable(Protocol):
    def read(self, size: int = ..., /) -> bytes: ...


class BodyCutOff(ConnectionError):
    """The connection ended before the body did."""


class WholeBody(io.IOBase):  # which makes readline() out of read()
    """The body of `length` bytes; a read that finds its end earlier raises BodyCutOff."""

    def __init__(self, body: Readable, length: int) -> None:
        self._body = body
        self._left = length

    def read(self, size: int = -1, /) -> bytes:
        """Exactly `size` bytes, fewer only at the end that was announced."""
        wanted = self._left if size < 0 else min(size, self._left)
        pieces: list[bytes] = []
        while wanted:
            piece = self._body.read(wanted)
            if not piece:
                raise BodyCutOff(f"{self._left} bytes of the body did not come")
            pieces.append(piece)
            wanted -= len(piece)
            self._left -= len(piece)
        return b"".join(pieces)


def with_whole_bodies(application: Application) -> Application:
    """The application, given no body that ends before its Content-Length."""

    def serve(environ: Environ, start_response: Any) -> Iterable[bytes]:
        length = environ.get("CONTENT_LENGTH") or ""
        if length.isascii() and length.isdigit():
            environ["wsgi.input"] = WholeBody(environ["wsgi.input"], int(length))
        return application(environ, start_response)

    return serve

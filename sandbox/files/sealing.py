"""Sealed blobs: AES-256-GCM in chunks, so that large files stream and ranges are readable.

Format `bonded-seal/1`: 8 bytes magic `BNDSEAL\\x01`, 16 bytes salt, 16 bytes key check,
then chunks of 65,536 bytes (the last may be shorter, and is empty only in an empty file),
each followed by its 16 bytes tag. HKDF-SHA256(key, salt, info = label || context) yields
the chunk key, a nonce prefix of 7 bytes and the key check. The nonce of chunk i is prefix
|| i as 4 bytes big-endian || 1 for the last chunk, else 0: chunks cannot be reordered,
dropped, cut off or appended (STREAM, Hoang et al. 2015). The header is additional data of
every chunk. A file sealed for one context does not open in another; for files of the vault
(uploads, packages) the context is their vault name.
"""

from __future__ import annotations

import hashlib
import hmac
import os
from collections.abc import Iterator
from types import TracebackType
from typing import IO, Protocol, Self

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from sandbox.errors import DistributionCorrupt, KeyUnusable

MAGIC = b"BNDSEAL\x01"
CHUNK_BYTES = 64 * 1024
_SALT_BYTES = 16
_CHECK_BYTES = 16
_TAG_BYTES = 16
_PREFIX_BYTES = 7
HEADER_BYTES = len(MAGIC) + _SALT_BYTES + _CHECK_BYTES
_SEALED_CHUNK = CHUNK_BYTES + _TAG_BYTES
_MAX_CHUNKS = 2**32


class _Cipher:
    """The chunk cipher of one blob."""

    def __init__(self, key: bytes, salt: bytes, context: str) -> None:
        if len(key) != 32:
            raise KeyUnusable(f"a sealing key has 32 bytes, {len(key)} came")
        info = b"bonded-seal/1\x00" + context.encode()
        length = 32 + _PREFIX_BYTES + _CHECK_BYTES
        parts = HKDF(SHA256(), length, salt, info).derive(key)
        self._aead = AESGCM(parts[:32])
        self._prefix = parts[32 : 32 + _PREFIX_BYTES]
        self.check = parts[32 + _PREFIX_BYTES :]
        self.header = MAGIC + salt + self.check

    def _nonce(self, index: int, *, last: bool) -> bytes:
        return self._prefix + index.to_bytes(4, "big") + bytes([last])

    def seal(
        self, index: int, chunk: bytes | bytearray | memoryview, *, last: bool
    ) -> bytes:
        return self._aead.encrypt(self._nonce(index, last=last), chunk, self.header)

    def open(self, index: int, sealed: bytes, *, last: bool) -> bytes:
        try:
            return self._aead.decrypt(self._nonce(index, last=last), sealed, self.header)
        except InvalidTag as error:
            raise DistributionCorrupt(
                f"chunk {index} of a sealed file fails its tag: the file was altered"
            ) from error


class SealWriter:
    """Seals what is written into `fileobj`; only `close()` makes it a whole file.

    Left by an exception, a `with` block writes no last chunk, so that half a file can
    never be opened. `fileobj` stays open; it needs `write` only.
    After `close()`: `size` and `sha256` are of the content, `sealed_size` and
    `sealed_sha256` of the bytes written to `fileobj`.
    """

    def __init__(self, fileobj: IO[bytes], key: bytes, context: str) -> None:
        self._file = fileobj
        self._cipher = _Cipher(key, os.urandom(_SALT_BYTES), context)
        self._pending = bytearray()
        self._index = 0
        self._closed = False
        self._content = hashlib.sha256()
        self._sealed = hashlib.sha256()
        self.size = 0
        self.sealed_size = 0
        self._emit(self._cipher.header)

    def __repr__(self) -> str:
        return f"<SealWriter of {self.size} bytes>"

    def write(self, data: bytes | bytearray | memoryview) -> int:
        """Add `data` to the content; full chunks are written at once."""
        if self._closed:
            raise ValueError("the sealed file is closed")
        self._content.update(data)
        self.size += len(data)
        with memoryview(data) as view:
            place = CHUNK_BYTES - len(self._pending) if self._pending else 0
            self._pending += view[:place]
            # One chunk stays behind: only close() knows which chunk is the last.
            if self._pending and place < len(view):
                self._seal(self._pending)
                self._pending = bytearray()
            if not self._pending:
                # From the caller's own bytes: they are copied by the cipher alone.
                while len(view) - place > CHUNK_BYTES:
                    self._seal(view[place : place + CHUNK_BYTES])
                    place += CHUNK_BYTES
                self._pending += view[place:]
        return len(data)

    def close(self) -> None:
        """Write the last chunk; the file is whole and can be opened."""
        if not self._closed:
            last = self._cipher.seal(self._next_index(), bytes(self._pending), last=True)
            self._emit(last)
            self._closed = True

    @property
    def sha256(self) -> str:
        """Hex digest of the content so far."""
        return self._content.hexdigest()

    @property
    def sealed_sha256(self) -> str:
        """Hex digest of the sealed bytes so far."""
        return self._sealed.hexdigest()

    def _seal(self, chunk: bytearray | memoryview) -> None:
        self._emit(self._cipher.seal(self._next_index(), chunk, last=False))

    def _next_index(self) -> int:
        if self._index >= _MAX_CHUNKS:
            raise ValueError("a sealed file holds at most 2**32 chunks")
        self._index += 1
        return self._index - 1

    def _emit(self, data: bytes) -> None:
        self._file.write(data)
        self._sealed.update(data)
        self.sealed_size += len(data)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if kind is None:
            self.close()


class Positioned(Protocol):
    """What a sealed file is read from: `read` gives all of `count` bytes unless it ends."""

    def seek(self, place: int, whence: int = ..., /) -> int:
        """Stand at `place`, return it."""

    def read(self, count: int, /) -> bytes:
        """The bytes from here."""


class SealReader:
    """Opens a sealed file; `fileobj` must be seekable. `size` is the content's, in bytes.

    Raises KeyUnusable if the key or the context is another's, DistributionCorrupt if the
    bytes were altered. Nothing is returned that was not authenticated.
    """

    def __init__(self, fileobj: Positioned, key: bytes, context: str) -> None:
        self._file = fileobj
        sealed_size = fileobj.seek(0, os.SEEK_END)
        fileobj.seek(0)
        header = fileobj.read(HEADER_BYTES)
        if len(header) < HEADER_BYTES or not header.startswith(MAGIC):
            raise DistributionCorrupt(
                "a sealed file was expected: magic or header is absent"
            )
        salt = header[len(MAGIC) : len(MAGIC) + _SALT_BYTES]
        self._cipher = _Cipher(key, salt, context)
        if not hmac.compare_digest(header, self._cipher.header):
            raise KeyUnusable(
                "the key or the context is not the one the file was sealed with"
            )
        body = sealed_size - HEADER_BYTES
        self._chunks = max(1, -(-body // _SEALED_CHUNK))
        self.size = body - self._chunks * _TAG_BYTES
        if body < _TAG_BYTES or self.size < (self._chunks - 1) * CHUNK_BYTES:
            raise DistributionCorrupt("a sealed file ends inside a chunk: it was cut off")
        # Proves that the last chunk is the last, so that `size` itself is authentic.
        self._chunk(self._chunks - 1)

    def __repr__(self) -> str:
        return f"<SealReader of {self.size} bytes>"

    def read_range(self, start: int, end: int) -> bytes:
        """Return content bytes `start` to `end` (end excluded).

        Requires 0 <= start <= end <= size.
        """
        if not 0 <= start <= end <= self.size:
            raise ValueError(f"range {start}..{end} is not inside 0..{self.size}")
        if start == end:
            return b""
        first, last = start // CHUNK_BYTES, (end - 1) // CHUNK_BYTES
        data = b"".join(self._chunk(index) for index in range(first, last + 1))
        return data[start - first * CHUNK_BYTES : end - first * CHUNK_BYTES]

    def __iter__(self) -> Iterator[bytes]:
        """Yield the whole content in order, chunk by chunk."""
        for index in range(self._chunks):
            chunk = self._chunk(index)
            if chunk:
                yield chunk

    def _chunk(self, index: int) -> bytes:
        self._file.seek(HEADER_BYTES + index * _SEALED_CHUNK)
        sealed = self._file.read(_SEALED_CHUNK)
        return self._cipher.open(index, sealed, last=index == self._chunks - 1)

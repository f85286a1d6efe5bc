"""Encrypted Parquet (PME) to a plain image in memory, page by page, on several threads.

Nothing is decompressed or decoded: each page header and page is decrypted as a module with
its AAD suffix and laid behind the one before; page sizes and footer offsets are rewritten
and what speaks of encryption is dropped. Columns that are not asked for are neither read
nor named in the image. Source: parquet-format, Encryption.md (AES_GCM_V1).

A chunk is laid where its encrypted form would end at the latest: clear pages are shorter,
so no page needs to be opened to know where the next chunk goes, and each chunk is one
task. What is left between chunks was never written and takes no memory.
"""

from __future__ import annotations

import fcntl
import os
import struct
from collections import deque
from collections.abc import Sequence
from concurrent.futures import Executor, Future
from dataclasses import dataclass, field

from cryptography.exceptions import InvalidTag

from sandbox.errors import DistributionCorrupt
from sandbox.files.chunk_walk import LEAST_MODULE, ChunkWalk, Page, write_all
from sandbox.files.footers import (
    LENGTH_BYTES,
    MALFORMED,
    NONCE_BYTES,
    PLAIN_MAGIC,
    Chunk,
    Footer,
    merged_tree,
)
from sandbox.files.page_headers import rewrite_page_header
from sandbox.files.thrift import write_struct

_SEALS = fcntl.F_SEAL_SEAL | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_WRITE
_TASK_BYTES = 1024**2
_CHUNK_SLACK_BYTES = 16  # a chunk's place may have been written as 0

_U32 = struct.Struct("<I")


def aad_prefix(version_id: str, shard: int, group: str = "") -> bytes:
    """Return the AAD prefix of a shard of a dataset version, or of one of its groups.

    See protocol.EncryptedTable and protocol.ColumnGroup.
    """
    return "/".join(part for part in (version_id, group, str(shard)) if part).encode()


@dataclass(frozen=True, slots=True)
class Part:
    """One encrypted file of an image: a descriptor of it, and what opens it."""

    descriptor: int
    key: bytes | bytearray
    prefix: bytes
    columns: frozenset[str] | None = None  # what it must hold, where that is known
    footer_sha256: str = ""  # of its footer, where that is on record
    agreed: set[int] = field(default_factory=set)  # as `Footer` has it, and adds to it


class Layout:
    """An image to be: its parts' footers are open, the places of its chunks are known."""

    def __init__(self, parts: Sequence[Part], columns: frozenset[str] | None) -> None:
        """Open the footers of `parts`, files of the same rows, for the named columns.

        Raises KeyUnusable if a part's key and prefix do not open it, DistributionCorrupt
        if a footer is not the recorded one or not as our writers leave it, or parts do not
        fit.
        """
        try:
            few = columns is not None
            footers = [
                Footer(
                    part.descriptor,
                    key=part.key,
                    prefix=part.prefix,
                    sha256=part.footer_sha256,
                    agreed=part.agreed,
                    few=few,
                )
                for part in parts
            ]
            for part, footer in zip(parts, footers, strict=True):
                if part.columns is not None and part.columns != set(footer.names):
                    raise DistributionCorrupt("a file holds other columns than its group")
            self._parts = [(footer, footer.kept(columns)) for footer in footers]
            _check_fit(self._parts)
            self._chunks = _in_order(self._parts)
        except MALFORMED as error:
            raise _altered() from error
        # Added up as they lie encrypted: an upper bound, close by some 64 bytes a page.
        pages = sum(chunk.size_bytes for _, chunk in self._chunks)
        self._footer_start = len(PLAIN_MAGIC) + pages
        footer_bytes = sum(footer.tree_bytes for footer in footers)
        slack = _CHUNK_SLACK_BYTES * len(self._chunks) + 64
        self.size_bytes = self._footer_start + footer_bytes + slack
        # By part: whether its recorded footer tells what its chunks must be.
        self.pinned = tuple(footer.is_pinned for footer in footers)

    def begin(self) -> Unsealing:
        """Return the image, to be decrypted by `decrypt`; may be called once."""
        return Unsealing(self._parts, self._chunks, self._footer_start)


class Unsealing:
    """An image that is being decrypted. Ends with `finish` or `abandon`."""

    def __init__(
        self,
        parts: list[tuple[Footer, list[int]]],
        chunks: list[tuple[Footer, Chunk]],
        footer_start: int,
    ) -> None:
        self._parts = parts
        self._footer_start = footer_start
        self._descriptor = os.memfd_create("image", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        self._futures: list[Future[None]] = []
        self._tasks: deque[list[tuple[Footer, Chunk, int]]] = deque()
        waiting, place = _TASK_BYTES, len(PLAIN_MAGIC)
        for footer, chunk in chunks:
            if waiting >= _TASK_BYTES:
                self._tasks.append([])
                waiting = 0
            self._tasks[-1].append((footer, chunk, place))
            place += chunk.size_bytes
            waiting += chunk.size_bytes

    def advance(self, executor: Executor) -> bool:
        """Have `executor` decrypt the next part of it; whether there is another."""
        if self._tasks:
            self._futures.append(executor.submit(self._run, self._tasks.popleft()))
        return bool(self._tasks)

    def finish(self) -> int:
        """Return a descriptor of the image, complete, that nobody can write to.

        Requires that `decrypt` was given it. Raises DistributionCorrupt if a page does not
        decrypt or is not Parquet as our writers leave it; nothing is left then.
        """
        assert not self._tasks, "an image is finished when all of it was decrypted"
        try:
            for future in self._futures:
                future.result()
            for footer, columns in self._parts:
                if footer.is_pinned:
                    footer.agreed.update(columns)
            plain = bytearray()
            write_struct(plain, merged_tree(self._parts))
            end = plain + _U32.pack(len(plain)) + PLAIN_MAGIC
            write_all(self._descriptor, memoryview(PLAIN_MAGIC), 0)
            write_all(self._descriptor, memoryview(end), self._footer_start)
            seal(self._descriptor)
        except (*MALFORMED, InvalidTag) as error:
            self.abandon()
            raise _altered() from error
        except BaseException:
            self.abandon()
            raise
        return self._descriptor

    def abandon(self) -> None:
        """Stop, and leave nothing behind."""
        for future in self._futures:
            future.cancel()
        # A task that runs would write to whatever has the descriptor's number by then.
        for future in self._futures:
            if not future.cancelled():
                future.exception()
        os.close(self._descriptor)

    def _run(self, batch: Sequence[tuple[Footer, Chunk, int]]) -> None:
        for footer, chunk, place in batch:
            _ChunkCopy(footer, chunk, self._descriptor, place).run()


def decrypt(unsealings: Sequence[Unsealing], executor: Executor) -> None:
    """Have `executor` decrypt these images, a part of each in turn.

    Two threads that write to one file in memory wait for each other in the kernel: one
    image after another, two threads were hardly faster than one.
    """
    left = deque(unsealings)
    while left:
        unsealing = left.popleft()
        if unsealing.advance(executor):
            left.append(unsealing)


def unseal_image(
    parts: Sequence[Part], columns: frozenset[str] | None, executor: Executor
) -> int:
    """Return a descriptor of a plain Parquet image in memory that nobody can write to.

    It holds the named columns that the parts have (None: all), each part's in file order.
    Raises KeyUnusable and DistributionCorrupt as `Layout` and `Unsealing.finish` do.
    """
    unsealing = Layout(parts, columns).begin()
    decrypt([unsealing], executor)
    return unsealing.finish()


def seal(descriptor: int) -> None:
    """Make a memfd immutable, also for those who get a descriptor of it."""
    fcntl.fcntl(descriptor, fcntl.F_ADD_SEALS, _SEALS)


class _ChunkCopy(ChunkWalk):
    """One column chunk on its way from the file into the image."""

    def __init__(self, footer: Footer, chunk: Chunk, target: int, place: int) -> None:
        super().__init__(footer, chunk)
        self._target = target
        self._place = place
        self._end = place  # of what lies in the image
        self._data_start = place

    def run(self) -> None:
        """Write the chunk's pages, and have its part of the footer say where they are."""
        super().run()
        self.chunk.settle(
            start=self._place,
            data_start=self._data_start,
            size_bytes=self._end - self._place,
        )

    def page(self, page: Page, source: memoryview, target: memoryview) -> int:
        """Lay the page and its header in clear at the start of `target`."""
        cipher, aad = self.footer.cipher, self.footer.aad
        nonce = page.start + LENGTH_BYTES
        header = rewrite_page_header(
            cipher.decrypt(
                source[nonce : nonce + NONCE_BYTES],
                source[nonce + NONCE_BYTES : page.body],
                aad + page.header_kind + page.ordinals,
            ),
            body_bytes=page.end - page.body - LENGTH_BYTES - LEAST_MODULE,
            is_dictionary=page.is_dictionary,
        )
        start, nonce = len(header), page.body + LENGTH_BYTES
        end = start + page.end - nonce - LEAST_MODULE
        target[:start] = header
        cipher.decrypt_into(
            source[nonce : nonce + NONCE_BYTES],
            source[nonce + NONCE_BYTES : page.end],
            aad + page.body_kind + page.ordinals,
            target[start:end],
        )
        return end

    def flush(self, written: memoryview, *, dictionary_bytes: int) -> None:
        """Write what was laid in the target."""
        if dictionary_bytes:
            self._data_start = self._end + dictionary_bytes
        write_all(self._target, written, self._end)
        self._end += len(written)


def _check_fit(parts: Sequence[tuple[Footer, Sequence[int]]]) -> None:
    first = parts[0][0]
    if any(footer.rows != first.rows for footer, _ in parts):
        raise DistributionCorrupt("the files of a shard do not have the same rows")
    names = [name for footer, _ in parts for name in footer.names]
    if len(set(names)) != len(names):
        raise DistributionCorrupt("two files of a shard have a column of one name")


def _in_order(parts: Sequence[tuple[Footer, list[int]]]) -> list[tuple[Footer, Chunk]]:
    """The chunks as they lie in the image: by row group, each part's in file order."""
    of_parts: list[tuple[Footer, list[list[Chunk]]]] = [
        (footer, footer.chunks(columns)) for footer, columns in parts
    ]
    return [
        (footer, chunk)
        for group in range(len(parts[0][0].groups))
        for footer, groups in of_parts
        for chunk in groups[group]
    ]


def _altered() -> DistributionCorrupt:
    return DistributionCorrupt(
        "an encrypted file does not decrypt to Parquet: it was altered",
        hint="Restore it from a backup, or publish a new version.",
    )

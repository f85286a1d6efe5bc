"""An upload's bytes, pulled from the unsealer a segment at a time."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Protocol

BLOCK_BYTES = 1024**2
_TABLE = ""  # what an upload is called among the images of a job


class Images(Protocol):
    """Where what is read comes from: `processes.image_source`, or a test's double.

    Of an upload these are its segments, of a staged table the images of its files. Owes
    paths of exactly those wanted, in their order; whatever an earlier call opened is closed
    by the next one, and no path ever names another one.
    """

    @property
    def tables(self) -> Mapping[str, tuple[int, ...]]:
        """The bytes of each, under the name of the table; an upload has the name ""."""
        ...

    def open(self, wanted: Mapping[str, Sequence[int]]) -> dict[str, list[str]]:
        """Return the paths of these."""
        ...


class Upload:
    """One upload; every reading of it begins at its first byte and pulls it anew."""

    def __init__(self, images: Images) -> None:
        self._images = images
        self._sizes = images.tables[_TABLE]

    @property
    def size_bytes(self) -> int:
        """How many bytes it has."""
        return sum(self._sizes)

    def blocks(self) -> Iterator[bytes]:
        """Yield its bytes in order; one reading at a time."""
        for index in range(len(self._sizes)):
            yield from _blocks_of(self._open(index))

    def between(self, start: int, stop: int) -> Iterator[bytes]:
        """Yield the bytes from `start` to `stop`, the latter excluded."""
        begin = 0
        for index, size in enumerate(self._sizes):
            if begin < stop and start < begin + size:
                place = begin
                for block in _blocks_of(self._open(index)):
                    yield block[max(start - place, 0) : max(stop - place, 0)]
                    place += len(block)
            begin += size

    def head(self, count: int) -> bytes:
        """Return the first `count` bytes, or all if there are fewer."""
        return head_of(self.blocks(), count)

    def tail(self, count: int) -> bytes:
        """Return the last `count` bytes, or all if there are fewer."""
        return b"".join(self.between(max(self.size_bytes - count, 0), self.size_bytes))

    def _open(self, index: int) -> int:
        ((path,),) = self._images.open({_TABLE: [index]}).values()
        return os.open(path, os.O_RDONLY | os.O_CLOEXEC)


def head_of(blocks: Iterable[bytes], count: int) -> bytes:
    """Return the first `count` bytes of these blocks, or all if there are fewer."""
    found = bytearray()
    for block in blocks:
        found += block
        if len(found) >= count:
            break
    return bytes(found[:count])


def _blocks_of(descriptor: int) -> Iterator[bytes]:
    try:
        offset = 0
        while block := os.pread(descriptor, BLOCK_BYTES, offset):
            offset += len(block)
            yield block
    finally:
        os.close(descriptor)

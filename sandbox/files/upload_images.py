"""The clear content of a sealed upload, in segments that need not be in memory together."""

from __future__ import annotations

import os
from dataclasses import dataclass

from sandbox.files.pme import seal
from sandbox.files.sealing import CHUNK_BYTES, SealReader
from sandbox.protocol import SealedSource

SEGMENT_BYTES = 64 * 1024**2
_READ_BYTES = 16 * CHUNK_BYTES


@dataclass(frozen=True, slots=True)
class Segment:
    """A range of an upload's content; `descriptor` is of the sealed file."""

    descriptor: int
    source: SealedSource
    start: int
    size_bytes: int

    def copy(self) -> int:
        """Return a descriptor of these bytes in clear, in memory, immutable.

        Raises DistributionCorrupt if they were altered; nothing is left then.
        """
        image = os.memfd_create("upload", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        try:
            # A reader of its own: two segments are copied at a time.
            reader = _reader(self.descriptor, self.source)
            end, place = self.start + self.size_bytes, self.start
            while place < end:
                piece = reader.read_range(place, min(place + _READ_BYTES, end))
                view = memoryview(piece)
                while view:
                    view = view[os.write(image, view) :]
                place += len(piece)
            os.lseek(image, 0, os.SEEK_SET)  # whoever gets it shares the place
            seal(image)
        except BaseException:
            os.close(image)
            raise
        return image


def segments_of(
    descriptor: int, source: SealedSource, *, whole: bool = False
) -> list[Segment]:
    """Return the segments of an upload's content in order; `whole`: as one.

    Raises KeyUnusable if the key or the name is another's, DistributionCorrupt if the file
    was cut off.
    """
    size = _reader(descriptor, source).size
    step = size if whole else SEGMENT_BYTES
    starts = range(0, size, step) if size else [0]
    return [Segment(descriptor, source, start, min(step, size - start)) for start in starts]


class _Positioned:
    """A file that is read by position, so that several readers may share its descriptor."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._place = 0

    def seek(self, place: int, whence: int = os.SEEK_SET) -> int:
        base = os.fstat(self._descriptor).st_size if whence == os.SEEK_END else 0
        self._place = base + place
        return self._place

    def read(self, count: int) -> bytes:
        found = bytearray()
        while len(found) < count:
            piece = os.pread(self._descriptor, count - len(found), self._place)
            if not piece:
                break
            found += piece
            self._place += len(piece)
        return bytes(found)


def _reader(descriptor: int, source: SealedSource) -> SealReader:
    return SealReader(_Positioned(descriptor), source.key, source.file.name)

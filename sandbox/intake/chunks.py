"""A CSV's text in chunks of whole records, each in a file in memory of its own.

The engine reads each chunk as a file with one thread: a reader that jumps into the middle
of a file has to guess whether it stands inside quotes. Where a chunk may end is found by
the engine's own rule: a quote opens at the start of a field (blanks may come before it) and
is data anywhere else; within quotes, two of them are one that is data.
"""

from __future__ import annotations

import os
import queue
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from sandbox.errors import UploadRejected
from sandbox.intake.csv_dialect import MOST_LINE_BYTES, reject_ragged
from sandbox.intake.recode import Text

_QUOTE, _SPACE = 0x22, 0x20
_LINE_ENDS = (0x0A, 0x0D)


@dataclass(frozen=True, slots=True)
class Chunk:
    """Some whole records: where they lie in memory and in the text."""

    descriptor: int
    position: int  # of its first byte in the text
    is_first: bool

    @property
    def path(self) -> str:
        """Where the engine reads it."""
        return f"/proc/self/fd/{self.descriptor}"

    def read(self) -> bytes:
        """Return its bytes."""
        return os.pread(self.descriptor, self.size_bytes, 0)

    @property
    def size_bytes(self) -> int:
        """How many bytes it has."""
        return os.fstat(self.descriptor).st_size


class Chunks:
    """Cuts a text; waits for a free descriptor before it reads on (back-pressure).

    `free` holds descriptors of files in memory; whoever is done with a chunk puts its
    descriptor back.
    """

    def __init__(
        self,
        text: Text,
        free: queue.SimpleQueue[int],
        *,
        delimiter: str,
        names: tuple[str, ...],
        chunk_bytes: int,
    ) -> None:
        self._text = text
        self._free = free
        self._delimiter = delimiter
        self._names = names
        self._chunk_bytes = chunk_bytes
        self._newline = b""
        self._ends_in_two: bool | None = None  # whether lines end in CR and LF

    def __iter__(self) -> Iterator[Chunk]:
        """Yield the chunks in order.

        Raises UploadRejected where a quote stays open, line ends change, or what the text
        itself raises.
        """
        position, held, pieces = 0, 0, []
        wanted = self._chunk_bytes
        is_first = True
        for block in self._text.blocks():
            pieces.append(block)
            held += len(block)
            if held < wanted:
                continue
            data = b"".join(pieces)
            position, data = self._skip_blank(position, data, is_first=is_first)
            cut = self._cut(data)
            if cut:
                yield self._chunk(data, cut, position, is_first=is_first)
                is_first = False
            elif len(data) > 2 * MOST_LINE_BYTES + self._chunk_bytes:
                self._reject_open_quote(data, position)
            position += cut
            pieces = [data[cut:]]
            held = len(pieces[0])
            wanted = self._chunk_bytes if cut else 2 * held
        data = b"".join(pieces)
        position, data = self._skip_blank(position, data, is_first=is_first)
        if data:
            ended = data + b"\nx"
            if b'"' in data and last_record_end(ended, self._delimiter, b"\n") <= len(data):
                self._check_quotes(data, position)
            yield self._chunk(data, len(data), position, is_first=is_first)

    def _skip_blank(
        self, position: int, data: bytes, *, is_first: bool
    ) -> tuple[int, bytes]:
        """Blank lines before the first record: the engine would take one for the header."""
        if not is_first:
            return position, data
        rest = data.lstrip(b"\r\n")
        return position + len(data) - len(rest), rest

    def _cut(self, data: bytes) -> int:
        """Where to end the chunk; the first cut settles what ends a line."""
        for newline in (self._newline,) if self._newline else (b"\n", b"\r"):
            cut = last_record_end(data, self._delimiter, newline)
            # The engine takes the first line end of a file, be it in quotes, for that of
            # all: where lines end in CR and LF, the next chunk must begin with such a one.
            while data.endswith(b"\r\n", 0, cut):
                first = data.find(b"\n", cut)
                if first > cut and data[first - 1] == _LINE_ENDS[1]:
                    break
                cut = last_record_end(data[:cut], self._delimiter, newline)
            if cut:
                self._newline = newline
                return cut
        return 0

    def _chunk(self, data: bytes, cut: int, position: int, *, is_first: bool) -> Chunk:
        """The chunk of the first `cut` bytes, which are copied once only."""
        self._check_line_ends(data, cut)
        descriptor = self._free.get()
        os.ftruncate(descriptor, 0)
        written = 0
        with memoryview(data) as view:
            while written < cut:
                written += os.pwrite(descriptor, view[written:cut], written)
        return Chunk(descriptor, position, is_first)

    def _check_line_ends(self, data: bytes, cut: int) -> None:
        """Within a chunk the engine refuses a mixture; here, from chunk to chunk."""
        if not data.endswith(b"\n", 0, cut):
            return
        in_two = data.endswith(b"\r\n", 0, cut)
        if self._ends_in_two is None:
            self._ends_in_two = in_two
        elif self._ends_in_two != in_two:
            raise malformed()

    def _check_quotes(self, data: bytes, position: int) -> None:
        """The engine takes a last quote that is not closed for the end of the file."""
        base = self._text.lines_before(position)
        reject_ragged(data, self._delimiter, self._names, lines_before=base)

    def _reject_open_quote(self, data: bytes, position: int) -> None:
        self._check_quotes(data, position)
        line = self._text.lines_before(position) + 1
        raise UploadRejected(
            f"the record that begins on line {line} has no end within"
            f" {MOST_LINE_BYTES} bytes",
            code="upload_bad_row",
            line=line,
            hint="Is a quote not closed there? Quotes inside quotes are doubled.",
        )


def malformed() -> UploadRejected:
    """Return what is said of a CSV that cannot be read where no one line is at fault."""
    return UploadRejected(
        "the file cannot be read as CSV with this delimiter and header",
        code="upload_malformed",
        hint="State delimiter and encoding, and keep one kind of line ending.",
    )


def last_record_end(data: bytes, delimiter: str, newline: bytes) -> int:
    """Return where the last record begins that another one comes before; 0: nowhere.

    `data` begins at the start of a record. A blank line is not cut from what is before it.
    """
    quotes = (
        np.flatnonzero(np.frombuffer(data, np.uint8) == _QUOTE) if b'"' in data else None
    )
    spans = None if quotes is None else _quoted_spans(data, quotes, ord(delimiter))
    end = len(data)
    while (found := data.rfind(newline, 0, end)) >= 0:
        start = found + len(newline)
        if spans is not None:
            opened = int(np.searchsorted(spans[0], found)) - 1
            if opened >= 0 and found < spans[1][opened]:
                end = int(spans[0][opened])
                continue
        if start < len(data) and data[start] not in _LINE_ENDS:
            return start
        end = found
    return 0


def _quoted_spans(
    data: bytes, quotes: np.ndarray, delimiter: int
) -> tuple[np.ndarray, np.ndarray]:
    """Where each quoted field opens and closes; one that stays open closes at the end."""
    raw = np.frombuffer(data, np.uint8)
    openings, closings = quotes[0::2], quotes[1::2]
    before = raw[np.maximum(openings - 1, 0)]
    behind = raw[np.minimum(closings + 1, len(raw) - 1)]
    regular = (
        (openings == 0) | _is_one_of(before, delimiter, *_LINE_ENDS, _QUOTE)
    ).all() and (
        (closings == len(raw) - 1) | _is_one_of(behind, delimiter, *_LINE_ENDS, _QUOTE)
    ).all()
    if not regular:
        return _quoted_spans_by_steps(data, quotes, delimiter)
    if len(closings) < len(openings):
        closings = np.append(closings, len(raw))
    return openings, closings


def _is_one_of(values: np.ndarray, *wanted: int) -> np.ndarray:
    return np.isin(values, np.array(wanted, np.uint8))


def _quoted_spans_by_steps(
    data: bytes, quotes: np.ndarray, delimiter: int
) -> tuple[np.ndarray, np.ndarray]:
    """The same where quotes stand within fields: one after the other, slowly."""
    starts = {delimiter, *_LINE_ENDS}
    openings, closings = [], []
    is_open, skipped = False, -1
    for quote in quotes.tolist():
        if quote == skipped:
            continue
        if is_open:
            if data[quote + 1 : quote + 2] == b'"':
                skipped = quote + 1
            else:
                closings.append(quote)
                is_open = False
            continue
        place = quote - 1
        while place >= 0 and data[place] == _SPACE:
            place -= 1
        if place < 0 or data[place] in starts:
            openings.append(quote)
            is_open = True
    if is_open:
        closings.append(len(data))
    return np.array(openings, np.int64), np.array(closings, np.int64)

"""Where something stands in a query: the engine's byte offsets, counted in characters."""

from __future__ import annotations

from bisect import bisect_right
from itertools import accumulate

from policies.shape import Place


class Places:
    """The places of one text; each look-up costs the same, however long the text is."""

    def __init__(self, text: str) -> None:
        self._line_starts = [0, *(i + 1 for i, c in enumerate(text) if c == "\n")]
        # The byte at which each character ends; none where a byte is a character.
        self._ends = (
            [] if text.isascii() else list(accumulate(len(c.encode()) for c in text))
        )
        self.size_bytes = self._ends[-1] if self._ends else len(text)

    def at(self, byte_offset: int) -> Place:
        """Return the place of an offset; requires 0 <= byte_offset <= size_bytes.

        An offset inside a character is the place of that character.
        """
        offset = bisect_right(self._ends, byte_offset) if self._ends else byte_offset
        line = bisect_right(self._line_starts, offset)
        return Place(offset, line, offset - self._line_starts[line - 1] + 1)

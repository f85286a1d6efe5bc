"""How words, counts and numbers are put into a sentence."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal


def listed(words: Sequence[str]) -> str:
    """Join one or more words: `a, b and c`."""
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"


def times(count: int, one: str, many: str) -> str:
    """Count things: `one row`, `5,000 rows`."""
    return f"one {one}" if count == 1 else f"{count:,} {many}"


def plain(number: Decimal) -> str:
    """Write a number in plain digits, without an exponent or trailing zeros."""
    text = f"{number.normalize():f}"
    return "0" if text == "-0" else text

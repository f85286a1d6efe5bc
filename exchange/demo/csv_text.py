"""Generated rows as CSV bytes, and the cells that real data leaves empty."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Sequence
from random import Random
from typing import TypeAlias, TypeVar

Cell: TypeAlias = str | int | float | None
T = TypeVar("T")


def csv_bytes(columns: Sequence[str], rows: Iterable[Sequence[Cell]]) -> bytes:
    """UTF-8 with a header line and `\\n` line ends; None is an empty cell."""
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows(rows)
    return text.getvalue().encode()


def sometimes(random: Random, value: T, *, missing: float) -> T | None:
    """`value`, or None in a share `missing` of the calls."""
    return None if random.random() < missing else value

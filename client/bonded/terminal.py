"""What the command line prints: tables and JSON, safe for the reader's terminal."""

from __future__ import annotations

import dataclasses
import json
import sys
from collections.abc import Iterable, Sequence
from typing import TextIO

MAX_CELL = 60
WITHHELD = "▒▒▒"


def say(*lines: str, out: TextIO | None = None) -> None:
    """The lines are printed; what a node sent can neither move the cursor nor colour it."""
    stream = out or sys.stdout
    encoding = stream.encoding or "utf-8"
    for line in lines:
        for part in line.split("\n"):
            shown = clean(part).encode(encoding, "backslashreplace").decode(encoding)
            stream.write(f"{shown}\n")


def clean(text: str) -> str:
    """`text` with anything unprintable (control sequences, bidi overrides) replaced."""
    return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text)


def say_json(value: object) -> None:
    """`value` is printed as one JSON document; dataclasses as objects."""
    # Never through `clean`: JSON escapes control characters itself.
    sys.stdout.write(json.dumps(value, ensure_ascii=True, indent=2, default=_plain) + "\n")


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """The lines of a table, columns as wide as their widest cell up to MAX_CELL."""
    body = [[_short(cell) for cell in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(header, *body, strict=True)]
    lines = [header, ["-" * width for width in widths], *body]
    return [
        "  ".join(
            cell.ljust(width) for cell, width in zip(line, widths, strict=True)
        ).rstrip()
        for line in lines
    ]


def _short(cell: str) -> str:
    cell = clean(cell.replace("\n", " "))
    return cell if len(cell) <= MAX_CELL else cell[: MAX_CELL - 1] + "…"


def _plain(value: object) -> object:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        shown = (item for item in dataclasses.fields(value) if item.repr)
        return {item.name: getattr(value, item.name) for item in shown}
    if isinstance(value, frozenset | tuple):
        return list(value)
    return str(value)

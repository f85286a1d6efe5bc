"""A result's canonical JSON as a table whose cells say what they are."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from policies.engine_types import kind_of

MAX_ROWS_SHOWN = 500


@dataclass(frozen=True, slots=True)
class Cell:
    """`kind` is value, number, null or withheld; withheld is not null."""

    kind: str
    text: str = ""
    is_number: bool = False  # of a column of numbers: it stands on the right


@dataclass(frozen=True, slots=True)
class Table:
    columns: tuple[tuple[str, bool], ...]  # name, whether it holds numbers
    rows: tuple[tuple[Cell, ...], ...]
    row_count: int
    suppressed: int
    partial: bool

    @property
    def is_cut(self) -> bool:
        return self.row_count > len(self.rows)


def read_result(content: Mapping[str, Any]) -> Table:
    """The table of a result as `exchange.queries` stores it, its first 500 rows."""
    columns = tuple(
        (str(column["name"]), kind_of(str(column["type"])).is_number)
        for column in content["columns"]
    )
    withheld = {(int(row), int(column)) for row, column in content["withheld"]}
    rows = tuple(
        tuple(
            _cell(value, is_number=columns[at][1], is_withheld=(index, at) in withheld)
            for at, value in enumerate(row)
        )
        for index, row in enumerate(content["rows"][:MAX_ROWS_SHOWN])
    )
    return Table(
        columns,
        rows,
        len(content["rows"]),
        int(content["suppressed"]),
        bool(content["partial"]),
    )


def _cell(value: Any, *, is_number: bool, is_withheld: bool) -> Cell:
    if is_withheld:
        return Cell("withheld", is_number=is_number)
    if value is None:
        return Cell("null", is_number=is_number)
    if is_number or (isinstance(value, int | float) and not isinstance(value, bool)):
        return Cell("number", _number(value), is_number=True)
    return Cell("value", str(value))


def _number(value: Any) -> str:
    """Whole numbers with separators; others as they came: rounding is not ours to do."""
    if isinstance(value, int) and not isinstance(value, bool):
        return f"{value:,}"
    return str(value)

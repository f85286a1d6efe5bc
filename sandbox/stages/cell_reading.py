"""From the rows of a stage-1 statement to cells: names to fields, engine values to ours."""

from __future__ import annotations

from decimal import Decimal

import duckdb

from sandbox.disclosure.cell import Cell, Contribution, Number
from sandbox.errors import ResourceExceeded
from sandbox.plan.block import Block
from sandbox.stages.stage_one import Statement

MAX_CELLS = 200_000


def read_cells(
    block: Block, made: Statement, connection: duckdb.DuckDBPyConnection, *, copies: int = 1
) -> tuple[list[Cell], tuple[str, ...]]:
    """Run a pass of stage 1; returns its cells, not yet judged, and the types of the keys.

    Where the pass kept only the largest contribution, it stands `copies` times: an upper
    bound of what the largest ones make together.

    Raises ResourceExceeded where there are more cells than are controlled in one run.
    """
    cursor = connection.execute(made.sql)
    types = tuple(str(item[1]) for item in cursor.description[: len(block.keys)])
    rows = cursor.fetchmany(MAX_CELLS + 1)
    if len(rows) > MAX_CELLS:
        raise ResourceExceeded(
            f"the query makes more than {MAX_CELLS} groups",
            hint="Group by fewer or coarser keys.",
        )
    return [
        _cell(block, dict(zip(made.names, row, strict=True)), row, copies) for row in rows
    ], types


def _cell(
    block: Block, named: dict[str, object], row: tuple[object, ...], copies: int
) -> Cell:
    width, hidden = len(block.keys), len(block.hidden)
    return Cell(
        keys=row[:width],
        codes=tuple(_whole(code) for code in row[width : width + hidden]),
        units=_whole(named["units"]),
        n=_whole(named["n"]),
        outside=_whole(named["outside"]),
        contrasts=tuple(_whole(v) for name, v in named.items() if name.startswith("x")),
        top_n=tuple(map(_whole, _items(named["top_n"], copies))),
        measures=tuple(
            _contribution(named, f"m{j}_", copies, is_summed=ref in block.summed)
            for j, ref in enumerate(block.measured)
        ),
    )


def _contribution(
    named: dict[str, object], prefix: str, copies: int, *, is_summed: bool
) -> Contribution:
    low = named.get(prefix + "low")
    return Contribution(
        n=_whole(named[prefix + "n"]),
        units=_whole(named[prefix + "units"]),
        gaps=_whole(named[prefix + "gaps"]),
        top_n=tuple(map(_whole, _items(named[prefix + "top_n"], copies))),
        total=_number(named.get(prefix + "sum")),
        absolute=_number(named.get(prefix + "abs")),
        top=tuple(
            number
            for number in map(_number, _items(named.get(prefix + "top"), copies))
            if number is not None
        ),
        is_constant=is_summed and low is not None and low == named.get(prefix + "high"),
    )


def _items(value: object, copies: int) -> list[object]:
    if isinstance(value, list):
        return value
    return [] if value is None else [value] * copies


def _whole(value: object) -> int:
    # count and sum of counts: NULL where nothing came
    return value if isinstance(value, int) else 0


def _number(value: object) -> Number | None:
    return value if isinstance(value, (int, Decimal)) else None

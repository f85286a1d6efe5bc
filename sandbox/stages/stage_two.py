"""Stage 2: what is computed over controlled cells, in an engine that holds nothing else.

The protected tables are not even registered there. A withheld value enters as NULL with a
flag beside it, and every output that it reaches is withheld whatever the expression makes
of the NULL: `coalesce(avg(x), 0)` of a withheld average is withheld, not 0.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal

import duckdb
import pyarrow as pa

from sandbox.engine import open_engine
from sandbox.plan.block import Block
from sandbox.plan.cells import CellExpression, aggregates_in, cell_sql, keys_in
from sandbox.plan.scalars import scalar
from sandbox.protocol import Limits, Scalar


@dataclass(frozen=True, slots=True)
class Row:
    """One visible cell as it enters stage 2; None in `withheld[i]` positions."""

    keys: tuple[object, ...]
    values: tuple[int | float | Decimal | None, ...]
    withheld: tuple[bool, ...]


@dataclass(frozen=True, slots=True)
class Table:
    """The result: rows, and for each the positions of withheld outputs."""

    types: tuple[str, ...]
    rows: tuple[tuple[Scalar, ...], ...]
    withheld: tuple[tuple[int, ...], ...]
    dropped: bool  # HAVING could not be decided for a withheld cell


def compute(
    block: Block,
    rows: Sequence[Row],
    key_types: Sequence[str],
    value_types: Sequence[str],
    limits: Limits,
) -> Table:
    """Compute outputs, HAVING, ORDER BY and LIMIT over the rows."""
    connection = open_engine({}, limits)
    try:
        _load(connection, rows, key_types, value_types)
        cursor = connection.execute(_sql(block))
        types = tuple(str(item[1]) for item in cursor.description[: len(block.outputs)])
        found = cursor.fetchall()
        undecided = False
        if block.having is not None:
            mask = _mask(block.having)
            undecided = bool(
                connection.execute(f"SELECT count(*) FROM cells WHERE {mask}").fetchone()[0]
            )
    finally:
        connection.close()
    width = len(block.outputs)
    out: list[tuple[Scalar, ...]] = []
    masks: list[tuple[int, ...]] = []
    for row in found:
        flags = tuple(index for index in range(width) if row[width + index])
        out.append(tuple(None if i in flags else scalar(row[i]) for i in range(width)))
        masks.append(flags)
    return Table(types, tuple(out), tuple(masks), undecided)


def _load(
    connection: duckdb.DuckDBPyConnection,
    rows: Sequence[Row],
    key_types: Sequence[str],
    value_types: Sequence[str],
) -> None:
    arrays: dict[str, pa.Array] = {}
    casts: list[str] = []
    for index, name in enumerate(key_types):
        arrays[f"k{index}"] = pa.array([row.keys[index] for row in rows])
        casts.append(f"CAST(k{index} AS {name}) AS k{index}")
    for index, name in enumerate(value_types):
        values = [row.values[index] for row in rows]
        arrays[f"a{index}"] = (
            pa.array([None if v is None else float(v) for v in values], pa.float64())
            if name == "DOUBLE"
            else pa.array([None if v is None else str(v) for v in values], pa.string())
        )
        arrays[f"w{index}"] = pa.array([row.withheld[index] for row in rows], pa.bool_())
        casts += [f"CAST(a{index} AS {name}) AS a{index}", f"w{index}"]
    arrays["ordinal"] = pa.array(range(len(rows)), pa.int64())
    casts.append("ordinal")
    connection.register("incoming", pa.table(arrays))
    connection.execute(f"CREATE TABLE cells AS SELECT {', '.join(casts)} FROM incoming")
    connection.unregister("incoming")


def _mask(expression: CellExpression) -> str:
    flags = [f"w{index}" for index in sorted(aggregates_in(expression))]
    return f"({' OR '.join(flags)})" if flags else "FALSE"


def _sql(block: Block) -> str:
    outputs = [f"{cell_sql(item)} AS o{index}" for index, item in enumerate(block.outputs)]
    masks = [f"{_mask(item)} AS x{index}" for index, item in enumerate(block.outputs)]
    text = f"SELECT {', '.join((*outputs, *masks))} FROM cells"
    if block.having is not None:
        text += f" WHERE NOT {_mask(block.having)} AND ({cell_sql(block.having)})"
    orders = []
    for order in block.orders:
        if not (aggregates_in(order.expression) or keys_in(order.expression)):
            continue  # a constant orders nothing
        if aggregates_in(order.expression):
            # What is withheld stands last, whatever it would be.
            orders.append(_mask(order.expression))
        orders.append(
            f"{cell_sql(order.expression)} {'DESC' if order.descending else 'ASC'} "
            f"NULLS {'LAST' if order.nulls_last else 'FIRST'}"
        )
    # Ties by key, never by the place of rows in the data.
    orders += [f"k{index} NULLS LAST" for index in range(len(block.keys))]
    if orders:
        text += f" ORDER BY {', '.join(orders)}"
    if block.limit is not None:
        text += f" LIMIT {block.limit}"
    return text + (f" OFFSET {block.offset}" if block.offset else "")

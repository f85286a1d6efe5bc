"""Joins as weights: a sum in which each unit counts as often as it has rows joined to it.

`sum(p.income) FROM patients p JOIN visits v0 ... JOIN visits v1 ...` is the sum of n * n *
income. With k joins there are k + 1 such sums over the same units, and where n takes at
most k + 1 values they solve for the income of each group of one n. Every group must then
have enough units, or the sums are withheld.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import duckdb

from policies.document import Policy
from sandbox.disclosure.cell import Cell, Ground
from sandbox.plan.block import Block, Unit
from sandbox.plan.views import View, by_name
from sandbox.stages.stage_one import base_sql


def judge_weights(
    block: Block,
    policy: Policy,
    min_units: int,
    cells: Sequence[Cell],
    connection: duckdb.DuckDBPyConnection,
) -> None:
    """Withhold the sums whose weights take few values, one of them for too few units.

    The views of the block must be materialised, and `policy` must know them.
    """
    views = by_name(block.views)
    joins = sum(_joined(name, views, policy) for name in block.tables) - 1
    if joins < 1 or not block.measured:
        return
    found = {(*cell.keys, *cell.codes): cell for cell in cells}
    for unit in block.units:
        if unit.ref is None:
            continue
        for *label, weights, least in connection.execute(
            _weights_sql(block, policy, unit)
        ).fetchall():
            cell = found.get(tuple(label))
            if cell is not None and 1 < weights <= joins + 1 and least < min_units:
                for grounds in cell.unsafe_sums:
                    grounds.add(Ground.COMPLEMENT)


def _joined(name: str, views: Mapping[str, View], policy: Policy) -> int:
    """Return how many protected tables multiply the rows of one in FROM."""
    view = views.get(name)
    if view is None:
        table = policy.table(name)
        return 0 if table is not None and table.public else 1
    if view.keys is not None:
        return 1
    return sum(_joined(part, views, policy) for part in view.tables)


def _weights_sql(block: Block, policy: Policy, unit: Unit) -> str:
    """Return by cell how many weights there are, and the units of the rarest one."""
    keys = [f"k{i}" for i in range(len(block.keys))]
    keys += [f"h{i}" for i in range(len(block.hidden))]
    listed = "".join(f"{key}, " for key in keys)
    by = f" GROUP BY {', '.join(keys)}" if keys else ""
    return (
        f"WITH base AS ({base_sql(block, policy, unit)}), "
        f"per_unit AS (SELECT {listed}count(*) FILTER (i) AS weight FROM base "
        f"WHERE u IS NOT NULL GROUP BY {listed}u), "
        f"weights AS (SELECT {listed}weight, count(*) AS units FROM per_unit "
        f"WHERE weight > 0 GROUP BY {listed}weight) "
        f"SELECT {listed}count(*), min(units) FROM weights{by}"
    )

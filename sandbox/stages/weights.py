"""Joins as weights: a sum in which each unit counts as often as it has rows joined to it.

`sum(p.income) FROM patients p JOIN visits v0 ... JOIN visits v1 ...` is the sum of n * n *
income. With k joins there are k + 1 such sums over the same units, and where n takes at
most k + 1 values they solve for the income of each group of one n. Every group must then
have enough units, or the sums are withheld.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

from policies.document import Policy
from sandbox.disclosure.cell import Cell, Ground
from sandbox.passes.folds import Fold, Merge
from sandbox.passes.rows import Answer, Rows
from sandbox.plan.block import Block, Unit
from sandbox.plan.views import View, by_name
from sandbox.stages.inside import Inside

_SAMPLED = 16


class Weights:
    """How many weights the joins of a block give its units, in each cell."""

    def __init__(self, block: Block, policy: Policy, rows: Rows, inside: Inside) -> None:
        """Ask; the views of the block must be known to `rows` and `policy`."""
        views = by_name(block.views)
        joins = sum(_joined(name, views, policy) for name in block.tables) - 1
        named = [unit for unit in block.units if unit.ref is not None]
        self._units = named if joins >= 1 and block.measured else []
        self._block, self._few, self._rows, self._inside = block, joins + 1, rows, inside
        self._width = len(block.keys) + len(block.hidden)
        # What comes in parts is asked with the rest, or it would be read once more.
        self._asked = (
            {unit: self._ask(unit) for unit in self._units} if rows.facts is None else {}
        )

    def judge(self, cells: Sequence[Cell], min_units: int) -> None:
        """Withhold sums whose weights take few values, one of them for too few units."""
        found = {(*cell.keys, *cell.codes): cell for cell in cells}
        judged = {name for name, cell in found.items() if cell.units}
        for unit in self._units:
            answer = self._asked.get(unit)
            if answer is None:
                # What some units show, all do.
                if not self._inside.are_few and judged <= self._with_many(
                    self._ask(unit, sampled=_SAMPLED)
                ):
                    continue
                answer = self._ask(unit)
            for label, units in self._taken(answer).items():
                cell = found.get(label)
                if cell is not None and len(units) > 1 and min(units) < min_units:
                    for grounds in cell.unsafe_sums:
                        grounds.add(Ground.COMPLEMENT)

    def _ask(self, unit: Unit, *, sampled: int | None = None) -> Answer:
        base = self._inside.base_sql(unit)
        return self._rows.ask(
            _weights_sql(self._block, base, self._few, sampled),
            Fold(self._width + 1, (Merge.SUM, Merge.MAX)),
        )

    def _with_many(self, answer: Answer) -> set[tuple[object, ...]]:
        """Return the cells whose units have more weights than there are sums."""
        weights = Counter(row[: self._width] for row in answer.rows)
        return {
            row[: self._width]
            for row in answer.rows
            if max(_whole(row[-1]), weights[row[: self._width]]) > self._few
        }

    def _taken(self, answer: Answer) -> dict[tuple[object, ...], list[int]]:
        """Return by cell the units of each weight, of cells with few weights."""
        many = self._with_many(answer)
        found: dict[tuple[object, ...], list[int]] = {}
        for row in answer.rows:
            if row[: self._width] not in many:
                found.setdefault(row[: self._width], []).append(_whole(row[-2]))
        return found


def _whole(value: object) -> int:
    assert isinstance(value, int)
    return value


def _joined(name: str, views: Mapping[str, View], policy: Policy) -> int:
    """Return how many protected tables multiply the rows of one in FROM."""
    view = views.get(name)
    if view is None:
        table = policy.table(name)
        return 0 if table is not None and table.public else 1
    if view.keys is not None:
        return 1
    return sum(_joined(part, views, policy) for part in view.tables)


def _weights_sql(block: Block, base: str, few: int, sampled: int | None) -> str:
    """Return by cell each weight, its units, and how many weights the cell has here.

    `base` are the rows inside the filter. Of a cell with more than `few` weights one of
    them is enough: it has many. Of units only one in `sampled` is looked at.
    """
    keys = [f"k{i}" for i in range(len(block.keys))]
    keys += [f"h{i}" for i in range(len(block.hidden))]
    listed = "".join(f"{key}, " for key in keys)
    over = f"PARTITION BY {', '.join(keys)}" if keys else ""
    some = f" AND hash(u) % {sampled} = 0" if sampled else ""
    return (
        f"WITH base AS ({base}), "
        f"per_unit AS (SELECT {listed}count(*) AS weight FROM base "
        f"WHERE u IS NOT NULL{some} GROUP BY {listed}u), "
        f"weights AS (SELECT {listed}weight, count(*) AS units FROM per_unit "
        f"GROUP BY {listed}weight) "
        f"SELECT {listed}weight, units, count(*) OVER ({over}) AS kinds FROM weights "
        f"QUALIFY kinds <= {few} OR row_number() OVER ({over}) = 1"
    )

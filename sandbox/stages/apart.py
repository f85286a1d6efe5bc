"""What is counted beside the cells: distinct units over several pieces, distinct values,
and quantiles, which are interpolated over the bins of a measure's grid.

Of values only those count whose own cells pass. Bins are merged with their neighbours until
each passes; a quantile then tells no more than the merged histogram would, and none is told
in an outermost bin that had to be merged, whose far edge is the value of a few.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from decimal import Decimal

from policies.document import AggregateRule, Policy
from sandbox.disclosure.cell import Cell
from sandbox.disclosure.suppression import is_dominated
from sandbox.passes.folds import Fold, Merge
from sandbox.passes.rows import Answer, Rows
from sandbox.plan.block import Block, Unit
from sandbox.plan.exact import exact_sql
from sandbox.plan.render import term_sql
from sandbox.plan.terms import Always, Bin, Ref
from sandbox.stages.stage_one import base_sql, distinct_sql, names_unit, taken_sql

MAX_BINS = 200_000
Keys = tuple[object, ...]
Found = dict[Keys, dict[int, int | float]]


@dataclass(frozen=True, slots=True)
class Apart:
    """Values by visible key and number of the aggregate."""

    values: Found
    leaves_out: bool  # a count of values may have left out small ones: it is partial


class Beside:
    """The aggregates of a block that are not made of atoms."""

    def __init__(
        self, block: Block, policy: Policy, rule: AggregateRule, rows: Rows
    ) -> None:
        """Ask; the views of the block must be known to `rows` and `policy`."""
        self._block, self._policy, self._rule = block, policy, rule
        self._asked: dict[int, _Quantiles | _Units | _Values] = {}
        counted = None if block.hidden else block.units[0].ref
        for index, aggregate in enumerate(block.aggregates):
            if aggregate.function == "quantile":
                self._asked[index] = _Quantiles(block, policy, index, rows)
            elif aggregate.function != "count_distinct":
                continue
            elif counted is not None and aggregate.pieces == (counted,):
                self._asked[index] = _Units(None)
            elif names_unit(block, policy, _ref_of(block, index)):
                fold = Fold(len(block.keys), (Merge.SUM,))
                sql = distinct_sql(block, policy, index)
                self._asked[index] = _Units(rows.ask(sql, fold))
            else:
                self._asked[index] = _Values(block, policy, index, rows)

    def values(self, cells: Sequence[Cell]) -> Apart:
        """Return by visible key, for each of these aggregates, its value.

        A value that may not leave is missing: `values_of` withholds what it does not find.
        """
        found: Found = {}
        leaves_out = False
        for index, asked in self._asked.items():
            match asked:
                case _Quantiles():
                    for keys, value in asked.told(self._rule):
                        found.setdefault(keys, {})[index] = value
                case _Units(answer=None):
                    # Stage 1 counted them already: its cells are the visible ones.
                    for cell in cells:
                        found.setdefault(cell.keys, {})[index] = cell.units
                case _Units(answer=Answer() as answer):
                    for *key, units in answer.rows:
                        found.setdefault(tuple(key), {})[index] = _number(units)
                case _Values():
                    passing, some_failed = asked.passing(self._rule)
                    leaves_out |= some_failed
                    for keys, number in passing.items():
                        found.setdefault(keys, {})[index] = number
        return Apart(found, leaves_out)


@dataclass(frozen=True, slots=True)
class _Units:
    """A count of units; without an answer stage 1 has it."""

    answer: Answer | None


def _number(value: object) -> int:
    assert isinstance(value, int)
    return value


def _ref_of(block: Block, index: int) -> Ref:
    return next(p for p in block.aggregates[index].pieces if isinstance(p, Ref))


# --- distinct values


class _Values:
    """A count of values that name no unit."""

    def __init__(self, block: Block, policy: Policy, index: int, rows: Rows) -> None:
        self._ref = _ref_of(block, index)
        self._block, self._policy = block, policy
        names = ", ".join(f"k{i}" for i in range(len(block.keys)))
        fold = Fold(len(block.keys) + 1, (Merge.SUM,), limit=MAX_BINS)
        self._asked = []
        for unit in block.units:
            units = "count(*)" if unit.ref is None else "count(DISTINCT u)"
            base = base_sql(block, policy, unit, more=(f"{term_sql(self._ref)} AS d",))
            answer = rows.ask(
                f"SELECT {names + ', ' if names else ''}d, {units} FROM ({base}) AS base "
                f"WHERE {taken_sql(block.aggregates[index])} AND d IS NOT NULL "
                f"GROUP BY ALL LIMIT {MAX_BINS + 1}",
                fold,
            )
            self._asked.append(answer)

    def passing(self, rule: AggregateRule) -> tuple[dict[Keys, int], bool]:
        """Return how many values pass, and whether some may not have.

        Under a filter always: whether anybody stands behind it is no answer. Without one
        the groups of the column would say the same.
        """
        block = self._block
        some_failed = bool(block.hidden) or block.where != Always(value=True)
        passing: dict[Keys, set[object]] = {}
        for number, answer in enumerate(self._asked):
            own: dict[Keys, set[object]] = {}
            for row in answer.rows:
                if _number(row[-1]) >= rule.min_units:
                    own.setdefault(row[:-2], set()).add(row[-2])
                else:
                    some_failed = True
            passing = (
                own
                if not number
                else {k: v & own.get(k, set()) for k, v in passing.items()}
            )
        table = self._policy.table(self._ref.table)
        column = None if table is None else table.column(self._ref.column)
        # That a sensitive column has one value is that value, for everyone.
        fewest = 2 if column is not None and column.sensitive else 1
        counts = {key: len(vs) for key, vs in passing.items() if len(vs) >= fewest}
        return counts, some_failed


# --- quantiles


@dataclass(frozen=True, slots=True)
class _Part:
    """The rows of one bin, or of several that were merged, for each kind of unit."""

    low: int  # number of the first bin
    end: int  # number of the last bin, plus one
    n: int
    units: tuple[int, ...]  # a lower bound of the units
    fresh: tuple[int, ...]  # units that no lower bin has; these add up
    top: tuple[int, ...]  # an upper bound of one unit's rows
    cap: tuple[int, ...]  # the most rows of one unit in all bins

    def joined(self, other: _Part) -> _Part:
        fresh = tuple(a + b for a, b in zip(self.fresh, other.fresh, strict=True))
        units = zip(self.units, other.units, fresh, strict=True)
        cap = tuple(map(max, self.cap, other.cap))
        top = zip(self.top, other.top, cap, strict=True)
        return _Part(
            self.low,
            other.end,
            self.n + other.n,
            tuple(map(max, units)),
            fresh,
            tuple(min(a + b, most) for a, b, most in top),
            cap,
        )

    def passes(self, rule: AggregateRule) -> bool:
        copies = max(rule.dominance.n or 0, 2)
        return min(self.units) >= rule.min_units and not any(
            is_dominated((top,) * copies, self.n, rule.dominance) for top in self.top
        )


class _Quantiles:
    """A quantile, interpolated over bins."""

    def __init__(self, block: Block, policy: Policy, index: int, rows: Rows) -> None:
        self._aggregate, ref = block.aggregates[index], _ref_of(block, index)
        table = policy.table(ref.table)
        column = None if table is None else table.column(ref.column)
        self._grid = None if column is None else column.grid
        # Of a bin rows, units and those that no lower one has add up; most rows of a unit.
        merges = (Merge.SUM, Merge.SUM, Merge.SUM, Merge.MAX, Merge.MAX)
        fold = Fold(len(block.keys) + 1, merges, limit=MAX_BINS)
        self._asked = (
            [
                rows.ask(_bins_sql(block, policy, unit, index, self._grid), fold)
                for unit in block.units
            ]
            if self._grid is not None
            else []
        )

    def told(self, rule: AggregateRule) -> Iterator[tuple[Keys, float]]:
        """Yield the quantile of each group where it may be told."""
        level = self._aggregate.level
        if self._grid is None or level is None:
            return
        bins: dict[tuple[Keys, int], _Part] = {}
        for answer in self._asked:
            for *keys, number, n, units, fresh, top, cap in answer.rows:
                # The engine numbers the bins of a DOUBLE by a DOUBLE.
                place = (tuple(keys), int(number))  # type: ignore[call-overload]  # a number
                own = _Part(
                    place[1], place[1] + 1, _number(n), (_number(units),),
                    (_number(fresh),), (_number(top),), (_number(cap),),
                )  # fmt: skip
                known = bins.get(place)
                bins[place] = own if known is None else _beside(known, own)
        ordered = sorted(bins.items(), key=lambda item: (str(item[0][0]), item[0][1]))
        for key, group in itertools.groupby(ordered, key=lambda item: item[0][0]):
            value = _interpolated([part for _, part in group], level, rule)
            if value is not None:
                yield key, value * float(self._grid)


def _bins_sql(block: Block, policy: Policy, unit: Unit, index: int, grid: Decimal) -> str:
    ref = _ref_of(block, index)
    numbered = term_sql(Bin(ref, grid, index_only=True, truncating=False))
    bin_ = f"CASE WHEN ({exact_sql(ref, policy)}) IS NOT NULL THEN {numbered} END AS b"
    base = base_sql(block, policy, unit, more=(bin_,))
    keys = "".join(f"k{i}, " for i in range(len(block.keys)))
    taken = f"{taken_sql(block.aggregates[index])} AND b IS NOT NULL"
    if unit.ref is None:
        return (
            f"SELECT {keys}b, count(*), count(*), count(*), 1, 1 FROM ({base}) AS base "
            f"WHERE {taken} GROUP BY ALL LIMIT {MAX_BINS + 1}"
        )
    return (
        f"WITH own AS (SELECT {keys}b, u, count(*) AS r FROM ({base}) AS base "
        f"WHERE {taken} GROUP BY ALL), whole AS (SELECT *, "
        f"min(b) OVER (PARTITION BY {keys}u) AS first, "
        f"sum(r) OVER (PARTITION BY {keys}u) AS t FROM own) "
        f"SELECT {keys}b, sum(r)::BIGINT, count(u), count(u) FILTER (b = first), "
        "coalesce(max(r) FILTER (u IS NOT NULL), 0), "
        "coalesce(max(t) FILTER (u IS NOT NULL), 0)::BIGINT "
        f"FROM whole GROUP BY {keys}b LIMIT {MAX_BINS + 1}"
    )


def _beside(one: _Part, other: _Part) -> _Part:
    return _Part(
        one.low,
        one.end,
        one.n,
        one.units + other.units,
        one.fresh + other.fresh,
        one.top + other.top,
        one.cap + other.cap,
    )


def _interpolated(
    bins: Sequence[_Part], level: Decimal, rule: AggregateRule
) -> float | None:
    """Return the quantile in units of the grid, or None where it may not be told."""
    merged: list[_Part] = []
    open_: _Part | None = None
    for part in bins:
        open_ = part if open_ is None else open_.joined(part)
        if open_.passes(rule):
            merged.append(open_)
            open_ = None
    if open_ is not None:
        # Too few at the upper end: they go with those before them.
        merged.append(merged.pop().joined(open_) if merged else open_)
    rank = float(level) * sum(part.n for part in merged)
    for place, part in enumerate(merged):
        if rank > part.n and place + 1 < len(merged):
            rank -= part.n
            continue
        # The outer edge of what was merged at an end is where the last one stands.
        if place == 0 and not bins[0].passes(rule):
            return None
        if place + 1 == len(merged) and not bins[-1].passes(rule):
            return None
        return part.low + (part.end - part.low) * min(rank / part.n, 1.0)
    return None

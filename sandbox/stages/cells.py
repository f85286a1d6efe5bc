"""The cells of a block, judged: by rows, by buckets of units, or unit by unit.

What decides about a cell is the same each way. A cell that rows or buckets prove safe is
safe; every other is computed again, unit by unit. Only the number of units of a proven cell
is not known then, but that it is at least min_units.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from policies.document import AggregateRule, Policy
from sandbox.disclosure.cell import Cell, Ground
from sandbox.disclosure.suppression import is_unproven, judge, says_dominance
from sandbox.passes.rows import Answer, Rows
from sandbox.plan.block import Block, Unit
from sandbox.plan.terms import refs_of
from sandbox.stages.by_rows import Bounded, ByRows
from sandbox.stages.cell_reading import read_cells
from sandbox.stages.contrasts import tracks_outside
from sandbox.stages.inside import Inside
from sandbox.stages.labels import Name, name_groups
from sandbox.stages.stage_one import (
    Statement,
    buckets_of,
    counts_units,
    statement,
    top_needed,
)

# More cells than this are all computed again: as lists of values they would be slow.
MOST_LISTED = 20_000
# Of the rows one in so many may lie in cells that are computed again, before all are.
_OPEN_SHARE = 5
_MANY_ROWS = 500_000  # to tell units apart among more costs more than a pass by buckets
Outside = Mapping[Name, int]


@dataclass(frozen=True, slots=True)
class Found:
    """Cells as judged by themselves, types of their keys, and whether units are exact."""

    cells: list[Cell]
    key_types: tuple[str, ...]
    is_exact: bool


class StageOne:
    """The cells of a block, for each of its units."""

    def __init__(
        self,
        block: Block,
        policy: Policy,
        rule: AggregateRule,
        rows: Rows,
        inside: Inside,
    ) -> None:
        """Ask; the views of the block must be known to `rows` and `policy`."""
        self._block, self._policy, self._rule, self._rows = block, policy, rule, rows
        self._inside = inside
        self._sensitive = tracks_outside(block, policy) and _filters_sensitively(
            block, policy
        )
        self._by_rows = ByRows.of(block, policy, rows, inside)
        self._asked = [(unit, *self._ask(unit)) for unit in block.units]

    def _ask(self, unit: Unit) -> tuple[Statement, Answer]:
        buckets = buckets_of(self._block, unit, self._policy)
        made = statement(self._block, self._policy, unit, buckets=buckets)
        return made, self._rows.ask(made.sql, made.fold)

    def cells(self, *, exactly: bool = False) -> Found:
        """Return judged cells: one is as unsafe as the strictest of its units makes it."""
        merged: dict[Name, Cell] = {}
        types: tuple[str, ...] = ()
        bounded = None
        if self._by_rows is not None and not exactly:
            bounded = self._by_rows.cells(top_needed(self._rule), self._rule.min_units)
        for unit, made, answer in self._asked:
            if exactly:
                cells, types = self._exact(unit)
            elif bounded is not None and bounded.cells[unit]:
                cells, types = self._proved(unit, bounded, made, answer)
            else:
                cells, types = self._judged(unit, made, answer)
            for cell in cells:
                _merge(merged, cell)
        buckets = [buckets_of(self._block, u, self._policy) for u in self._block.units]
        is_exact = exactly or (bounded is None and not any(buckets))
        return Found(list(merged.values()), types[: len(self._block.keys)], is_exact)

    def _proved(
        self, unit: Unit, bounded: Bounded, made: Statement, answer: Answer
    ) -> tuple[list[Cell], tuple[str, ...]]:
        """Return judged cells; units are looked at where rows prove nothing.

        What lies outside the filter is known to be nobody, or enough: then those inside are
        all that is read again. Else `answer` is had, where it is for most rows.
        """
        cells, types = bounded.cells[unit], bounded.types
        judge(cells, self._rule, sensitive_filter=self._sensitive)
        # Where the answer is how many units there are, that there are enough is not all.
        counts = counts_units(self._block)
        unproven = [cell for cell in cells if counts or _is_open(cell)]
        read_again = sum(cell.n for cell in unproven)
        if any(0 < cell.outside < self._rule.min_units for cell in unproven):
            if counts or read_again > sum(cell.n for cell in cells) // _OPEN_SHARE:
                return self._judged(unit, made, answer)
            return self._completed(unit, cells, types)
        if not self._inside.are_few and unproven:
            self._inside.keep(sum(cell.n for cell in cells))
        outside = {_name(cell): cell.outside for cell in cells}
        if counts:
            return self._exact(unit, outside=outside)
        buckets = buckets_of(self._block, unit, self._policy)
        if read_again > _MANY_ROWS and buckets is not None:
            base = self._inside.base_sql(unit, buckets=buckets)
            less = statement(self._block, self._policy, unit, inside=base)
            again = self._rows.ask(less.sql, less.fold)
            cells, _ = self._read(less, again, copies=None, outside=outside)
        return self._completed(unit, cells, types, outside=outside)

    def _judged(
        self, unit: Unit, made: Statement, answer: Answer
    ) -> tuple[list[Cell], tuple[str, ...]]:
        block = self._block
        cells, types = self._read(made, answer, copies=None)
        if buckets_of(block, unit, self._policy) is not None:
            return self._completed(unit, cells, types)
        # Only dominance can be unproven, which more of the largest ones decide.
        if not any(is_unproven(cell) for cell in cells):
            return cells, types
        exact = statement(block, self._policy, unit, top=top_needed(self._rule))
        return self._read(exact, self._rows.ask(exact.sql, exact.fold), copies=1)

    def _completed(
        self,
        unit: Unit,
        cells: list[Cell],
        types: tuple[str, ...],
        *,
        outside: Outside | None = None,
    ) -> tuple[list[Cell], tuple[str, ...]]:
        """Return judged cells, those that are not proven computed again unit by unit."""
        unproven = [cell for cell in cells if _is_open(cell)]
        if not unproven:
            return cells, types
        if self._can_be_listed(types, unproven):
            again, _ = self._exact(unit, only=types, cells=unproven, outside=outside)
            if len(again) == len(unproven):
                return [*(cell for cell in cells if not _is_open(cell)), *again], types
        return self._exact(unit, outside=outside)

    def _exact(
        self,
        unit: Unit,
        *,
        only: Sequence[str] = (),
        cells: Sequence[Cell] = (),
        outside: Outside | None = None,
    ) -> tuple[list[Cell], tuple[str, ...]]:
        """Return cells judged by units: all, or those that stand beside their types.

        With `outside`, the units outside the filter by cell, only rows inside are read.
        """
        base = None if outside is None else self._inside.base_sql(unit)

        def asked(
            top: int | None, only: Sequence[str], cells: Sequence[Cell]
        ) -> tuple[list[Cell], tuple[str, ...]]:
            names = [_name(cell) for cell in cells]
            values = [[name[place] for name in names] for place in range(len(only))]
            made = statement(
                self._block, self._policy, unit, top=top, only=only, inside=base
            )
            answer = self._rows.ask(made.sql, made.fold, values)
            return self._read(made, answer, copies=1 if top else None, outside=outside)

        # One largest contribution proves most; several are worth their price only then.
        found, types = asked(None, only, cells)
        if not any(is_unproven(cell) for cell in found):
            return found, types
        top = top_needed(self._rule)
        # Of all others a bound showed already that nobody makes most of them.
        bounded = [cell for cell in found if says_dominance(cell)]
        if self._can_be_listed(types, bounded):
            again, _ = asked(top, types, bounded)
            if len(again) == len(bounded):
                return [
                    *(cell for cell in found if not says_dominance(cell)),
                    *again,
                ], types
        return asked(top, only, cells)

    def _can_be_listed(self, types: tuple[str, ...], cells: Sequence[Cell]) -> bool:
        """Whether a statement can be told which cells it is about, by their keys."""
        if not types or len(cells) > MOST_LISTED:
            return False
        return name_groups(types, list(map(_name, cells)))

    def _read(
        self,
        made: Statement,
        answer: Answer,
        *,
        copies: int | None,
        outside: Outside | None = None,
    ) -> tuple[list[Cell], tuple[str, ...]]:
        copies = top_needed(self._rule) if copies is None else copies
        found, types = read_cells(self._block, made, answer, copies=copies)
        for cell in found if outside is not None else ():
            cell.outside = (outside or {}).get(_name(cell), 0)
        judge(found, self._rule, sensitive_filter=self._sensitive)
        return found, types


def _name(cell: Cell) -> Name:
    return (*cell.keys, *cell.codes)


def _is_open(cell: Cell) -> bool:
    """Whether units could say otherwise of a cell than the buckets that it is judged by.

    Nobody is nobody either way: then only few outside the filter could turn out to be more.
    """
    if not cell.units:
        return Ground.COMPLEMENT in cell.unsafe
    grounds = (cell.unsafe, cell.unsafe_rows, *cell.unsafe_counts, *cell.unsafe_sums)
    return any(grounds)


def _merge(merged: dict[Name, Cell], cell: Cell) -> None:
    found = merged.setdefault(_name(cell), cell)
    if found is cell:
        return
    found.unsafe |= cell.unsafe
    found.unsafe_rows |= cell.unsafe_rows
    for mine, other in zip(found.unsafe_counts, cell.unsafe_counts, strict=True):
        mine |= other
    for mine, other in zip(found.unsafe_sums, cell.unsafe_sums, strict=True):
        mine |= other


def _filters_sensitively(block: Block, policy: Policy) -> bool:
    found = [(policy.table(ref.table), ref) for ref in refs_of(block.where)]
    columns = [table.column(ref.column) for table, ref in found if table is not None]
    return any(column is not None and column.sensitive for column in columns)

"""One block under disclosure control: the order of these steps is the safety argument.

Stage 1 -> judge cells -> compare with history -> recombine -> which keys may be printed. No
value of a withheld cell is handed to a later step.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from policies.document import AggregateRule, Policy
from sandbox.disclosure.cell import Cell, Ground
from sandbox.disclosure.domain import printed_domain
from sandbox.disclosure.recombine import Recombining, Value, contributes, sets_of
from sandbox.disclosure.suppression import judge_unanimity
from sandbox.history import pairs as past
from sandbox.history.entry import Past, entry
from sandbox.passes.holding import Holding
from sandbox.passes.rows import Rows
from sandbox.plan.block import Block
from sandbox.plan.terms import Bin, DatePart, DateText, Ref, Trunc, refs_of
from sandbox.plan.view_columns import extended
from sandbox.plan.view_sql import view_sql
from sandbox.quoting import quoted
from sandbox.stages.apart import Apart, Beside
from sandbox.stages.cells import Found, StageOne
from sandbox.stages.contrasts import is_dimension
from sandbox.stages.counted_within import CountedWithin
from sandbox.stages.existence import may_lack
from sandbox.stages.inside import Inside
from sandbox.stages.left_out import LeftOut
from sandbox.stages.quantile_bins import histograms
from sandbox.stages.stage_one import (
    stage_one_sql,
)
from sandbox.stages.stage_two import Row
from sandbox.stages.weights import Weights


@dataclass(frozen=True, slots=True)
class Controlled:
    """The cells of one block after disclosure control, as they enter stage 2."""

    rows: tuple[Row, ...]
    key_types: tuple[str, ...]
    value_types: tuple[str, ...]
    collapsed: bool  # groups are withheld whose keys may not be printed
    leaves_out: bool  # a count of values may have left out small ones
    report: Counter[str]
    history: tuple[str, ...]
    sql: str
    units_covered: int

    @property
    def withheld(self) -> int:
        """How many rows lack something; the collapsed ones count as one."""
        return sum(1 for row in self.rows if any(row.withheld)) + self.collapsed


def shown_sql(block: Block, policy: Policy) -> str:
    """Return a block's statements: what is computed for each unit, then stage 1."""
    views = [f"{quoted(view.name)} AS ({view_sql(view, policy)})" for view in block.views]
    return ";\n".join([*views, stage_one_sql(block, policy)])


def control(
    block: Block,
    policy: Policy,
    rule: AggregateRule,
    holding: Holding,
    *,
    history: Sequence[str],
) -> Controlled:
    """Return the controlled cells of a block."""

    def earlier(block: Block, more: Sequence[str] = ()) -> list[Past]:
        return past.earlier(block, policy, [*history, *more], holding)

    pasts = earlier(block)
    # What is asked before anything is looked at is read together, where rows come in parts.
    rows = holding.rows_for([block, *pasts])
    rows.materialise(block.views, policy)
    policy = extended(policy, block.views)
    inside = Inside(block, policy, rows)
    stage_one = StageOne(block, policy, rule, rows, inside)
    left_out = LeftOut(block, policy, rows)
    counted_within = CountedWithin(block, policy, rows)
    weights = Weights(block, policy, rows, inside)
    comparing = past.Comparing(block, policy, rule, pasts, rows)
    beside = Beside(block, policy, rule, rows)

    def judged(found: Found) -> list[Cell]:
        judge_unanimity(
            found.cells,
            _sensitive_positions(block, policy),
            made_up=_made_up_positions(block),
            min_units=rule.min_units,
        )
        left_out.judge(found.cells, rule.min_units)
        counted_within.judge(found.cells, rule.min_units)
        weights.judge(found.cells, rule.min_units)
        comparing.mark(found.cells)
        return found.cells

    found = stage_one.cells()
    cells = judged(found)
    if not found.is_exact and _withheld_by_history(cells):
        # Of several that could be withheld the smallest are: that takes their very sizes.
        found = stage_one.cells(exactly=True)
        cells = judged(found)
    shown, held_back = _split(_visible_groups(block, cells))
    apart = beside.values(cells)
    told = _histograms(block, policy, rule, rows, apart, earlier)
    recombining = Recombining(
        block, tracked=_tracked_hidden(block, policy), min_units=rule.min_units
    )
    report: Counter[str] = Counter()
    made: list[Row] = []
    released_sets: list[list[Cell]] = []
    for keys, pieces in shown.items():
        values = recombining.values_of(pieces, apart.values.get(keys, {}))
        made.append(_row(keys, values))
        released_sets += sets_of(block, pieces, values)
        report.update(ground for value in values for ground in value.grounds)
    collapsed = _count_withheld(held_back, report)
    more, collapsed = _withheld_rows(block, policy, shown, rows, collapsed=collapsed)
    return Controlled(
        # In one order, however the engine found them: sums of doubles depend on it.
        rows=tuple(sorted((*made, *more), key=lambda row: tuple(map(str, row.keys)))),
        key_types=found.key_types,
        value_types=_value_types(block),
        collapsed=collapsed,
        leaves_out=apart.leaves_out,
        report=report,
        history=(entry(block, released_sets), *told),
        sql=shown_sql(block, policy),
        # At least so many: units are not counted further than it takes to judge.
        units_covered=rule.min_units if any(cell.is_safe for cell in cells) else 0,
    )


def _histograms(
    block: Block,
    policy: Policy,
    rule: AggregateRule,
    rows: Rows,
    apart: Apart,
    earlier: Callable[[Block, Sequence[str]], list[Past]],
) -> list[str]:
    """Take away the quantiles whose bins are too close to what left; return the entries."""
    entries: list[str] = []
    for item in histograms(block, policy):
        stage_one = StageOne(
            item.block, policy, rule, rows, Inside(item.block, policy, rows)
        )
        pasts = earlier(item.block, entries)
        comparing = past.Comparing(item.block, policy, rule, pasts, rows)
        found = stage_one.cells()
        comparing.mark(found.cells)
        if not found.is_exact and _withheld_by_history(found.cells):
            found = stage_one.cells(exactly=True)
            comparing.mark(found.cells)
        cells = found.cells
        groups: dict[tuple[object, ...], list[Cell]] = {}
        for cell in cells:
            keys = tuple(cell.keys[place] for place in item.visible)
            if contributes(item.block, cell):
                groups.setdefault(keys, []).append(cell)
        told: list[list[Cell]] = []
        for keys, bins in groups.items():
            values = apart.values.get(keys, {})
            if any(Ground.HISTORY in cell.unsafe for cell in bins):
                for index in item.quantiles:
                    values.pop(index, None)
            if item.quantiles & set(values):
                told += [[cell] for cell in bins if cell.is_safe]
        entries.append(entry(item.block, told))
    return entries


def _withheld_rows(
    block: Block,
    policy: Policy,
    shown: dict[tuple[object, ...], list[Cell]],
    rows: Rows,
    *,
    collapsed: bool,
) -> tuple[list[Row], bool]:
    """Return the rows that are printed though withheld, and whether others collapse."""
    values = tuple(None for _ in block.aggregates)
    flags = tuple(True for _ in block.aggregates)
    domain = printed_domain(block, policy, rows)
    if domain is not None:
        # Zero and few alike: every key of the public domain is printed.
        return [Row(keys, values, flags) for keys in domain if keys not in shown], False
    if not block.keys:
        return ([] if shown else [Row((), values, flags)]), collapsed and bool(shown)
    return [], collapsed or may_lack(block, shown, policy, rows)


# --- stage 1


def _withheld_by_history(cells: Sequence[Cell]) -> bool:
    return any(Ground.HISTORY in cell.unsafe for cell in cells)


def _is_sensitive(ref: Ref, policy: Policy) -> bool:
    table = policy.table(ref.table)
    column = None if table is None else table.column(ref.column)
    return column is not None and column.sensitive


def _sensitive_positions(block: Block, policy: Policy) -> list[frozenset[int]]:
    refs = {ref for reached in block.grouping_refs for ref in reached}
    return [
        frozenset(i for i, reached in enumerate(block.grouping_refs) if ref in reached)
        for ref in sorted(refs, key=str)
        if _is_sensitive(ref, policy)
    ]


def _made_up_positions(block: Block) -> frozenset[int]:
    """Return the positions of keys that conditions of the query make up."""
    return frozenset(
        i
        for i, term in enumerate((*block.keys, *block.hidden))
        if not isinstance(term, (Ref, Bin, Trunc, DatePart, DateText))
    )


def _tracked_hidden(block: Block, policy: Policy) -> frozenset[int]:
    """Return the hidden keys whose rest is watched, as that of a filter in WHERE is."""
    return frozenset(
        i
        for i, term in enumerate(block.hidden)
        if any(is_dimension(ref, policy) for ref in refs_of(term))
    )


# --- groups


def _visible_groups(
    block: Block, cells: Sequence[Cell]
) -> dict[tuple[object, ...], list[Cell]]:
    groups: dict[tuple[object, ...], list[Cell]] = {}
    for cell in cells:
        if cell.units or not (block.keys or block.hidden):
            groups.setdefault(cell.keys, []).append(cell)
    return groups


def _split(
    groups: dict[tuple[object, ...], list[Cell]],
) -> tuple[dict[tuple[object, ...], list[Cell]], list[list[Cell]]]:
    # A key is shown only when some piece of its group is safe by itself.
    shown = {
        keys: pieces for keys, pieces in groups.items() if any(c.is_safe for c in pieces)
    }
    return shown, [pieces for keys, pieces in groups.items() if keys not in shown]


def _count_withheld(held_back: list[list[Cell]], report: Counter[str]) -> bool:
    for pieces in held_back:
        report.update({ground for cell in pieces for ground in cell.unsafe})
    return bool(held_back)


def _row(keys: tuple[object, ...], values: tuple[Value, ...]) -> Row:
    return Row(
        keys,
        tuple(value.value for value in values),
        tuple(bool(value.grounds) for value in values),
    )


def _value_types(block: Block) -> tuple[str, ...]:
    return tuple(item.value_type for item in block.aggregates)

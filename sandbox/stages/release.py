"""Run a plan and release what may leave: the order of these steps is the safety argument.

For each block: stage 1 -> judge cells -> compare with history -> recombine -> which keys
may be printed. Then stage 2. No value of a withheld cell is handed to a later step.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import duckdb

from policies.document import AggregateRule, Policy
from sandbox.disclosure.cell import Cell, Ground
from sandbox.disclosure.domain import printed_domain
from sandbox.disclosure.recombine import Value, contributes, sets_of, values_of
from sandbox.disclosure.suppression import judge_unanimity
from sandbox.history import pairs as past
from sandbox.history.entry import Past, entry, join_entries
from sandbox.passes.holding import AllOpen, Holding
from sandbox.passes.rows import Rows
from sandbox.plan.block import Block
from sandbox.plan.plan import Plan
from sandbox.plan.results import Cells, Selected
from sandbox.plan.terms import Bin, DatePart, DateText, Ref, Trunc, refs_of
from sandbox.plan.view_columns import extended
from sandbox.plan.view_sql import view_sql
from sandbox.protocol import Limits, Scalar
from sandbox.quoting import quoted
from sandbox.stages.apart import Apart, Beside
from sandbox.stages.cells import Found, StageOne
from sandbox.stages.contrasts import is_dimension
from sandbox.stages.counted_within import CountedWithin
from sandbox.stages.existence import may_lack
from sandbox.stages.inside import Inside
from sandbox.stages.left_out import LeftOut
from sandbox.stages.quantile_bins import histograms
from sandbox.stages.reentry import filled, needed_before, public_in
from sandbox.stages.stage_one import (
    stage_one_sql,
)
from sandbox.stages.stage_two import Row, StageTwo
from sandbox.stages.weights import Weights


@dataclass(frozen=True, slots=True)
class Released:
    """What left, and for the provider why the rest did not."""

    types: tuple[str, ...]
    rows: tuple[tuple[Scalar, ...], ...]
    withheld: tuple[tuple[int, ...], ...]
    suppressed: int
    partial: bool
    report: tuple[tuple[str, int], ...]
    history: str
    executed_sql: str
    units_covered: int


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


def release(
    plan: Plan,
    policy: Policy,
    rule: AggregateRule,
    connection: duckdb.DuckDBPyConnection,
    *,
    history: Sequence[str],
    limits: Limits,
) -> Released:
    """Return the controlled result of `plan` over the tables of `connection`.

    Raises what `release_held` raises.
    """
    holding = AllOpen(connection, policy)
    return release_held(plan, policy, rule, holding, history=history, limits=limits)


def release_held(
    plan: Plan,
    policy: Policy,
    rule: AggregateRule,
    holding: Holding,
    *,
    history: Sequence[str],
    limits: Limits,
) -> Released:
    """Return the controlled result of `plan` over the tables of `holding`.

    Blocks run one after another, coarse ones first, and each is compared with those before
    it as with earlier releases: a total beside its parts tells what one part withholds.
    Raises QueryRejected where a result that re-enters is withheld, and ResourceExceeded
    (`needs_more_memory`) where what is asked cannot be read in parts that fit.
    """
    done: dict[int, Controlled] = {}
    with StageTwo(limits) as stage_two:
        for name in public_in(plan):
            stage_two.load_public(name, holding.public(name))
        for number in _run_order(plan):
            block = filled(plan, plan.blocks[number], stage_two.compute)
            past = [*history, *(text for item in done.values() for text in item.history)]
            found = control(block, policy, rule, holding, history=past)
            done[number] = found
            stage_two.load(number, found.rows, found.key_types, found.value_types)
        table = stage_two.compute(plan.result)
    rows, withheld = list(table.rows), list(table.withheld)
    hidden = sum(item.withheld for item in done.values())
    collapsed = sum(item.collapsed for item in done.values())
    if _shows_the_collapsed(plan, done):
        rows.append(tuple(None for _ in table.types))
        withheld.append(tuple(range(len(table.types))))
        collapsed -= 1
    suppressed = sum(1 for mask in withheld if mask) + collapsed
    report: Counter[str] = Counter()
    for item in done.values():
        report.update(item.report)
    return Released(
        types=table.types,
        rows=tuple(rows),
        withheld=tuple(withheld),
        suppressed=suppressed,
        partial=bool(hidden) or any(item.leaves_out for item in done.values()),
        report=tuple(sorted((str(ground), count) for ground, count in report.items())),
        history=join_entries(
            plan.fingerprint, [text for item in done.values() for text in item.history]
        ),
        executed_sql=";\n".join(done[number].sql for number in sorted(done)),
        units_covered=max((item.units_covered for item in done.values()), default=0),
    )


def plan_sql(plan: Plan | None, policy: Policy) -> str:
    """Return the first pass of each block as text, for reviewers and the log."""
    if plan is None:
        return ""
    return ";\n".join(_shown(block, extended(policy, block.views)) for block in plan.blocks)


def _shown(block: Block, policy: Policy) -> str:
    """Return a block's statements: what is computed for each unit, then stage 1."""
    views = [f"{quoted(view.name)} AS ({view_sql(view, policy)})" for view in block.views]
    return ";\n".join([*views, stage_one_sql(block, policy)])


def _run_order(plan: Plan) -> list[int]:
    """Return the blocks in the order to run them: what re-enters first, then by keys."""
    order: list[int] = []
    pending = sorted(
        range(len(plan.blocks)),
        key=lambda n: (len(plan.blocks[n].keys) + len(plan.blocks[n].hidden), n),
    )
    while pending:
        ready = next(n for n in pending if needed_before(plan, n) <= set(order))
        order.append(ready)
        pending.remove(ready)
    return order


def _shows_the_collapsed(plan: Plan, done: dict[int, Controlled]) -> bool:
    """Whether withheld groups stand as a row of their own at the end.

    Only where each cell is a row: a filter or limit chooses among rows, and the collapsed
    one is none to choose.
    """
    result = plan.result
    while isinstance(result, Selected) and result.only_projects:
        result = result.source
    return isinstance(result, Cells) and done[result.block].collapsed


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
    tracked = _tracked_hidden(block, policy)
    position = {atom: index for index, atom in enumerate(block.measured)}
    report: Counter[str] = Counter()
    made: list[Row] = []
    released_sets: list[list[Cell]] = []
    for keys, pieces in shown.items():
        values = values_of(
            block,
            pieces,
            apart.values.get(keys, {}),
            position=position,
            tracked=tracked,
            min_units=rule.min_units,
        )
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
        sql=_shown(block, policy),
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

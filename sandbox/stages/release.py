"""Run a block and release what may leave: the order of these steps is the safety argument.

stage 1 -> judge cells -> compare with history -> recombine -> which keys may be printed
-> stage 2. No value of a withheld cell is handed to a later step.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import duckdb

from policies.document import AggregateRule, Policy
from sandbox.disclosure.cell import Cell
from sandbox.disclosure.domain import printed_domain
from sandbox.disclosure.recombine import Value, sets_of, values_of
from sandbox.disclosure.suppression import is_unproven, judge, judge_unanimity
from sandbox.history import pairs as past
from sandbox.history.entry import entry
from sandbox.plan.block import Block
from sandbox.plan.terms import Bin, DatePart, DateText, Ref, Trunc, refs_of
from sandbox.protocol import Limits, Scalar
from sandbox.stages.apart import counted_apart
from sandbox.stages.cell_reading import read_cells
from sandbox.stages.contrasts import is_dimension, tracks_outside
from sandbox.stages.existence import may_lack
from sandbox.stages.stage_one import statement, top_needed
from sandbox.stages.stage_two import Row, compute


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


def release(
    block: Block,
    policy: Policy,
    rule: AggregateRule,
    connection: duckdb.DuckDBPyConnection,
    *,
    history: Sequence[str],
    limits: Limits,
) -> Released:
    """Return the controlled result of `block` over the tables of `connection`."""
    cells, key_types, sql = _stage_one(block, policy, rule, connection)
    judge_unanimity(
        cells,
        _sensitive_positions(block, policy),
        made_up=_made_up_positions(block),
        min_units=rule.min_units,
    )
    past.compare(block, policy, rule, cells, history, connection)
    shown, held_back = _split(_visible_groups(block, cells))
    distinct = counted_apart(block, policy, rule, cells, connection)
    tracked = _tracked_hidden(block, policy)
    report: Counter[str] = Counter()
    rows: list[Row] = []
    released_sets: list[list[Cell]] = []
    for keys, pieces in shown.items():
        values = values_of(
            block, pieces, distinct.get(keys, {}), tracked=tracked, min_units=rule.min_units
        )
        rows.append(_row(keys, values))
        released_sets += sets_of(block, pieces, values)
        report.update(ground for value in values for ground in value.grounds)
    collapsed = _count_withheld(held_back, report)
    more, collapsed = _withheld_rows(block, policy, shown, connection, collapsed=collapsed)
    table = compute(block, [*rows, *more], key_types, _value_types(block), limits)
    out_rows, out_withheld = list(table.rows), list(table.withheld)
    # A limit or HAVING chooses among rows; the collapsed one is none to choose.
    is_printed = collapsed and block.limit is None and block.having is None
    if is_printed:
        out_rows.append(tuple(None for _ in block.outputs))
        out_withheld.append(tuple(range(len(block.outputs))))
    suppressed = sum(1 for mask in out_withheld if mask) + (collapsed and not is_printed)
    return Released(
        types=table.types,
        rows=tuple(out_rows),
        withheld=tuple(out_withheld),
        suppressed=suppressed,
        partial=bool(suppressed) or table.dropped,
        report=tuple(sorted((str(ground), count) for ground, count in report.items())),
        history=entry(block, released_sets),
        executed_sql=sql,
        units_covered=max((cell.units for cell in cells if cell.is_safe), default=0),
    )


def _withheld_rows(
    block: Block,
    policy: Policy,
    shown: dict[tuple[object, ...], list[Cell]],
    connection: duckdb.DuckDBPyConnection,
    *,
    collapsed: bool,
) -> tuple[list[Row], bool]:
    """Return the rows that are printed though withheld, and whether others collapse."""
    values = tuple(None for _ in block.aggregates)
    flags = tuple(True for _ in block.aggregates)
    domain = printed_domain(block, policy, connection)
    if domain is not None:
        # Zero and few alike: every key of the public domain is printed.
        return [Row(keys, values, flags) for keys in domain if keys not in shown], False
    if not block.keys:
        return ([] if shown else [Row((), values, flags)]), collapsed and bool(shown)
    return [], collapsed or may_lack(block, shown, policy, connection)


# --- stage 1


def _stage_one(
    block: Block, policy: Policy, rule: AggregateRule, connection: duckdb.DuckDBPyConnection
) -> tuple[list[Cell], tuple[str, ...], str]:
    """Return judged cells: a cell is as unsafe as the strictest of its units makes it."""
    sensitive = tracks_outside(block, policy) and _is_sensitive_filter(block, policy)
    merged: dict[tuple[object, ...], Cell] = {}
    key_types: tuple[str, ...] = ()
    text = ""
    for unit in block.units:
        made = statement(block, policy, unit)
        cells, types = read_cells(block, made, connection, copies=top_needed(rule))
        judge(cells, rule, sensitive_filter=sensitive)
        if any(is_unproven(cell) for cell in cells):
            made = statement(block, policy, unit, top=top_needed(rule))
            cells, types = read_cells(block, made, connection)
            judge(cells, rule, sensitive_filter=sensitive)
        key_types, text = key_types or types, text or made.sql
        for cell in cells:
            _merge(merged, cell)
    return list(merged.values()), key_types, text


def _merge(merged: dict[tuple[object, ...], Cell], cell: Cell) -> None:
    found = merged.setdefault((*cell.keys, *cell.codes), cell)
    if found is cell:
        return
    found.unsafe |= cell.unsafe
    found.unsafe_rows |= cell.unsafe_rows
    for mine, other in zip(found.unsafe_counts, cell.unsafe_counts, strict=True):
        mine |= other
    for mine, other in zip(found.unsafe_sums, cell.unsafe_sums, strict=True):
        mine |= other


def _is_sensitive(ref: Ref, policy: Policy) -> bool:
    table = policy.table(ref.table)
    column = None if table is None else table.column(ref.column)
    return column is not None and column.sensitive


def _is_sensitive_filter(block: Block, policy: Policy) -> bool:
    return any(_is_sensitive(ref, policy) for ref in refs_of(block.where))


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
        if cell.units or not block.keys:
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

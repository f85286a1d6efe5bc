"""A SELECT over results and public tables, bound: all of it is post-processing."""

from __future__ import annotations

from collections.abc import Sequence

from sandbox.binding.cells import CellBinder, Subqueries
from sandbox.binding.context import Context, Environment, Queries
from sandbox.binding.facts import Facts
from sandbox.binding.grouping import (
    GroupingSets,
    group_expressions,
    over_source,
    select_over,
)
from sandbox.binding.items import ResultItem
from sandbox.binding.outputs import is_grouped, written_out
from sandbox.binding.result_leaves import GroupLeaves, RowLeaves
from sandbox.binding.result_scope import ResultScope, as_result
from sandbox.binding.scope import ItemOf
from sandbox.binding.subqueries import scalar_cell
from sandbox.plan.result_walks import simplified, stack_of, width_of
from sandbox.plan.results import (
    AggregateOf,
    CellExpression,
    ColumnCell,
    Grouped,
    LiteralCell,
    Relation,
    Selected,
    Stacked,
)
from sandbox.sql import syntax


def bind_results(
    select: syntax.Select,
    environment: Environment,
    queries: Queries,
    item_of: ItemOf,
    context: Context,
) -> ResultItem | None:
    """Bind a SELECT whose FROM holds results, public tables or nothing."""
    facts = context.facts
    source = ResultScope(facts, item_of)

    def scalar(node: syntax.Subquery) -> CellExpression | None:
        return scalar_cell(node, queries, environment, facts)

    aliases: dict[str, syntax.Expression] = {}
    rows = CellBinder(facts, RowLeaves(source, aliases), scalar)
    relation = source.relation(select.source, rows)
    if relation is None:
        return None
    outputs = written_out(select, source.star, facts)
    for item in outputs:
        if item.alias:
            aliases[item.alias.lower()] = item.expression
    where = None if select.where is None else rows.cell(select.where)
    if select.where is not None and where is None:
        return None
    if where is not None:
        same = tuple(ColumnCell(i) for i in range(width_of(relation)))
        relation = Selected(relation, same, where)
    if not is_grouped(select):
        found = select_over(select, outputs, rows, facts)
        if found is None:
            return None
        assert isinstance(found.relation, Selected)
        return ResultItem(over_source(found.relation, relation, int), found.names)
    return _grouped(select, outputs, relation, (source, aliases, rows), scalar)


def _grouped(
    select: syntax.Select,
    outputs: Sequence[syntax.Output],
    relation: Relation,
    binding: tuple[ResultScope, dict[str, syntax.Expression], CellBinder],
    scalar: Subqueries,
) -> ResultItem | None:
    source, aliases, rows = binding
    facts = source.facts
    sets = GroupingSets(select, facts)
    leaves = GroupLeaves(source, aliases, rows, sets)
    numbers: list[int] = []
    for expression in group_expressions(select, outputs, facts):
        key = rows.cell(expression)
        if key is None:
            return None
        if key not in leaves.groups:
            leaves.groups.append(key)
        numbers.append(leaves.groups.index(key))
    cells = CellBinder(facts, leaves, scalar)
    found = select_over(select, outputs, cells, facts)
    if found is None:
        return None
    groups, aggregates = tuple(leaves.groups), tuple(leaves.aggregates)
    chosen = sets.over(numbers, len(groups))
    if chosen is None:
        whole: Relation = Grouped(relation, groups, aggregates)
    else:
        parts = [_part(relation, groups, aggregates, keys) for keys in chosen]
        whole = stack_of(parts)
    return ResultItem(sets.settled(found.relation, whole, len(groups)), found.names)


def _part(
    relation: Relation,
    groups: tuple[CellExpression, ...],
    aggregates: tuple[AggregateOf, ...],
    keys: tuple[int, ...],
) -> Relation:
    grouped = Grouped(relation, tuple(groups[key] for key in keys), aggregates)
    outputs: list[CellExpression] = [
        ColumnCell(keys.index(key)) if key in keys else LiteralCell("null", "NULL")
        for key in range(len(groups))
    ]
    outputs += [ColumnCell(len(keys) + i) for i in range(len(aggregates))]
    outputs += [
        LiteralCell("integer", "0" if key in keys else "1") for key in range(len(groups))
    ]
    return Selected(grouped, tuple(outputs))


def stacked(
    node: syntax.SetOperation, environment: Environment, queries: Queries, facts: Facts
) -> ResultItem | None:
    """Bind UNION, EXCEPT and INTERSECT of results."""
    sides = [queries.query(side, environment) for side in (node.left, node.right)]
    results = [None if item is None else as_result(item) for item in sides]
    left, right = results
    if left is None or right is None:
        if all(item is not None for item in sides):
            facts.refuse(
                "rows_stacked",
                f"{node.kind.upper()} of rows is not part of what may be asked",
                "Aggregate each part, then stack the results.",
                node.place,
            )
        return None
    if node.by_name:
        facts.refuse(
            "syntax_unavailable",
            "UNION BY NAME is not part of what may be asked",
            "Write the columns of both parts in one order.",
            node.place,
        )
        return None
    if len(left.names) != len(right.names):
        facts.refuse(
            "widths_differ",
            f"{node.kind.upper()} joins {len(left.names)} columns with {len(right.names)}",
            "Select as many columns in each part.",
            node.place,
        )
        return None
    relation: Relation = Stacked(node.kind, node.all, (left.relation, right.relation))
    found = ResultItem(relation, left.names)
    if not node.orders and node.limit is None and not node.offset:
        return found
    whole = syntax.Derived(node, "result")
    select = syntax.Select(
        tuple(syntax.Output(syntax.Column((name,)), name) for name in left.names),
        whole,
        orders=node.orders,
        limit=node.limit,
        offset=node.offset,
    )
    context = Context(facts, {})
    ordered = bind_results(
        select, environment, queries, lambda _leaf, _copy=0: found, context
    )
    return None if ordered is None else ResultItem(_plain(ordered.relation), left.names)


def _plain(relation: Relation) -> Relation:
    return simplified(relation) if isinstance(relation, Selected) else relation

"""Filters that keep only groups too small to leave: refused, as they ask for nothing else.

`HAVING count(*) < 10` over groups of which only those of ten and more leave gives nothing,
or how many are withheld. Saying so at once is a better answer than an empty table.
"""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal, InvalidOperation

from sandbox.binding.facts import Facts
from sandbox.plan.block import Block
from sandbox.plan.plan import Plan
from sandbox.plan.result_walks import inner_relations
from sandbox.plan.results import (
    CellExpression,
    Cells,
    ColumnCell,
    LiteralCell,
    PostCall,
    Relation,
    Selected,
)

_COUNTS = frozenset({"count", "count_distinct"})
_MIRRORED = {"<": ">", "<=": ">=", ">": "<", ">=": "<=", "=": "="}


def refuse_small_groups(plan: Plan, facts: Facts) -> None:
    """Leave a finding where a filter keeps only groups of fewer than min_units."""
    rules = facts.policy.aggregate_rules
    if not rules:
        return
    least = min(rule.min_units for rule in rules)
    for relation in (plan.result, *plan.parameters):
        for selected in _selected(relation):
            for condition in (selected.where, selected.qualify):
                for part in _conjuncts(condition):
                    if _keeps_few(part, selected.source, plan.blocks, least):
                        facts.refuse(
                            "only_small_groups",
                            f"a filter keeps only groups of fewer than {least}, and none "
                            "of them leaves",
                            f"Turn it around: HAVING count(*) >= {least}.",
                        )
                        return


def _selected(relation: Relation) -> Iterator[Selected]:
    if isinstance(relation, Selected):
        yield relation
    for inner in inner_relations(relation):
        yield from _selected(inner)


def _conjuncts(condition: CellExpression | None) -> Iterator[CellExpression]:
    if isinstance(condition, PostCall) and condition.name == "and":
        for item in condition.arguments:
            yield from _conjuncts(item)
    elif condition is not None:
        yield condition


def _keeps_few(
    node: CellExpression, source: Relation, blocks: tuple[Block, ...], least: int
) -> bool:
    if not isinstance(node, PostCall) or node.name not in _MIRRORED:
        return False
    left, right = node.arguments
    operator = node.name
    if isinstance(left, LiteralCell):
        left, right, operator = right, left, _MIRRORED[operator]
    if not isinstance(left, ColumnCell) or not isinstance(right, LiteralCell):
        return False
    if not _is_count(left.index, source, blocks):
        return False
    try:
        bound = Decimal(right.text)
    except InvalidOperation:
        return False
    return bound <= least if operator == "<" else operator in ("<=", "=") and bound < least


def _is_count(index: int, source: Relation, blocks: tuple[Block, ...]) -> bool:
    while isinstance(source, Selected):
        column = source.outputs[index]
        if not isinstance(column, ColumnCell):
            return False
        index, source = column.index, source.source
    if not isinstance(source, Cells) or index < source.keys:
        return False
    return blocks[source.block].aggregates[index - source.keys].function in _COUNTS

"""Controlled results that re-enter: constants of a later block (DESIGN section 5, "Again").

`income > (SELECT avg(income) ...)` compares with an average that was released, snapped to
the grid of `income`; `city IN (SELECT city ... LIMIT 3)` with the cities that were. What is
withheld cannot re-enter: the threshold would tell it.
"""

from __future__ import annotations

import datetime
from collections.abc import Callable, Iterator
from dataclasses import fields, is_dataclass, replace
from decimal import ROUND_HALF_EVEN, Decimal

from sandbox.binding.constants import fitted
from sandbox.errors import QueryRejected
from sandbox.plan.block import Block
from sandbox.plan.canonical import canonical
from sandbox.plan.plan import Plan
from sandbox.plan.result_walks import blocks_in
from sandbox.plan.results import PublicRows, Relation
from sandbox.plan.terms import (
    All,
    Always,
    AnyOf,
    Compare,
    CompareResult,
    Kind,
    Literal,
    Negate,
    Predicate,
    Within,
    WithinResult,
    kind_of,
)
from sandbox.stages.stage_two import Table

MAX_VALUES = 1_000
Compute = Callable[[Relation], Table]


def needed_before(plan: Plan, number: int) -> frozenset[int]:
    """Return the blocks whose results a block compares with."""
    found: frozenset[int] = frozenset()
    for index in _parameters_in(plan.blocks[number]):
        found |= blocks_in(plan.parameters[index])
    return found


def public_in(plan: Plan) -> list[str]:
    """Return the public tables that stage 2 reads, without repetition."""
    found = [node.table for node in _walk(plan) if isinstance(node, PublicRows)]
    return list(dict.fromkeys(found))


def _parameters_in(block: Block) -> list[int]:
    return [
        node.index
        for node in _walk(block)
        if isinstance(node, (CompareResult, WithinResult))
    ]


def _walk(node: object) -> Iterator[object]:
    yield node
    if isinstance(node, tuple):
        for item in node:
            yield from _walk(item)
    elif is_dataclass(node) and not isinstance(node, type):
        for field in fields(node):
            yield from _walk(getattr(node, field.name))


def filled(plan: Plan, block: Block, compute: Compute) -> Block:
    """Return the block with constants in place of the results that it compares with.

    Raises QueryRejected where such a result is withheld or too large.
    """
    if not _parameters_in(block):
        return block
    where = canonical(_filled(block.where, plan, compute))
    return replace(block, where=where)


def _filled(node: Predicate, plan: Plan, compute: Compute) -> Predicate:
    match node:
        case All(items=items):
            return All(tuple(_filled(item, plan, compute) for item in items))
        case AnyOf(items=items):
            return AnyOf(tuple(_filled(item, plan, compute) for item in items))
        case Negate(item=item):
            return Negate(_filled(item, plan, compute))
        case CompareResult(operator=operator, term=term, index=index):
            value = _scalar(compute(plan.parameters[index]), node)
            if value is None:
                return Always(value=None)
            return Compare(operator, term, value)
        case WithinResult(term=term, index=index):
            return _among(node, compute(plan.parameters[index]), kind_of(term))
        case _:
            return node


def _among(node: WithinResult, table: Table, kind: Kind) -> Predicate:
    if len(table.rows) > MAX_VALUES:
        raise QueryRejected(
            f"a list that re-enters the query has more than {MAX_VALUES} values",
            hint="Add ORDER BY and LIMIT to the inner query.",
            code="reentry_too_large",
        )
    # A withheld row names nobody: it is no value of the list, as it is none of the result.
    rows = [
        row[0] for row, mask in zip(table.rows, table.withheld, strict=True) if not mask
    ]
    constants = [_literal(value, kind) for value in rows if value is not None]
    if not constants:
        return Always(value=False)
    return Within(node.term, tuple(constants))


def _scalar(table: Table, node: CompareResult) -> Literal | None:
    if any(table.withheld):
        raise QueryRejected(
            "a value that the query compares with is withheld",
            hint="Ask for the inner query alone, and make its groups larger.",
            code="reentry_withheld",
        )
    if len(table.rows) > 1:
        raise QueryRejected(
            "a subquery that stands for one value gives several rows",
            hint="Aggregate it to one row.",
            code="reentry_not_scalar",
        )
    value = table.rows[0][0] if table.rows else None
    if value is None:
        return None
    if node.grid is not None and isinstance(value, (int, float)):
        steps = Decimal(str(value)) / node.grid
        snapped = steps.to_integral_value(rounding=ROUND_HALF_EVEN) * node.grid
        return _literal(snapped, kind_of(node.term))
    if node.grain is not None and isinstance(value, str):
        return _literal(_cut(value, node.grain), kind_of(node.term))
    return _literal(value, kind_of(node.term))


def _cut(text: str, grain: str) -> str:
    day = datetime.datetime.fromisoformat(text).date()
    match grain:
        case "week":
            day -= datetime.timedelta(days=day.weekday())
        case "month":
            day = day.replace(day=1)
        case "quarter":
            day = day.replace(day=1, month=(day.month - 1) // 3 * 3 + 1)
        case "year":
            day = day.replace(day=1, month=1)
    return day.isoformat()


def _literal(value: object, kind: Kind) -> Literal:
    found: Literal | None
    match value:
        case bool():
            found = Literal(value, Kind.BOOLEAN)
        case int() | Decimal() | float():
            number = Decimal(str(value)).normalize() + 0
            whole = number == number.to_integral_value()
            found = Literal(number, Kind.INTEGER if whole else Kind.DECIMAL)
        case _:
            found = Literal(str(value), Kind.TEXT)
    made = fitted(found, kind)
    if made is None:
        raise QueryRejected(
            "a result that re-enters the query has another type than what it meets",
            hint="Compare it with a column of its own type.",
            code="reentry_type",
        )
    return made

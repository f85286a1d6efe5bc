"""A SELECT over protected rows, bound: to rows that still belong to units, or to cells."""

from __future__ import annotations

from sandbox.binding import semi_joins, stage_zero
from sandbox.binding.context import Context, Environment, Queries
from sandbox.binding.items import Item
from sandbox.binding.outputs import is_grouped
from sandbox.binding.protecting import Protecting
from sandbox.binding.rows import Rows
from sandbox.binding.scope import Scope
from sandbox.binding.walks import has_window
from sandbox.plan.block import Unit
from sandbox.plan.terms import Predicate
from sandbox.sql import syntax


def bind_rows(
    context: Context,
    select: syntax.Select,
    scope: Scope,
    queries: Queries,
    environment: Environment,
) -> Item | None:
    """Return rows or a result; None with the facts that say why."""
    rows = Rows(context, select, scope, queries, environment, semi_joins)
    if not rows.scope.bound:
        return None
    where = rows.where()
    units = rows.units()
    if is_grouped(rows.select) or rows.select.distinct_on == ():
        return _grouped(rows, where, units)
    if rows.select.limit is not None or rows.select.offset:
        rows.facts.refuse(
            "limit_below_protection",
            "LIMIT or OFFSET chooses among rows before they are aggregated",
            "Use LIMIT in the outermost query, over groups.",
        )
        return None
    if where is None:
        return None
    if (
        rows.select.qualify is not None
        or rows.select.distinct_on is not None
        or any(has_window(item.expression) for item in rows.outputs)
    ):
        return stage_zero.windowed(rows, where, units)
    return rows.projected(where)


def _grouped(rows: Rows, where: Predicate | None, units: tuple[Unit, ...]) -> Item | None:
    if stage_zero.keeps_units(rows, units):
        return None if where is None else stage_zero.per_unit(rows, where, units)
    if where is not None and stage_zero.has_gaps(rows):
        found = stage_zero.with_gaps(rows, where, units)
        if found is None:
            return None
        return bind_rows(rows.context, *found, rows.queries, rows.environment)
    return Protecting(rows, units).bind(where)

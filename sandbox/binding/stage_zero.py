"""Stage 0, bound: what is computed for each unit before protection (DESIGN section 5).

A sub-aggregation whose keys, or a window whose partition, hold every unit key gives rows
that still belong to their units: a view. What the query computes of its columns is bound
where it is used, as for any derived table.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import TYPE_CHECKING

from policies.shape import Usage
from sandbox.binding.carrying import Carrier, values_of_keys
from sandbox.binding.facts import Facts
from sandbox.binding.functions import is_aggregate
from sandbox.binding.grouping import group_expressions
from sandbox.binding.items import Bound, Projected, RowsItem
from sandbox.binding.outputs import output_name
from sandbox.binding.predicates import PredicateBinder
from sandbox.binding.row_views import view_over
from sandbox.binding.terms import TermBinder
from sandbox.binding.units import Equalities
from sandbox.plan.block import Block, Unit
from sandbox.plan.rebuilding import pruned
from sandbox.plan.terms import Always, Predicate, Ref, Term
from sandbox.plan.views import base_tables, refs_of_view
from sandbox.sql import syntax

if TYPE_CHECKING:
    from sandbox.binding.rows import Rows
    from sandbox.binding.scope import Scope


def keeps_units(select: Rows, units: tuple[Unit, ...]) -> bool:
    """Whether every unit key is among the group keys, so that groups belong to units."""
    if not units or any(unit.ref is None for unit in units):
        return False
    if select.select.grouping_sets is not None:
        return False
    same = Equalities(select.scope.joins, select.scope.optional)
    with select.facts.trial():
        expressions = group_expressions(select.select, select.outputs, select.facts)
    keys = [select.terms.ref(expression) for expression in expressions]
    known = {same.root(ref) for ref in keys if ref is not None}
    return {same.root(unit.ref) for unit in units if unit.ref is not None} <= known


def per_unit(select: Rows, where: Predicate, units: tuple[Unit, ...]) -> RowsItem | None:
    """Bind a sub-aggregation whose groups belong to units."""
    facts = select.facts
    if _chooses_rows(select):
        return None
    expressions = group_expressions(select.select, select.outputs, facts)
    keys = values_of_keys(select, expressions)
    if keys is None:
        return None
    carrier = Carrier(select, units, keys=keys)
    return _over(select, carrier, where, tuple(keys.values()))


def windowed(select: Rows, where: Predicate, units: tuple[Unit, ...]) -> RowsItem | None:
    """Bind windows, QUALIFY and DISTINCT ON over the rows of each unit."""
    facts = select.facts
    if not units or any(unit.ref is None for unit in units):
        facts.refuse(
            "no_unit_within",
            "a window over rows that are each their own unit would look at other units",
            "Put the window around an aggregation.",
        )
        return None
    if select.select.orders and select.select.distinct_on is None:
        facts.refuse(
            "order_below_protection",
            "ORDER BY stands where rows are not yet aggregated",
            "Use it in the outermost query, or inside OVER.",
        )
        return None
    return _over(select, Carrier(select, units, keys=None), where, None)


def has_gaps(select: Rows) -> bool:
    """Whether an aggregate takes differences of dates, which are a view's columns."""
    nodes = (select.outputs, select.select.having, select.select.orders)
    return any(
        select.terms.gap(argument) is not None
        for call in _calls_in(nodes)
        if is_aggregate(call.name)
        for argument in call.arguments
    )


def _calls_in(node: object) -> Iterator[syntax.Call]:
    if isinstance(node, (syntax.Select, syntax.SetOperation)):
        return
    if isinstance(node, syntax.Call):
        yield node
    if isinstance(node, tuple):
        for item in node:
            yield from _calls_in(item)
    for name in getattr(node, "__dataclass_fields__", ()):
        yield from _calls_in(getattr(node, name))


def with_gaps(
    select: Rows, where: Predicate, units: tuple[Unit, ...]
) -> tuple[syntax.Select, Scope] | None:
    """Return the aggregation over a view that has the differences of dates as columns."""
    if not units or any(unit.ref is None for unit in units):
        select.facts.refuse(
            "gap_unavailable",
            "dates are subtracted in rows that are each their own unit",
            "Ask the provider to declare the difference as a measure.",
        )
        return None
    carrier = Carrier(select, units, keys=None)
    node = select.select
    before = len(select.facts.findings)
    rewritten = dataclasses.replace(
        node,
        outputs=tuple(
            syntax.Output(carrier.rewritten(item.expression), output_name(item, index))
            for index, item in enumerate(select.outputs)
        ),
        source=None,
        where=None,
        groups=tuple(carrier.rewritten(item) for item in node.groups),
        having=None if node.having is None else carrier.rewritten(node.having),
        qualify=None if node.qualify is None else carrier.rewritten(node.qualify),
        orders=tuple(
            dataclasses.replace(item, expression=carrier.rewritten(item.expression))
            for item in node.orders
        ),
    )
    scope = None if len(select.facts.findings) > before else carrier.view(where, None)
    return None if scope is None else (rewritten, scope)


def _chooses_rows(select: Rows) -> bool:
    if select.select.limit is None and not select.select.offset:
        return False
    select.facts.refuse(
        "limit_below_protection",
        "LIMIT or OFFSET chooses among units before they are aggregated",
        "Use LIMIT in the outermost query, over groups.",
    )
    return True


def _over(
    select: Rows,
    carrier: Carrier,
    where: Predicate,
    keys: tuple[Term, ...] | None,
) -> RowsItem | None:
    """Make the view of a SELECT, and the rows of its outputs over that view."""
    facts, node = select.facts, select.select
    before = len(facts.findings)
    outputs = [carrier.rewritten(item.expression) for item in select.outputs]
    conditions = [
        carrier.rewritten(item)
        for item in (node.having if keys is not None else None, node.qualify)
        if item is not None
    ]
    if node.distinct_on:
        conditions.append(carrier.first_of(node.distinct_on, node.orders))
    if len(facts.findings) > before:
        return None
    scope = carrier.view(where, keys)
    if scope is None:
        return None
    terms = TermBinder(facts, scope, {})
    predicates = PredicateBinder(terms)
    terms.results = select.terms.results
    kept = [predicates.where(condition) for condition in conditions]
    if any(item is None for item in kept):
        return None
    names = tuple(output_name(item, i) for i, item in enumerate(select.outputs))
    columns: dict[str, Ref | Projected] = {}
    for name, expression in zip(names, outputs, strict=True):
        plain = terms.ref(expression)
        if plain is not None:
            facts.names[plain] = name
            columns[name.lower()] = plain
        elif isinstance(expression, syntax.Column) and scope.find(expression) is None:
            # Hidden, and not carried: whoever uses it is refused by its own name.
            columns[name.lower()] = Projected(expression, select.terms)
        else:
            columns[name.lower()] = Projected(expression, terms)
    filters = tuple(k for k in kept if k is not None and k != Always(value=True))
    return RowsItem(tuple(scope.tables), (), filters, columns, names)


# --- copies and blocks


def copied(facts: Facts, item: RowsItem, copy: int) -> RowsItem:
    """Return a base table as a view of its rows, so that it can stand in FROM again."""
    (name,) = item.tables
    table = facts.policy.table(name)
    if table is None or not table.is_protected or not table.units:
        return item
    units = [
        (unit.domain, item.columns[unit.column.lower()])
        for unit in table.units
        if unit.column.lower() in item.columns
    ]
    view, (bound,) = view_over(
        facts,
        table=name,
        joins=(),
        where=Always(value=True),
        bound=(Bound(name, item.columns, item.names),),
        units=[(domain, ref) for domain, ref in units if isinstance(ref, Ref)],
        copy=copy,
    )
    columns = {key: found for key, found in bound.columns.items() if isinstance(found, Ref)}
    return RowsItem((view.name,), (), (), columns, item.names)


def with_views(facts: Facts, block: Block) -> Block:
    """Return the block with the views that it reads, and note the columns they read."""
    if not facts.views:
        return block
    found = pruned(block, facts.views)
    for view in found.views:
        facts.add_view(view)
        for ref in sorted(refs_of_view(view), key=str):
            if ref.table not in facts.views:
                facts.use(ref, Usage.PER_UNIT, None)
    names = {view.name for view in found.views}
    for name in base_tables(names, facts.views):
        facts.froms.append((name,))
    return found

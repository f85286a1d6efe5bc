"""Views with one of them changed: what those that read it become."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Container, Iterator, Mapping
from typing import TypeVar

from sandbox.plan.block import Block
from sandbox.plan.canonical import field_names, key_of
from sandbox.plan.terms import Member, Ref
from sandbox.plan.views import UnitJoin, View, closure

Node = TypeVar("Node")


def renamed(node: Node, names: Mapping[str, str]) -> Node:
    """Return a value with the tables and views in it read under other names."""
    if isinstance(node, tuple):
        return tuple(renamed(item, names) for item in node)  # type: ignore[return-value]  # a tuple of the same kinds
    if not dataclasses.is_dataclass(node) or isinstance(node, type):
        return node
    values = {
        field.name: renamed(getattr(node, field.name), names)
        for field in dataclasses.fields(node)
    }
    if isinstance(node, (Ref, UnitJoin, View)):
        values["table"] = names.get(values["table"], values["table"])
    if isinstance(node, Member):
        values["view"] = names.get(values["view"], values["view"])
    if isinstance(node, Block):
        values["tables"] = tuple(names.get(name, name) for name in values["tables"])
    return type(node)(**values)


def rebuilt(
    name: str, views: Mapping[str, View], change: Callable[[View], View]
) -> tuple[tuple[View, ...], dict[str, str]]:
    """Return the views that `name` reaches, each changed, and the new name of each."""
    names: dict[str, str] = {}
    found: list[View] = []
    for view in closure([name], views):
        made = renamed(change(view), names)
        found.append(made)
        names[view.name] = made.name
    return tuple(found), names


def refs_in(node: object) -> Iterator[Ref]:
    """Yield every column reference in a value, whatever holds it."""
    if isinstance(node, Ref):
        yield node
    elif isinstance(node, tuple):
        for item in node:
            yield from refs_in(item)
    else:
        for name in field_names(type(node)):
            yield from refs_in(getattr(node, name))


def members_within(node: object) -> Iterator[Member]:
    """Yield every semi-join in a value, whatever holds it."""
    if isinstance(node, Member):
        yield node
    elif isinstance(node, tuple):
        for item in node:
            yield from members_within(item)
    else:
        for name in field_names(type(node)):
            yield from members_within(getattr(node, name))


def pruned(block: Block, views: Mapping[str, View]) -> Block:
    """Return the block with the views that it needs, and in them only what it needs.

    So a query's fingerprint does not depend on what it could have read, and an order
    within a unit is made total by what is seen and nothing else.
    """
    names = [*block.tables, *(member.view for member in members_within(block))]
    needed = closure(names, views)
    used = {(ref.table, ref.column) for ref in refs_in(block)}
    used |= {(member.view, member.column) for member in members_within(block)}
    for view in reversed(needed):
        slim = _slim(view, used)
        used |= {(ref.table, ref.column) for ref in refs_in(slim)}
        used |= {(member.view, member.column) for member in members_within(slim)}
    tables: dict[str, str] = {}
    columns: dict[tuple[str, str], str] = {}
    made: list[View] = []
    for view in needed:
        found = _moved(_slim(view, used), tables, columns)
        order = sorted(found.columns, key=lambda column: key_of(column.value))
        new = {column.name: f"c{index}" for index, column in enumerate(order)}
        positions = [found.columns.index(column) for column in order]
        final = dataclasses.replace(
            found,
            columns=tuple(dataclasses.replace(c, name=new[c.name]) for c in order),
            units=tuple(sorted((domain, new[name]) for domain, name in found.units)),
            more=tuple(tuple(refs[i] for i in positions) for refs in found.more),
        )
        tables[view.name] = final.name
        columns.update({(view.name, old): name for old, name in new.items()})
        made.append(final)
    return dataclasses.replace(
        _moved(block, tables, columns),
        tables=tuple(tables.get(name, name) for name in block.tables),
        views=tuple(made),
    )


def _slim(view: View, used: Container[tuple[str, str]]) -> View:
    units = {name for _, name in view.units}
    kept = [
        index
        for index, column in enumerate(view.columns)
        if column.name in units
        or (view.name, column.name) in used
        or column.value in (view.keys or ())  # so that its rows can be told apart
    ]
    return dataclasses.replace(
        view,
        columns=tuple(view.columns[i] for i in kept),
        more=tuple(tuple(refs[i] for i in kept) for refs in view.more),
    )


def _moved(
    node: Node, tables: Mapping[str, str], columns: Mapping[tuple[str, str], str]
) -> Node:
    """Return a value with tables and columns of views read under their new names."""
    if isinstance(node, tuple):
        return tuple(_moved(item, tables, columns) for item in node)  # type: ignore[return-value]  # a tuple of the same kinds
    if not dataclasses.is_dataclass(node) or isinstance(node, type):
        return node
    values = {
        field.name: _moved(getattr(node, field.name), tables, columns)
        for field in dataclasses.fields(node)
    }
    if isinstance(node, Ref):
        values["column"] = columns.get((node.table, node.column), node.column)
    if isinstance(node, Member):
        values["column"] = columns.get((node.view, node.column), node.column)
        values["view"] = tables.get(node.view, node.view)
    if isinstance(node, (Ref, UnitJoin, View)):
        values["table"] = tables.get(node.table, node.table)
    return type(node)(**values)

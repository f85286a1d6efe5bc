"""Views with one of them changed: what those that read it become."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping
from typing import TypeVar

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
    elif dataclasses.is_dataclass(node) and not isinstance(node, type):
        for field in dataclasses.fields(node):
            yield from refs_in(getattr(node, field.name))


def members_within(node: object) -> Iterator[Member]:
    """Yield every semi-join in a value, whatever holds it."""
    if isinstance(node, Member):
        yield node
    elif isinstance(node, tuple):
        for item in node:
            yield from members_within(item)
    elif dataclasses.is_dataclass(node) and not isinstance(node, type):
        for field in dataclasses.fields(node):
            yield from members_within(getattr(node, field.name))

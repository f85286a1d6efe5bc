"""Walks over syntax: what stands in an expression, short of the queries inside it."""

from __future__ import annotations

from policies.shape import Place
from sandbox.binding.functions import is_aggregate
from sandbox.sql import syntax


def has_aggregate(expression: object) -> bool:
    """Whether an aggregate stands in an expression; one over a window is none."""
    match expression:
        case syntax.Window(call=call, partitions=partitions, orders=orders):
            inside = (*call.arguments, call.condition, *partitions, *orders)
            return any(has_aggregate(item) for item in inside)
        case syntax.Select() | syntax.SetOperation():
            return False
        case syntax.Call(name=name) if is_aggregate(name) or name.startswith("grouping"):
            return True
        case tuple():
            return any(has_aggregate(item) for item in expression)
    names = getattr(expression, "__dataclass_fields__", {})
    return any(
        has_aggregate(getattr(expression, name)) for name in names if name != "place"
    )


def has_window(expression: object) -> bool:
    """Whether a window function stands in an expression."""
    match expression:
        case syntax.Window():
            return True
        case syntax.Select() | syntax.SetOperation():
            return False
        case tuple():
            return any(has_window(item) for item in expression)
    names = getattr(expression, "__dataclass_fields__", {})
    return any(has_window(getattr(expression, name)) for name in names if name != "place")


def holds_query(expression: object) -> bool:
    """Whether a window or a subquery stands in an expression, which no group key has."""
    match expression:
        case syntax.Window() | syntax.Subquery():
            return True
        case tuple():
            return any(holds_query(item) for item in expression)
    names = getattr(expression, "__dataclass_fields__", {})
    return any(holds_query(getattr(expression, name)) for name in names if name != "place")


def columns_in(expression: object) -> list[syntax.Column]:
    """Return every column name in an expression, in order."""
    if isinstance(expression, syntax.Column):
        return [expression]
    if isinstance(expression, (syntax.Select, syntax.SetOperation)):
        return []  # names there mean something else
    if isinstance(expression, tuple):
        return [found for item in expression for found in columns_in(item)]
    if hasattr(expression, "__dataclass_fields__") and not isinstance(expression, Place):
        return [
            found
            for name in expression.__dataclass_fields__
            for found in columns_in(getattr(expression, name))
        ]
    return []

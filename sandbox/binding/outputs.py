"""The SELECT list: names of outputs, stars written out, and whether it aggregates."""

from __future__ import annotations

from collections.abc import Callable

from sandbox.binding.facts import Facts
from sandbox.binding.walks import has_aggregate
from sandbox.sql import syntax

StarOf = Callable[[str], list[tuple[str, syntax.Column]] | None]


def is_grouped(select: syntax.Select) -> bool:
    """Whether a SELECT aggregates: by GROUP BY, by an aggregate, or by DISTINCT."""
    if select.groups or select.group_all or select.grouping_sets is not None:
        return True
    parts = [item.expression for item in select.outputs]
    parts += [part for part in (select.having, select.qualify) if part is not None]
    parts += [order.expression for order in select.orders]
    return any(has_aggregate(part) for part in parts)


def written_out(
    select: syntax.Select, star_of: StarOf, facts: Facts
) -> tuple[syntax.Output, ...]:
    """Return the outputs with every star replaced by the columns that it stands for."""
    found: list[syntax.Output] = []
    for item in select.outputs:
        if not isinstance(item.expression, syntax.Star):
            found.append(item)
            continue
        star = item.expression
        columns = star_of(star.table)
        if columns is None:
            facts.refuse(
                "unknown_table",
                f"`{star.table[:60]}.*` names no table in FROM",
                "Write an alias of FROM before the star.",
                star.place,
            )
            continue
        replaced = {name.lower(): expression for name, expression in star.replace}
        left_out = {name.lower() for name in star.exclude}
        for name in sorted({*replaced, *left_out} - {n.lower() for n, _ in columns}):
            facts.refuse(
                "unknown_column",
                f"`{name[:60]}` is no column that the star stands for",
                "Check EXCLUDE and REPLACE.",
                star.place,
            )
        for name, column in columns:
            if name.lower() not in left_out:
                expression = replaced.get(name.lower(), column)
                found.append(syntax.Output(expression, name))
    return tuple(found)


def output_names(query: syntax.Query) -> tuple[str, ...]:
    """Return the names of a query's outputs, as far as its text tells them."""
    while isinstance(query, syntax.SetOperation):
        query = query.left
    return tuple(output_name(item, index) for index, item in enumerate(query.outputs))


def output_name(item: syntax.Output, index: int) -> str:
    """Return the name of an output: its alias, its column, or its function."""
    if item.alias:
        return item.alias
    match item.expression:
        case syntax.Column(names=names):
            return names[-1]
        case syntax.Call(name="count_star"):
            return "count_star()"
        case syntax.Call(
            name=name, arguments=(syntax.Column(names=names),), distinct=distinct
        ):
            return f"{name}({'DISTINCT ' if distinct else ''}{names[-1]})"
    return f"column_{index + 1}"

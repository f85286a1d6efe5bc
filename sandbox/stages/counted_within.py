"""Conditions that are counted within units: both sides of each have enough units, or none.

`sum(m) FROM (SELECT id, count(*) FILTER (WHERE diagnosis = 'HIV') AS m FROM patients GROUP
BY id)` is a count of the few who have it, and with `diagnosis <> 'HIV'` what is missing
tells it. Every unit is in the cell in any case, so that no threshold on cells sees it: what
a view counts is judged here, by the rows that it counts and by those that it does not.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import duckdb

from policies.document import Policy
from sandbox.disclosure.cell import Cell, Ground
from sandbox.plan.block import Block, Unit
from sandbox.plan.render import predicate_sql, term_sql
from sandbox.plan.terms import (
    Choose,
    Kind,
    Literal,
    Missing,
    Negate,
    Predicate,
    Ref,
    Term,
    Truth,
    parts_of,
)
from sandbox.plan.view_sql import source_sql
from sandbox.plan.views import ALL, PerUnit, UnitWindow, Value, View, by_name, refs_of_value
from sandbox.stages.contrasts import alternatives
from sandbox.stages.stage_one import base_sql


def judge_counted_within(
    block: Block,
    policy: Policy,
    min_units: int,
    cells: Sequence[Cell],
    connection: duckdb.DuckDBPyConnection,
) -> None:
    """Withhold what is added up of conditions of which too few units are on one side.

    The views of the block must be materialised, and `policy` must know them.
    """
    watched = _watched(block)
    for unit in block.units:
        for view, positions in watched.items():
            units = _unit_refs(view, unit.domain, policy)
            if unit.ref is None or not units:
                continue
            few = _few(block, policy, unit, view, units, positions, min_units, connection)
            for cell in cells:
                for position in few.get((*cell.keys, *cell.codes), ()):
                    cell.unsafe_sums[position].add(Ground.COMPLEMENT)
                    cell.unsafe_counts[position].add(Ground.COMPLEMENT)


Watched = Mapping[Predicate, frozenset[int]]


def _watched(block: Block) -> dict[View, dict[Predicate, frozenset[int]]]:
    """Return for each view the conditions that its values count, and by which atoms."""
    views = by_name(block.views)
    found: dict[View, dict[Predicate, frozenset[int]]] = {}
    for position, atom in enumerate(block.measured):
        for ref in {*atom.factors, *atom.present}:
            for view, value in _computed(ref, views):
                own = found.setdefault(view, {})
                for condition in _conditions(value):
                    own[condition] = own.get(condition, frozenset()) | {position}
    return {view: own for view, own in found.items() if own}


def _computed(ref: Ref, views: Mapping[str, View]) -> Iterator[tuple[View, Value]]:
    """Yield what a column is computed from, through however many views."""
    view = views.get(ref.table)
    column = None if view is None else view.column(ref.column)
    if view is None or column is None:
        return
    yield view, column.value
    for inner in refs_of_value(column.value):
        yield from _computed(inner, views)


def _conditions(value: Value) -> Iterator[Predicate]:
    match value:
        case PerUnit(function=function, argument=argument, condition=condition):
            arguments: tuple[Term, ...] = () if argument is None else (argument,)
        case UnitWindow(function=function, arguments=arguments, condition=condition):
            pass
        case _:
            yield from _within(value)
            return
    if condition != ALL:
        yield condition
    for item in arguments:
        yield from _within(item)
        if function in ("count", "count_distinct") and not isinstance(item, Literal):
            yield Negate(Missing(item))


def _within(node: Term | Predicate) -> Iterator[Predicate]:
    """Yield the conditions that decide what a term is."""
    if isinstance(node, Truth):
        yield node.predicate
        return
    if isinstance(node, Choose):
        yield from (condition for condition, _ in node.branches)
    elif not isinstance(node, (Ref, Literal)) and parts_of(node) != ():
        yield Negate(Missing(node))  # type: ignore[arg-type]  # a term: predicates end above
    for part in parts_of(node):
        if not isinstance(node, Choose) or part not in [c for c, _ in node.branches]:
            yield from _within(part)


def _unit_refs(view: View, domain: str, policy: Policy) -> list[Ref]:
    tables = [policy.table(name) for name in view.tables]
    return [
        Ref(table.name, unit.column, Kind.OTHER)
        for table in tables
        if table is not None
        for unit in table.units
        if unit.domain == domain
    ]


def _few(
    block: Block,
    policy: Policy,
    unit: Unit,
    view: View,
    units: Sequence[Ref],
    watched: Watched,
    min_units: int,
    connection: duckdb.DuckDBPyConnection,
) -> dict[tuple[object, ...], set[int]]:
    """Return for each cell the atoms that would tell of few.

    Each condition must hold for enough units: nobody and few look alike. Rows on which
    several conditions come out one way are compared too, or two counts that differ by few
    would tell of them.
    """
    conditions = list(watched)
    weaker = [(i, w) for i, c in enumerate(conditions) for w in alternatives(c)]
    shown = [f"({predicate_sql(c)}) IS TRUE" for c in conditions]
    shown += [f"{shown[i]} AND ({predicate_sql(w)}) IS NOT TRUE" for i, w in weaker]
    flags = ", ".join(f"({text}) AS f{i}" for i, text in enumerate(shown))
    names = ", ".join(f"f{i}" for i in range(len(shown)))
    given = "" if view.where == ALL else f" AND ({predicate_sql(view.where)})"
    marks = " UNION ".join(
        f"SELECT {term_sql(ref)} AS v, {flags} FROM {source_sql(view, policy)} "
        f"WHERE {term_sql(ref)} IS NOT NULL{given}"
        for ref in units
    )
    keys = [f"k{i}" for i in range(len(block.keys))]
    keys += [f"h{i}" for i in range(len(block.hidden))]
    named = "".join(f"{key}, " for key in keys)
    base = base_sql(block, policy, unit)
    rows = connection.execute(
        f"SELECT {named}{names}, count(*) FROM (SELECT DISTINCT {named}u, {names} FROM "
        f"({base}) AS b JOIN ({marks}) AS m ON u = v WHERE i) AS d GROUP BY ALL"
    ).fetchall()
    sides = connection.execute(
        f"SELECT {named}"
        + ", ".join(f"count(DISTINCT u) FILTER (f{i})" for i in range(len(conditions)))
        + f" FROM ({base}) AS b JOIN ({marks}) AS m ON u = v WHERE i"
        + (f" GROUP BY {', '.join(keys)}" if keys else "")
    ).fetchall()
    found: dict[tuple[object, ...], set[int]] = {}
    every = set().union(*watched.values())
    for row in rows:
        if row[-1] < min_units:
            found.setdefault(row[: len(keys)], set()).update(every)
    for row in sides:
        for condition, holding in zip(conditions, row[len(keys) :], strict=True):
            if holding < min_units:
                found.setdefault(row[: len(keys)], set()).update(watched[condition])
    return found

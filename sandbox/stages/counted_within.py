"""Conditions that are counted within units: both sides of each have enough units, or none.

`sum(m) FROM (SELECT id, count(*) FILTER (WHERE diagnosis = 'HIV') AS m FROM patients GROUP
BY id)` is a count of the few who have it, and with `diagnosis <> 'HIV'` what is missing
tells it. Every unit is in the cell in any case, so that no threshold on cells sees it: what
a view counts is judged here, by the rows that it counts and by those that it does not.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from policies.document import Policy
from sandbox.disclosure.cell import Cell, Ground
from sandbox.passes.folds import Fold, Merge
from sandbox.passes.rows import Answer, Rows
from sandbox.plan.block import Block, Unit
from sandbox.plan.render import predicate_sql, term_sql
from sandbox.plan.terms import (
    Apply,
    Choose,
    Kind,
    Literal,
    Missing,
    Negate,
    Predicate,
    Ref,
    Term,
    Truth,
    kind_of,
    refs_of,
)
from sandbox.plan.view_sql import source_sql
from sandbox.plan.views import (
    ALL,
    PerUnit,
    UnitWindow,
    Value,
    View,
    by_name,
    refs_of_value,
    terms_of_value,
)
from sandbox.stages.contrasts import alternatives
from sandbox.stages.stage_one import base_sql
from sandbox.stages.unfiltered import views_in_from


class CountedWithin:
    """What the views of a block count by conditions, in each cell."""

    def __init__(self, block: Block, policy: Policy, rows: Rows) -> None:
        """Ask; the views of the block must be known to `rows` and `policy`."""
        self._block = block
        self._asked: list[tuple[Watched, Answer, Answer]] = []
        watched = _watched(block)
        for unit in block.units:
            for view, conditions in watched.items():
                units = _unit_refs(view, unit.domain, policy)
                if unit.ref is not None and units:
                    asking = _Asking(block, policy, unit, view, units, conditions)
                    self._asked.append((conditions, *asking.ask(rows)))

    def judge(self, cells: Sequence[Cell], min_units: int) -> None:
        """Withhold what is added up of conditions with too few units on one side."""
        for watched, values, sides in self._asked:
            few = self._few(watched, values, sides, min_units)
            for cell in cells:
                for position in few.get((*cell.keys, *cell.codes), ()):
                    if position == CELL:
                        cell.withhold(Ground.COMPLEMENT)
                        continue
                    cell.unsafe_sums[position].add(Ground.COMPLEMENT)
                    cell.unsafe_counts[position].add(Ground.COMPLEMENT)

    def _few(
        self, watched: Watched, values: Answer, sides: Answer, min_units: int
    ) -> dict[tuple[object, ...], set[int]]:
        """Return for each cell the atoms that would tell of few.

        Each condition must hold for enough units: nobody and few look alike. Rows on which
        several conditions come out one way are compared too, or two counts that differ by
        few would tell of them.
        """
        width = len(self._block.keys) + len(self._block.hidden)
        found: dict[tuple[object, ...], set[int]] = {}
        every = {position for positions in watched.values() for position in positions}
        for row in values.rows:
            if _number(row[-1]) < min_units:
                found.setdefault(row[:width], set()).update(every)
        for row in sides.rows:
            for condition, holding in zip(_plain(watched), row[width:-1], strict=True):
                if _number(holding) < min_units:
                    found.setdefault(row[:width], set()).update(watched[condition])
        return found


def _number(value: object) -> int:
    assert isinstance(value, int)
    return value


CELL = -1  # as a position: whatever the cell says, its rows too


@dataclass(frozen=True, slots=True)
class _Changed:
    """That a function gives another value than its argument: `replace(d, 'x', 'y')`."""

    term: Apply

    @property
    def sql(self) -> str:
        return (
            f"({term_sql(self.term)}) IS DISTINCT FROM ({term_sql(self.term.arguments[0])})"
        )


@dataclass(frozen=True, slots=True)
class _Classes:
    """The values of a text that a function makes one of, or names: each of them counts.

    `regexp_replace(d, '^(x|y)$', 'z')` may be anything, so the function is not looked at.
    """

    ref: Ref

    @property
    def sql(self) -> str:
        return term_sql(self.ref)


Condition = Predicate | _Changed | _Classes
Watched = Mapping[Condition, frozenset[int]]


def _watched(block: Block) -> dict[View, dict[Condition, frozenset[int]]]:
    """Return for each view the conditions that its values count, and by which atoms."""
    views = by_name(block.views)
    found: dict[View, dict[Condition, frozenset[int]]] = {}
    for view, conditions, position in (*_added_up(block, views), *_grouped(block, views)):
        own = found.setdefault(view, {})
        for condition in conditions:
            own[condition] = own.get(condition, frozenset()) | {position}
    return {view: own for view, own in found.items() if own}


Watch = tuple[View, Iterator[Condition], int]


def _added_up(block: Block, views: Mapping[str, View]) -> Iterator[Watch]:
    for position, atom in enumerate(block.measured):
        for ref in {*atom.factors, *atom.present}:
            for view, value in _computed(ref, views):
                yield view, _conditions(value), position


def _grouped(block: Block, views: Mapping[str, View]) -> Iterator[Watch]:
    """Yield what decides which rows there are: group keys in views, orders to choose by."""
    read = views_in_from(block)
    terms = [(view, key) for view in read for key in view.keys or ()]
    nodes = (*block.keys, *block.hidden, block.where, *(view.where for view in read))
    for ref in {ref for node in nodes for ref in refs_of(node)}:
        terms += _choosing(ref, views)
    for view, term in terms:
        yield view, _within(term), CELL
        for ref in refs_of(term):
            for inner, value in _computed(ref, views):
                yield inner, _conditions(value), CELL


def _computed(ref: Ref, views: Mapping[str, View]) -> Iterator[tuple[View, Value]]:
    """Yield what a column is computed from, through however many views."""
    view = views.get(ref.table)
    column = None if view is None else view.column(ref.column)
    if view is None or column is None:
        return
    yield view, column.value
    for inner in refs_of_value(column.value):
        yield from _computed(inner, views)


def _choosing(ref: Ref, views: Mapping[str, View]) -> Iterator[tuple[View, Term]]:
    """Yield the orders and partitions by which rows are chosen within a unit."""
    view = views.get(ref.table)
    column = None if view is None else view.column(ref.column)
    if view is None or column is None:
        return
    if isinstance(column.value, (PerUnit, UnitWindow)):
        for term in _ordering(column.value):
            yield view, term
    for inner in refs_of_value(column.value):
        yield from _choosing(inner, views)


def _ordering(value: PerUnit | UnitWindow) -> tuple[Term, ...]:
    partition = value.partition if isinstance(value, UnitWindow) else ()
    return (*partition, *(item.term for item in value.orders))


def _conditions(value: Value) -> Iterator[Condition]:
    if not isinstance(value, (PerUnit, UnitWindow)):
        yield from _within(value)
        return
    if value.condition != ALL:
        yield value.condition
    for term in terms_of_value(value):
        yield from _within(term)
    arguments = value.arguments if isinstance(value, UnitWindow) else (value.argument,)
    for item in arguments:
        counts = value.function in ("count", "count_distinct")
        if counts and item is not None and not isinstance(item, Literal):
            yield Negate(Missing(item))


def _within(node: Term) -> Iterator[Condition]:
    """Yield the conditions that decide what a term is."""
    match node:
        case Truth(predicate=predicate):
            yield predicate
        case Choose(branches=branches, otherwise=otherwise):
            for condition, result in branches:
                yield condition
                yield from _within(result)
            yield from _within(otherwise)
        case Apply(arguments=arguments):
            texts = [ref for ref in refs_of(node) if ref.kind is Kind.TEXT]
            if any(isinstance(item, Literal) for item in arguments):
                yield from map(_Classes, texts)
            if not texts and arguments and kind_of(arguments[0]) is node.kind:
                yield _Changed(node)
            for item in arguments:
                yield from _within(item)
        case _:
            return


def _unit_refs(view: View, domain: str, policy: Policy) -> list[Ref]:
    tables = [policy.table(name) for name in view.tables]
    return [
        Ref(table.name, unit.column, Kind.OTHER)
        for table in tables
        if table is not None
        for unit in table.units
        if unit.domain == domain
    ]


def _plain(watched: Watched) -> list[Predicate | _Changed]:
    return [item for item in watched if not isinstance(item, _Classes)]


@dataclass(frozen=True, slots=True)
class _Asking:
    """The conditions of one view, and one kind of unit that they are counted of."""

    block: Block
    policy: Policy
    unit: Unit
    view: View
    units: Sequence[Ref]
    watched: Watched

    def ask(self, rows: Rows) -> tuple[Answer, Answer]:
        """Ask for units by cell and values of the conditions, and by cell alone."""
        shown, conditions = self._shown(), len(_plain(self.watched))
        names = ", ".join(f"f{i}" for i in range(len(shown)))
        keys = [f"k{i}" for i in range(len(self.block.keys))]
        keys += [f"h{i}" for i in range(len(self.block.hidden))]
        named = "".join(f"{key}, " for key in keys)
        base = base_sql(self.block, self.policy, self.unit)
        marked = f"({base}) AS b JOIN ({self._marks(shown)}) AS m ON u = v WHERE i"
        values = rows.ask(
            f"SELECT {named}{names}, count(*) FROM (SELECT DISTINCT {named}u, {names} FROM "
            f"{marked}) AS d GROUP BY ALL",
            Fold(len(keys) + len(shown), (Merge.SUM,)),
        )
        holding = [f"count(DISTINCT u) FILTER (f{i})" for i in range(conditions)]
        sides = rows.ask(
            f"SELECT {', '.join([*keys, *holding, 'count(*)'])} FROM {marked}"
            + (f" GROUP BY {', '.join(keys)}" if keys else ""),
            Fold(len(keys), (Merge.SUM,) * (conditions + 1)),
        )
        return values, sides

    def _shown(self) -> list[str]:
        conditions = _plain(self.watched)
        weaker = [
            (i, w)
            for i, c in enumerate(conditions)
            if not isinstance(c, _Changed)
            for w in alternatives(c)
        ]
        texts = [c.sql if isinstance(c, _Changed) else predicate_sql(c) for c in conditions]
        shown = [f"({text}) IS TRUE" for text in texts]
        shown += [f"{shown[i]} AND ({predicate_sql(w)}) IS NOT TRUE" for i, w in weaker]
        shown += [item.sql for item in self.watched if isinstance(item, _Classes)]
        return shown

    def _marks(self, shown: Sequence[str]) -> str:
        """Return the units with the values that the conditions take on their rows."""
        view = self.view
        flags = ", ".join(f"({text}) AS f{i}" for i, text in enumerate(shown))
        given = "" if view.where == ALL else f" AND ({predicate_sql(view.where)})"
        return " UNION ".join(
            f"SELECT {term_sql(ref)} AS v, {flags} FROM {source_sql(view, self.policy)} "
            f"WHERE {term_sql(ref)} IS NOT NULL{given}"
            for ref in self.units
        )

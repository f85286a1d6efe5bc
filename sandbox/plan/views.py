"""Views: stage-0 relations, whose rows still belong to their units (DESIGN section 5).

A view is a value: what it reads, joins, filters and computes within one unit. It is named
by its content, so that equal definitions are one view, and a block reads its columns by
that name as it reads those of a base table.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from sandbox.plan.canonical import admit, canonical, key_of
from sandbox.plan.terms import (
    Always,
    Kind,
    Member,
    Predicate,
    Ref,
    Term,
    members_in,
    refs_of,
)

PREFIX = "view_"
ALL = Always(value=True)


@dataclass(frozen=True, slots=True)
class Sorting:
    """One criterion of an order within a unit."""

    term: Term
    descending: bool = False
    nulls_last: bool = True


@dataclass(frozen=True, slots=True)
class Span:
    """ROWS or RANGE between two bounds of a window; None offsets are unbounded."""

    unit: str  # rows, range
    start: tuple[str, int | None]  # (preceding | current | following, rows)
    end: tuple[str, int | None]


@dataclass(frozen=True, slots=True)
class PerUnit:
    """An aggregate over the rows of one group of a unit, where `condition` holds.

    `argument` is None for count(*); `orders` says which row first and last take.
    """

    function: str  # count, count_distinct, sum, avg, min, max, first, last, any
    argument: Term | None
    condition: Predicate = ALL
    orders: tuple[Sorting, ...] = ()
    or_zero: bool = False  # where there is nothing to add up: coalesce(sum(x), 0)


@dataclass(frozen=True, slots=True)
class UnitWindow:
    """A window over the rows of one unit: `partition` holds every unit key."""

    function: str
    arguments: tuple[Term, ...]
    partition: tuple[Term, ...]
    orders: tuple[Sorting, ...] = ()
    frame: Span | None = None
    condition: Predicate = ALL
    ignore_nulls: bool = False


Value = Term | PerUnit | UnitWindow


@dataclass(frozen=True, slots=True)
class ViewColumn:
    """A column of a view with its type, as far as comparing and computing go."""

    name: str
    value: Value
    kind: Kind
    scale: int | None = None


@dataclass(frozen=True, slots=True)
class UnitJoin:
    """A join of one more table to those before it.

    `on` are equalities; `condition` holds of every pair that is joined. An asof join takes
    of each row's partners the one that `nearest` (a comparison) finds closest.
    """

    way: str  # inner, left, right, full, asof, asof_left
    table: str
    on: tuple[tuple[Ref, Ref], ...]
    condition: Predicate = ALL
    nearest: tuple[str, Ref, Ref] | None = None


@dataclass(frozen=True, slots=True)
class View:
    """A stage-0 relation over base tables and earlier views.

    `keys` are the terms of GROUP BY, among them every unit key of what it reads, or None:
    rows stay rows. `units` are (domain, column) of its own rows. `more` are the columns of
    further relations whose rows stand below these (UNION ALL), in the order of `columns`.
    `copy` tells two uses of one relation apart where it is joined with itself.
    """

    table: str
    joins: tuple[UnitJoin, ...]
    where: Predicate
    keys: tuple[Term, ...] | None
    columns: tuple[ViewColumn, ...]
    units: tuple[tuple[str, str], ...]
    more: tuple[tuple[Ref, ...], ...] = ()
    copy: int = 0

    @property
    def name(self) -> str:
        """The name by which it is read: a digest of what it is."""
        return PREFIX + hashlib.sha256(key_of(self).encode()).hexdigest()[:24]

    @property
    def tables(self) -> tuple[str, ...]:
        """What it reads in FROM, base tables and earlier views."""
        below = (refs[0].table for refs in self.more)
        return (self.table, *(join.table for join in self.joins), *below)

    def column(self, name: str) -> ViewColumn | None:
        """The column of that name, or None."""
        return next((column for column in self.columns if column.name == name), None)

    def ref(self, name: str) -> Ref:
        """A reference to one of its columns; requires that there is one."""
        column = self.column(name)
        assert column is not None
        return Ref(self.name, column.name, column.kind, column.scale)


admit(Sorting, Span, PerUnit, UnitWindow, ViewColumn, UnitJoin, View)

Outcome = tuple[Value, Kind, int | None]


def make_view(
    *,
    table: str,
    outputs: Sequence[Outcome],
    units: Iterable[tuple[str, Term]],
    joins: Iterable[UnitJoin] = (),
    where: Predicate = ALL,
    keys: Iterable[Term] | None = None,
    copy: int = 0,
) -> tuple[View, tuple[Ref, ...]]:
    """Return the canonical view, and a reference to each of `outputs`.

    Column names of the query are gone: columns are numbered in one order, each once.
    `units` are the domains and terms that name who a row of the view belongs to; they
    become columns too.
    """
    wanted: dict[str, Outcome] = {key_of(item[0]): item for item in outputs}
    domains = list(units)
    for _, term in domains:
        wanted.setdefault(key_of(term), (term, _kind(term), _scale(term)))
    order = {key: f"c{index}" for index, key in enumerate(sorted(wanted))}
    view = View(
        table=table,
        joins=tuple(joins),
        where=canonical(where),
        keys=None
        if keys is None
        else tuple(sorted({key_of(term): term for term in keys}.values(), key=key_of)),
        columns=tuple(ViewColumn(name, *wanted[key]) for key, name in order.items()),
        units=tuple(sorted({(domain, order[key_of(term)]) for domain, term in domains})),
        copy=copy,
    )
    name = view.name
    return view, tuple(
        Ref(name, order[key_of(value)], kind, scale) for value, kind, scale in outputs
    )


def _kind(term: Term) -> Kind:
    kind = getattr(term, "kind", Kind.OTHER)
    assert isinstance(kind, Kind)
    return kind


def _scale(term: Term) -> int | None:
    return term.scale if isinstance(term, Ref) else None


# --- what a view is made of


def by_name(views: Iterable[View]) -> dict[str, View]:
    """Return the views by the names under which they are read."""
    return {view.name: view for view in views}


def base_tables(tables: Iterable[str], views: Mapping[str, View]) -> tuple[str, ...]:
    """Return the base tables that are reached from `tables` through views."""
    found: dict[str, None] = {}
    for name in tables:
        view = views.get(name)
        if view is None:
            found[name] = None
        else:
            found.update(dict.fromkeys(base_tables(reads(view), views)))
    return tuple(found)


def reads(view: View) -> tuple[str, ...]:
    """Return every table and view that a view reads: in FROM, below it, in semi-joins."""
    nodes: list[Term | Predicate] = [*predicates_of(view), *(view.keys or ())]
    nodes += [term for column in view.columns for term in terms_of_value(column.value)]
    semi = [member.view for node in nodes for member in members_in(node)]
    return tuple(dict.fromkeys((*view.tables, *semi)))


def closure(names: Iterable[str], views: Mapping[str, View]) -> tuple[View, ...]:
    """Return the views reached from `names`, each after those that it reads."""
    found: dict[str, View] = {}

    def visit(name: str) -> None:
        view = views.get(name)
        if view is not None and name not in found:
            for inner in reads(view):
                visit(inner)
            found[name] = view

    for name in names:
        visit(name)
    return tuple(found.values())


def predicates_of(view: View) -> tuple[Predicate, ...]:
    """Return every filter of a view: WHERE, conditions of joins and of aggregates."""
    found = [view.where, *(join.condition for join in view.joins)]
    for column in view.columns:
        if isinstance(column.value, (PerUnit, UnitWindow)):
            found.append(column.value.condition)
    return tuple(item for item in found if item != ALL)


def terms_of_value(value: Value) -> tuple[Term, ...]:
    """Return what a column of a view is computed from, conditions aside."""
    match value:
        case PerUnit(argument=argument, orders=orders):
            terms: list[Term] = [] if argument is None else [argument]
        case UnitWindow(arguments=arguments, partition=partition, orders=orders):
            terms = [*arguments, *partition]
        case _:
            return (value,)
    return (*terms, *(item.term for item in orders))


def refs_of_value(value: Value) -> frozenset[Ref]:
    """Return the columns of its sources that reach a column of a view."""
    match value:
        case PerUnit(argument=argument, condition=condition, orders=orders):
            terms = () if argument is None else (argument,)
            nodes: tuple[Term | Predicate, ...] = (*terms, condition)
        case UnitWindow(
            arguments=arguments, partition=partition, orders=orders, condition=condition
        ):
            nodes = (*arguments, *partition, condition)
        case _:
            return refs_of(value)
    nodes = (*nodes, *(item.term for item in orders))
    return frozenset(ref for node in nodes for ref in refs_of(node))


def refs_of_view(view: View) -> frozenset[Ref]:
    """Return the columns of its sources that a view reads."""
    found = {ref for column in view.columns for ref in refs_of_value(column.value)}
    nodes: list[Term | Predicate] = [*(view.keys or ()), *predicates_of(view)]
    found |= {ref for node in nodes for ref in refs_of(node)}
    for join in view.joins:
        found |= {ref for pair in join.on for ref in pair}
        found |= set(() if join.nearest is None else join.nearest[1:])
    found |= {ref for refs in view.more for ref in refs}
    return frozenset(found)


def member(ref: Ref, view: View, column: str) -> Member:
    """Return the semi-join of a unit key with a unit key of a view."""
    assert column in {name for _, name in view.units}
    return Member(ref, view.name, column)

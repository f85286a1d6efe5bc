"""What a block reads, said of base rows as far as that can be said: for comparisons.

A view with one row for each unit is a table to look values up in: joined outwards to the
rows that it was made of, it multiplies none. So `sum(s) FROM (SELECT pid, sum(cost) AS s
FROM visits GROUP BY pid)` is about the rows of `visits`, and is compared with every other
answer about them. A view that numbers or windows rows is looked up by their number.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol, TypeVar

from sandbox.plan.canonical import canonical
from sandbox.plan.joint_rows import Join, Source
from sandbox.plan.rebuilding import refs_in
from sandbox.plan.terms import All, Kind, Member, Predicate, Ref, Term
from sandbox.plan.view_sql import ROW_ID, has_row_id
from sandbox.plan.views import ALL, UnitJoin, View, by_name

Node = TypeVar("Node")


class Reading(Protocol):
    """What has rows: a block, or an earlier release."""

    @property
    def tables(self) -> tuple[str, ...]:
        """The tables and views in FROM."""

    @property
    def joins(self) -> tuple[Join, ...]:
        """The equalities that join them."""

    @property
    def where(self) -> Predicate:
        """The filter."""

    @property
    def optional(self) -> tuple[str, ...]:
        """The public tables whose partner may be missing."""

    @property
    def views(self) -> tuple[View, ...]:
        """The views that it reads, each after those it reads."""


@dataclass(frozen=True, slots=True)
class Rows:
    """Base rows with their keys; `same` says which base column a view's column is."""

    source: Source
    keys: tuple[Term, ...]
    same: Mapping[Ref, Ref]

    def base(self, ref: Ref) -> Ref:
        """Return the column of a base row that a column of a view is, or itself."""
        while ref in self.same:
            ref = self.same[ref]
        return ref


def rows_of(reading: Reading, keys: tuple[Term, ...]) -> tuple[Rows, ...]:
    """Return what a block or an earlier release reads, over base rows where it can be.

    A grouped view that is joined to other rows is about those, and about its own: both
    ways of saying so are given.
    """
    found: dict[Source, Rows] = {}
    # Without views there is one way of saying it.
    for prefers_lookups in (True, False) if reading.views else (True,):
        expanding = _Expanding(reading, keys, prefers_lookups=prefers_lookups)
        while expanding.step():
            pass
        rows = expanding.rows()
        found.setdefault(rows.source, rows)
    return tuple(found.values())


class _Expanding:
    def __init__(
        self, reading: Reading, keys: tuple[Term, ...], *, prefers_lookups: bool
    ) -> None:
        self._prefers_lookups = prefers_lookups
        self._views = by_name(reading.views)
        self._tables = list(reading.tables)
        self._joins = list(reading.joins)
        self._where, self._keys = reading.where, keys
        self._optional = set(reading.optional)
        self._lookups: list[str] = []
        self._same: dict[Ref, Ref] = {}
        self._opaque: set[str] = set()

    def rows(self) -> Rows:
        source = Source(
            tuple(sorted((*self._tables, *self._lookups))),
            tuple(dict.fromkeys(self._joins)),
            self._where,
            tuple(sorted(self._optional)),
            tuple(sorted(self._lookups)),
        )
        return Rows(source, self._keys, self._same)

    def step(self) -> bool:
        """Say one view of something nearer to base rows; False where there is none."""
        for name in self._tables:
            view = self._views.get(name)
            if view is None or name in self._opaque:
                continue
            done = not view.more and (
                self._look_up(view)
                or self._ungrouped(view)
                or self._inlined(view)
                or self._numbered(view)
            )
            if done:
                return True
            self._opaque.add(name)
        return False

    def _key_columns(self, view: View) -> dict[Ref, Ref] | None:
        """Return of each key of a grouped view its column, where every key has one."""
        values = {column.value: view.ref(column.name) for column in view.columns}
        if view.keys is None or not all(isinstance(key, Ref) for key in view.keys):
            return None
        found = {key: values[key] for key in view.keys if key in values}
        refs = {key: ref for key, ref in found.items() if isinstance(key, Ref)}
        return refs if len(refs) == len(view.keys) else None

    def _look_up(self, view: View) -> bool:
        """Look a grouped view up from another table that is joined on all its keys."""
        columns = self._key_columns(view)
        if columns is None or not self._prefers_lookups:
            return False
        partners: dict[Ref, Ref] = {}
        for one, other in self._joins:
            for mine, theirs in ((one, other), (other, one)):
                is_core = theirs.table in self._tables and theirs.table != view.name
                if mine.table == view.name and is_core:
                    partners.setdefault(mine, theirs)
        if set(partners) != set(columns.values()):
            return False
        if len({ref.table for ref in partners.values()}) != 1:
            return False
        self._made_lookup(view, [(theirs, mine) for mine, theirs in partners.items()])
        self._same.update(partners)
        return True

    def _made_lookup(self, view: View, joins: list[Join]) -> None:
        self._tables.remove(view.name)
        self._lookups.append(view.name)
        kept = [j for j in self._joins if view.name not in {ref.table for ref in j}]
        self._joins = [*kept, *joins]

    def _ungrouped(self, view: View) -> bool:
        """Read the rows that a grouped view was made of, and look the view up."""
        columns = self._key_columns(view)
        if columns is None or not self._can_read(view):
            return False
        if len(set(view.units)) != len(view.keys or ()):
            return False  # a key beside the units may be NULL, and would not be found
        same = {ref: key for key, ref in columns.items()}
        moved = [
            (same.get(one, one), same.get(other, other))
            for one, other in self._joins
            if view.name in {one.table, other.table}
        ]
        self._made_lookup(view, list(columns.items()))
        self._joins += moved
        self._read(view)
        self._same.update(same)
        return True

    def _inlined(self, view: View) -> bool:
        """Read what a view reads that only passes rows on."""
        values = {view.ref(column.name): column.value for column in view.columns}
        used = {
            ref
            for ref in refs_in((tuple(self._joins), self._where, self._keys))
            if ref.table == view.name
        }
        if view.keys is not None or view.copy or not self._can_read(view):
            return False
        used |= {view.ref(name) for _, name in view.units}
        if not all(isinstance(values.get(ref), Ref) for ref in used):
            return False
        same = {ref: value for ref, value in values.items() if isinstance(value, Ref)}
        self._tables.remove(view.name)
        self._joins = [(same.get(a, a), same.get(b, b)) for a, b in self._joins]
        self._where = canonical(_substituted(self._where, same))
        self._keys = _substituted(self._keys, same)
        self._read(view)
        self._same.update(same)
        return True

    def _numbered(self, view: View) -> bool:
        """Read the rows of a view of windows, and look the view up by their number."""
        if not has_row_id(view) or view.copy or not self._can_read(view):
            return False
        values = {view.ref(column.name): column.value for column in view.columns}
        same = {ref: value for ref, value in values.items() if isinstance(value, Ref)}
        own = Ref(view.table, ROW_ID, Kind.INTEGER)
        moved = [
            (same.get(one, one), same.get(other, other))
            for one, other in self._joins
            if view.name in {one.table, other.table}
        ]
        if view.name in {ref.table for join in moved for ref in join}:
            return False
        self._made_lookup(view, [(own, Ref(view.name, ROW_ID, Kind.INTEGER))])
        self._joins += moved
        self._read(view)
        self._same.update(same)
        return True

    # --- what a view reads

    def _can_read(self, view: View) -> bool:
        taken = {*self._tables, *self._lookups} - {view.name}
        if taken & {*view.tables}:
            return False
        return all(join.nearest is None for join in view.joins)

    def _is_lookup(self, join: UnitJoin) -> bool:
        """Whether a join is outwards to at most one row."""
        view = self._views.get(join.table)
        columns = None if view is None else self._key_columns(view)
        on = {right for _, right in join.on}
        return join.way == "left" and columns is not None and on == set(columns.values())

    def _read(self, view: View) -> None:
        self._tables.append(view.table)
        for join in view.joins:
            if join.condition == ALL and self._is_lookup(join):
                self._lookups.append(join.table)
                self._optional.add(join.table)
            else:
                # Of an outer join the pairs are compared here; who has none is found by
                # comparing units.
                self._tables.append(join.table)
                self._where = canonical(All((self._where, join.condition)))
            self._joins += join.on
        if view.where != ALL:
            self._where = canonical(All((self._where, view.where)))


def _substituted(node: Node, same: Mapping[Ref, Ref]) -> Node:
    if isinstance(node, tuple):
        return tuple(_substituted(item, same) for item in node)  # type: ignore[return-value]  # a tuple of the same kinds
    if isinstance(node, Ref):
        return same.get(node, node)  # type: ignore[return-value]  # a column for a column
    if not dataclasses.is_dataclass(node) or isinstance(node, type):
        return node
    values = {
        field.name: _substituted(getattr(node, field.name), same)
        for field in dataclasses.fields(node)
    }
    assert not isinstance(node, Member) or isinstance(values["ref"], Ref)
    return type(node)(**values)

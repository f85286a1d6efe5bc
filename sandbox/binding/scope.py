"""FROM over rows: which tables a SELECT reads, and what each of them is there."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from sandbox.binding.facts import Facts
from sandbox.binding.items import (
    Bound,
    Item,
    Meaning,
    Reentered,
    ResultItem,
    RowsItem,
)
from sandbox.binding.joined_names import JoinedNames
from sandbox.plan.terms import Predicate
from sandbox.sql import syntax

Leaf = syntax.TableName | syntax.Derived
MAX_COPIES = 8


class ItemOf(Protocol):
    """Binds what stands in FROM; a copy reads the same tables under other names."""

    def __call__(self, leaf: Leaf, copy: int = 0) -> Item | None:
        """Return the item; None where it is refused."""


class OuterJoins(Protocol):
    """Binds outer and ASOF joins."""

    def __call__(self, scope: Scope, node: syntax.Join) -> None:
        """Add the join to a scope, or a finding."""


class Scope(JoinedNames):
    """What one SELECT over rows reads; what cannot stand in its FROM is a finding."""

    def __init__(
        self,
        facts: Facts,
        item_of: ItemOf,
        outer_joins: OuterJoins | None = None,
        taken: frozenset[str] = frozenset(),
    ) -> None:
        super().__init__(facts)
        self._outer_joins = outer_joins
        self._taken = taken
        self._item_of = item_of
        self.tables: list[str] = []
        self.where: list[Predicate] = []  # filters of derived tables
        self.optional: list[str] = []  # public tables joined outwards

    def add(self, source: syntax.Source | None) -> None:
        """Bind FROM; joins and conditions of ON are in `joins` and `conditions` after."""
        if source is None:
            return
        if not isinstance(source, syntax.Join):
            self._add_leaf(source)
            return
        if source.asof or source.kind in ("left", "right", "full"):
            if self._outer_joins is None:
                self._refuse_join(source)
            else:
                self._outer_joins(self, source)
            return
        self.add(source.left)
        left_aliases = {item.alias.lower() for item in self.bound}
        self.add(source.right)
        self.equate(source, left_aliases)

    # --- sides of outer joins

    def side(self, source: syntax.Source, taken: frozenset[str] = frozenset()) -> Scope:
        """Return the scope of one side; it reads `taken` tables under other names."""
        names = self._taken | taken | frozenset(self.tables)
        found = Scope(self.facts, self._item_of, self._outer_joins, names)
        found.add(source)
        return found

    def over(self, bound: Sequence[Bound]) -> Scope:
        """Return a scope in which these names can be found."""
        found = Scope(self.facts, self._item_of, self._outer_joins)
        found.bound = list(bound)
        return found

    @property
    def has_results(self) -> bool:
        """Whether a result stands among its items."""
        return any(
            isinstance(meaning, Reentered)
            for item in self.bound
            for meaning in item.columns.values()
        )

    def adopt(self, side: Scope) -> None:
        """Take over everything that a side has bound."""
        self.tables += side.tables
        self.joins += side.joins
        self.where += side.where
        self.conditions += side.conditions
        self.among += side.among
        self.optional += side.optional
        self._merged.update(side._merged)
        self._add_bound(side.bound)

    def take(self, table: str, bound: Sequence[Bound]) -> None:
        """Read a view, in which the names of `bound` mean its columns."""
        self.tables.append(table)
        self._add_bound(bound)

    def _add_bound(self, bound: Sequence[Bound]) -> None:
        known = {item.alias.lower() for item in self.bound}
        if any(item.alias.lower() in known for item in bound):
            self.facts.refuse(
                "ambiguous_name", "two tables have the same name", "Give each an alias."
            )
        self.bound += bound

    # --- items

    def _add_leaf(self, node: Leaf) -> None:
        item = self._item_of(node)
        if item is None:
            return
        if any(found.alias.lower() == node.alias.lower() for found in self.bound):
            self.facts.refuse(
                "ambiguous_name",
                "two tables have the same name",
                "Give each an alias.",
                node.place,
            )
            return
        if isinstance(item, ResultItem):
            columns: dict[str, Meaning] = {
                name.lower(): Reentered(item.relation, index)
                for index, name in enumerate(item.names)
            }
            self.bound.append(Bound(node.alias, columns, item.names))
            return
        taken = self._taken | frozenset(self.tables)
        copy = 0
        while isinstance(item, RowsItem) and taken & {*item.tables} and copy < MAX_COPIES:
            # A table that is joined with itself stands there twice, under two names.
            copy += 1
            item = self._item_of(node, copy)
        if not isinstance(item, RowsItem):
            return
        for name in item.tables:
            if name in taken:
                self.facts.refuse(
                    "self_join_unavailable",
                    f"`{name}` is joined with itself, which could multiply one unit's "
                    "weight",
                    "Ask over the table once.",
                    node.place,
                )
                return
        self.tables += item.tables
        self.joins += item.joins
        self.where += item.where
        self.bound.append(Bound(node.alias, item.columns, item.names))


def leaves_of(source: syntax.Source | None) -> list[Leaf]:
    """Return what stands in FROM, from left to right."""
    if source is None:
        return []
    if isinstance(source, syntax.Join):
        return [*leaves_of(source.left), *leaves_of(source.right)]
    return [source]

"""FROM over results: relations side by side, and what a name means there."""

from __future__ import annotations

from sandbox.binding.cells import CellBinder
from sandbox.binding.facts import Facts
from sandbox.binding.items import Item, ResultItem, RowsItem
from sandbox.binding.scope import ItemOf, Leaf
from sandbox.plan.results import (
    CellExpression,
    ColumnCell,
    Joined,
    OneRow,
    PostCall,
    PublicRows,
    Relation,
)
from sandbox.plan.terms import Ref
from sandbox.sql import syntax

_KINDS = frozenset({"inner", "left", "right", "full", "semi", "anti", "cross"})


class ResultScope:
    """FROM over results: relations side by side, and what a name means there."""

    def __init__(self, facts: Facts, item_of: ItemOf) -> None:
        self.facts = facts
        self._item_of = item_of
        self._columns: list[tuple[str, str]] = []  # alias and name, lower case
        self._shown: list[tuple[str, str]] = []
        self._merged: dict[int, int] = {}  # columns of USING, shown once

    def relation(self, node: syntax.Source | None, cells: CellBinder) -> Relation | None:
        """Bind FROM from left to right."""
        if node is None:
            return OneRow()
        if isinstance(node, syntax.Join):
            return self._join(node, cells)
        return self._leaf(node)

    def _leaf(self, node: Leaf) -> Relation | None:
        item = self._item_of(node)
        found = None if item is None else as_result(item)
        if found is None:
            if item is not None:
                self.facts.refuse(
                    "public_filtered",
                    "a filtered public table cannot stand beside results",
                    "Join the whole public table, and filter afterwards.",
                    node.place,
                )
            return None
        if any(alias == node.alias.lower() for alias, _ in self._columns):
            self.facts.refuse(
                "ambiguous_name",
                "two tables have the same name",
                "Give each an alias.",
                node.place,
            )
            return None
        self._columns += [(node.alias.lower(), name.lower()) for name in found.names]
        self._shown += [(node.alias, name) for name in found.names]
        return found.relation

    def _join(self, node: syntax.Join, cells: CellBinder) -> Relation | None:
        left = self.relation(node.left, cells)
        middle = len(self._columns)
        right = self.relation(node.right, cells)
        if left is None or right is None:
            return None
        if node.asof or node.kind not in _KINDS:
            self.facts.refuse(
                "join_unavailable",
                f"this kind of join of results ({node.kind[:20]}) is not available",
                "Use JOIN ... ON or USING.",
                node.place,
            )
            return None
        names = list(node.using)
        if node.natural:
            names = sorted(
                {name for _, name in self._columns[:middle]}
                & {name for _, name in self._columns[middle:]}
            )
        conditions: list[CellExpression] = []
        for name in names:
            pair = self._pair(name.lower(), middle)
            if pair is None:
                self.facts.refuse(
                    "unknown_column",
                    f"`{name[:60]}` is not in both joined tables",
                    "Check USING.",
                    node.place,
                )
                return None
            self._merged[pair[1]] = pair[0]
            conditions.append(PostCall("=", (ColumnCell(pair[0]), ColumnCell(pair[1]))))
        if node.condition is not None:
            found = cells.cell(node.condition)
            if found is None:
                return None
            conditions.append(found)
        if node.kind in ("semi", "anti"):
            del self._columns[middle:], self._shown[middle:]
        condition = conditions[0] if len(conditions) == 1 else None
        if len(conditions) > 1:
            condition = PostCall("and", tuple(conditions))
        kind = "cross" if condition is None else node.kind
        return Joined(kind, left, right, condition)

    def _pair(self, name: str, middle: int) -> tuple[int, int] | None:
        left = [i for i in range(middle) if self._columns[i][1] == name]
        right = [
            i for i in range(middle, len(self._columns)) if self._columns[i][1] == name
        ]
        return (left[0], right[0]) if left and right else None

    # --- names

    def candidates(self, column: syntax.Column) -> list[int]:
        """Return the columns that a name may mean."""
        if len(column.names) > 2:
            return []
        name = column.names[-1].lower()
        alias = column.names[0].lower() if len(column.names) == 2 else None
        found = [
            index
            for index, (table, own) in enumerate(self._columns)
            if own == name and alias in (None, table)
        ]
        if alias is None:
            found = [i for i in found if i not in self._merged]
        return found

    def value(self, index: int) -> CellExpression:
        """Return a column; one of USING is that of either side, whichever is there."""
        others = [right for right, left in self._merged.items() if left == index]
        if not others:
            return ColumnCell(index)
        return PostCall("coalesce", (ColumnCell(index), *map(ColumnCell, others)))

    def star(self, table: str) -> list[tuple[str, syntax.Column]] | None:
        """Return the columns of `*` or `table.*`, those of USING once."""
        found = [
            (name, syntax.Column((alias, name) if table else _names(self, alias, name)))
            for index, (alias, name) in enumerate(self._shown)
            if (not table or alias.lower() == table.lower())
            and (table or index not in self._merged)
        ]
        return found or None

    def known(self) -> list[str]:
        """Return the names of all columns, sorted."""
        return sorted({name for _, name in self._shown})


def _names(source: ResultScope, alias: str, name: str) -> tuple[str, ...]:
    # A merged column is both sides'; a plain one is named with its table.
    plain = len(source.candidates(syntax.Column((name,)))) == 1
    return (name,) if plain else (alias, name)


def as_result(item: Item) -> ResultItem | None:
    """Return a whole public table as a relation; None for anything else of rows."""
    if isinstance(item, ResultItem):
        return item
    return _public(item)


def _public(item: RowsItem) -> ResultItem | None:
    refs = [item.columns[name.lower()] for name in item.names]
    plain = all(isinstance(ref, Ref) for ref in refs)
    if not plain or len(item.tables) != 1 or item.where or item.joins:
        return None
    return ResultItem(PublicRows(item.tables[0], item.names), item.names)

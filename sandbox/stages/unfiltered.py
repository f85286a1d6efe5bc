"""A block as if the views that it reads had no filters: who is left out by them?"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from sandbox.plan.block import Block
from sandbox.plan.rebuilding import rebuilt, refs_in, renamed
from sandbox.plan.terms import All, Predicate, Term
from sandbox.plan.views import ALL, PerUnit, UnitWindow, View, by_name

_FIRST_COPY = 1_000


class Unfiltered:
    """The twin of a block; `views` are to be materialised, `names` tell old from new.

    It keeps of keys and filters only what is plain: what no view computes. A value that is
    computed within a unit would be another one without the filter.
    """

    def __init__(self, block: Block) -> None:
        self._by_name = by_name(block.views)
        self.read = views_in_from(block)
        self.names: dict[str, str] = {}
        made: dict[str, View] = {}
        for view in self.read:
            found, names = rebuilt(view.name, self._by_name, self._without_filter)
            self.names.update(names)
            made.update(by_name(found))
        self.views = tuple(made.values())
        self.shown = tuple(i for i, term in enumerate(block.keys) if self.is_plain(term))
        self.filtered = dataclasses.replace(
            block,
            keys=tuple(block.keys[i] for i in self.shown),
            hidden=(),
            where=_all_of([i for i in _conjuncts(block.where) if self.is_plain(i)]),
        )
        self.block: Block = dataclasses.replace(
            renamed(self.filtered, self.names), views=self.views
        )

    @property
    def differs(self) -> bool:
        """Whether there is any filter that was taken away."""
        return any(self._kept(view) != _conjuncts(view.where) for view in self.read)

    def _without_filter(self, view: View) -> View:
        if view not in self.read:
            return view
        # Two that differ by their filters alone must not become one and the same.
        copy = _FIRST_COPY + self.read.index(view)
        return dataclasses.replace(view, where=_all_of(self._kept(view)), copy=copy)

    def _kept(self, view: View) -> list[Predicate]:
        # What is computed within a unit chooses by it in any case.
        return [item for item in _conjuncts(view.where) if not self.is_plain(item)]

    def is_plain(self, node: Term | Predicate) -> bool:
        """Whether nothing that a view computes reaches a term or predicate."""
        for ref in refs_in(node):
            view = self._by_name.get(ref.table)
            column = None if view is None else view.column(ref.column)
            if column is None:
                continue
            if isinstance(column.value, (PerUnit, UnitWindow)):
                return False
            if not self.is_plain(column.value):
                return False
        return True


def views_in_from(block: Block) -> tuple[View, ...]:
    """Return the views whose rows a block reads, and those that they read."""
    views = by_name(block.views)
    found: set[str] = set()

    def visit(tables: Sequence[str]) -> None:
        for name in tables:
            if name in views and name not in found:
                found.add(name)
                visit(views[name].tables)

    visit(block.tables)
    return tuple(view for view in block.views if view.name in found)


def _conjuncts(where: Predicate) -> list[Predicate]:
    items = where.items if isinstance(where, All) else (where,)
    return [item for item in items if item != ALL]


def _all_of(items: Sequence[Predicate]) -> Predicate:
    return ALL if not items else items[0] if len(items) == 1 else All(tuple(items))

"""Queries inside queries, bound: WITH, derived tables, UNION, and which kind each is.

A SELECT over protected rows gives rows (they still belong to units) or, once aggregated, a
result; a SELECT over results gives a result. What a name in FROM means goes by binding: an
inner WITH shadows an outer one, and both shadow a table.
"""

from __future__ import annotations

from sandbox.binding import stage_zero
from sandbox.binding.context import MAX_BLOCKS, MAX_DEPTH, Context, Environment
from sandbox.binding.correlated import decorrelated
from sandbox.binding.items import Item, ResultItem, RowsItem
from sandbox.binding.names import table_columns
from sandbox.binding.outer_joins import add_outer
from sandbox.binding.outputs import is_grouped
from sandbox.binding.result_select import bind_results, stacked
from sandbox.binding.rows_select import bind_rows
from sandbox.binding.scope import ItemOf, Leaf, Scope, leaves_of
from sandbox.sql import syntax


class QueryBinder:
    """Binds queries at any depth; findings and facts gather in the context."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._facts = context.facts
        self._used: set[int] = set()

    def query(
        self, query: syntax.Query, environment: Environment, *, as_result: bool = False
    ) -> Item | None:
        """Bind a query; None where it is refused."""
        inside = environment.within(query.with_)
        if inside.depth > MAX_DEPTH:
            self._facts.refuse(
                "query_too_complex",
                f"queries are nested more than {MAX_DEPTH} deep",
                "Ask for less at once.",
            )
            return None
        if isinstance(query, syntax.SetOperation):
            found: Item | None = stacked(query, inside, self, self._facts)
        else:
            found = self._select(query, inside, as_result=as_result)
        self._bind_unused(query.with_, inside)
        if len(self._context.blocks) > MAX_BLOCKS:
            self._facts.refuse(
                "query_too_complex",
                f"the query has more than {MAX_BLOCKS} aggregations",
                "Ask for less at once.",
            )
            return None
        return found

    def _bind_unused(
        self, named: tuple[tuple[str, syntax.Query], ...], inside: Environment
    ) -> None:
        """Refuse in a query of WITH that nothing uses what is refused elsewhere."""
        for name, query in named:
            if id(query) in self._used:
                continue
            seen = inside.queries.get(name.lower())
            scratch = self._context.scratch()
            around = seen[1] if seen is not None and seen[0] is query else inside
            QueryBinder(scratch).query(query, around)
            self._facts.steps = scratch.facts.steps
            self._facts.findings += scratch.facts.findings
            # Uses of views were judged already: nobody outside knows them.
            known = self._facts.policy.table
            self._facts.uses += [u for u in scratch.facts.uses if known(u.table)]

    # --- SELECT

    def _select(
        self, select: syntax.Select, environment: Environment, *, as_result: bool
    ) -> Item | None:
        select = decorrelated(select)
        items: dict[tuple[int, int], Item | None] = {}

        def item_of(leaf: Leaf, copy: int = 0) -> Item | None:
            if (id(leaf), copy) not in items:
                around = environment.copied(copy) if copy else environment
                items[id(leaf), copy] = self._item(leaf, around)
            return items[id(leaf), copy]

        leaves = [item_of(leaf) for leaf in leaves_of(select.source)]
        if any(item is None for item in leaves):
            return None
        rows = [item for item in leaves if isinstance(item, RowsItem)]
        if any(self._is_protected(item) for item in rows):
            return self._rows(select, item_of, environment)
        only_rows = rows and len(rows) == len(leaves)
        if only_rows and not is_grouped(select) and not as_result:
            return self._rows(select, item_of, environment)
        self._facts.froms.append(tuple(name for item in rows for name in item.tables))
        return bind_results(select, environment, self, item_of, self._context)

    def _rows(
        self,
        select: syntax.Select,
        item_of: ItemOf,
        environment: Environment,
    ) -> Item | None:
        scope = Scope(self._facts, item_of, add_outer)
        scope.add(select.source)
        return bind_rows(self._context, select, scope, self, environment)

    def _is_protected(self, item: RowsItem) -> bool:
        tables = [self._facts.policy.table(name) for name in item.tables]
        return any(table is not None and not table.public for table in tables)

    # --- FROM

    def _item(self, leaf: Leaf, environment: Environment) -> Item | None:
        if isinstance(leaf, syntax.Derived):
            found = self.query(leaf.query, environment)
            return _renamed(found, leaf.column_aliases)
        named = environment.queries.get(leaf.name.lower())
        if named is not None:
            query, around = named
            self._used.add(id(query))
            return self.query(query, around.copied(environment.copy))
        return self._base_table(leaf, environment.copy)

    def _base_table(self, leaf: syntax.TableName, copy: int) -> RowsItem | None:
        known = {name.lower(): name for name in self._context.schemas}
        name = known.get(leaf.name.lower())
        policy = None if name is None else self._facts.policy.table(name)
        if name is None or policy is None:
            self._facts.refuse(
                "unknown_table",
                f"`{leaf.name[:60]}` is no table that this query may read",
                f"The tables are: {', '.join(sorted(known.values()))}.",
                leaf.place,
            )
            return None
        if policy.requester:
            self._facts.refuse(
                "requester_table_unavailable",
                f"`{name}` is a table that you brought; it can be joined only on unit "
                "keys, and this node does not take one yet",
                "Ask with the provider's own tables.",
                leaf.place,
            )
        listed = self._context.schemas[name]
        columns = table_columns(name, listed)
        self._facts.refs.update({(name, key): ref for key, ref in columns.items()})
        item = RowsItem((name,), (), (), columns, tuple(shown for shown, _ in listed))
        return stage_zero.copied(self._facts, item, copy) if copy else item


def _renamed(item: Item | None, aliases: tuple[str, ...]) -> Item | None:
    if item is None or not aliases:
        return item
    names = (*aliases, *item.names[len(aliases) :])
    if isinstance(item, ResultItem):
        return ResultItem(item.relation, names)
    columns = {
        new.lower(): item.columns[old.lower()]
        for new, old in zip(names, item.names, strict=False)
    }
    return RowsItem(item.tables, item.joins, item.where, columns, names)

"""A SELECT over results and public tables, bound: all of it is post-processing."""

from __future__ import annotations

from collections.abc import Sequence

from sandbox.binding.cells import CellBinder
from sandbox.binding.context import Context, Environment, Queries
from sandbox.binding.facts import Facts
from sandbox.binding.grouping import (
    GroupingSets,
    group_expressions,
    over_source,
    select_over,
)
from sandbox.binding.items import Item, ResultItem, RowsItem
from sandbox.binding.outputs import holds_query, is_grouped, written_out
from sandbox.binding.scope import ItemOf, Leaf
from sandbox.binding.subqueries import scalar_cell
from sandbox.plan.result_functions import RESULT_AGGREGATES
from sandbox.plan.result_walks import simplified, stack_of, width_of
from sandbox.plan.results import (
    AggregateOf,
    CellExpression,
    ColumnCell,
    Grouped,
    Joined,
    LiteralCell,
    OneRow,
    PostCall,
    PublicRows,
    Relation,
    Selected,
    Stacked,
)
from sandbox.plan.terms import Ref
from sandbox.sql import syntax

_KINDS = frozenset({"inner", "left", "right", "full", "semi", "anti", "cross"})


class _Source:
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
        found = None if item is None else _as_result(item)
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


def _names(source: _Source, alias: str, name: str) -> tuple[str, ...]:
    # A merged column is both sides'; a plain one is named with its table.
    plain = len(source.candidates(syntax.Column((name,)))) == 1
    return (name,) if plain else (alias, name)


class _RowLeaves:
    """Leaves of expressions over single rows of results."""

    def __init__(self, source: _Source, aliases: dict[str, syntax.Expression]) -> None:
        self._source = source
        self._facts = source.facts
        self._aliases = aliases

    def key(self, expression: syntax.Expression) -> CellExpression | None:  # noqa: ARG002 - as Leaves
        """Return None: single rows have no group keys."""
        return None

    def alias(self, column: syntax.Column) -> syntax.Expression | None:
        """Return what an output alias stands for, where no column has that name."""
        if len(column.names) == 1 and not self._source.candidates(column):
            return self._aliases.get(column.names[0].lower())
        return None

    def column(self, column: syntax.Column) -> CellExpression | None:
        """Return a column of the results."""
        found = self._source.candidates(column)
        if len(found) == 1:
            return self._source.value(found[0])
        shown = ".".join(column.names)[:80]
        if found:
            self._facts.refuse(
                "ambiguous_name",
                f"`{shown}` stands in several results",
                "Write the alias of one before it.",
                column.place,
            )
        else:
            names = self._source.known()
            self._facts.refuse(
                "unknown_column",
                f"`{shown}` is no column of the results in FROM",
                f"Their columns: {', '.join(names[:12])}." if names else "Add FROM.",
                column.place,
            )
        return None

    def aggregate(self, call: syntax.Call) -> CellExpression | None:
        """Refuse an aggregate where single rows are meant."""
        self._facts.refuse(
            "aggregate_here",
            f"`{call.name}` stands where single rows are filtered or grouped",
            "Put conditions on aggregates into HAVING.",
            call.place,
        )
        return None

    def grouping(self, call: syntax.Call) -> CellExpression | None:
        """Refuse GROUPING() where nothing is grouped."""
        self.give_up(call, "grouping_of_no_key", "GROUPING() without GROUP BY")
        return None

    def give_up(
        self, expression: syntax.Expression, code: str, what: str, hint: str = ""
    ) -> None:
        """Refuse an expression; columns of results need no note."""
        if code:
            place = getattr(expression, "place", None)
            self._facts.refuse(
                code, f"{what} is not part of what may be asked", hint, place
            )


class _GroupLeaves(_RowLeaves):
    """Leaves of expressions over groups of results."""

    def __init__(
        self,
        source: _Source,
        aliases: dict[str, syntax.Expression],
        rows: CellBinder,
        quiet: CellBinder,
        sets: GroupingSets,
    ) -> None:
        super().__init__(source, aliases)
        self._rows, self._quiet, self._sets = rows, quiet, sets
        self.groups: list[CellExpression] = []
        self.aggregates: list[AggregateOf] = []

    def key(self, expression: syntax.Expression) -> CellExpression | None:
        """Return the group key that an expression is, tried where nobody reads."""
        if isinstance(expression, syntax.Constant) or holds_query(expression):
            return None
        found = self._quiet.cell(expression)
        return ColumnCell(self.groups.index(found)) if found in self.groups else None

    def column(self, column: syntax.Column) -> CellExpression | None:
        """Refuse a column that is neither grouped nor aggregated."""
        if super().column(column) is not None:
            self._facts.refuse(
                "not_grouped",
                f"`{column.names[-1][:60]}` is neither grouped nor aggregated",
                "Add it to GROUP BY.",
                column.place,
            )
        return None

    def aggregate(self, call: syntax.Call) -> CellExpression | None:
        """Return an aggregate of results."""
        if call.name not in RESULT_AGGREGATES:
            self.give_up(
                call,
                "function_not_allowed",
                f"the aggregate `{call.name[:40]}` over results",
                "Use count, sum, avg, min, max and the like.",
            )
            return None
        arguments = [self._rows.cell(item) for item in call.arguments]
        condition = None if call.condition is None else self._rows.cell(call.condition)
        if any(item is None for item in arguments) or (
            call.condition is not None and condition is None
        ):
            return None
        known = tuple(item for item in arguments if item is not None)
        found = AggregateOf(call.name, known, call.distinct, condition)
        if found not in self.aggregates:
            self.aggregates.append(found)
        return ColumnCell(len(self.groups) + self.aggregates.index(found))

    def grouping(self, call: syntax.Call) -> CellExpression | None:
        """Return GROUPING() of keys."""
        return self._sets.grouping(call, self.key, self.give_up)


def bind_results(
    select: syntax.Select,
    environment: Environment,
    queries: Queries,
    item_of: ItemOf,
    context: Context,
) -> ResultItem | None:
    """Bind a SELECT whose FROM holds results, public tables or nothing."""
    facts = context.facts
    source = _Source(facts, item_of)
    quiet_source = _Source(facts.scratch(), item_of)

    def scalar(node: syntax.Subquery) -> CellExpression | None:
        return scalar_cell(node, queries, environment, facts)

    aliases: dict[str, syntax.Expression] = {}
    rows = CellBinder(facts, _RowLeaves(source, aliases), scalar)
    scalar_cell_of = scalar
    relation = source.relation(select.source, rows)
    if relation is None:
        return None
    quiet_source._columns, quiet_source._shown = source._columns, source._shown
    quiet_source._merged = source._merged
    quiet = CellBinder(
        quiet_source.facts, _RowLeaves(quiet_source, aliases), scalar_cell_of
    )
    outputs = written_out(select, source.star, facts)
    for item in outputs:
        if item.alias:
            aliases[item.alias.lower()] = item.expression
    where = None if select.where is None else rows.cell(select.where)
    if select.where is not None and where is None:
        return None
    if where is not None:
        same = tuple(ColumnCell(i) for i in range(width_of(relation)))
        relation = Selected(relation, same, where)
    if not is_grouped(select):
        found = select_over(select, outputs, rows, facts)
        if found is None:
            return None
        assert isinstance(found.relation, Selected)
        return ResultItem(over_source(found.relation, relation, int), found.names)
    return _grouped(select, outputs, relation, (source, aliases, rows, quiet), scalar)


def _grouped(
    select: syntax.Select,
    outputs: Sequence[syntax.Output],
    relation: Relation,
    binding: tuple[_Source, dict[str, syntax.Expression], CellBinder, CellBinder],
    scalar: object,
) -> ResultItem | None:
    source, aliases, rows, quiet = binding
    facts = source.facts
    sets = GroupingSets(select, facts)
    leaves = _GroupLeaves(source, aliases, rows, quiet, sets)
    numbers: list[int] = []
    for expression in group_expressions(select, outputs, facts):
        key = rows.cell(expression)
        if key is None:
            return None
        if key not in leaves.groups:
            leaves.groups.append(key)
        numbers.append(leaves.groups.index(key))
    cells = CellBinder(facts, leaves, scalar)  # type: ignore[arg-type]
    found = select_over(select, outputs, cells, facts)
    if found is None:
        return None
    groups, aggregates = tuple(leaves.groups), tuple(leaves.aggregates)
    chosen = sets.over(numbers, len(groups))
    if chosen is None:
        whole: Relation = Grouped(relation, groups, aggregates)
    else:
        parts = [_part(relation, groups, aggregates, keys) for keys in chosen]
        whole = stack_of(parts)
    return ResultItem(sets.settled(found.relation, whole, len(groups)), found.names)


def _part(
    relation: Relation,
    groups: tuple[CellExpression, ...],
    aggregates: tuple[AggregateOf, ...],
    keys: tuple[int, ...],
) -> Relation:
    grouped = Grouped(relation, tuple(groups[key] for key in keys), aggregates)
    outputs: list[CellExpression] = [
        ColumnCell(keys.index(key)) if key in keys else LiteralCell("null", "NULL")
        for key in range(len(groups))
    ]
    outputs += [ColumnCell(len(keys) + i) for i in range(len(aggregates))]
    outputs += [
        LiteralCell("integer", "0" if key in keys else "1") for key in range(len(groups))
    ]
    return Selected(grouped, tuple(outputs))


def _as_result(item: Item) -> ResultItem | None:
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


def stacked(
    node: syntax.SetOperation, environment: Environment, queries: Queries, facts: Facts
) -> ResultItem | None:
    """Bind UNION, EXCEPT and INTERSECT of results."""
    sides = [queries.query(side, environment) for side in (node.left, node.right)]
    results = [None if item is None else _as_result(item) for item in sides]
    left, right = results
    if left is None or right is None:
        if all(item is not None for item in sides):
            facts.refuse(
                "rows_stacked",
                f"{node.kind.upper()} of rows is not part of what may be asked",
                "Aggregate each part, then stack the results.",
                node.place,
            )
        return None
    if node.by_name:
        facts.refuse(
            "syntax_unavailable",
            "UNION BY NAME is not part of what may be asked",
            "Write the columns of both parts in one order.",
            node.place,
        )
        return None
    if len(left.names) != len(right.names):
        facts.refuse(
            "widths_differ",
            f"{node.kind.upper()} joins {len(left.names)} columns with {len(right.names)}",
            "Select as many columns in each part.",
            node.place,
        )
        return None
    relation: Relation = Stacked(node.kind, node.all, (left.relation, right.relation))
    found = ResultItem(relation, left.names)
    if not node.orders and node.limit is None and not node.offset:
        return found
    whole = syntax.Derived(node, "result")
    select = syntax.Select(
        tuple(syntax.Output(syntax.Column((name,)), name) for name in left.names),
        whole,
        orders=node.orders,
        limit=node.limit,
        offset=node.offset,
    )
    context = Context(facts, {})
    ordered = bind_results(
        select, environment, queries, lambda _leaf, _copy=0: found, context
    )
    return None if ordered is None else ResultItem(_plain(ordered.relation), left.names)


def _plain(relation: Relation) -> Relation:
    return simplified(relation) if isinstance(relation, Selected) else relation

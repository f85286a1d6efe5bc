"""Correlated subqueries written as joins and semi-joins: syntax to syntax.

`EXISTS (SELECT 1 FROM visits v WHERE v.pid = p.id AND ...)` is `p.id IN (SELECT v.pid FROM
visits v WHERE ...)`, and `(SELECT count(*) FROM visits v WHERE v.pid = p.id)` is a column
of a table with one row for each p.id that is joined on it. What these become is bound, and
judged, as if the query had been written so. A subquery that cannot be read this way is left
as it stands, and the names in it that belong to the query around it are then unknown.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

from sandbox.binding.joined_names import conjuncts
from sandbox.binding.scope import leaves_of
from sandbox.plan.canonical import field_names
from sandbox.sql import syntax

_PREFIX = "correlated "  # with a blank: no name that a query is likely to have


def decorrelated(select: syntax.Select) -> syntax.Select:
    """Return the SELECT without correlated subqueries, SEMI and ANTI joins."""
    if not _is_nested(select):
        return select
    select = _without_semi_joins(select)
    outer = frozenset(leaf.alias.lower() for leaf in leaves_of(select.source))
    if select.source is None or not outer:
        return select
    rewriting = _Rewriting(outer, select.source)
    found = rewriting.select(select)
    return replace(found, source=rewriting.source)


def _is_nested(node: object) -> bool:
    """Whether a subquery, or a join that is one, stands in a SELECT but not deeper."""
    if isinstance(node, syntax.Subquery):
        return True
    if isinstance(node, syntax.Join) and node.kind in ("semi", "anti"):
        return True
    if isinstance(node, (syntax.Derived, syntax.Constant, syntax.Column)):
        return False
    if isinstance(node, tuple):
        return any(map(_is_nested, node))
    return any(_is_nested(getattr(node, name)) for name in field_names(type(node)))


@dataclass
class _Rewriting:
    outer: frozenset[str]
    source: syntax.Source
    made: dict[syntax.Subquery, syntax.Column] = field(default_factory=dict)

    def select(self, select: syntax.Select) -> syntax.Select:
        def part(node: syntax.Expression) -> syntax.Expression:
            return _mapped(node, self._subquery)

        return replace(
            select,
            outputs=tuple(
                replace(item, expression=part(item.expression)) for item in select.outputs
            ),
            where=None if select.where is None else part(select.where),
            groups=tuple(map(part, select.groups)),
            having=None if select.having is None else part(select.having),
        )

    def _subquery(self, node: syntax.Subquery) -> syntax.Expression:
        query = node.query
        if not isinstance(query, syntax.Select) or query.with_ or query.source is None:
            return node
        inner = frozenset(leaf.alias.lower() for leaf in leaves_of(query.source))
        pairs, rest = self._split(query.where, inner)
        if not pairs:
            return node
        plain = replace(query, where=_joined(rest))
        if node.kind == "exists" and len(pairs) == 1:
            return self._exists(node, plain, *pairs[0])
        if node.kind == "in" and len(pairs) == 1 and node.item is not None:
            ours, theirs = pairs[0]
            alike = isinstance(node.item, syntax.Column) and (
                node.item.names[-1].lower() == ours.names[-1].lower()
            )
            return (
                replace(node, query=plain) if alike and _is_output(plain, theirs) else node
            )
        if node.kind == "scalar":
            return self._scalar(node, plain, pairs)
        return node

    def _exists(
        self,
        node: syntax.Subquery,
        query: syntax.Select,
        ours: syntax.Column,
        theirs: syntax.Column,
    ) -> syntax.Expression:
        if query.limit == 0 or query.offset or query.distinct_on:
            return node
        query = replace(
            query,
            outputs=(syntax.Output(theirs, ""),),
            orders=(),
            limit=None,
            distinct_on=None,
        )
        return syntax.Subquery("in", query, ours, node.place)

    def _scalar(
        self,
        node: syntax.Subquery,
        query: syntax.Select,
        pairs: list[tuple[syntax.Column, syntax.Column]],
    ) -> syntax.Expression:
        """Join one row for each of our keys that holds the value of the subquery."""
        qualifiers = {ours.names[0].lower() for ours, _ in pairs}
        if len(query.outputs) != 1 or query.groups or query.having or len(qualifiers) != 1:
            return node
        table = next(
            leaf for leaf in leaves_of(self.source) if leaf.alias.lower() in qualifiers
        )
        if not isinstance(table, syntax.TableName) or query.source is None:
            return node
        if node in self.made:
            return self.made[node]
        name = f"{_PREFIX}{len(self.made)}"
        ours_once = syntax.Derived(
            syntax.Select(
                outputs=tuple(
                    syntax.Output(syntax.Column(("o", ours.names[-1])), f"k{i}")
                    for i, (ours, _) in enumerate(pairs)
                ),
                source=syntax.TableName(table.name, "o", table.place),
                distinct_on=(),
            ),
            f"{name} keys",
            place=node.place,
        )
        keys = [syntax.Column((f"{name} keys", f"k{i}")) for i in range(len(pairs))]
        equal: list[syntax.Expression] = [
            syntax.Comparison("=", key, theirs, node.place)
            for key, (_, theirs) in zip(keys, pairs, strict=True)
        ]
        joined = syntax.Join(
            ours_once,
            query.source,
            _joined([*equal, *conjuncts(query.where)]),
            (),
            node.place,
            kind="left",
        )
        # count(*) would count our own row where nothing is joined to it.
        value = _counting(query.outputs[0].expression, pairs[0][1])
        each = syntax.Derived(
            syntax.Select(
                outputs=(
                    *(syntax.Output(key, f"k{i}") for i, key in enumerate(keys)),
                    syntax.Output(value, "value"),
                ),
                source=joined,
                groups=tuple(keys),
            ),
            name,
            place=node.place,
        )
        on: list[syntax.Expression] = [
            syntax.Comparison("=", ours, syntax.Column((name, f"k{i}")), node.place)
            for i, (ours, _) in enumerate(pairs)
        ]
        self.source = syntax.Join(self.source, each, _joined(on), (), node.place)
        self.made[node] = syntax.Column((name, "value"), node.place)
        return self.made[node]

    def _split(
        self, where: syntax.Expression | None, inner: frozenset[str]
    ) -> tuple[list[tuple[syntax.Column, syntax.Column]], list[syntax.Expression]]:
        """Split a filter into equalities of our columns with theirs, and the rest."""
        pairs, rest = [], []
        for item in conjuncts(where):
            pair = None
            if isinstance(item, syntax.Comparison) and item.operator == "=":
                for ours, theirs in ((item.left, item.right), (item.right, item.left)):
                    if self._is_ours(ours, inner) and isinstance(theirs, syntax.Column):
                        pair = None if self._is_ours(theirs, inner) else (ours, theirs)
            if pair is None:
                rest.append(item)
            else:
                assert isinstance(pair[0], syntax.Column)
                pairs.append((pair[0], pair[1]))
        return pairs, rest

    def _is_ours(self, node: syntax.Expression, inner: frozenset[str]) -> bool:
        if not isinstance(node, syntax.Column) or len(node.names) != 2:
            return False
        alias = node.names[0].lower()
        return alias in self.outer and alias not in inner


def _is_output(query: syntax.Select, column: syntax.Column) -> bool:
    found = query.outputs[0].expression if len(query.outputs) == 1 else None
    return (
        isinstance(found, syntax.Column)
        and found.names[-1].lower() == column.names[-1].lower()
    )


def _counting(expression: syntax.Expression, theirs: syntax.Column) -> syntax.Expression:
    if isinstance(expression, syntax.Call) and expression.name == "count_star":
        return replace(expression, name="count", arguments=(theirs,))
    if isinstance(expression, syntax.Call):
        arguments = tuple(_counting(item, theirs) for item in expression.arguments)
        return replace(expression, arguments=arguments)
    return expression


def _joined(items: list[syntax.Expression]) -> syntax.Expression | None:
    if len(items) > 1:
        return syntax.Logical("AND", tuple(items))
    return items[0] if items else None


# --- SEMI and ANTI joins


def _without_semi_joins(select: syntax.Select) -> syntax.Select:
    source, conditions = _source_without(select.source)
    if not conditions:
        return select
    where = [*conditions, *([] if select.where is None else [select.where])]
    return replace(select, source=source, where=_joined(where))


def _source_without(
    source: syntax.Source | None,
) -> tuple[syntax.Source | None, list[syntax.Expression]]:
    if not isinstance(source, syntax.Join):
        return source, []
    left, found = _source_without(source.left)
    assert left is not None
    if source.kind not in ("semi", "anti"):
        return replace(source, left=left), found
    condition = source.condition
    if source.using:
        leaves = leaves_of(left), leaves_of(source.right)
        if len(leaves[0]) != 1 or len(leaves[1]) != 1:
            return source, found
        condition = _joined(
            [
                syntax.Comparison(
                    "=",
                    syntax.Column((leaves[0][0].alias, name)),
                    syntax.Column((leaves[1][0].alias, name)),
                    source.place,
                )
                for name in source.using
            ]
        )
    if condition is None or source.natural:
        return source, found
    one = syntax.Output(syntax.Constant("integer", "1"), "")
    query = syntax.Select((one,), source.right, where=condition)
    test: syntax.Expression = syntax.Subquery("exists", query, place=source.place)
    return left, [*found, syntax.Not(test) if source.kind == "anti" else test]


def _mapped(
    node: syntax.Expression, change: Callable[[syntax.Subquery], syntax.Expression]
) -> syntax.Expression:
    """Return an expression with every subquery in it changed, but none inside those."""
    found: syntax.Expression = _mapped_any(node, change)
    return found


def _mapped_any(node: Any, change: Callable[[syntax.Subquery], syntax.Expression]) -> Any:
    if isinstance(node, syntax.Subquery):
        if node.item is not None:
            item = _mapped(node.item, change)
            node = node if item == node.item else replace(node, item=item)
        return change(node)
    if isinstance(node, (syntax.Select, syntax.SetOperation)):
        return node
    if isinstance(node, tuple):
        items = tuple(_mapped_any(item, change) for item in node)
        same = all(a is b for a, b in zip(items, node, strict=True))
        return node if same else items
    if not dataclasses.is_dataclass(node) or isinstance(node, type):
        return node
    changed = {}
    for part in dataclasses.fields(node):
        before = getattr(node, part.name)
        after = _mapped_any(before, change)
        if after is not before:
            changed[part.name] = after
    return replace(node, **changed) if changed else node

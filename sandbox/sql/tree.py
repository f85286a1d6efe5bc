"""The engine's parse tree of a whole statement into a query; deny by default."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from sandbox.sql import syntax
from sandbox.sql.reading import TooComplex
from sandbox.sql.syntax import Expression
from sandbox.sql.tree_sources import SourceTree

MAX_SET_QUERIES = 50
_SET_KINDS = {
    "UNION": "union",
    "UNION_BY_NAME": "union",
    "EXCEPT": "except",
    "INTERSECT": "intersect",
}
_MODIFIERS = ["DISTINCT_MODIFIER", "ORDER_MODIFIER", "LIMIT_MODIFIER"]


@dataclass(frozen=True, slots=True)
class _Modifiers:
    """What stands behind a query: DISTINCT, ORDER BY, LIMIT and OFFSET."""

    distinct_on: tuple[Expression, ...] | None = None
    orders: tuple[syntax.Order, ...] = ()
    order_all: bool = False
    limit: int | None = None
    offset: int = 0


class Tree(SourceTree):
    """Reads one statement; `findings` collects what has no branch."""

    def statement(self, statement: dict[str, Any]) -> syntax.Query | None:
        """Read the statement; None where it is not understood."""
        try:
            return self.query_of(statement, statement)
        except TooComplex as error:
            self.refuse("query_too_complex", f"the query {error}", "Ask for less at once.")
            return None

    def query_of(
        self, statement: dict[str, Any], where: dict[str, Any]
    ) -> syntax.Query | None:
        """Read a statement, the whole or a subquery's; None where it is not understood."""
        if self.unknown_fields(statement, "node", "named_param_map"):
            return None
        if statement.get("named_param_map"):
            self.refuse("parameter", "the query has parameters", "Write the constants out.")
        return self._query(statement["node"], where)

    def _query(self, node: dict[str, Any], where: dict[str, Any]) -> syntax.Query | None:
        with self.level():
            match node["type"]:
                case "SELECT_NODE":
                    return self._select(node)
                case "SET_OPERATION_NODE":
                    return self._set_operation(node, where)
                case "RECURSIVE_CTE_NODE":
                    self.opaque("WITH RECURSIVE", where, "Write the steps out.")
                case _:
                    self.opaque("a query that is no SELECT", where, "Write a SELECT.")
            return None

    def _select(self, node: dict[str, Any]) -> syntax.Select:
        self.unknown_fields(
            node, "type", "modifiers", "cte_map", "select_list", "from_table",
            "where_clause", "group_expressions", "group_sets", "aggregate_handling",
            "having", "sample", "qualify",
        )  # fmt: skip
        with_ = self._with(node)
        if node.get("sample"):
            self.opaque("a sample", {}, "Drop USING SAMPLE.")
        last = self._modifiers(node["modifiers"])
        groups, sets = self._groups(node)
        return syntax.Select(
            outputs=tuple(self._output(item) for item in node["select_list"]),
            source=self.source(node["from_table"]),
            where=self.optional(node.get("where_clause")),
            groups=groups,
            group_all=node["aggregate_handling"] == "FORCE_AGGREGATES",
            having=self.optional(node.get("having")),
            orders=last.orders,
            limit=last.limit,
            offset=last.offset,
            grouping_sets=sets,
            qualify=self.optional(node.get("qualify")),
            distinct_on=last.distinct_on,
            with_=with_,
            order_all=last.order_all,
        )

    def _set_operation(
        self, node: dict[str, Any], where: dict[str, Any]
    ) -> syntax.SetOperation | None:
        self.unknown_fields(
            node, "type", "modifiers", "cte_map", "setop_type", "setop_all", "children"
        )
        kind, parts = _SET_KINDS.get(node["setop_type"]), node["children"]
        # The engine lists the members of a chain of UNIONs; only there no order matters.
        if kind is None or len(parts) < 2 or (kind != "union" and len(parts) > 2):
            self.opaque("this operation on sets", where)
            return None
        if len(parts) > MAX_SET_QUERIES:
            raise TooComplex(f"has more than {MAX_SET_QUERIES} SELECTs in one UNION")
        with_ = self._with(node)
        last = self._modifiers(node["modifiers"])
        if last.distinct_on is not None:
            self.opaque("DISTINCT over an operation on sets", where)
        queries = [self._query(part, where) for part in parts]
        found = queries[0]
        for query in queries[1:]:
            if found is None or query is None:
                return None
            found = syntax.SetOperation(
                kind,
                bool(node["setop_all"]),
                found,
                query,
                by_name=node["setop_type"] == "UNION_BY_NAME",
                place=self.place(where),
            )
        if not isinstance(found, syntax.SetOperation):
            return None
        return replace(
            found, orders=last.orders, order_all=last.order_all, limit=last.limit,
            offset=last.offset, with_=with_,
        )  # fmt: skip

    # --- clauses

    def _output(self, item: dict[str, Any]) -> syntax.Output:
        star = item["class"] == "STAR"
        return syntax.Output(
            self.star(item) if star else self.expression(item), str(item.get("alias", ""))
        )

    def _with(self, node: dict[str, Any]) -> tuple[tuple[str, syntax.Query], ...]:
        self.unknown_fields(node["cte_map"], "map")
        entries = node["cte_map"].get("map") or []
        found: list[tuple[str, syntax.Query]] = []
        for entry in entries:
            name, value = str(entry["key"]), entry["value"]
            self.unknown_fields(
                value, "aliases", "materialized", "key_targets", "payload_aggregates",
                "query_node",
            )  # fmt: skip
            if value["key_targets"] or value["payload_aggregates"]:
                self.opaque("USING KEY in WITH", {})
            query = self._query(value["query_node"], {})
            aliases = tuple(map(str, value["aliases"]))
            if query is not None and aliases:
                star = syntax.Output(syntax.Star(), "")
                query = syntax.Select((star,), syntax.Derived(query, name, aliases))
            if query is not None:
                found.append((name, query))
        return tuple(found)

    def _groups(
        self, node: dict[str, Any]
    ) -> tuple[tuple[Expression, ...], tuple[tuple[int, ...], ...] | None]:
        groups = tuple(self.expression(item) for item in node["group_expressions"])
        if node["aggregate_handling"] not in ("STANDARD_HANDLING", "FORCE_AGGREGATES"):
            self.opaque("this kind of grouping", {})
        sets = tuple(tuple(map(int, item)) for item in node["group_sets"])
        if not sets or (len(sets) == 1 and sorted(sets[0]) == list(range(len(groups)))):
            return groups, None
        return groups, sets

    def _modifiers(self, modifiers: list[dict[str, Any]]) -> _Modifiers:
        found = _Modifiers()
        ranks = [_MODIFIERS.index(m["type"]) for m in modifiers if m["type"] in _MODIFIERS]
        # `(SELECT ... LIMIT 3) LIMIT 2` comes as one SELECT with both, in this order.
        if sorted(set(ranks)) != ranks:
            self.opaque(
                "ORDER BY or LIMIT around a SELECT that has its own",
                {},
                "Write one ORDER BY and one LIMIT.",
            )
        for modifier in modifiers:
            match modifier["type"]:
                case "DISTINCT_MODIFIER":
                    found = replace(found, distinct_on=self._distinct(modifier))
                case "ORDER_MODIFIER":
                    self.unknown_fields(modifier, "type", "orders")
                    orders = self._orders(modifier["orders"])
                    found = replace(found, orders=orders[0], order_all=orders[1])
                case "LIMIT_MODIFIER":
                    self.unknown_fields(modifier, "type", "limit", "offset", "limit_type")
                    if modifier.get("limit_type") != "ROW_COUNT":
                        self.opaque("LIMIT in percent", {}, "Give a number of rows.")
                    found = replace(
                        found,
                        limit=self._rows(modifier.get("limit")),
                        offset=self._rows(modifier.get("offset")) or 0,
                    )
                case _:
                    self.opaque("this query modifier", {})
        return found

    def _distinct(self, modifier: dict[str, Any]) -> tuple[Expression, ...]:
        self.unknown_fields(modifier, "type", "distinct_on_targets")
        return tuple(self.expression(item) for item in modifier["distinct_on_targets"])

    def _orders(self, items: list[dict[str, Any]]) -> tuple[tuple[syntax.Order, ...], bool]:
        first = items[0]["expression"] if len(items) == 1 else {}
        # ORDER BY ALL is a COLUMNS(*) without an expression to the engine.
        if first.get("class") == "STAR" and first["columns"] and not first.get("expr"):
            star = syntax.Star(place=self.place(first))
            return (self.order(items[0], star),), True
        return tuple(self.order(item) for item in items), False

    def _rows(self, node: dict[str, Any] | None) -> int | None:
        if node is None:
            return None
        rows = self.count(node)
        if rows is None:
            self.opaque("LIMIT or OFFSET other than a plain number", node, "Give a number.")
        return rows

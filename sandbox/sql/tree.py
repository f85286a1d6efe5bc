"""The engine's parse tree of a whole statement into a Select; deny by default."""

from __future__ import annotations

from typing import Any

from sandbox.sql import syntax
from sandbox.sql.syntax import Expression
from sandbox.sql.tree_expressions import ExpressionTree, TooComplex


class Tree(ExpressionTree):
    """Reads one statement; `findings` collects what has no branch."""

    # --- statement

    def statement(self, statement: dict[str, Any]) -> syntax.Select | None:
        """Read the statement; None where it is no plain SELECT."""
        if self.unknown_fields(statement, "node", "named_param_map"):
            return None
        if statement.get("named_param_map"):
            self.refuse("parameter", "the query has parameters", "Write the constants out.")
        try:
            return self._select(statement["node"])
        except TooComplex as error:
            self.refuse("query_too_complex", f"the query {error}", "Ask for less at once.")
            return None

    def _select(self, node: dict[str, Any]) -> syntax.Select | None:
        if node["type"] != "SELECT_NODE":
            what = {"SET_OPERATION_NODE": "UNION, INTERSECT or EXCEPT"}.get(
                node["type"], "a recursive or other query form"
            )
            self.opaque(what, node, "Submit the SELECTs one by one.")
            return None
        self.unknown_fields(
            node, "type", "modifiers", "cte_map", "select_list", "from_table",
            "where_clause", "group_expressions", "group_sets", "aggregate_handling",
            "having", "sample", "qualify",
        )  # fmt: skip
        if node["cte_map"].get("map"):
            self.opaque("WITH", {}, "Write the query over the table itself.")
        if node.get("sample"):
            self.opaque("a sample", {}, "Drop USING SAMPLE.")
        if node.get("qualify"):
            self.opaque("QUALIFY", {}, "Use HAVING, or ORDER BY with LIMIT.")
        orders, limit, offset = self._modifiers(node["modifiers"])
        groups, group_all = self._groups(node)
        return syntax.Select(
            outputs=tuple(
                syntax.Output(self.expression(item), str(item.get("alias", "")))
                for item in node["select_list"]
            ),
            source=self._source(node["from_table"]),
            where=self.optional(node.get("where_clause")),
            groups=groups,
            group_all=group_all,
            having=self.optional(node.get("having")),
            orders=orders,
            limit=limit,
            offset=offset,
        )

    def _groups(self, node: dict[str, Any]) -> tuple[tuple[Expression, ...], bool]:
        groups = tuple(self.expression(item) for item in node["group_expressions"])
        sets = node["group_sets"]
        if len(sets) > 1 or (sets and sorted(sets[0]) != list(range(len(groups)))):
            self.opaque(
                "ROLLUP, CUBE or GROUPING SETS", {}, "Submit each grouping on its own."
            )
        handling = node["aggregate_handling"]
        if handling not in ("STANDARD_HANDLING", "FORCE_AGGREGATES"):
            self.opaque("this kind of grouping", {})
        return groups, handling == "FORCE_AGGREGATES"

    def _modifiers(
        self, modifiers: list[dict[str, Any]]
    ) -> tuple[tuple[syntax.Order, ...], int | None, int]:
        orders: tuple[syntax.Order, ...] = ()
        limit, offset = None, 0
        for modifier in modifiers:
            match modifier["type"]:
                case "ORDER_MODIFIER":
                    orders = tuple(self._order(item) for item in modifier["orders"])
                case "LIMIT_MODIFIER":
                    if modifier.get("limit_type") != "ROW_COUNT":
                        self.opaque("LIMIT in percent", {}, "Give a number of rows.")
                    limit = self._count(modifier.get("limit"))
                    offset = self._count(modifier.get("offset")) or 0
                case "DISTINCT_MODIFIER":
                    self.opaque(
                        "SELECT DISTINCT", {}, "Use GROUP BY: it gives the same groups."
                    )
                case _:
                    self.opaque("this query modifier", {})
        return orders, limit, offset

    def _order(self, item: dict[str, Any]) -> syntax.Order:
        self.unknown_fields(item, "type", "null_order", "expression")
        nulls = {"NULLS LAST": True, "NULLS FIRST": False}.get(item["null_order"])
        return syntax.Order(
            self.expression(item["expression"]), item["type"] == "DESCENDING", nulls
        )

    def _count(self, node: dict[str, Any] | None) -> int | None:
        if node is None:
            return None
        expression = self.expression(node)
        if isinstance(expression, syntax.Constant) and expression.kind == "integer":
            text = expression.text.replace("_", "")
            if text.isdigit() and len(text) < 10:
                return int(text)
        self.opaque("LIMIT or OFFSET other than a plain number", node, "Give a number.")
        return None

    # --- FROM

    def _source(self, node: dict[str, Any]) -> syntax.Source | None:
        match node["type"]:
            case "BASE_TABLE":
                return self._table(node)
            case "JOIN":
                return self._join(node)
            case "EMPTY":
                return None
            case "TABLE_FUNCTION":
                self.opaque("a table function", node, "Name a table of the catalogue.")
            case "SUBQUERY":
                self.opaque(
                    "a subquery in FROM", node, "Write the query over the table itself."
                )
            case _:
                self.opaque("this kind of table", node, "Name a table of the catalogue.")
        return None

    def _table(self, node: dict[str, Any]) -> syntax.TableName | None:
        self.unknown_fields(
            node, "type", "alias", "query_location", "query_location_length", "schema_name",
            "table_name", "column_name_alias", "catalog_name", "qualified_name", "sample",
            "at_clause",
        )  # fmt: skip
        if node.get("sample") or node.get("at_clause"):
            self.opaque("a sample or a past state of a table", node)
        if node["column_name_alias"]:
            self.opaque("a list of column aliases", node, "Rename columns in SELECT.")
        path = node.get("qualified_name", {}).get("path", [])
        name = str(node["table_name"])
        if node["schema_name"] or node["catalog_name"] or path != [name]:
            self.refuse(
                "unknown_table",
                "a table name with a schema or catalogue before it is not known here",
                "Write the table's own name.",
                self.place(node),
            )
            return None
        return syntax.TableName(name, str(node["alias"] or name), self.place(node))

    def _join(self, node: dict[str, Any]) -> syntax.Join | None:
        self.unknown_fields(
            node, "type", "alias", "query_location", "query_location_length", "left",
            "right", "condition", "join_type", "ref_type", "using_columns", "delim_flipped",
            "duplicate_eliminated_columns", "is_implicit", "nearest_count",
            "nearest_order_type", "nearest_approx",
        )  # fmt: skip
        left, right = self._source(node["left"]), self._source(node["right"])
        if node["ref_type"] == "CROSS":
            self.refuse(
                "join_without_key",
                "two tables stand side by side without a join condition",
                "Write JOIN ... ON a.key = b.key.",
                self.place(node),
            )
            return None
        if node["ref_type"] != "REGULAR" or node["join_type"] != "INNER":
            self.opaque(
                f"a {node['ref_type'].lower()} {node['join_type'].lower()} join".replace(
                    "regular ", ""
                ),
                node,
                "Use JOIN ... ON a.key = b.key.",
            )
            return None
        if node["delim_flipped"] or node["duplicate_eliminated_columns"]:
            self.opaque("this kind of join", node)
        if left is None or right is None:
            return None
        return syntax.Join(
            left,
            right,
            self.optional(node.get("condition")),
            tuple(map(str, node["using_columns"])),
            self.place(node),
        )

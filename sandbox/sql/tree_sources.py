"""FROM of the engine's parse tree: tables, subqueries, joins, lists of values."""

from __future__ import annotations

from typing import Any

from sandbox.sql import syntax
from sandbox.sql.reading import TooComplex
from sandbox.sql.tree_expressions import ExpressionTree

MAX_VALUE_ROWS = 100
_PLACED = ("type", "alias", "query_location", "query_location_length")
_KINDS = {
    "INNER": "inner",
    "LEFT": "left",
    "RIGHT": "right",
    "OUTER": "full",
    "FULL": "full",
    "SEMI": "semi",
    "ANTI": "anti",
}


class SourceTree(ExpressionTree):
    """Reads what stands in FROM; a source that is not understood is None."""

    def source(self, node: dict[str, Any]) -> syntax.Source | None:
        """Read one source; None for no FROM too."""
        with self.level():
            match node["type"]:
                case "BASE_TABLE":
                    return self._table(node)
                case "JOIN":
                    return self._join(node)
                case "SUBQUERY":
                    return self._derived(node)
                case "EXPRESSION_LIST":
                    return self._values(node)
                case "EMPTY":
                    self.unknown_fields(node, *_PLACED)
                    return None
                case "TABLE_FUNCTION":
                    self.opaque("a table function", node, "Name a table of the catalogue.")
                case "PIVOT":
                    self.opaque("PIVOT or UNPIVOT", node, "Use GROUP BY and FILTER.")
                case "SHOW_REF":
                    self.opaque("DESCRIBE, SHOW or SUMMARIZE", node, "See the catalogue.")
                case _:
                    self.opaque(
                        "this kind of table", node, "Name a table of the catalogue."
                    )
            return None

    def _table(self, node: dict[str, Any]) -> syntax.TableName | None:
        self.unknown_fields(
            node, *_PLACED, "schema_name", "table_name", "column_name_alias",
            "catalog_name", "qualified_name", "sample", "at_clause",
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

    def _derived(self, node: dict[str, Any]) -> syntax.Derived | None:
        self.unknown_fields(node, *_PLACED, "subquery", "column_name_alias", "sample")
        if node.get("sample"):
            self.opaque("a sample", node, "Drop the sample.")
        query = self.query_of(node["subquery"], node)
        if query is None:
            return None
        names = tuple(map(str, node["column_name_alias"]))
        return syntax.Derived(query, str(node["alias"]), names, self.place(node))

    def _values(self, node: dict[str, Any]) -> syntax.Derived | None:
        self.unknown_fields(node, *_PLACED, "expected_names", "expected_types", "values")
        if node["expected_names"] or node["expected_types"]:
            self.opaque("this kind of VALUES", node)
            return None
        if len(node["values"]) > MAX_VALUE_ROWS:
            raise TooComplex(f"lists more than {MAX_VALUE_ROWS} rows of values")
        query: syntax.Query | None = None
        for row in node["values"]:
            items = tuple(self.expression(item) for item in row)
            if not all(map(_is_literal, items)):
                self.opaque("VALUES with more than constants", node, "Use SELECT.")
                return None
            # The engine names the columns of a list col0, col1, ... if nobody else does.
            outputs = tuple(syntax.Output(item, f"col{i}") for i, item in enumerate(items))
            select = syntax.Select(outputs, None)
            query = select if query is None else syntax.SetOperation(
                "union", all=True, left=query, right=select, place=self.place(node)
            )  # fmt: skip
        if query is None:
            self.opaque("VALUES without a row", node)
            return None
        return syntax.Derived(query, str(node["alias"]), (), self.place(node))

    def _join(self, node: dict[str, Any]) -> syntax.Join | None:
        self.unknown_fields(
            node, *_PLACED, "left", "right", "condition", "join_type", "ref_type",
            "using_columns", "delim_flipped", "duplicate_eliminated_columns",
            "is_implicit", "nearest_count", "nearest_order_type", "nearest_approx",
        )  # fmt: skip
        left, right = self.source(node["left"]), self.source(node["right"])
        how, kind = str(node["ref_type"]), _KINDS.get(node["join_type"])
        known = how in ("REGULAR", "NATURAL", "CROSS", "ASOF") and kind is not None
        if how == "ASOF":
            known = kind in ("inner", "left")
        name = f"a {how.lower()} {node['join_type'].lower()} join".replace("regular ", "")
        if not known:
            self.opaque(name, node, "Use JOIN ... ON a.key = b.key.")
            return None
        if node["delim_flipped"] or node["duplicate_eliminated_columns"]:
            self.opaque("this kind of join", node)
        if node["nearest_count"] != 1 or node["nearest_approx"]:
            self.opaque("a nearest join", node)
        if left is None or right is None or kind is None:
            return None
        return syntax.Join(
            left,
            right,
            self.optional(node.get("condition")),
            tuple(map(str, node["using_columns"])),
            self.place(node),
            kind="cross" if how == "CROSS" else kind,
            asof=how == "ASOF",
            natural=how == "NATURAL",
        )


def _is_literal(expression: syntax.Expression) -> bool:
    while isinstance(expression, syntax.Cast):
        expression = expression.item
    return isinstance(expression, syntax.Constant)

"""Function calls and windows of the engine's parse tree; deny by default."""

from __future__ import annotations

from typing import Any

from policies.shape import Place
from sandbox.sql import syntax
from sandbox.sql.reading import NAMED, WHERE, Reading
from sandbox.sql.syntax import Expression

# How the engine writes what has a notation of its own.
_NESTED = {
    "list_value": "a list",
    "array_value": "an array",
    "struct_pack": "a struct",
    "row": "a row of values",
    "map": "a map",
    "unnest": "unnest()",
}
# `percentile_cont(q) WITHIN GROUP (ORDER BY x)`: the engine renames it and keeps the order.
_ORDERED = ("quantile_cont", "quantile_disc")
_UNITS = {"ROWS": "rows", "RANGE": "range", "GROUPS": "groups"}


class CallTree(Reading):
    """Reads calls; `expression` is read by the tree that knows all expressions."""

    def expression(self, node: dict[str, Any]) -> Expression:
        """Read an expression; raises TooComplex past the limits."""
        raise NotImplementedError

    def optional(self, node: dict[str, Any] | None) -> Expression | None:
        """Read an expression that may be missing."""
        return None if node is None else self.expression(node)

    def order(
        self, item: dict[str, Any], expression: Expression | None = None
    ) -> syntax.Order:
        """Read one item of an ORDER BY; its expression too where none is given."""
        self.unknown_fields(item, "type", "null_order", "expression")
        nulls = {"NULLS LAST": True, "NULLS FIRST": False}.get(item["null_order"])
        read = self.expression(item["expression"]) if expression is None else expression
        return syntax.Order(read, item["type"] == "DESCENDING", nulls)

    def call(self, node: dict[str, Any], place: Place | None) -> Expression:
        """Read a call of a function, an operator or an aggregate."""
        self.unknown_fields(
            node, *WHERE, *NAMED, "function_name", "order_bys", "distinct", "is_operator",
            "export_state", "arguments", "filter",
        )  # fmt: skip
        name = str(node["function_name"]).lower()
        refused = self._refused_name(node, name)
        if refused is not None:
            return refused
        if node["export_state"]:
            return self.opaque("this form of a function call", node)
        arguments = tuple(self.expression(item["expression"]) for item in node["arguments"])
        orders = node["order_bys"].get("orders")
        if orders:
            if name not in _ORDERED or len(orders) != 1 or len(arguments) != 1:
                return self.opaque("ORDER BY inside an aggregate", node, "Drop it.")
            order = self.order(orders[0])
            if order.descending or order.nulls_last is not None or node["distinct"]:
                return self.opaque(
                    "WITHIN GROUP in another order", node, "Order by the column alone."
                )
            arguments = (order.expression, *arguments)
        return syntax.Call(
            name,
            arguments,
            bool(node["distinct"]),
            self.optional(node.get("filter")),
            place,
        )

    def window(self, node: dict[str, Any], place: Place | None) -> Expression:
        """Read a window function."""
        self.unknown_fields(
            node, *WHERE, *NAMED, "function_name", "partitions", "orders", "start", "end",
            "start_expr", "end_expr", "ignore_nulls", "has_ignore_nulls", "filter_expr",
            "exclude_clause", "distinct", "arg_orders", "arguments",
        )  # fmt: skip
        name = str(node["function_name"]).lower()
        refused = self._refused_name(node, name)
        if refused is not None:
            return refused
        if node["arg_orders"]:
            return self.opaque("ORDER BY inside an aggregate", node, "Drop it.")
        if node["exclude_clause"] != "NO_OTHER":
            return self.opaque("EXCLUDE in a window's frame", node, "Drop EXCLUDE.")
        call = syntax.Call(
            name,
            tuple(self.expression(item["expression"]) for item in node["arguments"]),
            bool(node["distinct"]),
            self.optional(node.get("filter_expr")),
            place,
        )
        return syntax.Window(
            call,
            tuple(self.expression(item) for item in node["partitions"]),
            tuple(self.order(item) for item in node["orders"]),
            self._frame(node),
            bool(node["ignore_nulls"]),
            place,
        )

    def _refused_name(self, node: dict[str, Any], name: str) -> Expression | None:
        if not self.is_plain_name(node, str(node["function_name"])):
            return self.opaque(
                "a function with a schema before it", node, "Drop the schema."
            )
        if name in _NESTED:
            return self.opaque(_NESTED[name], node)
        if any(item["name"] for item in node["arguments"]):
            return self.opaque("this form of a function call", node)
        return None

    def _frame(self, node: dict[str, Any]) -> syntax.Frame | None:
        start, end = str(node["start"]), str(node["end"])
        if (start, end) == ("UNBOUNDED_PRECEDING", "CURRENT_ROW_RANGE"):
            return None  # the engine's default, written out or not
        units = {bound.rsplit("_", 1)[1] for bound in (start, end)} & set(_UNITS)
        if len(units) > 1:
            self.opaque("a frame in two units", node)
            return None
        # Without an end that names one, the frame is the partition in every unit.
        unit = _UNITS[units.pop()] if units else "rows"
        first = self._bound(start, node.get("start_expr"), node)
        last = self._bound(end, node.get("end_expr"), node)
        return None if first is None or last is None else syntax.Frame(unit, first, last)

    def _bound(
        self, bound: str, offset: dict[str, Any] | None, node: dict[str, Any]
    ) -> tuple[str, int | None] | None:
        kind, _, rest = bound.partition("_")
        side = rest.partition("_")[0].lower()
        if kind == "CURRENT":
            return "current", 0
        if kind == "UNBOUNDED" and side in ("preceding", "following"):
            return side, None
        if kind == "EXPR" and side in ("preceding", "following") and offset is not None:
            rows = self.count(offset)
            if rows is not None:
                return side, rows
            self.opaque(
                "a frame bound other than a plain number", node, "Give a number of rows."
            )
            return None
        self.opaque("this frame of a window", node)
        return None

    def count(self, node: dict[str, Any]) -> int | None:
        """Read a plain number of rows; None where it is anything else."""
        expression = self.expression(node)
        if isinstance(expression, syntax.Constant) and expression.kind == "integer":
            text = expression.text.replace("_", "")
            if text.isascii() and text.isdigit() and len(text) < 10:
                return int(text)
        return None

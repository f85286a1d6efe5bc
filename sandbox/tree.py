"""The engine's parse tree, node by node, into syntax nodes; deny by default."""

from __future__ import annotations

from typing import Any

from policies.shape import Finding, Place
from sandbox import syntax
from sandbox.syntax import Expression

MAX_NODES = 20_000
MAX_DEPTH = 60
_NO_PLACE = 2**63

_COMPARISONS = {
    "COMPARE_EQUAL": "=",
    "COMPARE_NOTEQUAL": "<>",
    "COMPARE_LESSTHAN": "<",
    "COMPARE_LESSTHANOREQUALTO": "<=",
    "COMPARE_GREATERTHAN": ">",
    "COMPARE_GREATERTHANOREQUALTO": ">=",
}
_LITERALS = {
    "INTEGER": "integer",
    "NUMERIC": "numeric",
    "STRING": "string",
    "BOOLEAN": "boolean",
    "NULL_LITERAL": "null",
}
_WHERE = ("class", "type", "alias", "query_location", "query_location_length")
_NAMED = ("catalog", "schema", "qualified_name")


class TooComplex(Exception):
    """A tree has more nodes or levels than are read."""


class Tree:
    """Reads one statement; `findings` collects what has no branch."""

    def __init__(self, sql: str) -> None:
        self._bytes = sql.encode()
        self._nodes = 0
        self._depth = 0
        self.findings: list[Finding] = []

    # --- findings and places

    def _refuse(
        self, code: str, message: str, hint: str, place: Place | None = None
    ) -> None:
        self.findings.append(Finding(code, message, hint, place))

    def _opaque(self, what: str, node: dict[str, Any], hint: str = "") -> syntax.Opaque:
        place = self._place(node)
        self._refuse(
            "syntax_unavailable", f"{what} is not part of what may be asked", hint, place
        )
        return syntax.Opaque(what, place)

    def _place(self, node: dict[str, Any]) -> Place | None:
        offset = node.get("query_location")
        if not isinstance(offset, int) or offset >= _NO_PLACE or offset > len(self._bytes):
            return None
        before = self._bytes[:offset].decode(errors="ignore")
        return Place(len(before), before.count("\n") + 1, len(before) - before.rfind("\n"))

    def _unknown_fields(self, node: dict[str, Any], *known: str) -> bool:
        strange = set(node) - set(known)
        if strange:
            self._refuse(
                "syntax_unavailable",
                f"the query uses `{sorted(strange)[0]}`, which the analyser does not know",
                "Write it more plainly.",
                self._place(node),
            )
        return bool(strange)

    # --- statement

    def statement(self, statement: dict[str, Any]) -> syntax.Select | None:
        """Read the statement; None where it is no plain SELECT."""
        if self._unknown_fields(statement, "node", "named_param_map"):
            return None
        if statement.get("named_param_map"):
            self._refuse(
                "parameter", "the query has parameters", "Write the constants out."
            )
        try:
            return self._select(statement["node"])
        except TooComplex as error:
            self._refuse("query_too_complex", f"the query {error}", "Ask for less at once.")
            return None

    def _select(self, node: dict[str, Any]) -> syntax.Select | None:
        if node["type"] != "SELECT_NODE":
            what = {"SET_OPERATION_NODE": "UNION, INTERSECT or EXCEPT"}.get(
                node["type"], "a recursive or other query form"
            )
            self._opaque(what, node, "Submit the SELECTs one by one.")
            return None
        self._unknown_fields(
            node, "type", "modifiers", "cte_map", "select_list", "from_table", "where_clause",
            "group_expressions", "group_sets", "aggregate_handling", "having", "sample",
            "qualify",
        )  # fmt: skip
        if node["cte_map"].get("map"):
            self._opaque("WITH", {}, "Write the query over the table itself.")
        if node.get("sample"):
            self._opaque("a sample", {}, "Drop USING SAMPLE.")
        if node.get("qualify"):
            self._opaque("QUALIFY", {}, "Use HAVING, or ORDER BY with LIMIT.")
        orders, limit, offset = self._modifiers(node["modifiers"])
        groups, group_all = self._groups(node)
        return syntax.Select(
            outputs=tuple(
                syntax.Output(self._expression(item), str(item.get("alias", "")))
                for item in node["select_list"]
            ),
            source=self._source(node["from_table"]),
            where=self._optional(node.get("where_clause")),
            groups=groups,
            group_all=group_all,
            having=self._optional(node.get("having")),
            orders=orders,
            limit=limit,
            offset=offset,
        )

    def _groups(self, node: dict[str, Any]) -> tuple[tuple[Expression, ...], bool]:
        groups = tuple(self._expression(item) for item in node["group_expressions"])
        sets = node["group_sets"]
        if len(sets) > 1 or (sets and sorted(sets[0]) != list(range(len(groups)))):
            self._opaque(
                "ROLLUP, CUBE or GROUPING SETS", {}, "Submit each grouping on its own."
            )
        handling = node["aggregate_handling"]
        if handling not in ("STANDARD_HANDLING", "FORCE_AGGREGATES"):
            self._opaque("this kind of grouping", {})
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
                        self._opaque("LIMIT in percent", {}, "Give a number of rows.")
                    limit = self._count(modifier.get("limit"))
                    offset = self._count(modifier.get("offset")) or 0
                case "DISTINCT_MODIFIER":
                    self._opaque(
                        "SELECT DISTINCT", {}, "Use GROUP BY: it gives the same groups."
                    )
                case _:
                    self._opaque("this query modifier", {})
        return orders, limit, offset

    def _order(self, item: dict[str, Any]) -> syntax.Order:
        self._unknown_fields(item, "type", "null_order", "expression")
        nulls = {"NULLS LAST": True, "NULLS FIRST": False}.get(item["null_order"])
        return syntax.Order(
            self._expression(item["expression"]), item["type"] == "DESCENDING", nulls
        )

    def _count(self, node: dict[str, Any] | None) -> int | None:
        if node is None:
            return None
        expression = self._expression(node)
        if isinstance(expression, syntax.Constant) and expression.kind == "integer":
            text = expression.text.replace("_", "")
            if text.isdigit() and len(text) < 10:
                return int(text)
        self._opaque("LIMIT or OFFSET other than a plain number", node, "Give a number.")
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
                self._opaque("a table function", node, "Name a table of the catalogue.")
            case "SUBQUERY":
                self._opaque(
                    "a subquery in FROM", node, "Write the query over the table itself."
                )
            case _:
                self._opaque("this kind of table", node, "Name a table of the catalogue.")
        return None

    def _table(self, node: dict[str, Any]) -> syntax.TableName | None:
        self._unknown_fields(
            node, "type", "alias", "query_location", "query_location_length", "schema_name",
            "table_name", "column_name_alias", "catalog_name", "qualified_name", "sample",
            "at_clause",
        )  # fmt: skip
        if node.get("sample") or node.get("at_clause"):
            self._opaque("a sample or a past state of a table", node)
        if node["column_name_alias"]:
            self._opaque("a list of column aliases", node, "Rename columns in SELECT.")
        path = node.get("qualified_name", {}).get("path", [])
        name = str(node["table_name"])
        if node["schema_name"] or node["catalog_name"] or path != [name]:
            self._refuse(
                "unknown_table",
                "a table name with a schema or catalogue before it is not known here",
                "Write the table's own name.",
                self._place(node),
            )
            return None
        return syntax.TableName(name, str(node["alias"] or name), self._place(node))

    def _join(self, node: dict[str, Any]) -> syntax.Join | None:
        self._unknown_fields(
            node, "type", "alias", "query_location", "query_location_length", "left", "right",
            "condition", "join_type", "ref_type", "using_columns", "delim_flipped",
            "duplicate_eliminated_columns", "is_implicit", "nearest_count",
            "nearest_order_type", "nearest_approx",
        )  # fmt: skip
        left, right = self._source(node["left"]), self._source(node["right"])
        if node["ref_type"] == "CROSS":
            self._refuse(
                "join_without_key",
                "two tables stand side by side without a join condition",
                "Write JOIN ... ON a.key = b.key.",
                self._place(node),
            )
            return None
        if node["ref_type"] != "REGULAR" or node["join_type"] != "INNER":
            self._opaque(
                f"a {node['ref_type'].lower()} {node['join_type'].lower()} join".replace(
                    "regular ", ""
                ),
                node,
                "Use JOIN ... ON a.key = b.key.",
            )
            return None
        if node["delim_flipped"] or node["duplicate_eliminated_columns"]:
            self._opaque("this kind of join", node)
        if left is None or right is None:
            return None
        return syntax.Join(
            left,
            right,
            self._optional(node.get("condition")),
            tuple(map(str, node["using_columns"])),
            self._place(node),
        )

    # --- expressions

    def _optional(self, node: dict[str, Any] | None) -> Expression | None:
        return None if node is None else self._expression(node)

    def _expression(self, node: dict[str, Any]) -> Expression:
        self._nodes += 1
        if self._nodes > MAX_NODES:
            raise TooComplex(f"has more than {MAX_NODES} parts")
        self._depth += 1
        if self._depth > MAX_DEPTH:
            raise TooComplex(f"is nested more than {MAX_DEPTH} deep")
        try:
            return self._dispatch(node)
        finally:
            self._depth -= 1

    def _dispatch(self, node: dict[str, Any]) -> Expression:
        place = self._place(node)
        match node["class"]:
            case "COLUMN_REF":
                self._unknown_fields(node, *_WHERE, "column_names")
                return syntax.Column(tuple(map(str, node["column_names"])), place)
            case "CONSTANT":
                return self._constant(node, place)
            case "FUNCTION":
                return self._call(node, place)
            case "COMPARISON":
                self._unknown_fields(node, *_WHERE, "left", "right")
                operator = _COMPARISONS.get(node["type"])
                if operator is None:
                    return self._opaque(
                        "this comparison", node, "Use =, <, >=, IN or IS NULL."
                    )
                return syntax.Comparison(
                    operator,
                    self._expression(node["left"]),
                    self._expression(node["right"]),
                    place,
                )
            case "CONJUNCTION":
                self._unknown_fields(node, *_WHERE, "children")
                operator = {"CONJUNCTION_AND": "AND", "CONJUNCTION_OR": "OR"}[node["type"]]
                return syntax.Logical(
                    operator, tuple(self._expression(child) for child in node["children"])
                )
            case "BETWEEN":
                return self._between(node, place)
            case "OPERATOR":
                return self._operator(node, place)
            case "CAST":
                return self._cast(node, place)
            case "CASE":
                self._unknown_fields(node, *_WHERE, "case_checks", "else_expr")
                return syntax.Case(
                    tuple(
                        (self._expression(c["when_expr"]), self._expression(c["then_expr"]))
                        for c in node["case_checks"]
                    ),
                    self._expression(node["else_expr"]),
                    place,
                )
            case "STAR":
                return self._star(node, place)
            case "WINDOW":
                return self._opaque("a window function", node, "Use GROUP BY and ORDER BY.")
            case "SUBQUERY":
                return self._opaque("a subquery", node, "Submit it as a query of its own.")
            case "LAMBDA":
                return self._opaque("a lambda", node)
            case "PARAMETER":
                return self._opaque("a parameter", node, "Write the constant out.")
            case "COLLATE":
                return self._opaque("a collation", node, "Compare without COLLATE.")
            case _:
                return self._opaque("this expression", node)

    def _constant(self, node: dict[str, Any], place: Place | None) -> Expression:
        self._unknown_fields(node, *_WHERE, "literal")
        kind = _LITERALS.get(node["literal"]["kind"])
        if kind is None:
            return self._opaque(
                "this kind of constant", node, "Use numbers, text or dates."
            )
        return syntax.Constant(kind, str(node["literal"]["text"]), place)

    def _call(self, node: dict[str, Any], place: Place | None) -> Expression:
        self._unknown_fields(
            node, *_WHERE, *_NAMED, "function_name", "order_bys", "distinct", "is_operator",
            "export_state", "arguments", "filter",
        )  # fmt: skip
        name = str(node["function_name"])
        path = node.get("qualified_name", {}).get("path", [])
        if node["schema"] or node["catalog"] or path != [name]:
            return self._opaque(
                "a function with a schema before it", node, "Drop the schema."
            )
        if node["order_bys"].get("orders"):
            return self._opaque("ORDER BY inside an aggregate", node, "Drop it.")
        if node["export_state"] or any(item["name"] for item in node["arguments"]):
            return self._opaque("this form of a function call", node)
        return syntax.Call(
            name.lower(),
            tuple(self._expression(item["expression"]) for item in node["arguments"]),
            bool(node["distinct"]),
            self._optional(node.get("filter")),
            place,
        )

    def _between(self, node: dict[str, Any], place: Place | None) -> Expression:
        self._unknown_fields(node, *_WHERE, "input", "lower", "upper")
        item = self._expression(node["input"])
        return syntax.Logical(
            "AND",
            (
                syntax.Comparison(">=", item, self._expression(node["lower"]), place),
                syntax.Comparison("<=", item, self._expression(node["upper"]), place),
            ),
        )

    def _operator(self, node: dict[str, Any], place: Place | None) -> Expression:
        self._unknown_fields(node, *_WHERE, "children")
        children = tuple(self._expression(child) for child in node["children"])
        match node["type"]:
            case "OPERATOR_NOT":
                return syntax.Not(children[0])
            case "OPERATOR_IS_NULL":
                return syntax.NullTest(children[0], place)
            case "OPERATOR_IS_NOT_NULL":
                return syntax.Not(syntax.NullTest(children[0], place))
            case "COMPARE_IN":
                return syntax.Among(children[0], children[1:], place)
            case "COMPARE_NOT_IN":
                return syntax.Not(syntax.Among(children[0], children[1:], place))
            case "OPERATOR_COALESCE":
                return syntax.Call("coalesce", children, place=place)
            case "GROUPING_FUNCTION":
                return self._opaque("GROUPING()", node)
            case _:
                return self._opaque("this operator", node)

    def _cast(self, node: dict[str, Any], place: Place | None) -> Expression:
        self._unknown_fields(node, *_WHERE, "child", "try_cast", "type_expr")
        kind = node["type_expr"]
        if kind.get("children") or kind.get("schema") or kind.get("catalog"):
            return self._opaque(
                "a cast to a type with parameters", node, "Use a plain type."
            )
        return syntax.Cast(
            self._expression(node["child"]),
            str(kind["type_name"]).upper(),
            bool(node["try_cast"]),
            place,
        )

    def _star(self, node: dict[str, Any], place: Place | None) -> Expression:
        self._refuse(
            "row_level_output",
            "`*` would let rows leave as they are",
            "Name dimensions and aggregates: SELECT city, count(*) FROM ... GROUP BY city; "
            "labelled rows leave only as a licensed subset.",
            place,
        )
        return syntax.Opaque("*", place)

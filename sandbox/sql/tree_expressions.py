"""Expressions of the engine's parse tree, node by node, into ours; deny by default."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from policies.shape import Place
from sandbox.sql import syntax
from sandbox.sql.reading import NAMED, WHERE
from sandbox.sql.syntax import Expression
from sandbox.sql.tree_calls import CallTree

_COMPARISONS = {
    "COMPARE_EQUAL": "=",
    "COMPARE_NOTEQUAL": "<>",
    "COMPARE_LESSTHAN": "<",
    "COMPARE_LESSTHANOREQUALTO": "<=",
    "COMPARE_GREATERTHAN": ">",
    "COMPARE_GREATERTHANOREQUALTO": ">=",
    "COMPARE_DISTINCT_FROM": "is distinct",
    "COMPARE_NOT_DISTINCT_FROM": "is not distinct",
}
_LITERALS = {
    "INTEGER": "integer",
    "NUMERIC": "numeric",
    "STRING": "string",
    "BOOLEAN": "boolean",
    "NULL_LITERAL": "null",
}


class ExpressionTree(CallTree):
    """Reads expressions; `query` is read by the tree that knows statements."""

    def query_of(
        self, statement: dict[str, Any], where: dict[str, Any]
    ) -> syntax.Query | None:
        """Read a subquery's statement; None where it is not understood."""
        raise NotImplementedError

    def expression(self, node: dict[str, Any]) -> Expression:
        """Read an expression; raises TooComplex past the limits."""
        with self.level():
            return self._dispatch(node)

    def _dispatch(self, node: dict[str, Any]) -> Expression:
        read = _READERS.get(node["class"])
        if read is not None:
            return read(self, node, self.place(node))
        what, hint = _REFUSED.get(node["class"], ("this expression", ""))
        return self.opaque(what, node, hint)

    def _column(self, node: dict[str, Any], place: Place | None) -> Expression:
        self.unknown_fields(node, *WHERE, "column_names")
        return syntax.Column(tuple(map(str, node["column_names"])), place)

    def _comparison(self, node: dict[str, Any], place: Place | None) -> Expression:
        self.unknown_fields(node, *WHERE, "left", "right")
        operator = _COMPARISONS.get(node["type"])
        if operator is None:
            return self.opaque("this comparison", node, "Use =, <, >=, IN or IS NULL.")
        return syntax.Comparison(
            operator, self.expression(node["left"]), self.expression(node["right"]), place
        )

    def _conjunction(self, node: dict[str, Any], _place: Place | None) -> Expression:
        self.unknown_fields(node, *WHERE, "children")
        operator = {"CONJUNCTION_AND": "AND", "CONJUNCTION_OR": "OR"}.get(node["type"])
        if operator is None:
            return self.opaque("this connective", node)
        return syntax.Logical(
            operator, tuple(self.expression(child) for child in node["children"])
        )

    def _case(self, node: dict[str, Any], place: Place | None) -> Expression:
        self.unknown_fields(node, *WHERE, "case_checks", "else_expr")
        return syntax.Case(
            tuple(
                (self.expression(check["when_expr"]), self.expression(check["then_expr"]))
                for check in node["case_checks"]
            ),
            self.expression(node["else_expr"]),
            place,
        )

    def _constant(self, node: dict[str, Any], place: Place | None) -> Expression:
        self.unknown_fields(node, *WHERE, "literal")
        kind = _LITERALS.get(node["literal"]["kind"])
        if kind is None:
            return self.opaque("this kind of constant", node, "Use numbers, text or dates.")
        return syntax.Constant(kind, str(node["literal"]["text"]), place)

    def _between(self, node: dict[str, Any], place: Place | None) -> Expression:
        self.unknown_fields(node, *WHERE, "input", "lower", "upper")
        item = self.expression(node["input"])
        return syntax.Logical(
            "AND",
            (
                syntax.Comparison(">=", item, self.expression(node["lower"]), place),
                syntax.Comparison("<=", item, self.expression(node["upper"]), place),
            ),
        )

    def _row_in(self, node: dict[str, Any], place: Place | None) -> Expression | None:
        """Read `(a, b) IN ((1, 2), (3, 4))` as OR of ANDs; None where it is no such list.

        The engine's rows compare by IS NOT DISTINCT FROM: NOT IN holds where a is NULL.
        """
        if not all(map(_is_row, node["children"])):
            return None
        item, *options = (
            tuple(self.expression(part["expression"]) for part in child["arguments"])
            for child in node["children"]
        )
        if not options or any(len(option) != len(item) for option in options):
            return None
        alike = [
            tuple(
                syntax.Comparison("is not distinct", left, right, place)
                for left, right in zip(item, option, strict=True)
            )
            for option in options
        ]
        rows = [one[0] if len(one) == 1 else syntax.Logical("AND", one) for one in alike]
        found = rows[0] if len(rows) == 1 else syntax.Logical("OR", tuple(rows))
        return syntax.Not(found) if node["type"] == "COMPARE_NOT_IN" else found

    def _operator(self, node: dict[str, Any], place: Place | None) -> Expression:
        self.unknown_fields(node, *WHERE, "children")
        if node["type"] in ("COMPARE_IN", "COMPARE_NOT_IN"):
            rows = self._row_in(node, place)
            if rows is not None:
                return rows
        children = tuple(self.expression(child) for child in node["children"])
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
                return syntax.Call("grouping", children, place=place)
            case kind:
                return self.opaque(_OPERATORS.get(kind, "this operator"), node)

    def _cast(self, node: dict[str, Any], place: Place | None) -> Expression:
        self.unknown_fields(node, *WHERE, "child", "try_cast", "type_expr")
        kind = self._type(node)
        if kind is None:
            return self.opaque(
                "a cast to a type with parameters", node, "Use a plain type."
            )
        return syntax.Cast(
            self.expression(node["child"]),
            kind,
            bool(node["try_cast"]),
            place,
        )

    def _type(self, cast: dict[str, Any]) -> str | None:
        kind = cast["type_expr"]
        self.unknown_fields(kind, *WHERE, *NAMED, "type_name", "children")
        name = str(kind["type_name"]).upper()
        if kind.get("schema") or kind.get("catalog"):
            return None
        children = kind.get("children") or []
        if not children:
            return name
        sizes = [
            str(item["literal"]["text"])
            for item in children
            if item["class"] == "CONSTANT" and item["literal"]["kind"] == "INTEGER"
        ]
        small = all(size.isascii() and size.isdigit() and len(size) < 3 for size in sizes)
        if name != "DECIMAL" or not small or not len(sizes) == len(children) == 2:
            return None
        return f"DECIMAL({int(sizes[0])},{int(sizes[1])})"

    def _subquery(self, node: dict[str, Any], place: Place | None) -> Expression:
        self.unknown_fields(
            node, *WHERE, "subquery_type", "subquery", "comparison_type", "child"
        )
        kind = {"SCALAR": "scalar", "EXISTS": "exists", "ANY": "in"}.get(
            node["subquery_type"]
        )
        item = self.optional(node.get("child"))
        if kind is None or (kind == "in") is not (item is not None):
            return self.opaque("this kind of subquery", node)
        if kind == "in" and node["comparison_type"] != "COMPARE_EQUAL":
            return self.opaque(
                "a comparison other than = with ANY or ALL", node, "Use min() or max()."
            )
        if kind == "in" and _is_list(node["subquery"]):
            return self.opaque("= ANY of a list", node, "Write x IN ('a', 'b').")
        query = self.query_of(node["subquery"], node)
        if query is None:
            return syntax.Opaque("a subquery", place)
        return syntax.Subquery(kind, query, item, place)

    def _star(self, node: dict[str, Any], _place: Place | None) -> Expression:
        return self.opaque(
            "COLUMNS()" if node.get("columns") else "`*` inside an expression",
            node,
            "Name the columns.",
        )

    def star(self, node: dict[str, Any]) -> Expression:
        """Read a star that is an item of the SELECT list by itself."""
        with self.level():
            return self._whole_star(node, self.place(node))

    def _whole_star(self, node: dict[str, Any], place: Place | None) -> Expression:
        self.unknown_fields(
            node, *WHERE, "relation_name", "exclude_list", "replace_list", "columns",
            "expr", "qualified_exclude_list", "rename_list",
        )  # fmt: skip
        if node["columns"] or node.get("expr"):
            return self.opaque("COLUMNS()", node, "Name the columns.")
        if node["rename_list"]:
            return self.opaque("RENAME in `*`", node, "Name the columns.")
        if node["qualified_exclude_list"]:
            return self.opaque("EXCLUDE of a qualified name", node, "Drop the qualifier.")
        return syntax.Star(
            str(node["relation_name"]),
            tuple(map(str, node["exclude_list"])),
            tuple(
                (str(item["key"]), self.expression(item["value"]))
                for item in node["replace_list"]
            ),
            place,
        )


def _is_row(node: dict[str, Any]) -> bool:
    return bool(
        node["class"] == "FUNCTION"
        and node["function_name"] == "row"
        and not any(item["name"] for item in node["arguments"])
    )


def _is_list(statement: dict[str, Any]) -> bool:
    """Whether a subquery is `SELECT unnest([...])`: how the engine writes ANY([...])."""
    selected = statement.get("node", {}).get("select_list", [])
    return len(selected) == 1 and selected[0].get("function_name") == "unnest"


_Reader = Callable[[ExpressionTree, dict[str, Any], Place | None], Expression]
_READERS: dict[str, _Reader] = {
    "COLUMN_REF": ExpressionTree._column,
    "CONSTANT": ExpressionTree._constant,
    "FUNCTION": ExpressionTree.call,
    "WINDOW": ExpressionTree.window,
    "SUBQUERY": ExpressionTree._subquery,
    "COMPARISON": ExpressionTree._comparison,
    "CONJUNCTION": ExpressionTree._conjunction,
    "BETWEEN": ExpressionTree._between,
    "OPERATOR": ExpressionTree._operator,
    "CAST": ExpressionTree._cast,
    "CASE": ExpressionTree._case,
    "STAR": ExpressionTree._star,
}
_REFUSED = {
    "LAMBDA": ("a lambda", ""),
    "PARAMETER": ("a parameter", "Write the constant out."),
    "POSITIONAL_REFERENCE": ("a column by its position", "Name the column."),
    "DEFAULT": ("DEFAULT", ""),
    "COLLATE": ("a collation", "Compare without COLLATE."),
}
_OPERATORS = {
    "ARRAY_EXTRACT": "an element of a list",
    "ARRAY_SLICE": "a slice of a list",
    "ARRAY_CONSTRUCTOR": "a list",
    "STRUCT_EXTRACT": "a field of a struct",
    "OPERATOR_TRY": "TRY()",
    "OPERATOR_UNPACK": "`*` before a list",
}

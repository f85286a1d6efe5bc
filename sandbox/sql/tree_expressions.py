"""Expressions of the engine's parse tree, node by node, into ours; deny by default."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from policies.shape import Finding, Place
from sandbox.sql import syntax
from sandbox.sql.places import Places
from sandbox.sql.syntax import Expression

MAX_NODES = 20_000
MAX_DEPTH = 60

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


class ExpressionTree:
    """Reads expressions; `findings` collects what has no branch."""

    def __init__(self, sql: str) -> None:
        self._places = Places(sql)
        self._nodes = 0
        self._depth = 0
        self.findings: list[Finding] = []

    # --- findings and places

    def refuse(
        self, code: str, message: str, hint: str, place: Place | None = None
    ) -> None:
        """Leave a finding."""
        self.findings.append(Finding(code, message, hint, place))

    def opaque(self, what: str, node: dict[str, Any], hint: str = "") -> syntax.Opaque:
        """Leave a finding for something without a branch; return its node."""
        place = self.place(node)
        self.refuse(
            "syntax_unavailable", f"{what} is not part of what may be asked", hint, place
        )
        return syntax.Opaque(what, place)

    def place(self, node: dict[str, Any]) -> Place | None:
        """Return where a node stands, or None where the engine does not say."""
        offset = node.get("query_location")
        # Where the engine knows no place it gives a number past every text.
        if not isinstance(offset, int) or not 0 <= offset <= self._places.size_bytes:
            return None
        return self._places.at(offset)

    def unknown_fields(self, node: dict[str, Any], *known: str) -> bool:
        """Leave a finding where a node has a field that is not `known`; say whether."""
        strange = set(node) - set(known)
        if strange:
            self.refuse(
                "syntax_unavailable",
                f"the query uses `{sorted(strange)[0]}`, which the analyser does not know",
                "Write it more plainly.",
                self.place(node),
            )
        return bool(strange)

    # --- expressions

    def optional(self, node: dict[str, Any] | None) -> Expression | None:
        """Read an expression that may be missing."""
        return None if node is None else self.expression(node)

    def expression(self, node: dict[str, Any]) -> Expression:
        """Read an expression; raises TooComplex past the limits."""
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
        read = _READERS.get(node["class"])
        if read is not None:
            return read(self, node, self.place(node))
        what, hint = _REFUSED.get(node["class"], ("this expression", ""))
        return self.opaque(what, node, hint)

    def _column(self, node: dict[str, Any], place: Place | None) -> Expression:
        self.unknown_fields(node, *_WHERE, "column_names")
        return syntax.Column(tuple(map(str, node["column_names"])), place)

    def _comparison(self, node: dict[str, Any], place: Place | None) -> Expression:
        self.unknown_fields(node, *_WHERE, "left", "right")
        operator = _COMPARISONS.get(node["type"])
        if operator is None:
            return self.opaque("this comparison", node, "Use =, <, >=, IN or IS NULL.")
        return syntax.Comparison(
            operator, self.expression(node["left"]), self.expression(node["right"]), place
        )

    def _conjunction(self, node: dict[str, Any], _place: Place | None) -> Expression:
        self.unknown_fields(node, *_WHERE, "children")
        operator = {"CONJUNCTION_AND": "AND", "CONJUNCTION_OR": "OR"}.get(node["type"])
        if operator is None:
            return self.opaque("this connective", node)
        return syntax.Logical(
            operator, tuple(self.expression(child) for child in node["children"])
        )

    def _case(self, node: dict[str, Any], place: Place | None) -> Expression:
        self.unknown_fields(node, *_WHERE, "case_checks", "else_expr")
        return syntax.Case(
            tuple(
                (self.expression(check["when_expr"]), self.expression(check["then_expr"]))
                for check in node["case_checks"]
            ),
            self.expression(node["else_expr"]),
            place,
        )

    def _constant(self, node: dict[str, Any], place: Place | None) -> Expression:
        self.unknown_fields(node, *_WHERE, "literal")
        kind = _LITERALS.get(node["literal"]["kind"])
        if kind is None:
            return self.opaque("this kind of constant", node, "Use numbers, text or dates.")
        return syntax.Constant(kind, str(node["literal"]["text"]), place)

    def _call(self, node: dict[str, Any], place: Place | None) -> Expression:
        self.unknown_fields(
            node, *_WHERE, *_NAMED, "function_name", "order_bys", "distinct", "is_operator",
            "export_state", "arguments", "filter",
        )  # fmt: skip
        name = str(node["function_name"])
        path = node.get("qualified_name", {}).get("path", [])
        if node["schema"] or node["catalog"] or path != [name]:
            return self.opaque(
                "a function with a schema before it", node, "Drop the schema."
            )
        if node["order_bys"].get("orders"):
            return self.opaque("ORDER BY inside an aggregate", node, "Drop it.")
        if node["export_state"] or any(item["name"] for item in node["arguments"]):
            return self.opaque("this form of a function call", node)
        return syntax.Call(
            name.lower(),
            tuple(self.expression(item["expression"]) for item in node["arguments"]),
            bool(node["distinct"]),
            self.optional(node.get("filter")),
            place,
        )

    def _between(self, node: dict[str, Any], place: Place | None) -> Expression:
        self.unknown_fields(node, *_WHERE, "input", "lower", "upper")
        item = self.expression(node["input"])
        return syntax.Logical(
            "AND",
            (
                syntax.Comparison(">=", item, self.expression(node["lower"]), place),
                syntax.Comparison("<=", item, self.expression(node["upper"]), place),
            ),
        )

    def _operator(self, node: dict[str, Any], place: Place | None) -> Expression:
        self.unknown_fields(node, *_WHERE, "children")
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
                return self.opaque("GROUPING()", node)
            case _:
                return self.opaque("this operator", node)

    def _cast(self, node: dict[str, Any], place: Place | None) -> Expression:
        self.unknown_fields(node, *_WHERE, "child", "try_cast", "type_expr")
        kind = node["type_expr"]
        if kind.get("children") or kind.get("schema") or kind.get("catalog"):
            return self.opaque(
                "a cast to a type with parameters", node, "Use a plain type."
            )
        return syntax.Cast(
            self.expression(node["child"]),
            str(kind["type_name"]).upper(),
            bool(node["try_cast"]),
            place,
        )

    def _star(self, _node: dict[str, Any], place: Place | None) -> Expression:
        self.refuse(
            "row_level_output",
            "`*` would let rows leave as they are",
            "Name dimensions and aggregates: SELECT d, count(*) FROM ... GROUP BY d; "
            "labelled rows leave only as a licensed subset.",
            place,
        )
        return syntax.Opaque("*", place)


_Reader = Callable[[ExpressionTree, dict[str, Any], Place | None], Expression]
_READERS: dict[str, _Reader] = {
    "COLUMN_REF": ExpressionTree._column,
    "CONSTANT": ExpressionTree._constant,
    "FUNCTION": ExpressionTree._call,
    "COMPARISON": ExpressionTree._comparison,
    "CONJUNCTION": ExpressionTree._conjunction,
    "BETWEEN": ExpressionTree._between,
    "OPERATOR": ExpressionTree._operator,
    "CAST": ExpressionTree._cast,
    "CASE": ExpressionTree._case,
    "STAR": ExpressionTree._star,
}
_REFUSED = {
    "WINDOW": ("a window function", "Use GROUP BY and ORDER BY."),
    "SUBQUERY": ("a subquery", "Submit it as a query of its own."),
    "LAMBDA": ("a lambda", ""),
    "PARAMETER": ("a parameter", "Write the constant out."),
    "COLLATE": ("a collation", "Compare without COLLATE."),
}

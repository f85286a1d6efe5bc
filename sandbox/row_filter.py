"""The row filter of a subset rule: a small language of conditions, generated anew as SQL.

AND, OR, NOT, comparisons, IN, BETWEEN and IS NULL between columns of the table and
constants. What runs is text made here from the engine's own tree, never the policy's text;
a node that is not positively known is refused.
"""

from __future__ import annotations

import json
from typing import Any

import duckdb

from sandbox.engine import literal, quote
from sandbox.errors import QueryRejected
from sandbox.protocol import TableSchema

_MOST_CHARACTERS = 10_000
_COMPARISONS = {
    "COMPARE_EQUAL": "=",
    "COMPARE_NOTEQUAL": "<>",
    "COMPARE_LESSTHAN": "<",
    "COMPARE_GREATERTHAN": ">",
    "COMPARE_LESSTHANOREQUALTO": "<=",
    "COMPARE_GREATERTHANOREQUALTO": ">=",
}
_NUMBERS = ("INTEGER", "NUMERIC", "DECIMAL", "FLOAT")
_CASTS = ("DATE", "TIMESTAMP")


def compile_filter(
    text: str, schema: TableSchema, connection: duckdb.DuckDBPyConnection
) -> str:
    """Return SQL of the condition that `text` states over the columns of `schema`.

    Only the parser of `connection` is used. Raises QueryRejected if it is no condition of
    the language above.
    """
    if len(text) > _MOST_CHARACTERS:
        raise _refused(f"has {len(text)} characters, at most {_MOST_CHARACTERS} are read")
    found = connection.execute(
        "SELECT CAST(json_serialize_sql(?) AS VARCHAR)", [f"SELECT 1 WHERE {text}"]
    ).fetchall()
    tree = json.loads(found[0][0])
    statements = tree.get("statements") or []
    if tree.get("error") or len(statements) != 1:
        raise _refused("is not one condition")
    node = statements[0]["node"]
    _check_nothing_more(node)
    columns = {name.lower(): name for name, _ in schema.columns}
    try:
        return _condition(node["where_clause"], columns)
    except (KeyError, TypeError, RecursionError) as error:
        raise _refused("has a part that is not known") from error


def _check_nothing_more(node: dict[str, Any]) -> None:
    """Refuse whatever would stand around the condition (UNION, ORDER BY, GROUP BY, ...)."""
    plain = (
        node.get("type") == "SELECT_NODE"
        and node.get("from_table", {}).get("type") == "EMPTY"
        and not any(
            node.get(part)
            for part in (
                "modifiers",
                "group_expressions",
                "group_sets",
                "having",
                "sample",
                "qualify",
            )
        )
        and not node.get("cte_map", {}).get("map")
    )
    if not plain or not node.get("where_clause"):
        raise _refused("holds more than a condition")


def _condition(node: dict[str, Any], columns: dict[str, str]) -> str:
    kind, children = node["type"], node.get("children", [])
    if kind in ("CONJUNCTION_AND", "CONJUNCTION_OR"):
        word = f" {kind.removeprefix('CONJUNCTION_')} "
        return "(" + word.join(_condition(child, columns) for child in children) + ")"
    if kind == "OPERATOR_NOT":
        return f"(NOT {_condition(children[0], columns)})"
    if kind in _COMPARISONS:
        left, right = _term(node["left"], columns), _term(node["right"], columns)
        return f"({left} {_COMPARISONS[kind]} {right})"
    if kind == "COMPARE_BETWEEN":
        term, low, high = (_term(node[p], columns) for p in ("input", "lower", "upper"))
        return f"({term} BETWEEN {low} AND {high})"
    if kind == "COMPARE_IN":
        first, *rest = (_term(child, columns) for child in children)
        return f"({first} IN ({', '.join(rest)}))"
    if kind in ("OPERATOR_IS_NULL", "OPERATOR_IS_NOT_NULL"):
        word = "IS NULL" if kind == "OPERATOR_IS_NULL" else "IS NOT NULL"
        return f"({_term(children[0], columns)} {word})"
    if kind == "COLUMN_REF":
        return _term(node, columns)
    raise _refused("uses more than AND, OR, NOT, comparisons, IN, BETWEEN and IS NULL")


def _term(node: dict[str, Any], columns: dict[str, str]) -> str:
    kind = node["type"]
    if kind == "COLUMN_REF":
        names = node["column_names"]
        if len(names) != 1 or names[0].lower() not in columns:
            raise _refused("names a column that the table does not have")
        return quote(columns[names[0].lower()])
    if kind == "VALUE_CONSTANT":
        return _constant(node["literal"])
    if kind == "OPERATOR_CAST" and not node["try_cast"]:
        target = node["type_expr"]["type_name"]
        if target in _CASTS and node["child"]["type"] == "VALUE_CONSTANT":
            return f"CAST({_constant(node['child']['literal'])} AS {target})"
    raise _refused("compares something else than columns and constants")


def _constant(value: dict[str, Any]) -> str:
    kind, text = value["kind"], str(value.get("text", ""))
    if kind == "STRING":
        return literal(text)
    if kind == "BOOLEAN" and text.lower() in ("true", "false"):
        return text.upper()
    if kind in _NUMBERS and set(text) <= set("0123456789+-.eE") and text:
        return text
    raise _refused("has a constant that is no number, text or boolean")


def _refused(what: str) -> QueryRejected:
    return QueryRejected(
        f"the policy's row filter {what}",
        hint="Write conditions like: type = 'L' AND wear < 200 AND city IS NOT NULL.",
        code="row_filter",
    )

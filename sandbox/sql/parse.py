"""SQL text to syntax nodes, by the engine's own parser: there is no second grammar.

`json_serialize_sql` gives the engine's tree. Each node is read field by field; a field
that we do not know, or one that is set where we expect its default, is a finding: the
next version of the engine must not slip a meaning past us.
"""

from __future__ import annotations

import json
from typing import Any

import duckdb

from policies.shape import Finding
from sandbox.sql import syntax
from sandbox.sql.limits import check_text
from sandbox.sql.places import Places
from sandbox.sql.tree import Tree

_UNSUPPORTED = "query_too_complex"


def parse(
    sql: str, connection: duckdb.DuckDBPyConnection
) -> tuple[syntax.Select | None, list[Finding]]:
    """Read one SELECT; returns its nodes, or None, and all that speaks against them.

    A UNION, INTERSECT or EXCEPT is refused: see `parse_query`.
    """
    query, findings = parse_query(sql, connection)
    if query is None or isinstance(query, syntax.Select):
        return query, findings
    return None, [
        *findings,
        Finding(
            "syntax_unavailable",
            "UNION, INTERSECT or EXCEPT is not part of what may be asked here",
            "Submit the SELECTs one by one.",
        ),
    ]


def parse_query(
    sql: str, connection: duckdb.DuckDBPyConnection
) -> tuple[syntax.Query | None, list[Finding]]:
    """Read one query; returns its nodes, or None, and all that speaks against them.

    The text is handed to the parser as a value and is never run. No error text of the
    engine is passed on, since it quotes the query; its position is.
    """
    unfit = check_text(sql)
    if unfit is not None:
        return None, [unfit]
    try:
        data = _serialise(sql, connection)
    except RecursionError:
        return None, [_too_complex("is nested too deeply")]
    if data is None:
        return None, [_too_complex("is too deep or too large for the parser")]
    if data.get("error"):
        return None, [_refused(sql, data)]
    statements = data.get("statements", [])
    if len(statements) != 1:
        return None, [
            Finding(
                "one_statement",
                f"expected one SELECT, {len(statements)} statements came",
                "Submit each query on its own.",
            )
        ]
    tree = Tree(sql)
    try:
        query = tree.statement(statements[0])
    except RecursionError:
        return None, [_too_complex("is nested too deeply")]
    return query, tree.findings


def _serialise(sql: str, connection: duckdb.DuckDBPyConnection) -> dict[str, Any] | None:
    try:
        # Fetched whole: a result that is not finished blocks `connection.sql`.
        rows = connection.execute(
            "SELECT json_serialize_sql(?::VARCHAR, skip_default := false, "
            "skip_empty := false, skip_null := true)",
            [sql],
        ).fetchall()
    except duckdb.Error:
        return None
    if not rows or not isinstance(rows[0][0], str):
        return None
    found = json.loads(rows[0][0])
    return found if isinstance(found, dict) else None


def _too_complex(what: str) -> Finding:
    return Finding(_UNSUPPORTED, f"the query {what}", "Ask for less in one query.")


def _refused(sql: str, data: dict[str, Any]) -> Finding:
    if data.get("error_type") == "not implemented":
        return Finding(
            "select_only",
            "only a SELECT may be submitted",
            "Write SELECT ... FROM ...; the catalogue shows tables and columns.",
        )
    if "expression depth" in str(data.get("error_message", "")):
        return _too_complex("chains or nests more operators than the parser takes")
    position = data.get("position")
    places, place = Places(sql), None
    if isinstance(position, str) and position.isdigit():
        place = places.at(min(int(position), places.size_bytes))
    return Finding(
        "sql_syntax",
        "the text is not valid SQL"
        + (f" at line {place.line}, column {place.column}" if place else ""),
        "Check the spelling and the brackets there.",
        place,
    )

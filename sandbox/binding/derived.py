"""Derived measures: the provider's own expressions, read like any other SQL and rewritten.

A consumer may not compute with measures before they are aggregated; the provider may, in
the policy. The expression is parsed by the engine's parser, may name only numbers of its
own table and functions that are listed here, and is written anew so that it cannot raise:
what does not compute on a row is NULL there.
"""

from __future__ import annotations

from collections.abc import Sequence

import duckdb

from policies.document import Derived, Policy
from sandbox.engine import FIRST_SHARD
from sandbox.errors import QueryRejected
from sandbox.plan.terms import NUMBERS, kind_of_type
from sandbox.quoting import quoted
from sandbox.sql import syntax
from sandbox.sql.parse import parse

TYPE = "DOUBLE"
_INFIX = frozenset({"+", "-", "*", "/"})
_FUNCTIONS = {
    "abs": 1, "round": (1, 2), "floor": 1, "ceil": 1, "ceiling": 1, "sqrt": 1, "ln": 1,
    "log10": 1, "log2": 1, "exp": 1, "power": 2, "pow": 2, "sign": 1, "coalesce": (2, 8),
    "ifnull": 2, "nullif": 2, "greatest": (2, 8), "least": (2, 8),
}  # fmt: skip
Columns = Sequence[tuple[str, str]]


def with_derived(
    policy: Policy, name: str, columns: Columns, connection: duckdb.DuckDBPyConnection
) -> list[tuple[str, str]]:
    """Return the columns of a table with those of its derived measures that compute."""
    table = policy.table(name)
    found = list(columns)
    for item in () if table is None else table.derived:
        try:
            derived_sql(item, name, columns, connection)
        except QueryRejected:
            continue  # as if it were not there: a query that names it is told so
        found.append((item.name, TYPE))
    return found


def add_derived(policy: Policy, connection: duckdb.DuckDBPyConnection) -> None:
    """Let each table with derived measures be read with them, in this connection.

    A view of the same name in the engine's temporary catalogue comes before the table.
    """
    for table in policy.tables:
        if not table.derived or not table.is_protected:
            continue
        columns = _columns_of(table.name, connection)
        if columns is None:
            continue
        added = []
        for item in table.derived:
            try:
                text = derived_sql(item, table.name, columns, connection)
            except QueryRejected:
                continue
            added.append(f"{text} AS {quoted(item.name)}")
        for name in (table.name, table.name + FIRST_SHARD) if added else ():
            if name == table.name or _columns_of(name, connection):
                home = f"{quoted(_catalog(connection))}.main.{quoted(name)}"
                connection.execute(
                    f"CREATE OR REPLACE TEMP VIEW {quoted(name)} AS "
                    f"SELECT *, {', '.join(added)} FROM {home}"
                )


def _catalog(connection: duckdb.DuckDBPyConnection) -> str:
    row = connection.execute("SELECT current_database()").fetchone()
    assert row is not None
    return str(row[0])


def _columns_of(
    table: str, connection: duckdb.DuckDBPyConnection
) -> list[tuple[str, str]] | None:
    rows = connection.execute(
        "SELECT column_name, data_type FROM information_schema.columns "
        "WHERE table_name = ? AND table_schema = 'main' AND table_catalog = ? "
        "ORDER BY ordinal_position",
        [table, _catalog(connection)],
    ).fetchall()
    return [(str(name), str(kind)) for name, kind in rows] or None


def derived_sql(
    item: Derived, table: str, columns: Columns, connection: duckdb.DuckDBPyConnection
) -> str:
    """Return a derived measure as SQL of our own; the connection only parses.

    Raises QueryRejected (`derived_invalid`) where it is no such expression.
    """
    # The line break ends a comment that the text may leave open.
    text = f"SELECT ({item.expr}\n) FROM {quoted(table)}"
    select, findings = parse(text, connection)
    if select is None or findings or len(select.outputs) != 1:
        raise _invalid(item.name)
    plain = syntax.Select(outputs=select.outputs, source=select.source)
    if select != plain or not isinstance(select.source, syntax.TableName):
        raise _invalid(item.name)
    known = {name.lower(): (name, kind) for name, kind in columns}
    text = _Writer(item.name, known).number(select.outputs[0].expression)
    # NaN and infinity would pass comparisons, and count as values.
    return f"TRY(CASE WHEN isfinite({text}) THEN {text} END)"


def _invalid(name: str) -> QueryRejected:
    return QueryRejected(
        f"the derived measure `{name}` is no expression that is computed here",
        hint="Use numbers of the same table, + - * / and functions such as abs, round, "
        "sqrt, ln, coalesce, or CASE; then publish the policy again.",
        code="derived_invalid",
    )


class _Writer:
    """Writes an expression anew; raises QueryRejected on what it does not know."""

    def __init__(self, name: str, columns: dict[str, tuple[str, str]]) -> None:
        self._name = name
        self._columns = columns

    def number(self, node: syntax.Expression) -> str:
        """Return the SQL of a number."""
        match node:
            case syntax.Column(names=names):
                name, kind = self._columns.get(names[-1].lower(), ("", ""))
                if name and kind_of_type(kind)[0] in NUMBERS:
                    return f"CAST({quoted(name)} AS {TYPE})"
            case syntax.Constant(kind="integer" | "numeric", text=text):
                return f"CAST({text.replace('_', '')} AS {TYPE})"
            case syntax.Constant(kind="null"):
                return "NULL"
            case syntax.Cast(item=item, type="DOUBLE" | "FLOAT"):
                return self.number(item)
            case syntax.Call(
                name=name, arguments=arguments, distinct=False, condition=None
            ):
                return self._call(name, arguments)
            case syntax.Case(branches=branches, otherwise=otherwise):
                whens = " ".join(
                    f"WHEN {self._condition(a)} THEN {self.number(b)}" for a, b in branches
                )
                return f"CASE {whens} ELSE {self.number(otherwise)} END"
        raise _invalid(self._name)

    def _call(self, name: str, arguments: tuple[syntax.Expression, ...]) -> str:
        parts = [self.number(argument) for argument in arguments]
        if name == "-" and len(parts) == 1:
            return f"(- {parts[0]})"
        if name in _INFIX and len(parts) == 2:
            return f"({parts[0]} {name} {parts[1]})"
        if name in ("^", "**") and len(parts) == 2:
            return f"power({parts[0]}, {parts[1]})"
        allowed = _FUNCTIONS.get(name)
        low, high = allowed if isinstance(allowed, tuple) else (allowed, allowed)
        if low is None or high is None or not low <= len(parts) <= high:
            raise _invalid(self._name)
        if name == "round" and len(parts) == 2:
            parts[1] = f"CAST({parts[1]} AS INTEGER)"
        return f"{name}({', '.join(parts)})"

    def _condition(self, node: syntax.Expression) -> str:
        match node:
            case syntax.Comparison(operator=operator, left=left, right=right) if (
                operator in ("=", "<>", "<", "<=", ">", ">=")
            ):
                return f"({self.number(left)} {operator} {self.number(right)})"
            case syntax.Logical(operator=operator, items=items):
                parts = [self._condition(item) for item in items]
                return "(" + f" {operator} ".join(parts) + ")"
            case syntax.Not(item=item):
                return f"(NOT {self._condition(item)})"
            case syntax.NullTest(item=item):
                return f"({self.number(item)} IS NULL)"
        raise _invalid(self._name)

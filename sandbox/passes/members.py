"""Who is in the other table of a semi-join, kept once where few values stand in many rows.

`NOT IN (SELECT o_custkey FROM orders)` is looked up by each statement that asks about the
filter: inside it, outside it, beside each earlier release. Fifteen orders a customer are
read and told apart each time, to find the same customers.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

import duckdb

from sandbox.passes.facts import Facts
from sandbox.plan.render import members_sql
from sandbox.plan.terms import Ref
from sandbox.plan.views import View
from sandbox.quoting import quoted

_ROWS_PER_VALUE = 4  # with fewer, to tell the values apart costs what it saves
# No table of a policy has a line break in its name.
_KEPT = "\nmembers of "
_LITERAL, _NAME = r"'(?:[^']|'')*'", r'"(?:[^"]|"")*"'


class Members:
    """The semi-joins of the views of one connection, as their statements name them."""

    def __init__(self, connection: duckdb.DuckDBPyConnection, facts: Facts) -> None:
        self._connection, self._facts = connection, facts
        self._known: dict[str, tuple[View, Ref]] = {}
        self._kept: dict[str, str] = {}  # what a statement says, and what it says instead

    def add(self, views: Iterable[View]) -> None:
        """Look out for semi-joins with these views from now on."""
        for view in views:
            if view.keys is not None or view.joins or view.more:
                continue
            for column in view.columns:
                # A unit's column is stored: of others nothing may be known.
                is_unit = any(name == column.name for _, name in view.units)
                if is_unit and isinstance(column.value, Ref):
                    text = members_sql(view.name, column.name)
                    self._known[text] = view, column.value

    def looked_up(self, sql: str) -> str:
        """Return a statement with the same rows, that reads values which are kept.

        Only what follows IN is changed: there it does not matter how often a value stands.
        """
        for text in [text for text in self._known if text in sql]:
            view, ref = self._known.pop(text)
            if ref.table == view.table and self._is_worth_it(ref):
                self._keep(text, view)
        for text, instead in self._kept.items():
            if text in sql:
                sql = _replaced(sql, text, instead)
        return sql

    def _is_worth_it(self, ref: Ref) -> bool:
        most = self._facts.most_values(ref.table, ref.column)
        return most is not None and most * _ROWS_PER_VALUE <= self._facts.rows(ref.table)

    def _keep(self, text: str, view: View) -> None:
        name = quoted(f"{_KEPT}{view.name}")
        try:
            self._connection.execute(
                f"CREATE TEMP TABLE IF NOT EXISTS {name} AS SELECT DISTINCT * FROM ({text})"
            ).fetchall()
        except duckdb.OutOfMemoryException:
            return  # it is read where it lies
        self._kept[text] = f"SELECT * FROM {name}"


def _replaced(sql: str, text: str, instead: str) -> str:
    """Replace part of a statement, but not where a literal of the query says the same."""
    parts = re.compile(f"{_LITERAL}|{re.escape(text)}|{_NAME}")
    return parts.sub(lambda m: instead if m.group() == text else m.group(), sql)

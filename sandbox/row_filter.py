"""The row filter of a subset rule: the provider's own condition, read like any other SQL.

It is parsed by the engine's parser, bound to the table's columns and written anew; it may
use any column of the table, since the provider decides about all of them, but nothing that
a consumer's filter could not use either: no subquery, no function off the allow-list.
"""

from __future__ import annotations

from collections.abc import Sequence

import duckdb

from policies.document import Policy, Table
from sandbox.binding.facts import Facts
from sandbox.binding.items import RowsItem
from sandbox.binding.names import table_columns
from sandbox.binding.predicates import PredicateBinder
from sandbox.binding.scope import Scope
from sandbox.binding.terms import TermBinder
from sandbox.errors import QueryRejected
from sandbox.plan.render import predicate_sql
from sandbox.quoting import quoted
from sandbox.sql import syntax
from sandbox.sql.parse import parse


def compile_filter(
    text: str,
    table: str,
    columns: Sequence[tuple[str, str]],
    connection: duckdb.DuckDBPyConnection,
) -> str:
    """Return the filter as SQL of our own over `table`; the connection only parses.

    Raises QueryRejected (`row_filter_invalid`) with every ground.
    """
    # The line break ends a comment that the text may leave open.
    select, findings = parse(f"SELECT 1 FROM {quoted(table)} WHERE ({text}\n)", connection)
    if not isinstance(select, syntax.Select) or findings:
        raise _invalid(findings[0].message if findings else "it is no condition")
    if select.where is None or select.groups or select.orders or select.having:
        raise _invalid("it is more than a condition")
    # As a public table: grids and roles bind consumers, not the provider's own rule.
    facts = Facts(Policy((Table(table, public=True),)))
    item = RowsItem(
        (table,), (), (), table_columns(table, columns), tuple(n for n, _ in columns)
    )
    scope = Scope(facts, lambda _leaf, _copy=0: item)
    scope.add(select.source)
    predicate = PredicateBinder(TermBinder(facts, scope, {})).where(select.where)
    if predicate is None or facts.findings:
        raise _invalid(
            facts.findings[0].message if facts.findings else "it is not understood"
        )
    return predicate_sql(predicate)


def _invalid(why: str) -> QueryRejected:
    return QueryRejected(
        f"the row filter of the subset rule cannot be used: {why}",
        hint="Compare columns with constants, joined by AND and OR; then publish the "
        "policy again.",
        code="row_filter_invalid",
    )

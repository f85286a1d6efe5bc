"""Job kind `analyse`: SQL text to shape and plan. It handles text only, never a row."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import duckdb

from policies.codec import load_policy
from policies.document import Policy
from policies.shape import QueryShape
from policies.shape_codec import shape_to_json
from sandbox.binding.derived import with_derived
from sandbox.binding.select import Analysis, bind
from sandbox.engine import open_engine
from sandbox.protocol import AnalyseJob, AnalyseOutcome
from sandbox.sql.parse import parse_query
from sandbox.stages.release import plan_sql


def analyse(
    sql: str,
    policy: Policy,
    schemas: Mapping[str, Sequence[tuple[str, str]]],
    connection: duckdb.DuckDBPyConnection,
) -> Analysis:
    """Return shape and plan of one query; only its parser touches the connection."""
    select, findings = parse_query(sql, connection)
    if select is None:
        return Analysis(QueryShape(findings=tuple(findings)), None)
    known = {
        name: with_derived(policy, name, columns, connection)
        for name, columns in schemas.items()
    }
    found = bind(select, policy, known)
    if not findings:
        return found
    together = tuple(dict.fromkeys((*findings, *found.shape.findings)))
    return Analysis(replace(found.shape, findings=together, fingerprint=""), None)


def run(
    job: AnalyseJob, connection: duckdb.DuckDBPyConnection | None = None
) -> AnalyseOutcome:
    """Answer an analyse job; a refused query is an outcome too, its shape says why.

    Whoever analyses often hands in a `connection` without tables, and keeps it.
    """
    policy = load_policy(job.policy)
    schemas = {schema.table: schema.columns for schema in job.schemas}
    found = analyse(job.sql, policy, schemas, connection or open_engine({}, job.limits))
    executed = plan_sql(found.plan, policy)
    return AnalyseOutcome(shape_to_json(found.shape), executed)

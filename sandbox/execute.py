"""Job kind `execute`: analyse again, decide again, run, control, encode."""

from __future__ import annotations

import duckdb

from policies.codec import load_policy
from policies.decision import Request, Verdict, decide
from sandbox.analyse import analyse
from sandbox.errors import QueryRejected
from sandbox.protocol import ExecuteJob, ExecuteOutcome
from sandbox.stages.release import release


def run(job: ExecuteJob, connection: duckdb.DuckDBPyConnection) -> ExecuteOutcome:
    """Answer an execute job over an engine in which its tables are already views.

    Raises QueryRejected where the worker's own analysis refuses the query, or finds
    another plan than the one that was approved.
    """
    policy = load_policy(job.policy)
    schemas = {schema.table: schema.columns for schema in job.schemas}
    # The shape was computed before review. A worker trusts only what it derived itself, or
    # an altered job could carry an approved shape and other SQL.
    found = analyse(job.sql, policy, schemas, connection)
    decision = decide(policy, Request(job.purpose), found.shape)
    if decision.verdict is Verdict.REFUSE or found.plan is None or decision.rule is None:
        codes = ", ".join(dict.fromkeys(reason.code for reason in decision.reasons))
        raise QueryRejected(
            f"the sandbox's own analysis refuses the query: {codes}",
            hint="Check the query again; its policy may have changed.",
        )
    if found.plan.fingerprint != job.fingerprint:
        raise QueryRejected(
            "the query's plan is not the one that was approved",
            hint="Submit it again.",
            code="fingerprint_mismatch",
        )
    released = release(
        found.plan,
        policy,
        decision.rule,
        connection,
        history=job.history,
        limits=job.limits,
    )
    return ExecuteOutcome(
        columns=tuple(zip(found.shape.outputs, released.types, strict=True)),
        rows=released.rows,
        withheld=released.withheld,
        suppressed=released.suppressed,
        partial=released.partial,
        fingerprint=found.plan.fingerprint,
        executed_sql=released.executed_sql,
        history=released.history,
        report=released.report,
        units_covered=released.units_covered,
    )

"""Job kind `execute`: analyse again, decide again, run, control, encode."""

from __future__ import annotations

from collections.abc import Callable

import duckdb

from policies.codec import load_policy
from policies.decision import Request, Verdict, decide
from policies.document import Policy
from sandbox.analyse import analyse
from sandbox.engine import open_engine
from sandbox.errors import QueryRejected
from sandbox.passes.holding import AllOpen, Holding, ImageSource, OpenInParts, fits
from sandbox.protocol import ExecuteJob, ExecuteOutcome
from sandbox.stages.release import release_held


def run(job: ExecuteJob, images: ImageSource) -> ExecuteOutcome:
    """Answer an execute job over its images: all open at once where they fit, or in parts.

    Raises QueryRejected where the worker's own analysis refuses the query, or finds
    another plan than the one that was approved, and ResourceExceeded
    (`needs_more_memory`) where it cannot be computed within the memory there is.
    """
    # Not closed: it ends with the process, and nobody waits for its pages to be given back.
    if fits(images):
        tables = {name: range(len(sizes)) for name, sizes in images.tables.items()}
        paths = images.open(tables)
        connection = open_engine(paths, job.limits)
        return _answer(job, connection, lambda policy: AllOpen(connection, policy, paths))
    connection = open_engine({}, job.limits, any_descriptor=True)
    return _answer(job, connection, lambda policy: OpenInParts(connection, policy, images))


def _answer(
    job: ExecuteJob,
    connection: duckdb.DuckDBPyConnection,
    hold: Callable[[Policy], Holding],
) -> ExecuteOutcome:
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
    released = release_held(
        found.plan,
        policy,
        decision.rule,
        hold(policy),
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

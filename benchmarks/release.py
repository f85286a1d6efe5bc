"""A controlled release over a million rows, against the plain aggregate in plain DuckDB."""

from __future__ import annotations

import tempfile
from pathlib import Path

import duckdb

from benchmarks.options import Options
from benchmarks.report import Report
from benchmarks.subject import POLICY, SCHEMAS, write_runs
from policies.codec import load_policy
from policies.document import Policy
from sandbox.analyse import analyse
from sandbox.engine import open_engine
from sandbox.protocol import Limits
from sandbox.stages.release import release

ROWS, MACHINES = 1_000_000, 50_000
QUERIES = {
    "count by site": "SELECT site, count(*) AS n FROM runs GROUP BY site",
    "avg by site and product": (
        "SELECT site, product, count(*) AS n, avg(torque) AS t FROM runs GROUP BY ALL"
    ),
    "filtered, binned": (
        "SELECT floor(torque / 10) * 10 AS band, sum(wear) AS w FROM runs "
        "WHERE site IN ('S1', 'S2', 'S3') GROUP BY band"
    ),
}


def run(options: Options) -> Report:
    """Time whole releases (analysis to stage 2) beside the submitted SQL."""
    report = Report("release")
    policy = load_policy(POLICY)
    by_row = load_policy(
        POLICY.replace("[{domain: machine, column: machine}]", "row").replace(
            "      machine: {role: unit_key}\n", ""
        )
    )
    limits = Limits(memory_bytes=4 * 1024**3)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "runs.parquet"
        write_runs(path, int((options.scale or 1.0) * ROWS), MACHINES)
        plain = duckdb.connect()
        plain.execute("SET threads = 2")
        plain.execute(f"CREATE VIEW runs AS SELECT * FROM read_parquet('{path}')")
        sealed = open_engine({"runs": [str(path)]}, limits)
        for name, sql in QUERIES.items():
            for units, used in (("machine", policy), ("row", by_row)):
                report.pair(
                    f"{name}, unit: {units}",
                    lambda sql=sql, used=used: _answer(sql, used, sealed, limits),
                    lambda sql=sql: plain.execute(sql).fetchall(),
                    runs=options.runs + 2,
                )
    return report


def _answer(
    sql: str, policy: Policy, connection: duckdb.DuckDBPyConnection, limits: Limits
) -> object:
    plan = analyse(sql, policy, SCHEMAS, connection).plan
    if plan is None:
        raise SystemExit("the benchmark's query has no plan")
    rule = policy.aggregate_rules[0]
    return release(plan, policy, rule, connection, history=(), limits=limits)

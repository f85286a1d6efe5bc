"""Analysis and decision of a query, against the engine's own parse of it as the unit."""

from __future__ import annotations

from benchmarks.options import Options
from benchmarks.report import Report
from benchmarks.subject import POLICY, SCHEMAS
from policies.codec import load_policy
from policies.decision import Request, decide
from sandbox.analyse import analyse
from sandbox.engine import open_engine
from sandbox.protocol import Limits

SHORT = "SELECT site, count(*) AS n, avg(torque) FROM runs GROUP BY site ORDER BY n DESC"


def _long() -> str:
    # About 2 KB: 20 conditional aggregates over 6 filters.
    outputs = ", ".join(
        f"sum(CASE WHEN product = 'P{i}' AND torque >= {5 * i} THEN wear END) AS w{i}"
        for i in range(20)
    )
    return (
        f"SELECT site, floor(torque / 10) * 10 AS band, count(*) AS n, {outputs} FROM runs "
        "WHERE started >= DATE '2025-01-01' AND started < DATE '2026-01-01' AND site IN "
        "('S1', 'S2', 'S3') AND NOT (product = 'P4') GROUP BY ALL HAVING count(*) >= 20 "
        "ORDER BY n DESC LIMIT 50"
    )


def run(options: Options) -> Report:
    """Time analysis plus decision beside `json_serialize_sql` alone."""
    report = Report("analyse")
    policy = load_policy(POLICY)
    connection = open_engine({}, Limits())
    for name, sql in (("80-byte query", SHORT), (f"{len(_long())}-byte query", _long())):
        found = analyse(sql, policy, SCHEMAS, connection)
        decision = decide(policy, Request("maintenance"), found.shape)
        if decision.reasons:
            raise SystemExit(
                f"the benchmark's query is refused: {decision.reasons[0].message}"
            )
        report.pair(
            f"analyse and decide, {name}",
            lambda sql=sql: decide(
                policy,
                Request("maintenance"),
                analyse(sql, policy, SCHEMAS, connection).shape,
            ),
            lambda sql=sql: connection.execute(
                "SELECT json_serialize_sql(?)", [sql]
            ).fetchone(),
            runs=3 * options.runs,
        )
    return report

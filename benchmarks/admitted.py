"""TPC-H's questions that a policy admits, released by the daemon, against their plain form.

Ours: the whole job as the exchange sends it, warm: analysis, decision, both stages,
disclosure control, no history. Yardstick: the same text in plain DuckDB over plain Parquet,
derived measures written out. Each minimum of `runs`, in turn; two threads.

released   from the job's frame to the outcome's, through the daemon
worker     the worker's own wall time in it
cpu        the worker's processor seconds over plain DuckDB's
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Sequence
from itertools import count
from pathlib import Path
from typing import Any

from benchmarks.daemon import serving
from benchmarks.engine_process import LIMITS, EngineProcess, plain_engine
from benchmarks.options import Options
from benchmarks.report import Report, geometric_mean
from benchmarks.tpch_asked import ASKED
from benchmarks.tpch_data import Tpch, prepare, say
from benchmarks.tpch_queries import QUERIES
from policies.codec import dump_policy, load_policy
from policies.decision import Request, Verdict, decide
from policies.document import Policy
from policies.shape_codec import shape_from_json
from sandbox.errors import SandboxError
from sandbox.launcher import Daemon
from sandbox.protocol import AnalyseJob, AnalyseOutcome, ExecuteJob, ExecuteOutcome
from sandbox.quoting import quoted

POLICY = Path(__file__).with_name("tpch_policy.yaml")
PURPOSE = "market-analysis"
_ALLOWED, _GOAL = "<= 2.5", "<= 1.5"
_SLOW_SECONDS = 20.0  # what takes so long is timed once
_numbers = count()


def run(options: Options) -> Report:
    """Release what is admitted; name the reasons for the rest."""
    report = Report("admitted")
    policy = load_policy(POLICY.read_text(encoding="utf-8"))
    with options.folder() as folder:
        tpch = prepare(options, folder)
        with serving(tpch.vault) as daemon, EngineProcess(_plain(tpch, policy)) as plain:
            releasing = Releasing(daemon, tpch, policy)
            for name in QUERIES:
                if options.wants(name):
                    _measure(report, releasing, plain, name, options.runs)
    for metric, target in (("released", _GOAL), ("cpu", "")):
        rows = [row for row in report.rows if row.metric == metric and row.yardstick]
        if rows:
            ours = geometric_mean([row.value for row in rows])
            plain_mean = geometric_mean([row.yardstick or 1.0 for row in rows])
            report.compare("geometric mean", metric, ours / 1e3, plain_mean / 1e3, target)
    released = [row for row in report.rows if row.target == _ALLOWED]
    met = sum(row.is_met is True for row in released)
    report.note(f"{len(released)} of {len(QUERIES)} released; {met} within 2.5.")
    return report


@dataclasses.dataclass(frozen=True, slots=True)
class Releasing:
    """Jobs over the tables, as the exchange would send them."""

    daemon: Daemon
    tpch: Tpch
    policy: Policy

    def fingerprint(self, sql: str) -> tuple[str, str]:
        """Return the plan's fingerprint, or why the query is refused."""
        job = AnalyseJob(
            job_id=f"analyse-{next(_numbers)}",
            sql=sql,
            purpose=PURPOSE,
            policy=dump_policy(self.policy),
            schemas=tuple(self.tpch.schemas.values()),
            limits=LIMITS,
        )
        try:
            outcome = self.daemon.run(job)
        except SandboxError as error:
            return "", f"{error.code}: {error.message}"
        assert isinstance(outcome, AnalyseOutcome)
        shape = shape_from_json(outcome.shape)
        decision = decide(self.policy, Request(PURPOSE), shape)
        if decision.verdict is Verdict.REFUSE:
            first = decision.reasons[0]
            return "", f"{first.code}: {first.message}"
        return shape.fingerprint, ""

    def release(self, sql: str, fingerprint: str) -> ExecuteOutcome:
        """Run an admitted query. Raises the SandboxError that it ends with."""
        named = [name for name in self.tpch.tables if name in sql]
        job = ExecuteJob(
            job_id=f"execute-{next(_numbers)}",
            sql=sql,
            purpose=PURPOSE,
            policy=dump_policy(self.policy),
            tables=tuple(self.tpch.tables[name] for name in named),
            schemas=tuple(self.tpch.schemas.values()),
            fingerprint=fingerprint,
            limits=LIMITS,
        )
        outcome = self.daemon.run(job)
        assert isinstance(outcome, ExecuteOutcome)
        return outcome


def _measure(
    report: Report, releasing: Releasing, plain: EngineProcess, name: str, runs: int
) -> None:
    say(f"{name} …")
    forms = [("as it is", QUERIES[name])]
    if name in ASKED:
        forms.append(("as asked", ASKED[name]))
    for form, sql in forms:
        case = f"{name}, {form}"
        fingerprint, why = releasing.fingerprint(sql)
        if why:
            report.note(f"{case}: refused, {why}")
            continue
        try:
            first = releasing.release(sql, fingerprint)
        except SandboxError as error:
            report.note(f"{case}: not released, {error.code}: {error.message}")
            continue
        expected = plain.ask(sql).rows
        outer, inner, cpu, base, base_cpu = [], [], [], [], []
        for _ in range(runs):
            answer = plain.ask(sql)
            base.append(answer.seconds)
            base_cpu.append(answer.cpu_seconds)
            started = time.perf_counter()
            outcome = releasing.release(sql, fingerprint)
            outer.append(time.perf_counter() - started)
            inner.append(outcome.metering.wall_seconds)
            cpu.append(outcome.metering.cpu_seconds)
            if outer[-1] > _SLOW_SECONDS:
                break
        report.compare(case, "released", min(outer), min(base), _ALLOWED)
        report.compare(case, "worker", min(inner), min(base))
        report.compare(case, "cpu", min(cpu), min(base_cpu))
        report.note(f"{case}: {_cells(first, expected)}")
        return


def _cells(outcome: ExecuteOutcome, expected: Sequence[Sequence[Any]]) -> str:
    """In words: how much was released, and whether it is what plain DuckDB says."""
    whole = [
        row
        for row, withheld in zip(outcome.rows, outcome.withheld, strict=True)
        if not withheld
    ]
    same = sum(any(map(_alike, [row], [other])) for row in whole for other in expected)
    return f"{len(outcome.rows)} rows, {len(whole)} whole, {same} of them as plain DuckDB's"


def _alike(ours: Sequence[Any], theirs: Sequence[Any]) -> bool:
    return len(ours) == len(theirs) and all(map(_same, ours, theirs))


def _same(a: Any, b: Any) -> bool:
    try:
        return abs(float(a) - float(b)) <= 1e-9 * max(abs(float(a)), 1.0)
    except (TypeError, ValueError):
        return str(a) == str(b)


def _plain(tpch: Tpch, policy: Policy) -> Callable[[], Callable[[str], Any]]:
    """Plain DuckDB in which derived measures are columns, written out."""
    derived = {
        table.name: ", ".join(f"({d.expr}) AS {quoted(d.name)}" for d in table.derived)
        for table in policy.tables
        if table.derived
    }
    return plain_engine(tpch.plain, derived=derived)

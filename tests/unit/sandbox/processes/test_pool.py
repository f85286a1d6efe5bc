"""Children that wait for jobs, and the analyser, in a real daemon."""

from __future__ import annotations

import json
import os
import signal
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from sandbox import errors
from sandbox.protocol import (
    AnalyseJob,
    AnalyseOutcome,
    EncryptedTable,
    ExecuteJob,
    ExecuteOutcome,
    Limits,
    TableSchema,
)
from tests.unit.sandbox.daemon_fixture import (
    POLICY,
    PURPOSE,
    Served,
    is_alive,
    mill_csv,
    serving,
)

pytestmark = pytest.mark.sandboxed
SQL = "SELECT type, count(*) AS n, sum(torque) AS t FROM mill GROUP BY type"
# Takes an analysis some tenths of a second, and is within the limits on text.
LONG = " AND ".join(f"torque >= {5 * i}" for i in range(600))
Mill = tuple[EncryptedTable, TableSchema]


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with serving(tmp_path_factory.mktemp("pool"), workers=2) as running:
        yield running


@pytest.fixture(scope="module")
def mill(served: Served) -> Mill:
    table, outcome = served.publish(mill_csv(), "mill-v1")
    return table, outcome.schema


def analysed(served: Served, schema: TableSchema, sql: str = SQL) -> AnalyseOutcome:
    outcome = served.client.run(AnalyseJob("a", sql, PURPOSE, POLICY, (schema,)))
    assert isinstance(outcome, AnalyseOutcome)
    return outcome


def execute_job(served: Served, mill: Mill) -> ExecuteJob:
    fingerprint = json.loads(analysed(served, mill[1]).shape)["fingerprint"]
    return ExecuteJob("e", SQL, PURPOSE, POLICY, (mill[0],), (mill[1],), fingerprint)


def waiting(served: Served, count: int = 3) -> list[int]:
    """The fork server's children, once there are as many as there should be."""
    direct = served.direct_children()
    found: list[int] = []
    stop = time.monotonic() + 10
    while time.monotonic() < stop:
        found = [p for p in served.descendants() if p not in direct and is_alive(p)]
        if len(found) == count:
            return found
        time.sleep(0.02)
    raise AssertionError(f"{len(found)} children wait, {count} were expected")


def seconds_of(pid: int) -> float:
    stat = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(stat[11]) + int(stat[12])) / os.sysconf("SC_CLK_TCK")


def test_a_worker_takes_one_job_and_is_replaced(served: Served, mill: Mill) -> None:
    before = set(waiting(served))
    served.client.run(execute_job(served, mill))
    stop = time.monotonic() + 10
    while (after := set(waiting(served))) == before and time.monotonic() < stop:
        time.sleep(0.02)  # the worker has answered and is about to end

    assert len(before & after) == 2  # one more worker, and the analyser


def test_children_that_wait_use_no_processor_time(served: Served) -> None:
    children = waiting(served)
    before = [seconds_of(pid) for pid in children]
    time.sleep(0.5)

    assert [seconds_of(pid) for pid in children] == before


def test_an_analyser_goes_on_from_one_analysis_to_the_next(
    served: Served, mill: Mill
) -> None:
    before = set(waiting(served))
    first = analysed(served, mill[1])
    for _ in range(5):
        assert analysed(served, mill[1]).shape == first.shape
    assert first.metering.cpu_seconds > 0

    assert set(waiting(served)) == before


def test_a_job_runs_when_the_children_that_waited_are_dead(
    served: Served, mill: Mill
) -> None:
    job = execute_job(served, mill)
    children = waiting(served)
    for pid in children:
        os.kill(pid, signal.SIGKILL)
    while any(map(is_alive, children)):
        time.sleep(0.01)

    assert isinstance(served.client.run(job), ExecuteOutcome)
    assert analysed(served, mill[1]).shape
    waiting(served)


def test_more_jobs_than_wait_at_once_all_run(served: Served, mill: Mill) -> None:
    job = execute_job(served, mill)
    outcomes: list[object] = []
    threads = [
        threading.Thread(
            target=lambda n=n: outcomes.append(  # type: ignore[misc]
                served.client.run(replace(job, job_id=f"many-{n}"))
            )
        )
        for n in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)

    assert [type(outcome) for outcome in outcomes] == [ExecuteOutcome] * 8


def test_an_analysis_beyond_its_deadline_is_killed_and_the_next_one_runs(
    served: Served, mill: Mill
) -> None:
    long = f"SELECT type, count(*) AS n FROM mill WHERE {LONG} GROUP BY type"
    job = AnalyseJob("slow", long, PURPOSE, POLICY, (mill[1],))
    started = time.monotonic()

    with pytest.raises(errors.DeadlineExceeded) as caught:
        served.client.run(replace(job, limits=Limits(deadline_seconds=0.05)))
    assert time.monotonic() - started < 1.05
    assert caught.value.metering is not None
    assert caught.value.metering.cpu_seconds > 0
    assert analysed(served, mill[1]).shape


def test_a_killed_run_is_metered(served: Served, mill: Mill) -> None:
    content = b"a,b\n" + b"".join(b"%d,text %d\n" % (i, i) for i in range(800_000))

    with pytest.raises(errors.DeadlineExceeded) as caught:
        served.profile(content, "metered", limits=Limits(deadline_seconds=0.1))
    metering = caught.value.metering
    assert metering is not None
    assert 0.01 < metering.cpu_seconds < 5
    assert metering.peak_memory_bytes > 2**20
    assert metering.wall_seconds >= 0.1

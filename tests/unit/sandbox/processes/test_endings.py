"""What is left when a process of the daemon dies, and when many jobs have gone by."""

from __future__ import annotations

import json
import os
import signal
import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest

from sandbox import errors
from sandbox.protocol import AnalyseJob, EncryptedTable, ExecuteJob, TableSchema
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
BIG = b"a,b,c\n" + b"".join(b"%d,%d.5,text number %d\n" % (i, i, i) for i in range(900_000))
Mill = tuple[EncryptedTable, TableSchema]


def execute_job(served: Served, mill: Mill) -> ExecuteJob:
    analysed = served.client.run(AnalyseJob("a", SQL, PURPOSE, POLICY, (mill[1],)))
    fingerprint = json.loads(analysed.shape)["fingerprint"]  # type: ignore[union-attr]
    return ExecuteJob("e", SQL, PURPOSE, POLICY, (mill[0],), (mill[1],), fingerprint)


def busy_worker(served: Served) -> int:
    """The worker that has used processor time: the others wait."""
    stop = time.monotonic() + 20
    while time.monotonic() < stop:
        for pid in set(served.descendants()) - set(served.direct_children()):
            stat = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
            if int(stat[11]) + int(stat[12]) > 10:
                return pid
        time.sleep(0.01)
    raise AssertionError("no worker has a job")


def descriptors_of(pid: int) -> set[str]:
    """What a process has open that others may have as well: its images in memory."""
    found = set()
    for entry in Path(f"/proc/{pid}/fd").iterdir():
        try:
            target = entry.readlink()
        except OSError:
            continue
        if str(target).startswith("/memfd:"):
            found.add(f"{target}:{entry.stat().st_ino}")
    return found


@pytest.mark.parametrize("child", [0, 1], ids=["unsealer", "fork server"])
def test_job_in_flight_ends_by_name_when_a_child_of_the_daemon_dies(
    tmp_path: Path, child: int
) -> None:
    with serving(tmp_path) as served:
        caught: list[errors.SandboxError] = []

        def work() -> None:
            try:
                served.profile(BIG, "flight")
            except errors.SandboxError as error:
                caught.append(error)

        thread = threading.Thread(target=work)
        thread.start()
        worker = busy_worker(served)
        started = time.monotonic()
        os.kill(served.direct_children()[child], signal.SIGKILL)
        thread.join(10)

        assert time.monotonic() - started < 5
        assert [error.code for error in caught] == ["worker_lost"]
        assert served.process.wait(10) == 1
        stop = time.monotonic() + 2
        while is_alive(worker) and time.monotonic() < stop:
            time.sleep(0.02)
        assert not is_alive(worker)
    with serving(tmp_path) as again:  # as a supervisor does
        assert again.publish(mill_csv(300), "after")[1].rows == 300


def test_no_descriptor_and_no_process_stays_behind(tmp_path: Path) -> None:
    with serving(tmp_path) as served:
        table, outcome = served.publish(mill_csv(), "mill")
        job = execute_job(served, (table, outcome.schema))
        bad = replace(job, fingerprint="0" * 64)
        for index in range(25):
            served.client.run(replace(job, job_id=f"warm-{index}"))
        time.sleep(0.5)
        processes = [served.process.pid, *served.direct_children()]
        before = [len(list(Path(f"/proc/{p}/fd").iterdir())) for p in processes]
        alive = len(served.descendants())
        for index in range(25):
            served.client.run(replace(job, job_id=f"good-{index}"))
            with pytest.raises(errors.SandboxError, match="plan"):
                served.client.run(replace(bad, job_id=f"bad-{index}"))
        time.sleep(0.5)

        after = [len(list(Path(f"/proc/{p}/fd").iterdir())) for p in processes]
        assert after == before
        assert len(served.descendants()) == alive


@pytest.mark.skipif(os.geteuid() != 0, reason="reads other processes' descriptors")
def test_jobs_side_by_side_never_hold_each_others_images(tmp_path: Path) -> None:
    with serving(tmp_path) as served:
        jobs = []
        for name in ("one", "two"):
            table, outcome = served.publish(mill_csv(200_000), name)
            jobs.append(execute_job(served, (table, outcome.schema)))
        seen: dict[int, set[str]] = {}
        threads = [
            threading.Thread(target=served.client.run, args=(replace(job, job_id=f"{n}"),))
            for job in jobs
            for n in range(4)
        ]
        for thread in threads:
            thread.start()
        direct = set(served.direct_children())
        while any(thread.is_alive() for thread in threads):
            for pid in set(served.descendants()) - direct:
                try:
                    seen.setdefault(pid, set()).update(descriptors_of(pid))
                except OSError:
                    continue
        for thread in threads:
            thread.join()

        held = [images for images in seen.values() if images]
        assert len(held) >= 2
        assert all(len(images) == 2 for images in held)  # its two shards, and no more
        assert len(set(map(frozenset, held))) == 2

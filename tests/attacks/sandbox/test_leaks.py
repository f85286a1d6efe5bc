"""A thousand jobs leave nothing behind, and two organisations' jobs share nothing."""

from __future__ import annotations

import contextlib
import json
import socket
import statistics
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from sandbox import codec, errors
from sandbox.protocol import EncryptedTable, ExecuteJob, ExecuteOutcome, TableSchema
from tests.attacks.sandbox.served import LIMITS, Bypassed, figure
from tests.unit.sandbox.daemon_fixture import POLICY, PURPOSE, Served

pytestmark = pytest.mark.sandboxed
MARKS = ["seen-by-the-first-house", "seen-by-another-house"]


def publish(bypassed: Bypassed, name: str, mark: str) -> tuple[EncryptedTable, TableSchema]:
    """A version in whose rows `mark` stands, as no other version has it."""
    lines = [f"{i},{mark}{i % 3},{i % 50},2020-01-01,0,s" for i in range(3000)]
    content = ("id,type,torque,day,fail,secret\n" + "\n".join(lines) + "\n").encode()
    served = Served(bypassed.client, bypassed.process, bypassed.vault, bypassed.socket)
    table, outcome = served.publish(content, name)
    return table, outcome.schema


def looking(mill: tuple[EncryptedTable, TableSchema], name: str) -> ExecuteJob:
    """A job over that version that walks over its worker's descriptors."""
    # The name of the column has its pages unsealed for the job.
    text = f"python descriptors {json.dumps([MARKS, 'type'])}"
    table, schema = mill
    limits = replace(LIMITS, deadline_seconds=20)
    return ExecuteJob(name, text, PURPOSE, POLICY, (table,), (schema,), "", limits=limits)


def test_jobs_side_by_side_see_their_own_descriptors_only(bypassed: Bypassed) -> None:
    ours, theirs = (
        publish(bypassed, name, mark)
        for name, mark in zip(("ours", "theirs"), MARKS, strict=True)
    )
    with ThreadPoolExecutor(4) as pool:
        jobs = [
            looking(mill, f"look-{side}-{turn}")
            for turn in range(4)
            for side, mill in enumerate((ours, theirs))
        ]
        answers = [
            json.loads(str(outcome.rows[0][0]))
            for outcome in pool.map(bypassed.client.run, jobs)
            if isinstance(outcome, ExecuteOutcome)
        ]

    for side, found in ((turn % 2, answer) for turn, answer in enumerate(answers)):
        files = [item for item in found if not item["is_socket"]]
        assert {item["path"] for item in files} <= {"/dev/null", "/memfd:image (deleted)"}
        seen = {mark for item in files for mark in item["marks"]}
        assert seen == {MARKS[side]}
        # Its reply, its images; whatever else it holds would be another job's.
        assert sum(item["is_socket"] for item in found) <= 2
    inodes = [
        {i["inode"] for i in found if str(i["path"]).startswith("/memfd")}
        for found in answers[:2]
    ]
    assert inodes[0]
    assert inodes[1]
    assert not inodes[0] & inodes[1]


def footprint(bypassed: Bypassed) -> dict[str, int]:
    """Descriptors, files in memory, threads of each process; and how many there are."""
    held: dict[str, int] = {}
    for role, pid in bypassed.roles.items():
        links = list(Path(f"/proc/{pid}/fd").iterdir())
        names = []
        for link in links:
            with contextlib.suppress(FileNotFoundError):
                names.append(str(link.readlink()))
        held[f"{role} descriptors"] = len(names)
        held[f"{role} memory files"] = sum(name.startswith("/memfd") for name in names)
        held[f"{role} threads"] = figure(pid, "Threads")
    held["children"] = len(bypassed.workers())
    return held


def go_away(bypassed: Bypassed, job: ExecuteJob) -> None:
    """Ask and not wait for the answer."""
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(str(bypassed.socket))
        client.sendall(codec.encode(job))


@pytest.mark.long
def test_a_thousand_runs_leave_nothing(bypassed: Bypassed) -> None:
    """Answers, refusals, deaths and clients that go away, in turn."""
    mill = publish(bypassed, "leaks", MARKS[0])
    look = looking(mill, "look")

    def one(turn: int) -> None:
        again = replace(look, job_id=f"leak-{turn}")
        acts: tuple[Callable[[], object], ...] = (
            lambda: bypassed.run("SELECT sum(range) FROM range(1000)"),
            lambda: bypassed.run("SELECT no_such_function()"),
            lambda: bypassed.client.run(again),
            lambda: bypassed.act("die", 9),
            lambda: go_away(bypassed, again),
        )
        with contextlib.suppress(errors.SandboxError):
            acts[turn % len(acts)]()

    def settled() -> dict[str, int]:
        time.sleep(1.0)
        return footprint(bypassed)

    for turn in range(100):
        one(turn)
    before = settled()
    sizes: dict[str, list[int]] = {role: [] for role in bypassed.roles}
    for turn in range(1000):
        one(turn)
        if turn % 50 == 0:
            for role, pid in bypassed.roles.items():
                sizes[role].append(figure(pid, "VmRSS"))
    after = settled()

    assert after == before
    for role, measured in sizes.items():
        # Halves rather than ends: allocators take in steps.
        early, late = measured[: len(measured) // 2], measured[len(measured) // 2 :]
        growth = statistics.median(late) - statistics.median(early)
        assert growth < 4 * 1024**2, (role, measured)

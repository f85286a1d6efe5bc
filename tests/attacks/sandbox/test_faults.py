"""Processes killed, worlds gone bad: each ends with a named error and no half file."""

from __future__ import annotations

import contextlib
import hashlib
import os
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from sandbox import errors
from sandbox.protocol import (
    CsvOptions,
    EncryptedTable,
    Format,
    Limits,
    PartitionJob,
    PartitionOutcome,
    ProfileJob,
)
from tests.attacks.sandbox.served import LIMITS, Bypassed, serving_bypassed
from tests.unit.sandbox.daemon_fixture import (
    DATA_KEY,
    STAGED_KEY,
    Served,
    is_alive,
    mill_csv,
)

pytestmark = pytest.mark.sandboxed
SHORT = replace(LIMITS, deadline_seconds=2.0)


@pytest.fixture
def alone(tmp_path: Path) -> Iterator[Bypassed]:
    """A daemon of one's own, to be broken."""
    with serving_bypassed(tmp_path) as running:
        yield running


def in_background(
    run: Callable[[], object],
) -> tuple[threading.Thread, list[BaseException | object]]:
    ended: list[BaseException | object] = []

    def call() -> None:
        try:
            ended.append(run())
        except errors.SandboxError as error:
            ended.append(error)

    thread = threading.Thread(target=call)
    thread.start()
    return thread, ended


def await_until(holds: Callable[[], bool], seconds: float = 15) -> None:
    stop = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < stop, "it did not happen"
        time.sleep(0.005)


def kill_workers(bypassed: Bypassed) -> None:
    """Kill all; they are dead afterwards: one still dying could be handed a job."""
    pids = bypassed.workers()
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    await_until(lambda: not any(is_alive(pid) for pid in pids))


def in_vault(bypassed: Bypassed) -> set[str]:
    return {str(p.relative_to(bypassed.vault)) for p in bypassed.vault.rglob("*")}


# --- a worker that is killed, or ends as it likes


def test_workers_killed_before_their_job_are_replaced(bypassed: Bypassed) -> None:
    kill_workers(bypassed)

    assert bypassed.run("SELECT 1").rows == (("1",),)


def test_worker_killed_while_its_job_runs_is_lost_by_name(bypassed: Bypassed) -> None:
    thread, ended = in_background(lambda: bypassed.act("sleep", 20))
    time.sleep(0.5)
    kill_workers(bypassed)
    thread.join(10)

    assert isinstance(ended[0], errors.WorkerLost)
    assert bypassed.run("SELECT 1").rows == (("1",),)


def test_job_whose_unsealer_stands_still_survives_a_worker_killed_meanwhile(
    bypassed: Bypassed,
) -> None:
    """Killed during unsealing: the job has no worker yet that could be lost."""
    unsealer = bypassed.roles["unsealer"]
    os.kill(unsealer, signal.SIGSTOP)
    try:
        thread, ended = in_background(lambda: bypassed.run("SELECT 7"))
        time.sleep(0.3)
        kill_workers(bypassed)
    finally:
        os.kill(unsealer, signal.SIGCONT)
    thread.join(15)

    assert getattr(ended[0], "rows", ended[0]) == (("7",),)


@pytest.mark.parametrize(
    ("number", "error"),
    [
        (signal.SIGSEGV, errors.WorkerLost),
        (signal.SIGKILL, errors.WorkerLost),
        (signal.SIGSYS, errors.WorkerLost),
        (signal.SIGABRT, errors.ResourceExceeded),
        (signal.SIGXCPU, errors.DeadlineExceeded),
    ],
)
def test_worker_that_dies_by_a_signal_has_a_code(
    number: int, error: type[errors.SandboxError], bypassed: Bypassed
) -> None:
    with pytest.raises(error):
        bypassed.act("die", int(number))

    assert bypassed.run("SELECT 1").rows == (("1",),)


def test_worker_that_leaves_without_a_word_is_lost(bypassed: Bypassed) -> None:
    with pytest.raises(errors.WorkerLost):
        bypassed.act("leave", 0)


@pytest.mark.parametrize("act", [("spin", 300), ("refuse_to_die", 30)])
def test_worker_cannot_hold_out_against_its_deadline(
    act: tuple[str, int], bypassed: Bypassed
) -> None:
    started = time.monotonic()
    with pytest.raises(errors.DeadlineExceeded):
        bypassed.act(*act, limits=SHORT)

    assert time.monotonic() - started < SHORT.deadline_seconds + 1
    assert bypassed.run("SELECT 1").rows == (("1",),)


def test_worker_that_answers_and_lives_on_is_ended(bypassed: Bypassed) -> None:
    """Its slot is free again: it must not go on in the shade of its answer."""
    before = set(bypassed.workers())
    outcome = bypassed.run("python answer_and_stay [30]")
    assert outcome.rows == (("forged",),)  # whoever owns a worker says what it likes
    await_until(lambda: not before <= set(bypassed.workers()), 2)  # the one that answered

    assert bypassed.run("SELECT 1").rows == (("1",),)


@pytest.mark.parametrize("kind", ["zeros", "endless", "half", "other", "deep", "many"])
def test_garbage_from_a_worker_harms_nobody(kind: str, bypassed: Bypassed) -> None:
    with pytest.raises(errors.SandboxError):
        bypassed.act("garbage", kind, limits=SHORT)

    assert bypassed.run("SELECT 1").rows == (("1",),)
    assert bypassed.process.poll() is None


# --- outputs


def partition_job(bypassed: Bypassed, name: str, rows: int = 3000) -> PartitionJob:
    served = Served(bypassed.client, bypassed.process, bypassed.vault, bypassed.socket)
    staged = served.profile(mill_csv(rows), name).staged
    source = EncryptedTable("mill", f"{name}-staged", staged, STAGED_KEY)
    outputs = tuple(f"{name}/shard-{index}" for index in range(2))
    return PartitionJob(name, source, ("id",), b"s" * 32, name, outputs, DATA_KEY, Limits())


def test_worker_killed_while_it_writes_leaves_no_file(bypassed: Bypassed) -> None:
    for attempt in range(8):
        job = partition_job(bypassed, f"killed-{attempt}", rows=200_000)
        before = in_vault(bypassed)
        thread, ended = in_background(lambda job=job: bypassed.client.run(job))
        await_until(lambda before=before: bool(in_vault(bypassed) - before))
        kill_workers(bypassed)
        thread.join(20)
        if not isinstance(ended[0], PartitionOutcome):
            break  # else it was done before it was killed

    assert isinstance(ended[0], errors.WorkerLost), ended
    left = {n for n in in_vault(bypassed) - before if (bypassed.vault / n).is_file()}
    assert left == set()
    # Nothing is lost: the same job, with the same names, works.
    bypassed.client.run(job)


def test_job_that_comes_twice_writes_its_files_once(bypassed: Bypassed) -> None:
    """Delivered anew while the first one still runs: one of them has the files, whole."""
    job = partition_job(bypassed, "twice", rows=50_000)
    threads = [in_background(lambda: bypassed.client.run(job)) for _ in range(2)]
    for thread, _ in threads:
        thread.join(30)
    results = [ended[0] for _, ended in threads]

    done = [one for one in results if not isinstance(one, errors.SandboxError)]
    assert len(done) == 1, results
    for stored in done[0].files:  # type: ignore[attr-defined]
        content = (bypassed.vault / stored.name).read_bytes()
        assert hashlib.sha256(content).hexdigest() == stored.sha256
    assert not [name for name in in_vault(bypassed) if ".unfinished" in name]


def test_job_that_is_replayed_later_is_refused(bypassed: Bypassed) -> None:
    job = partition_job(bypassed, "replayed")
    bypassed.client.run(job)
    before = {n: (bypassed.vault / n).read_bytes() for n in job.outputs}

    with pytest.raises(errors.ProtocolError):
        bypassed.client.run(job)

    assert {n: (bypassed.vault / n).read_bytes() for n in job.outputs} == before


@pytest.mark.skipif(os.geteuid() != 0, reason="only root mounts a small file system")
def test_full_disk_is_named_and_leaves_nothing(tmp_path: Path) -> None:
    vault = tmp_path / "vault"
    vault.mkdir()
    small = ["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", str(vault)]
    if subprocess.run(small, check=False, capture_output=True).returncode != 0:
        pytest.skip("no file system may be mounted here")
    try:
        with serving_bypassed(tmp_path) as served:
            outer = Served(served.client, served.process, served.vault, served.socket)
            source = outer.upload(mill_csv(40_000), "large.sealed")
            free = os.statvfs(vault).f_bavail * 4096
            (vault / "filler").write_bytes(bytes(max(0, free - 65_536)))
            job = ProfileJob(
                "large", source, Format.CSV, CsvOptions(), "v", ("large/staged",), b"k" * 32
            )
            with pytest.raises(errors.ResourceExceeded, match="no space"):
                served.client.run(job)
            assert not [p for p in vault.rglob("*") if p.is_file() and "staged" in str(p)]
            (vault / "filler").unlink()
            served.client.run(job)
    finally:
        subprocess.run(["umount", str(vault)], check=True)


# --- the daemon's own processes


@pytest.mark.parametrize("role", ["unsealer", "forkserver", "door"])
def test_process_of_the_daemon_killed_during_a_job(role: str, alone: Bypassed) -> None:
    roles, workers = dict(alone.roles), alone.workers()
    thread, ended = in_background(lambda: alone.act("sleep", 20))
    time.sleep(0.5)
    os.kill(roles[role], signal.SIGKILL)
    thread.join(10)

    assert isinstance(ended[0], (errors.WorkerLost, errors.SandboxUnavailable)), ended
    alone.process.wait(10)
    await_until(lambda: not any(is_alive(pid) for pid in [*roles.values(), *workers]))


def test_files_of_a_daemon_that_was_killed_are_swept(tmp_path: Path) -> None:
    with serving_bypassed(tmp_path) as served:
        job = partition_job(served, "swept", rows=200_000)
        before = in_vault(served)
        thread, _ = in_background(lambda: served.client.run(job))
        await_until(lambda: bool(in_vault(served) - before))
        served.process.kill()
        thread.join(10)
    assert [name for name in in_vault(served) if ".unfinished" in name]

    with serving_bypassed(tmp_path) as served:
        assert not [name for name in in_vault(served) if ".unfinished" in name]
        served.client.run(job)


# --- clients


def test_clients_that_only_connect_do_not_keep_the_daemon_from_stopping(
    alone: Bypassed,
) -> None:
    with contextlib.ExitStack() as stack:
        for _ in range(300):
            client = stack.enter_context(socket.socket(socket.AF_UNIX))
            client.settimeout(5)
            with contextlib.suppress(OSError):
                client.connect(str(alone.socket))
        alone.process.terminate()
        assert alone.process.wait(10) is not None


def test_client_that_sends_slowly_delays_nobody(bypassed: Bypassed) -> None:
    with socket.socket(socket.AF_UNIX) as slow:
        slow.connect(str(bypassed.socket))
        slow.sendall((1000).to_bytes(4, "big") + b"{")

        started = time.monotonic()
        assert bypassed.run("SELECT 1").rows == (("1",),)
        assert time.monotonic() - started < 3


# --- files


@pytest.mark.parametrize(
    "damage", ["cut", "emptied", "absent", "directory", "link", "pipe"]
)
def test_stored_file_that_is_damaged_is_refused_by_name(
    damage: str, bypassed: Bypassed
) -> None:
    job = partition_job(bypassed, f"damaged-{damage}")
    path = bypassed.vault / job.source.files[0].name
    content = path.read_bytes()
    path.unlink()
    match damage:
        case "cut":
            path.write_bytes(content[:-100])
        case "emptied":
            path.touch()
        case "directory":
            path.mkdir()
        case "link":
            path.symlink_to("/etc/passwd")
        case "pipe":
            os.mkfifo(path)

    with pytest.raises(errors.DistributionCorrupt):
        bypassed.client.run(job, timeout=10)
    assert bypassed.run("SELECT 1").rows == (("1",),)

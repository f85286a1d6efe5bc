"""The supervisor with small roles of its own, from outside, by signals and /proc."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from exchange.node.supervisor import Address, NodeRunsAlready, check_is_free

# Writes its pid, starts a child that ignores SIGTERM and writes its pid too, then waits.
STUBBORN = """
import os, pathlib, signal, subprocess, sys, time
here = pathlib.Path(sys.argv[1])
name = sys.argv[2]
(here / f"{name}.{os.getpid()}.pid").touch()
if name == "parent":
    subprocess.Popen([sys.executable, "-c", sys.argv[3], sys.argv[1], "grandchild"])
else:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
while True:
    time.sleep(0.05)
"""

SUPERVISOR = """
import pathlib, sys
from exchange.node.processes import Role
from exchange.node.supervisor import Plan, python, supervise
here, script = pathlib.Path(sys.argv[1]), sys.argv[2]
roles = (
    Role("parent", python("-c", script, str(here), "parent", script)),
    Role("failing", python("-c", "import sys; sys.exit(3)")),
)
say = lambda sentence: print(sentence, flush=True)
sys.exit(supervise(Plan(roles, here, say)))
"""


@pytest.fixture
def supervisor(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    process = _start(tmp_path)
    yield process
    for pid in [process.pid, *pids(tmp_path)]:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    process.communicate()


def _start(here: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", SUPERVISOR, str(here), STUBBORN],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


def pids(here: Path, name: str = "*") -> list[int]:
    return [int(path.name.split(".")[1]) for path in here.glob(f"{name}.*.pid")]


def lives(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state not in {"Z", "X"}


def wait_until(reached: Callable[[], bool], seconds: float = 20) -> None:
    until = time.monotonic() + seconds
    while not reached():
        assert time.monotonic() < until, "it did not come to that in time"
        time.sleep(0.05)


def test_supervise_restarts_who_is_killed_and_leaves_no_child_of_theirs(
    supervisor: subprocess.Popen[str], tmp_path: Path
) -> None:
    wait_until(lambda: len(pids(tmp_path)) == 2)
    parent, grandchild = pids(tmp_path, "parent"), pids(tmp_path, "grandchild")

    os.kill(parent[0], signal.SIGKILL)

    wait_until(lambda: len(pids(tmp_path)) == 4)
    wait_until(lambda: not lives(grandchild[0]))
    assert not lives(parent[0])


def test_supervise_waits_longer_each_time_before_it_starts_a_failing_role_again(
    supervisor: subprocess.Popen[str],
) -> None:
    assert supervisor.stdout is not None
    pauses = []
    for line in supervisor.stdout:
        if line.startswith("failing ended (exit code 3)"):
            pauses.append(float(line.split("again in ")[1].split()[0]))
        if len(pauses) == 3:
            break

    assert pauses == [0.5, 1.0, 2.0]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_supervise_after_one_signal_has_left_nothing_running(
    supervisor: subprocess.Popen[str], tmp_path: Path, number: signal.Signals
) -> None:
    wait_until(lambda: len(pids(tmp_path)) == 2)
    wait_until((tmp_path / "ready").exists)

    supervisor.send_signal(number)

    assert supervisor.wait(20) == 0
    assert not any(lives(pid) for pid in pids(tmp_path))
    assert not (tmp_path / "ready").exists()


def test_supervise_killed_takes_its_children_with_it(
    supervisor: subprocess.Popen[str], tmp_path: Path
) -> None:
    wait_until(lambda: len(pids(tmp_path, "parent")) == 1)

    supervisor.kill()

    wait_until(lambda: not any(lives(pid) for pid in pids(tmp_path, "parent")))


def test_supervise_twice_in_one_place_is_refused(
    supervisor: subprocess.Popen[str], tmp_path: Path
) -> None:
    wait_until(lambda: len(pids(tmp_path)) == 2)

    second = _start(tmp_path)
    output, _ = second.communicate(timeout=20)

    assert second.returncode != 0
    assert "NodeRunsAlready" in output
    assert supervisor.poll() is None


def test_check_is_free_of_a_taken_address() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]

        with pytest.raises(NodeRunsAlready) as caught:
            check_is_free(Address("127.0.0.1", port))

    assert caught.value.code == "node_runs_already"
    check_is_free(Address("127.0.0.1", port))
    assert Address("127.0.0.1", 80).url == "http://127.0.0.1:80/"

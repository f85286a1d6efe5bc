"""Separate users for keys and for what is foreign, where the daemon starts as root."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from sandbox.errors import SandboxUnavailable
from sandbox.processes import users
from tests.unit.sandbox.daemon_fixture import is_alive, mill_csv, serving

KEEPER, WORKER = "daemon", "games"  # of every Debian
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root gives users away")


@pytest.fixture
def home() -> Iterator[Path]:
    """A directory that the keeper may enter and write to."""
    path = Path(tempfile.mkdtemp(prefix="bonded-users-"))
    keeper = pwd.getpwnam(KEEPER)
    os.chown(path, keeper.pw_uid, keeper.pw_gid)
    (path / "vault").mkdir()
    os.chown(path / "vault", keeper.pw_uid, keeper.pw_gid)
    yield path
    shutil.rmtree(path)


def user_of(pid: int) -> str:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    (ids,) = (line.split()[1:] for line in lines if line.startswith("Uid:"))
    assert len(set(ids)) == 1  # real, effective, saved and of files
    return pwd.getpwuid(int(ids[0])).pw_name


@needs_root
@pytest.mark.sandboxed
def test_foreign_work_runs_as_another_user_than_the_keys(home: Path) -> None:
    with serving(home, more=("--keeper", KEEPER, "--worker", WORKER)) as served:
        outcome = served.publish(mill_csv(300), "mill")[1]
        assert outcome.rows == 300

        unsealer, fork_server = served.direct_children()
        assert user_of(served.process.pid) == user_of(unsealer) == KEEPER
        children = set(served.descendants()) - {unsealer}
        assert {user_of(pid) for pid in children} == {WORKER}
        assert fork_server in children
        (layer,) = (
            item for item in served.client.health()["layers"] if item["name"] == "own_user"
        )
        assert layer["on"]
        assert WORKER in layer["reason"]
        below = served.descendants()
    stop = time.monotonic() + 3
    while any(map(is_alive, below)) and time.monotonic() < stop:
        time.sleep(0.02)
    assert not any(map(is_alive, below))


@needs_root
@pytest.mark.sandboxed
def test_another_user_gets_no_answer(home: Path) -> None:
    asks = (
        "import os, sys; from sandbox.launcher import Daemon\n"
        f"os.setuid({pwd.getpwnam(WORKER).pw_uid})\n"
        "Daemon(sys.argv[1]).health()"
    )
    with serving(home, more=("--keeper", KEEPER, "--worker", WORKER)) as served:
        served.socket.chmod(0o666)
        served.socket.parent.chmod(0o755)
        home.chmod(0o755)
        asked = subprocess.run(
            [sys.executable, "-c", asks, str(served.socket)],
            capture_output=True,
            check=False,
        )

        assert asked.returncode != 0
        assert b"WorkerLost" in asked.stderr
        assert served.client.health()["running"] == 0


@needs_root
@pytest.mark.parametrize(
    ("keeper", "worker"), [("root", WORKER), (KEEPER, "root"), (KEEPER, KEEPER)]
)
def test_find_users_refuses_root_and_one_user_for_both(keeper: str, worker: str) -> None:
    with pytest.raises(SandboxUnavailable):
        users.find_users(keeper, worker)


def test_find_users_refuses_a_name_that_is_nobodys() -> None:
    with pytest.raises(SandboxUnavailable):
        users.find_users("no-such-user-here", WORKER)

"""The node as `./bonded` runs it: its processes killed one by one, and stopped once."""

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

import httpx
import pytest

ROOT = Path(__file__).parents[2]
ROLES = {
    "sandbox": "-m sandbox",
    "sequencer": "manage.py sequencer",
    "worker": "exchange.celery worker",
    "beat": "exchange.celery beat",
    "web": "-m granian",
}

pytestmark = pytest.mark.sandboxed


class Node:
    """A supervised node in a home of its own, on a free port, always on its own SQLite."""

    def __init__(self, home: Path) -> None:
        self.home = home
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        dropped = ("BONDED_", "DATABASE_URL", "DJANGO_")
        kept = {k: v for k, v in os.environ.items() if not k.startswith(dropped)}
        self._environment = {**kept, "BONDED_HOME": str(home), "BONDED_MODE": "demo"}
        self._say = (home.parent / "said").open("w+")

    def start(self) -> None:
        manage = [sys.executable, "manage.py"]
        subprocess.run(
            [*manage, "setup"],
            cwd=ROOT,
            env=self._environment,
            check=True,
            stdout=self._say,
        )
        self.process = subprocess.Popen(
            [*manage, "node", "--port", str(self.port), "--workers", "1"],
            cwd=ROOT,
            env=self._environment,
            stdout=self._say,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        self.wait_until((self.home / "run" / "ready").exists)

    def said(self) -> str:
        return (self.home.parent / "said").read_text()

    def wait_until(self, reached: Callable[[], bool], seconds: float = 60) -> None:
        until = time.monotonic() + seconds
        while not reached():
            assert self.process.poll() is None, self.said()
            assert time.monotonic() < until, self.said()
            time.sleep(0.1)

    def processes(self) -> dict[int, str]:
        """Command lines of every process of this node but the supervisor, by number."""
        mark = f"BONDED_HOME={self.home}".encode()
        found = {}
        for entry in Path("/proc").iterdir():
            if not entry.name.isdigit() or int(entry.name) == self.process.pid:
                continue
            with suppress(OSError):
                if mark in (entry / "environ").read_bytes().split(b"\0"):
                    line = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode()
                    found[int(entry.name)] = line
        # The sandbox empties its environment; it is known by the socket it serves.
        for entry in Path("/proc").iterdir():
            with suppress(OSError):
                line = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode()
                if str(self.home) in line and entry.name != str(self.process.pid):
                    found[int(entry.name)] = line
        return found

    def pid_of(self, role: str) -> int | None:
        """The process that the supervisor started for a role."""
        pid = self.process.pid
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        found = self.processes()
        return next(
            (int(c) for c in children if ROLES[role] in found.get(int(c), "")), None
        )

    def page(self) -> int:
        with suppress(httpx.TransportError):
            return httpx.get(f"http://127.0.0.1:{self.port}/login/").status_code
        return 0

    def stop(self) -> None:
        for pid in [self.process.pid, *self.processes()]:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self.process.wait()
        self._say.close()


@pytest.fixture
def node(tmp_path: Path) -> Iterator[Node]:
    made = Node(tmp_path / "home")
    made.start()
    yield made
    made.stop()


def test_node_restarts_each_of_its_processes_and_ends_whole_on_one_ctrl_c(
    node: Node,
) -> None:
    assert node.page() == 200
    before = {role: node.pid_of(role) for role in ROLES}
    assert None not in before.values(), before

    for role, pid in before.items():
        assert pid is not None
        os.kill(pid, signal.SIGKILL)

        died = f"node: {role} ended (SIGKILL); again in"
        node.wait_until(lambda said=died: said in node.said())
        node.wait_until(lambda role=role: node.pid_of(role) is not None)
    node.wait_until(lambda: node.page() == 200)

    node.process.send_signal(signal.SIGINT)

    assert node.process.wait(30) == 0, node.said()
    assert node.processes() == {}

"""Run all the processes of a small node: restart who dies, and let nobody stay behind."""

from __future__ import annotations

import fcntl
import os
import signal
import socket
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, Final

from exchange.errors import Conflict
from exchange.node.processes import Child, Role, adopt_orphans, reap_orphans

POLL_SECONDS: Final = 0.1
GRACE_SECONDS: Final = 15.0


class NodeRunsAlready(Conflict):
    """Another supervisor works on this home, or something else holds the address."""

    code = "node_runs_already"


@dataclass(frozen=True, slots=True)
class Address:
    """Where the web listens."""

    host: str
    port: int

    @property
    def url(self) -> str:
        return f"http://{self.host}:{self.port}/"


@dataclass(frozen=True, slots=True)
class Plan:
    """What to run, where it lives, and how to see that it serves."""

    roles: tuple[Role, ...]
    run_dir: Path
    say: Callable[[str], None]
    is_serving: Callable[[], bool] = field(default=lambda: True)


def check_is_free(address: Address) -> None:
    """Raise NodeRunsAlready when somebody listens there."""
    family = socket.AF_INET6 if ":" in address.host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((address.host, address.port))
        except OSError as error:
            raise NodeRunsAlready(
                f"{address.host}:{address.port} is taken.",
                hint="Stop what listens there, or choose another --port.",
            ) from error


def supervise(plan: Plan) -> int:
    """Run the plan until SIGINT or SIGTERM; returns 0 with nothing left running.

    Raises NodeRunsAlready when another supervisor holds the same run directory.
    """
    with _hold_lock(plan.run_dir):
        return _Supervisor(plan).run()


class _Supervisor:
    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._children = [Child(role, plan.run_dir) for role in plan.roles]
        self._stopping = False
        self._ready = plan.run_dir / "ready"

    def run(self) -> int:
        adopt_orphans()
        self._ready.unlink(missing_ok=True)
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self._ask_to_stop)
        for child in self._children:
            _keep_last_log(self._plan.run_dir / f"{child.role.name}.log")
        try:
            while not self._stopping:
                self._tend()
                time.sleep(POLL_SECONDS)
        finally:
            self._ready.unlink(missing_ok=True)
            self._stop_all()
        return 0

    def _ask_to_stop(self, *_: Any) -> None:
        self._stopping = True

    def _tend(self) -> None:
        for child in self._children:
            status = child.reap()
            if status is not None:
                self._plan.say(
                    f"{child.role.name} ended ({_describe(status)}); "
                    f"again in {child.pause_seconds:.1f} s"
                )
            if child.is_due():
                child.start()
        reap_orphans([child.pid for child in self._children])
        if not self._ready.exists() and self._plan.is_serving():
            self._ready.touch()
            self._plan.say("the node is ready")

    def _stop_all(self) -> None:
        # A second Ctrl-C must not leave half of them running.
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.SIG_IGN)
        self._plan.say("stopping")
        for child in self._children:
            child.terminate()
        until = time.monotonic() + GRACE_SECONDS
        for child in self._children:
            if not child.wait(max(0.0, until - time.monotonic())):
                self._plan.say(f"{child.role.name} did not end in time; it is killed")
            child.kill_group()
            child.wait(1)
        reap_orphans([])
        self._plan.say("stopped")


def _describe(status: int) -> str:
    return f"exit code {status}" if status >= 0 else signal.Signals(-status).name


def _keep_last_log(path: Path) -> None:
    if path.exists():
        path.replace(path.with_suffix(".log.1"))


def _hold_lock(run_dir: Path) -> IO[str]:
    lock = (run_dir / "node.lock").open("w")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        lock.close()
        raise NodeRunsAlready(
            "Another node works in this home.",
            hint="Stop it, or give this one its own BONDED_HOME.",
        ) from error
    lock.write(f"{os.getpid()}\n")
    lock.flush()
    return lock


def python(*arguments: str) -> tuple[str, ...]:
    """Return the command line that runs this interpreter."""
    return (sys.executable, *arguments)

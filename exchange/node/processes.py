"""One child process of the supervisor: started so that it cannot outlive its parent."""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

PR_SET_PDEATHSIG: Final = 1
PR_SET_CHILD_SUBREAPER: Final = 36

FIRST_BACKOFF_SECONDS: Final = 0.5
LONGEST_BACKOFF_SECONDS: Final = 30.0
# Who ran this long was well: the next death starts from the shortest pause again.
WELL_AFTER_SECONDS: Final = 30.0

_libc = ctypes.CDLL(None, use_errno=True)


@dataclass(frozen=True, slots=True)
class Role:
    """What one process of a node does, and how it is started."""

    name: str
    argv: tuple[str, ...]
    environment: Mapping[str, str] = field(default_factory=dict)


class Child:
    """The process that plays a role now, and when it may be started again."""

    def __init__(self, role: Role, logs: Path) -> None:
        self.role = role
        self._log = logs / f"{role.name}.log"
        self._process: subprocess.Popen[bytes] | None = None
        self._started = 0.0
        self._backoff = FIRST_BACKOFF_SECONDS
        self._not_before = 0.0

    @property
    def pid(self) -> int | None:
        return self._process.pid if self._process else None

    def start(self) -> None:
        """A fresh process plays the role, in a session of its own, logging to a file."""
        parent = os.getpid()

        def before_exec() -> None:
            # Killed with SIGKILL, a supervisor can tell nobody: the kernel does.
            _libc.prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
            if os.getppid() != parent:
                os._exit(1)

        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                self.role.argv,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env={**os.environ, **self.role.environment},
                start_new_session=True,
                preexec_fn=before_exec,  # safe: the supervisor has no threads
            )
        self._started = time.monotonic()

    def is_due(self) -> bool:
        return self._process is None and time.monotonic() >= self._not_before

    def reap(self) -> int | None:
        """Return the exit status of a process that died, and plan when the next starts."""
        if self._process is None or self._process.poll() is None:
            return None
        status = self._process.returncode
        self.kill_group()
        self._process = None
        if time.monotonic() - self._started > WELL_AFTER_SECONDS:
            self._backoff = FIRST_BACKOFF_SECONDS
        self._not_before = time.monotonic() + self._backoff
        self._backoff = min(self._backoff * 2, LONGEST_BACKOFF_SECONDS)
        return status

    @property
    def pause_seconds(self) -> float:
        return max(0.0, self._not_before - time.monotonic())

    def terminate(self) -> None:
        if self._process is not None and self._process.poll() is None:
            self._process.terminate()

    def kill_group(self) -> None:
        """Nothing of the process's session is left, its own children included."""
        if self._process is not None:
            with suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)

    def wait(self, timeout_seconds: float) -> bool:
        """Say whether the process has ended within the time."""
        if self._process is None:
            return True
        try:
            self._process.wait(timeout_seconds)
        except subprocess.TimeoutExpired:
            return False
        return True


def adopt_orphans() -> None:
    """Grandchildren whose parent died become children of this process."""
    _libc.prctl(PR_SET_CHILD_SUBREAPER, 1)


def reap_orphans(known: Sequence[int | None]) -> None:
    """Collect adopted processes that have ended; `known` are waited for by their owners."""
    for entry in Path(f"/proc/self/task/{os.getpid()}/children").read_text().split():
        pid = int(entry)
        if pid not in known:
            with suppress(ChildProcessError):
                os.waitpid(pid, os.WNOHANG)

"""The fork server's children: forked ahead of their jobs, each known by a pidfd.

A worker is forked, confined and connected before its job comes, takes one job and dies. An
analyser takes one analysis after another. What waits costs no processor time, and of memory
only what it does not share with the fork server.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import struct
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from sandbox.control import Ending
from sandbox.processes import analyser, channel, worker

# struct timeval: how long a child may leave bytes of its job unread.
_HAND_PATIENCE = struct.pack("@ll", 2, 0)
_Main = Callable[[socket.socket, int], None]


@dataclass(slots=True)
class Child:
    """A process forked for jobs; the pidfd names it even when its pid is used again."""

    pid: int
    process: int
    control: socket.socket
    is_analyser: bool
    job_id: str | None = None  # None: it waits
    stop_at: float = 0.0
    reason: Ending | None = None  # why it was killed
    counted_cpu_seconds: float = 0.0  # of an analyser's earlier jobs

    def kill(self, reason: Ending) -> None:
        """Have the kernel end it, for this reason if there is none yet."""
        if self.reason is None:
            self.reason = reason
            signal.pidfd_send_signal(self.process, signal.SIGKILL)

    def close(self) -> None:
        """Let go of the descriptors; the process must have been waited for."""
        self.control.close()
        os.close(self.process)


class Waiting:
    """Children of one kind that wait for a job; `size` of them, or more after a crowd."""

    def __init__(self, size: int, *, is_analyser: bool) -> None:
        self._size = size
        self._is_analyser = is_analyser
        self._waiting: deque[Child] = deque()

    def fill(self, busy: int = 0) -> list[Child]:
        """Fork what is missing, `busy` ones coming back; returns the new ones."""
        missing = self._size - len(self._waiting) - busy
        new = [fork(is_analyser=self._is_analyser) for _ in range(missing)]
        self._waiting.extend(new)
        return new

    def take(self) -> Child | None:
        """Return one that waited longest, or None."""
        return self._waiting.popleft() if self._waiting else None

    def give_back(self, child: Child) -> bool:
        """Have an analyser wait again; False where enough do already."""
        if len(self._waiting) >= self._size:
            return False
        self._waiting.append(child)
        return True

    def drop(self, child: Child) -> None:
        """Forget one that died, if it waited here."""
        with contextlib.suppress(ValueError):
            self._waiting.remove(child)


def fork(*, is_analyser: bool) -> Child:
    """Return a new child, which confines itself and then waits for a job."""
    main: _Main = analyser.serve if is_analyser else worker.wait_for_job
    ours, theirs = socket.socketpair()
    parent = os.getpid()
    pid = os.fork()
    if pid == 0:
        try:
            main(theirs, parent)
        finally:
            os._exit(0)  # no handler, no buffer of the parent runs here
    theirs.close()
    ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, _HAND_PATIENCE)
    return Child(pid, os.pidfd_open(pid), ours, is_analyser)


def hand(child: Child, payload: bytes, descriptors: list[int]) -> bool:
    """Give a waiting child its job; False where it is dead, or is now for not taking it.

    Bounded in time: an analyser that was taken over and stops reading must not hold up the
    loop that enforces everybody's deadlines.
    """
    try:
        channel.send(child.control, payload, descriptors)
    except OSError:
        with contextlib.suppress(ProcessLookupError):
            signal.pidfd_send_signal(child.process, signal.SIGKILL)
        return False
    return True

"""The process with the warm engine and no keys: one fork per job, watched to its end.

It has one thread and one loop: jobs come from the unsealer, cancellations from the door,
deadlines from the clock, ends from the kernel (a pidfd per worker).
"""

from __future__ import annotations

import codecs
import gc
import importlib
import os
import selectors
import signal
import socket
import time
from collections import OrderedDict
from dataclasses import dataclass

import duckdb

from sandbox import codec, protocol
from sandbox.control import Cancel, Ending, Exit, HealthReport, Start
from sandbox.errors import ProtocolError
from sandbox.processes import channel, lockdown, worker

_MOST_REMEMBERED = 1000
# Modules that libraries, or our own dispatch, import only when they are first needed.
_LOADED_LATE = (
    "sandbox.analyse",
    "sandbox.execute",
    "pyarrow.compute",
    "pyarrow.pandas_compat",
    "pyarrow.vendored.version",
    "_strptime",
    "concurrent.futures.thread",
    "uuid",
    "zoneinfo",
)
_CHANNEL = "channel"


@dataclass(slots=True)
class _Running:
    """A worker: how to kill it, and why it was."""

    job_id: str
    pid: int
    process: int  # pidfd: names this process even when its number is used again
    stop_at: float
    reason: Ending | None = None


class ForkServer:
    """Starts workers and tells the door how each of them ended."""

    def __init__(self, door: socket.socket, unsealer: socket.socket) -> None:
        self._door = door
        self._unsealer = unsealer
        self._selector = selectors.DefaultSelector()
        self._selector.register(door, selectors.EVENT_READ, _CHANNEL)
        self._selector.register(unsealer, selectors.EVENT_READ, _CHANNEL)
        self._running: dict[str, _Running] = {}
        # Cancelled before their job came from the unsealer.
        self._cancelled: OrderedDict[str, None] = OrderedDict()

    def serve(self) -> None:
        """Run until the door or the unsealer closes; workers die with this process."""
        while True:
            for key, _ in self._selector.select(self._patience()):
                if isinstance(key.data, _Running):
                    self._reap(key.data)
                elif key.fileobj is self._unsealer:
                    record = channel.receive(self._unsealer)
                    if record is None:
                        return
                    self._start(*record)
                elif not self._listen_to_door():
                    return
            self._enforce_deadlines()

    def _patience(self) -> float | None:
        waiting = [run.stop_at for run in self._running.values() if run.reason is None]
        return max(0.0, min(waiting) - time.monotonic()) if waiting else None

    def _listen_to_door(self) -> bool:
        message = codec.receive(self._door)
        if message is None:
            return False
        if not isinstance(message, Cancel):
            raise ProtocolError("the fork server takes Cancel from the door")
        running = self._running.get(message.job_id)
        if running is not None:
            self._kill(running, Ending.CANCELLED)
        else:
            self._cancelled[message.job_id] = None
            if len(self._cancelled) > _MOST_REMEMBERED:
                self._cancelled.popitem(last=False)
        return True

    def _enforce_deadlines(self) -> None:
        now = time.monotonic()
        for running in self._running.values():
            if running.reason is None and running.stop_at <= now:
                self._kill(running, Ending.DEADLINE)

    def _kill(self, running: _Running, reason: Ending) -> None:
        if running.reason is None:
            running.reason = reason
            signal.pidfd_send_signal(running.process, signal.SIGKILL)

    def _start(self, payload: bytes, descriptors: list[int]) -> None:
        start_frame, job_frame = codec.split_frames(payload)
        start, job = codec.decode(start_frame), codec.decode(job_frame)
        if not isinstance(start, Start) or not isinstance(job, protocol.Job):
            raise ProtocolError("the fork server takes Start and a job from the unsealer")
        if start.job_id in self._cancelled:
            del self._cancelled[start.job_id]
            channel.close_all(descriptors)
            codec.send(self._door, Exit(start.job_id, Ending.CANCELLED))
            return
        given = _sort_descriptors(start, descriptors)
        parent = os.getpid()
        pid = os.fork()
        if pid == 0:
            try:
                worker.main(job, given, parent)
            finally:
                os._exit(0)  # no handler, no buffer of the parent runs here
        channel.close_all(given.all())
        running = _Running(
            job_id=job.job_id,
            pid=pid,
            process=os.pidfd_open(pid),
            stop_at=time.monotonic() + job.limits.deadline_seconds,
        )
        self._running[job.job_id] = running
        self._selector.register(running.process, selectors.EVENT_READ, running)

    def _reap(self, running: _Running) -> None:
        _, status = os.waitpid(running.pid, 0)
        self._selector.unregister(running.process)
        os.close(running.process)
        del self._running[running.job_id]
        number = os.WTERMSIG(status) if os.WIFSIGNALED(status) else None
        codec.send(self._door, Exit(running.job_id, _ending(running, number), number))


def _ending(running: _Running, number: int | None) -> Ending:
    if number is None:
        return Ending.FINISHED
    if number == signal.SIGXCPU:
        return Ending.DEADLINE
    if running.reason is not None and number == signal.SIGKILL:
        return running.reason
    # The allocator's last word when its limit is met inside the engine.
    return Ending.MEMORY if number == signal.SIGABRT else Ending.LOST


def _sort_descriptors(start: Start, descriptors: list[int]) -> worker.Descriptors:
    if len(descriptors) != 2 + start.outputs:
        raise ProtocolError(
            f"{len(descriptors)} descriptors came with a job that has {2 + start.outputs}"
        )
    reply, source, *outputs = descriptors
    scratch = [os.memfd_create("scratch", os.MFD_CLOEXEC) for _ in range(start.scratch)]
    return worker.Descriptors(reply, source, tuple(outputs), tuple(scratch))


def prepare() -> None:
    """Load whatever a worker may need: it can open no module file any more."""
    for name in _LOADED_LATE:
        importlib.import_module(name)
    for encoding in ("utf-8-sig", "utf-16", "gb18030", "latin-1", "ascii", "idna"):
        codecs.lookup(encoding)
    # Whatever was loaded lives as long as this process: workers' collections skip it, and
    # its pages stay shared with them.
    gc.collect()
    gc.freeze()


def main(door: int, unsealer: int) -> None:
    """Be the fork server over these inherited sockets; returns when one closes."""
    lockdown.clear_environment()
    prepare()
    with socket.socket(fileno=door) as door_end, socket.socket(fileno=unsealer) as other:
        hello = HealthReport((), 0, 0, 0, 0, engine=duckdb.__version__)
        codec.send(door_end, hello)
        ForkServer(door_end, other).serve()

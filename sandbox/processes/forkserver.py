"""The process with the warm engine and no keys: it forks workers and watches their ends.

It has one thread and one loop: jobs come from the unsealer, analyses and cancellations from
the door, deadlines from the clock, ends from the kernel (a pidfd for each child).
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
from resource import struct_rusage
from typing import Any

import duckdb

from sandbox import codec, engine
from sandbox.control import Cancel, Ending, Exit, HealthReport, Start
from sandbox.errors import ProtocolError
from sandbox.processes import channel, children, lockdown
from sandbox.processes.analyser import REPORT
from sandbox.processes.children import Child, Waiting
from sandbox.processes.warmup import warm_up

_MOST_REMEMBERED = 1000
_MOST_TRIES = 5
# One for the rows of a job, one for what is computed over its results.
_ENGINES_PER_JOB = 2
_OBJECTS_PER_COLLECTION = 100_000
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


class ForkServer:
    """Keeps children waiting, gives them jobs, and tells the door how each job ended."""

    def __init__(
        self, door: socket.socket, unsealer: socket.socket, *, workers: int, analysers: int
    ) -> None:
        self._door = door
        self._unsealer = unsealer
        self._selector = selectors.DefaultSelector()
        self._selector.register(door, selectors.EVENT_READ, _CHANNEL)
        self._selector.register(unsealer, selectors.EVENT_READ, _CHANNEL)
        self._workers = Waiting(workers, is_analyser=False)
        self._analysers = Waiting(analysers, is_analyser=True)
        self._running: dict[str, Child] = {}
        # Cancelled before their job came from the unsealer.
        self._cancelled: OrderedDict[str, None] = OrderedDict()

    def serve(self) -> None:
        """Run until the door or the unsealer closes; children die with this process."""
        self._fill()
        while True:
            for key, _ in self._selector.select(self._patience()):
                if isinstance(key.data, Child):
                    if not self._is_watched(key.fileobj):
                        continue  # gone by the event before
                    # An analyser's report comes by its socket, its end by its pidfd.
                    if key.fileobj is key.data.control:
                        self._note_report(key.data)
                    else:
                        self._reap(key.data)
                elif not self._listen(key.fileobj is self._unsealer):
                    return
            self._enforce_deadlines()

    def _patience(self) -> float | None:
        waiting = [child.stop_at for child in self._running.values() if not child.reason]
        return max(0.0, min(waiting) - time.monotonic()) if waiting else None

    def _listen(self, is_unsealer: bool) -> bool:  # noqa: FBT001 - private
        record = channel.receive(self._unsealer if is_unsealer else self._door)
        if record is None:
            return False
        payload, descriptors = record
        first, *job = codec.split_frames(payload)
        message = codec.decode(first)
        if isinstance(message, Cancel) and not is_unsealer:
            self._cancel(message.job_id)
        elif isinstance(message, Start) and len(job) == 1:
            # An analyser needs the job alone, a worker is told of its files as well.
            given = payload if is_unsealer else payload[-len(job[0]) - 4 :]
            self._start(message, given, descriptors, is_analysis=not is_unsealer)
        else:
            raise ProtocolError("the fork server takes Start and a job, or Cancel")
        return True

    def _cancel(self, job_id: str) -> None:
        child = self._running.get(job_id)
        if child is not None:
            child.kill(Ending.CANCELLED)
            return
        self._cancelled[job_id] = None
        if len(self._cancelled) > _MOST_REMEMBERED:
            self._cancelled.popitem(last=False)

    def _enforce_deadlines(self) -> None:
        now = time.monotonic()
        for child in self._running.values():
            if child.reason is None and child.stop_at <= now:
                child.kill(Ending.DEADLINE)

    def _start(
        self, start: Start, payload: bytes, descriptors: list[int], *, is_analysis: bool
    ) -> None:
        if start.job_id in self._cancelled:
            del self._cancelled[start.job_id]
            channel.close_all(descriptors)
            self._tell(Exit(start.job_id, Ending.CANCELLED))
            return
        descriptors += [
            os.memfd_create("scratch", os.MFD_CLOEXEC) for _ in range(start.scratch)
        ]
        child = self._hand(payload, descriptors, is_analyser=is_analysis)
        channel.close_all(descriptors)
        if child is None:
            self._tell(Exit(start.job_id, Ending.LOST))
            return
        child.job_id = start.job_id
        child.stop_at = time.monotonic() + start.limits.deadline_seconds
        self._running[start.job_id] = child

    def _hand(
        self, payload: bytes, descriptors: list[int], *, is_analyser: bool
    ) -> Child | None:
        """The child that has the job; one that died while it waited cannot be given any."""
        waiting = self._analysers if is_analyser else self._workers
        for _ in range(_MOST_TRIES):
            child = waiting.take() or self._fork(is_analyser=is_analyser)
            if children.hand(child, payload, descriptors):
                return child
        return None

    def _note_report(self, child: Child) -> None:
        report = child.control.recv(REPORT.size, socket.MSG_DONTWAIT | socket.MSG_WAITALL)
        if len(report) != REPORT.size:
            self._selector.unregister(child.control)  # it ends; that is told by its pidfd
            return
        is_well, cpu_seconds = REPORT.unpack(report)
        used = round(cpu_seconds - child.counted_cpu_seconds, 4)
        child.counted_cpu_seconds = cpu_seconds
        if child.reason is not None or child.job_id is None:
            return  # killed while it said so
        del self._running[child.job_id]
        self._tell(Exit(child.job_id, Ending.FINISHED, cpu_seconds=used))
        child.job_id = None
        # The answer is still being written: who is not to go on ends by itself then.
        if is_well and not self._analysers.give_back(child):
            self._selector.unregister(child.control)
            child.control.close()

    def _reap(self, child: Child) -> None:
        _, status, used = os.wait4(child.pid, 0)
        self._selector.unregister(child.process)
        if child.is_analyser and self._is_watched(child.control):
            self._selector.unregister(child.control)
        child.close()
        if child.job_id is None:
            (self._analysers if child.is_analyser else self._workers).drop(child)
            # Not filled up here: if children die by themselves, new ones come with jobs.
            return
        self._running.pop(child.job_id, None)
        self._tell(_exit(child, status, used))
        self._fill()

    def _fill(self) -> None:
        """Have children wait again; after a job's end rather than during it."""
        busy = sum(child.is_analyser for child in self._running.values())
        for child in (*self._workers.fill(), *self._analysers.fill(busy)):
            self._watch(child)

    def _fork(self, *, is_analyser: bool) -> Child:
        child = children.fork(is_analyser=is_analyser)
        self._watch(child)
        return child

    def _watch(self, child: Child) -> None:
        self._selector.register(child.process, selectors.EVENT_READ, child)
        if child.is_analyser:
            self._selector.register(child.control, selectors.EVENT_READ, child)

    def _is_watched(self, fileobj: Any) -> bool:
        try:
            self._selector.get_key(fileobj)
        except (KeyError, ValueError):
            return False
        return True

    def _tell(self, message: Exit) -> None:
        codec.send(self._door, message)


def _exit(child: Child, status: int, used: struct_rusage) -> Exit:
    number = os.WTERMSIG(status) if os.WIFSIGNALED(status) else None
    assert child.job_id is not None
    return Exit(
        job_id=child.job_id,
        ending=_ending(child, number),
        signal=number,
        cpu_seconds=round(used.ru_utime + used.ru_stime - child.counted_cpu_seconds, 4),
        peak_memory_bytes=used.ru_maxrss * 1024,
    )


def _ending(child: Child, number: int | None) -> Ending:
    if number is None:
        return Ending.FINISHED
    if number == signal.SIGXCPU:
        return Ending.DEADLINE
    if child.reason is not None and number == signal.SIGKILL:
        return child.reason
    # The allocator's last word when its limit is met inside the engine.
    return Ending.MEMORY if number == signal.SIGABRT else Ending.LOST


def prepare() -> None:
    """Load whatever a worker may need, for it can open no module file any more.

    Engines are connected here as well, without threads: a fork has its own copy of them.
    """
    lockdown.clear_environment()
    for name in _LOADED_LATE:
        importlib.import_module(name)
    for encoding in ("utf-8-sig", "utf-16", "gb18030", "latin-1", "ascii", "idna"):
        codecs.lookup(encoding)
    lockdown.forget_module_paths()  # as for the workers: what is not loaded is absent
    warm_up()
    engine.keep_ready(_ENGINES_PER_JOB)
    # Whatever was loaded lives as long as this process: workers' collections skip it, and
    # its pages stay shared with them.
    gc.collect()
    gc.freeze()
    # A job makes thousands of cells, hardly any in cycles, and ends with its process.
    gc.set_threshold(_OBJECTS_PER_COLLECTION)


def main(door: int, unsealer: int, *, workers: int, analysers: int) -> None:
    """Be the fork server over these inherited sockets; returns when one closes.

    Requires that `prepare` was called.
    """
    with socket.socket(fileno=door) as door_end, socket.socket(fileno=unsealer) as other:
        hello = HealthReport((), 0, 0, 0, 0, engine=duckdb.__version__)
        codec.send(door_end, hello)
        ForkServer(door_end, other, workers=workers, analysers=analysers).serve()

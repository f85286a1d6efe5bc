"""One job from the door's side: outputs, the wait for worker and client, the outcome."""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
import select
import socket
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import assert_never

from sandbox import codec, errors, protocol
from sandbox.control import Cancel, Ending, Exit, Start
from sandbox.files.vault import Output
from sandbox.processes import channel
from sandbox.refusal import to_error

# An outcome's frame: the worker keeps to output_bytes, the door does not rely on it.
_FRAME_SLACK_BYTES = 1024**2
_EXIT_WAIT_SECONDS = 10.0

_OUTCOMES: dict[type, type] = {
    protocol.ProfileJob: protocol.ProfileOutcome,
    protocol.PartitionJob: protocol.PartitionOutcome,
    protocol.AnalyseJob: protocol.AnalyseOutcome,
    protocol.ExecuteJob: protocol.ExecuteOutcome,
    protocol.SubsetJob: protocol.SubsetOutcome,
    protocol.RekeyJob: protocol.RekeyOutcome,
}


@dataclasses.dataclass(slots=True)
class _Run:
    """A job between door and worker, under a name that is never used again."""

    run_id: str
    job_id: str
    cancelled: threading.Event = dataclasses.field(default_factory=threading.Event)
    ended: threading.Event = dataclasses.field(default_factory=threading.Event)
    started: float = dataclasses.field(default_factory=time.monotonic)
    exit: Exit | None = None
    talk: socket.socket | None = None  # with whoever does it


class JobDesk:
    """Runs jobs through unsealer and fork server; safe to share between threads."""

    def __init__(
        self,
        *,
        vault: Path,
        unsealer: socket.socket,
        forks: socket.socket,
        workers: int,
        analysers: int,
    ) -> None:
        self._vault = vault
        self._unsealer = unsealer
        self._forks = forks
        self._workers = threading.BoundedSemaphore(workers)
        self._analysers = threading.BoundedSemaphore(analysers)
        self._lock = threading.Lock()  # over both sockets' writes and the table of runs
        self._runs: dict[str, _Run] = {}
        self._serial = itertools.count(1)

    @property
    def running(self) -> int:
        """How many jobs are waiting or running."""
        return len(self._runs)

    def run(self, job: protocol.Job, client: socket.socket) -> protocol.Outcome:
        """Run `job`; afterwards its outputs are whole under their names, or absent.

        A client that goes away cancels its job: nobody would take the outcome.
        Raises the SandboxError that the job ended with.
        """
        with self._lock:
            run_id = f"{job.job_id}#{next(self._serial)}"
            run = self._runs[run_id] = _Run(run_id, job.job_id)
        try:
            is_analysis = isinstance(job, protocol.AnalyseJob)
            slots = self._analysers if is_analysis else self._workers
            self._wait_for_slot(slots, run, client)
            try:
                return self._run(run, job, client)
            finally:
                slots.release()
        finally:
            with self._lock:
                del self._runs[run_id]

    def cancel(self, job_id: str) -> int:
        """Kill every run of that job; returns how many there were."""
        with self._lock:
            runs = [run for run in self._runs.values() if run.job_id == job_id]
        for run in runs:
            self._cancel(run)
        return len(runs)

    def ask_unsealer(self, message: codec.Message) -> codec.Message:
        """Return the unsealer's answer to a control message."""
        ours, theirs = socket.socketpair()
        with ours:
            with theirs:
                self._tell_unsealer(message, [theirs.fileno()])
            reply = codec.receive(ours)
        if reply is None:
            raise errors.SandboxUnavailable("the unsealer closed without an answer")
        return reply

    def listen_to_forks(self) -> None:
        """Take note of workers' ends until the fork server closes."""
        while (message := codec.receive(self._forks)) is not None:
            if isinstance(message, Exit):
                with self._lock:
                    run = self._runs.get(message.job_id)
                if run is not None:
                    run.exit = message
                    run.ended.set()

    def _wait_for_slot(
        self, slots: threading.Semaphore, run: _Run, client: socket.socket
    ) -> None:
        while not slots.acquire(timeout=0.2):
            if run.cancelled.is_set() or _is_gone(client):
                raise _cancelled()

    def _run(self, run: _Run, job: protocol.Job, client: socket.socket) -> protocol.Outcome:
        with _outputs_of(self._vault, job) as outputs:
            ours, theirs = socket.socketpair()
            with ours:
                with theirs:
                    renamed = dataclasses.replace(job, job_id=run.run_id)
                    given = [theirs.fileno(), *(output.descriptor for output in outputs)]
                    run.talk = ours
                    if isinstance(renamed, protocol.AnalyseJob):
                        start = Start(run.run_id, outputs=0, scratch=0, limits=job.limits)
                        # Text and no keys: it does not pass the unsealer.
                        self._tell_forks(start, renamed, descriptors=given)
                    else:
                        self._tell_unsealer(renamed, given)
                if run.cancelled.is_set():
                    self._tell_forks(Cancel(run.run_id))
                outcome = self._receive(run, job, ours, client)
            # A worker that wrote its outcome could still write to its files: only when it
            # is dead are they what their digests say.
            if outputs and not isinstance(job, protocol.RekeyJob):
                self._check_finished(run)
            elif isinstance(job, protocol.ExecuteJob):
                # It has nothing left to do: who was taken over must not live on until the
                # deadline in the shade of its answer, its slot being free again.
                self._tell_forks(Cancel(run.run_id))
            return _commit(outcome, outputs)

    def _receive(
        self, run: _Run, job: protocol.Job, ours: socket.socket, client: socket.socket
    ) -> protocol.Outcome:
        while not select.select([ours, client], [], [], 5.0)[0]:
            continue
        if not select.select([ours], [], [], 0)[0]:
            # The client closed, or spoke out of turn.
            self._cancel(run)
        # Whatever ends the worker closes the socket, so this does not wait for ever.
        try:
            limit = job.limits.output_bytes + _FRAME_SLACK_BYTES
            message = codec.receive(ours, max_bytes=limit)
        except errors.ProtocolError:
            message = None
        if isinstance(message, protocol.Refusal):
            raise to_error(message)
        if message is None:
            self._check_finished(run)
            raise errors.WorkerLost("the worker ended without an outcome", hint=_RETRY)
        if not isinstance(message, _OUTCOMES[type(job)]):
            raise errors.ProtocolError("the worker answered with a message of another job")
        return message  # type: ignore[return-value]  # one of Outcome, by the line above

    def _check_finished(self, run: _Run) -> None:
        """Wait for the worker's end; raises the error for every end but a good one."""
        if not run.ended.wait(_EXIT_WAIT_SECONDS) or run.exit is None:
            self._tell_forks(Cancel(run.run_id))
            raise errors.WorkerLost("the worker did not end in time", hint=_RETRY)
        problem = _problem(run.exit)
        if problem is not None:
            problem.metering = protocol.Metering(
                cpu_seconds=run.exit.cpu_seconds,
                peak_memory_bytes=run.exit.peak_memory_bytes,
                wall_seconds=round(time.monotonic() - run.started, 4),
            )
            raise problem

    def _cancel(self, run: _Run) -> None:
        run.cancelled.set()
        self._tell_forks(Cancel(run.run_id))
        # What the unsealer does itself has no worker to be killed: it looks for this.
        with contextlib.suppress(OSError):
            if run.talk is not None:
                run.talk.shutdown(socket.SHUT_WR)

    def _tell_unsealer(self, message: codec.Message, descriptors: list[int]) -> None:
        frame = codec.encode(message)
        with self._lock, _peer_errors("unsealer"):
            channel.send(self._unsealer, frame, descriptors)

    def _tell_forks(
        self, *messages: codec.Message, descriptors: Sequence[int] = ()
    ) -> None:
        record = b"".join(map(codec.encode, messages))
        with self._lock, _peer_errors("fork server"):
            channel.send(self._forks, record, descriptors)


def _problem(ended: Exit) -> errors.SandboxError | None:
    """The error for a worker's end; None where it ended by itself."""
    match ended.ending:
        case Ending.FINISHED:
            return None
        case Ending.DEADLINE:
            return errors.DeadlineExceeded(
                "the job met its deadline and was killed",
                hint="Ask for less at once, or have the operator raise the deadline.",
            )
        case Ending.CANCELLED:
            return _cancelled()
        case Ending.MEMORY:
            return errors.ResourceExceeded(
                "the worker met its memory limit",
                hint="Ask for less at once, or have the node's operator raise the limit.",
            )
        case Ending.LOST:
            number = ended.signal
            return errors.WorkerLost(f"the worker died of signal {number}", hint=_RETRY)
        case _:
            assert_never(ended.ending)


_RETRY = "Run it again; if it dies again, report it with the node's log."


def _cancelled() -> errors.Cancelled:
    return errors.Cancelled("the job was cancelled", hint="Submit it again to run it.")


@contextlib.contextmanager
def _peer_errors(peer: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise errors.SandboxUnavailable(f"the {peer} is gone") from error


@contextlib.contextmanager
def _outputs_of(vault: Path, job: protocol.Job) -> Iterator[list[Output]]:
    """The files that `job` writes, open; none of them is left after an error."""
    names: tuple[str, ...]
    if isinstance(job, protocol.PartitionJob):
        names = job.outputs
        for group in job.groups:
            names += group.outputs
    elif isinstance(job, (protocol.ProfileJob, protocol.RekeyJob)):
        names = job.outputs
    elif isinstance(job, protocol.SubsetJob):
        names = (job.output,)
    else:
        names = ()
    if len(set(names)) != len(names):
        raise errors.ProtocolError("two outputs of a job have one name")
    outputs: list[Output] = []
    try:
        for name in names:
            outputs.append(Output(vault, name))
        yield outputs
    except BaseException:
        for output in outputs:
            output.discard()
        raise
    finally:
        for output in outputs:
            output.close()


def _commit(outcome: protocol.Outcome, outputs: list[Output]) -> protocol.Outcome:
    """Name the outputs, and put what the door itself measured of them into the outcome."""
    if isinstance(outcome, protocol.ProfileOutcome):
        if not 0 < len(outcome.staged) <= len(outputs):
            raise errors.ProtocolError("the worker named another number of files")
        staged = tuple(
            output.commit(file.rows)
            for output, file in zip(outputs, outcome.staged, strict=False)
        )
        return dataclasses.replace(outcome, staged=staged)
    if isinstance(outcome, protocol.SubsetOutcome):
        return dataclasses.replace(outcome, package=outputs[0].commit(outcome.rows))
    if isinstance(outcome, (protocol.PartitionOutcome, protocol.RekeyOutcome)):
        named = list(outcome.files)
        if isinstance(outcome, protocol.PartitionOutcome):
            named += [file for group in outcome.groups for file in group]
        if len(named) != len(outputs):
            raise errors.ProtocolError("the worker named another number of files")
        files = [
            output.commit(file.rows) for output, file in zip(outputs, named, strict=True)
        ]
        if isinstance(outcome, protocol.RekeyOutcome):
            return dataclasses.replace(outcome, files=tuple(files))
        rest = iter(files)
        own = tuple(next(rest) for _ in outcome.files)
        groups = tuple(tuple(next(rest) for _ in group) for group in outcome.groups)
        return dataclasses.replace(outcome, files=own, groups=groups)
    return outcome


def _is_gone(client: socket.socket) -> bool:
    if not select.select([client], [], [], 0)[0]:
        return False
    try:
        return client.recv(1, socket.MSG_PEEK) == b""
    except OSError:
        return True

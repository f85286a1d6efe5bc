"""The parent side of the sandbox: one connection per job to the daemon's Unix socket.

Imports neither engine nor Arrow, so that the web and the Celery workers may use it.
"""

from __future__ import annotations

import contextlib
import dataclasses
import select
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from sandbox import codec
from sandbox.control import (
    Cancel,
    Done,
    Forget,
    HealthQuestion,
    HealthReport,
    KeyOffer,
    KeyQuestion,
    Progress,
    ProgressQuestion,
)
from sandbox.door_address import connect_to
from sandbox.errors import (
    DeadlineExceeded,
    KeyUnusable,
    ProtocolError,
    SandboxUnavailable,
    WorkerLost,
)
from sandbox.job_keys import STALE, keys_in, seal_keys
from sandbox.protocol import Job, Outcome, Refusal
from sandbox.refusal import to_error

_CONTROL_TIMEOUT_SECONDS = 15.0
_MEANWHILE_SECONDS = 3.0
# By socket: asked for once in a process, and again when the daemon has another.
_PUBLIC_KEYS: dict[str, bytes] = {}
_HINT = "Start the node, or look at its sandbox process and its log."


class Daemon:
    """The sandbox daemon behind one socket; safe to share between threads."""

    def __init__(self, socket_path: str | Path) -> None:
        self._path = Path(socket_path)

    def run(
        self,
        job: Job,
        timeout: float | None = None,
        *,
        meanwhile: Callable[[], None] | None = None,
    ) -> Outcome:
        """Run `job` to its outcome; `meanwhile` is called every few seconds until then.

        The daemon itself enforces the job's deadline; `timeout` (seconds) bounds the whole
        wait here, queueing included, and leaves the job running: cancel it by its id.
        Raises SandboxUnavailable if no daemon answers, WorkerLost if it went away while the
        job ran, DeadlineExceeded after `timeout`, and whatever error the job ended with.
        """
        reply = self._exchange_keyed(job, timeout, meanwhile)
        if not isinstance(reply, Outcome):
            raise ProtocolError("an outcome was expected, a control message came")
        return reply

    def _exchange_keyed(
        self, job: Job, timeout: float | None, meanwhile: Callable[[], None] | None
    ) -> codec.Message:
        """Send `job` with its keys encrypted; once more if the daemon was started anew."""
        if not any(keys_in(job)):
            return self._exchange(job, timeout, meanwhile)
        name = str(self._path)
        known = _PUBLIC_KEYS.get(name)
        try:
            keyed = seal_keys(job, known or self._public_key())
            return self._exchange(keyed, timeout, meanwhile)
        except KeyUnusable as error:
            if known is None or error.code != STALE:
                raise
        return self._exchange(seal_keys(job, self._public_key()), timeout, meanwhile)

    def _public_key(self) -> bytes:
        reply = self._exchange(KeyQuestion(), _CONTROL_TIMEOUT_SECONDS)
        if not isinstance(reply, KeyOffer):
            raise ProtocolError("a public key was expected, another message came")
        _PUBLIC_KEYS[str(self._path)] = reply.public
        return reply.public

    def cancel(self, job_id: str) -> bool:
        """Kill the job of that id; False when no such job was there."""
        return self._control(Cancel(job_id)).count > 0

    def forget(self, version_id: str) -> int:
        """Wipe what is unsealed of a dataset version; returns how many images that were."""
        return self._control(Forget(version_id)).count

    def progress(self, job_id: str) -> Progress:
        """Return how far the job of that id has read what it was given."""
        reply = self._exchange(ProgressQuestion(job_id), _CONTROL_TIMEOUT_SECONDS)
        if not isinstance(reply, Progress):
            raise ProtocolError("progress was expected, another message came")
        return reply

    def health(self) -> dict[str, Any]:
        """Return the daemon's `HealthReport` as plain values."""
        reply = self._exchange(HealthQuestion(), _CONTROL_TIMEOUT_SECONDS)
        if not isinstance(reply, HealthReport):
            raise ProtocolError("a health report was expected, another message came")
        return dataclasses.asdict(reply)

    def _control(self, message: Cancel | Forget) -> Done:
        reply = self._exchange(message, _CONTROL_TIMEOUT_SECONDS)
        if not isinstance(reply, Done):
            raise ProtocolError("a confirmation was expected, another message came")
        return reply

    def _exchange(
        self,
        message: codec.Message,
        timeout: float | None,
        meanwhile: Callable[[], None] | None = None,
    ) -> codec.Message:
        frame = codec.encode(message)
        with self._connect() as connection:
            connection.settimeout(timeout)
            with _naming_ends(timeout):
                connection.sendall(frame)
            # Outside of that: what the caller's own part raises is the caller's.
            is_late = meanwhile is not None and not _wait(connection, timeout, meanwhile)
            with _naming_ends(timeout):
                if is_late:
                    raise TimeoutError
                reply = codec.receive(connection)
        if reply is None:
            raise WorkerLost("the sandbox daemon closed without an answer", hint=_HINT)
        if isinstance(reply, Refusal):
            raise to_error(reply)
        return reply

    def _connect(self) -> socket.socket:
        try:
            return connect_to(self._path)
        except OSError as error:
            raise SandboxUnavailable(
                f"no sandbox daemon answers at its socket ({error.strerror})", hint=_HINT
            ) from error


@contextlib.contextmanager
def _naming_ends(timeout: float | None) -> Iterator[None]:
    """Say what it means for a job that its connection fails."""
    try:
        yield
    except TimeoutError as error:
        raise DeadlineExceeded(
            f"no answer came within {timeout} seconds",
            hint="Cancel the job, or give it more time.",
        ) from error
    except OSError as error:
        raise WorkerLost(
            "the sandbox daemon went away during the job", hint=_HINT
        ) from error


def _wait(
    connection: socket.socket, timeout: float | None, meanwhile: Callable[[], None]
) -> bool:
    """Call `meanwhile` until something comes, which is true, or time is over."""
    until = None if timeout is None else time.monotonic() + timeout
    answers = select.poll()  # not select(): its descriptors end at 1,024
    answers.register(connection, select.POLLIN)
    while not answers.poll(_MEANWHILE_SECONDS * 1000):
        if until is not None and time.monotonic() >= until:
            return False
        meanwhile()
    return True

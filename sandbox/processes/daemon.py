"""The door: one supervised process that takes jobs and stands before its two children.

It starts the unsealer (keys and images, no SQL) and the fork server (engine, no keys) as
programs of their own with an empty environment, joined by inherited socket pairs; checks
the lock-down and refuses to serve if it is incomplete; then answers one frame per
connection. If a child dies, the daemon ends: its supervisor starts all of it anew.
"""

from __future__ import annotations

import contextlib
import fcntl
import logging
import os
import select
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from sandbox import codec, protocol
from sandbox.control import (
    Cancel,
    Done,
    Forget,
    HealthQuestion,
    HealthReport,
    KeyQuestion,
    Layer,
    ProgressQuestion,
)
from sandbox.door_address import listen_at
from sandbox.errors import ProtocolError, SandboxError, SandboxUnavailable
from sandbox.files.vault import sweep_parts
from sandbox.processes.jobs import JobDesk
from sandbox.processes.selfcheck import check_lockdown
from sandbox.processes.users import Account, Users, is_allowed_peer
from sandbox.refusal import to_refusal

_log = logging.getLogger("bonded.sandbox")

# A client has this long to send its whole job.
_REQUEST_SECONDS = 60.0
_MOST_CONNECTIONS = 256
_STOP_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class Configuration:
    """How the daemon is started."""

    socket: Path
    vault: Path
    workers: int = 2  # jobs at a time; as many wait ahead of theirs
    analysers: int = 1  # analyses at a time
    cache_bytes: int = 4 * 1024**3
    job_images_bytes: int = 4 * 1024**3  # what one job may have open at once
    users: Users | None = None  # None: everything runs as whoever started it


class Daemon:
    """The serving daemon; `serve()` returns after SIGTERM, SIGINT or a child's death."""

    def __init__(self, configuration: Configuration, layers: tuple[Layer, ...]) -> None:
        self._configuration = configuration
        self._layers = layers
        self._connections = threading.BoundedSemaphore(_MOST_CONNECTIONS)
        self._children: list[subprocess.Popen[bytes]] = []
        unsealer_door, unsealer_end = socket.socketpair()
        forks_door, forks_end = socket.socketpair()
        images_out, images_in = socket.socketpair()
        vault = str(configuration.vault)
        with unsealer_end, forks_end, images_out, images_in:
            sizes = (configuration.cache_bytes, configuration.job_images_bytes)
            users = configuration.users
            self._start(
                "unsealer",
                users.keeper if users else None,
                [unsealer_end, images_out],
                vault,
                *sizes,
            )
            counts = (configuration.workers, configuration.analysers)
            worker = users.worker if users else None
            self._start("forkserver", worker, [forks_end, images_in], *counts)
        self._forks = forks_door
        self._desk = JobDesk(
            vault=configuration.vault,
            unsealer=unsealer_door,
            forks=forks_door,
            workers=configuration.workers,
            analysers=configuration.analysers,
        )

    def serve(self) -> int:
        """Answer connections until told to stop; returns the process's exit status."""
        stop_reading, stop_writing = os.pipe()
        os.set_blocking(stop_writing, False)
        signal.set_wakeup_fd(stop_writing)
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: None)
        path = self._configuration.socket
        try:
            self._engine = self._ask_children()
            path.unlink(missing_ok=True)  # stale: the lock says that nobody serves here
            with listen_at(path) as listener:
                threading.Thread(target=self._listen_to_forks, daemon=True).start()
                _log.info("serving with %d workers", self._configuration.workers)
                return self._accept(listener, stop_reading)
        finally:
            path.unlink(missing_ok=True)
            self._stop_children()

    def _start(
        self,
        role: str,
        account: Account | None,
        ends: list[socket.socket],
        *more: str | int,
    ) -> None:
        descriptors = [end.fileno() for end in ends]
        numbers = [str(descriptor) for descriptor in descriptors]
        root = str(Path(__file__).resolve().parents[2])  # what holds the package `sandbox`
        child = subprocess.Popen(
            [sys.executable, "-m", "sandbox", "--role", role, *numbers, *map(str, more)],
            pass_fds=descriptors,
            # Nothing of the node's environment, which may hold its secrets.
            env={
                "PYTHONPATH": root,
                "LANG": "C.UTF-8",
                "BONDED_PARENT": str(os.getpid()),
                "BONDED_ACCOUNT": account.name if account else "",
            },
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            cwd="/",
        )
        self._children.append(child)

    def _ask_children(self) -> str:
        """Wait until both children answer; returns the engine's version."""
        hello = codec.receive(self._forks)
        if not isinstance(hello, HealthReport):
            raise SandboxUnavailable("the fork server did not start")
        self._desk.ask_unsealer(HealthQuestion())
        return hello.engine

    def _accept(self, listener: socket.socket, stop: int) -> int:
        watched = [os.pidfd_open(child.pid) for child in self._children]
        try:
            while True:
                ready, _, _ = select.select([listener.fileno(), stop, *watched], [], [])
                if stop in ready:
                    return 0
                if any(descriptor in ready for descriptor in watched):
                    _log.error("a child of the sandbox daemon died; stopping")
                    return 1
                connection, _ = listener.accept()
                self._connections.acquire()
                threading.Thread(
                    target=self._answer, args=(connection,), daemon=True
                ).start()
        finally:
            for descriptor in watched:
                os.close(descriptor)

    def _answer(self, connection: socket.socket) -> None:
        try:
            with connection:
                connection.settimeout(_REQUEST_SECONDS)
                if not is_allowed_peer(connection):  # the socket's mode says so as well
                    _log.error("another user connected; it gets no answer")
                    return
                reply = self._reply(connection)
                if reply is not None:
                    codec.send(connection, reply)
        except OSError:
            _log.info("a client went away before its answer")
        except Exception as error:  # noqa: BLE001 - a thread's last resort; text may quote
            _log.error("answering failed: %s", type(error).__name__)
        finally:
            self._connections.release()

    def _reply(self, connection: socket.socket) -> codec.Message | None:
        try:
            message = codec.receive(connection)
            if message is None:
                return None
            if isinstance(message, Cancel):
                return Done(self._desk.cancel(message.job_id))
            if isinstance(message, (Forget, KeyQuestion, ProgressQuestion)):
                return self._desk.ask_unsealer(message)
            if isinstance(message, HealthQuestion):
                return self._health()
            if isinstance(message, protocol.Job):
                return self._desk.run(message, connection)
            raise ProtocolError("the daemon takes jobs, Cancel, Forget and HealthQuestion")
        except SandboxError as error:
            return to_refusal(error)

    def _health(self) -> HealthReport:
        inner = self._desk.ask_unsealer(HealthQuestion())
        if not isinstance(inner, HealthReport):
            raise SandboxUnavailable("the unsealer gave no report")
        return HealthReport(
            layers=self._layers + inner.layers,
            workers=self._configuration.workers,
            running=self._desk.running,
            cached_bytes=inner.cached_bytes,
            cache_limit_bytes=inner.cache_limit_bytes,
            engine=self._engine,
        )

    def _listen_to_forks(self) -> None:
        with contextlib.suppress(OSError, SandboxError):
            self._desk.listen_to_forks()

    def _stop_children(self) -> None:
        # Workers get their kill when the fork server dies (parent-death signal).
        # One that is another user's cannot be killed: it ends when nobody is at its door.
        for child in self._children:
            with contextlib.suppress(PermissionError):
                child.kill()
        with contextlib.suppress(OSError):
            self._forks.shutdown(socket.SHUT_RDWR)
        for child in self._children:
            with contextlib.suppress(subprocess.TimeoutExpired):
                child.wait(_STOP_SECONDS)


def run(configuration: Configuration) -> int:
    """Serve until stopped; returns the exit status.

    Raises SandboxUnavailable if this is no Linux, another daemon serves at the socket, the
    vault is absent or a required layer of the lock-down is off.
    """
    if sys.platform != "linux":
        raise SandboxUnavailable(
            "a node needs Linux: its workers are confined by Landlock and seccomp",
            hint="The client and offline verification run here; run the node on Linux.",
        )
    if not configuration.vault.is_dir():
        raise SandboxUnavailable(
            "the vault directory does not exist",
            hint="Create it, or set up the node first.",
        )
    layers = check_lockdown()
    users = configuration.users
    if users is not None:
        layers = tuple(
            users.layer if layer.name == users.layer.name else layer for layer in layers
        )
    directory = configuration.socket.parent
    if not directory.is_dir():
        directory.mkdir(parents=True, mode=0o700)
        if users is not None:
            os.chown(directory, users.keeper.user, users.keeper.group)
    with _only_one(configuration.socket):
        if swept := sweep_parts(configuration.vault):
            _log.warning("removed %d parts of outputs that a crash left behind", swept)
        daemon = Daemon(configuration, layers)
        if users is not None:
            users.keeper.become()
        return daemon.serve()


@contextlib.contextmanager
def _only_one(path: Path) -> Iterator[None]:
    """Hold the lock beside the socket: it tells a stale socket from a live one."""
    lock = os.open(path.with_name(path.name + ".lock"), os.O_RDWR | os.O_CREAT, 0o600)
    try:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise SandboxUnavailable(
                "another sandbox daemon serves at this socket",
                hint="Stop it, or start this one with another --socket.",
            ) from error
        yield
    finally:
        os.close(lock)

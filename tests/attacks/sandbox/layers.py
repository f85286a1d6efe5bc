"""Every attempt under every layer alone: `python -m tests.attacks.sandbox.layers` as JSON.

Each attempt runs in a process of its own, beside a bystander of its own, in which one layer
was put on and nothing else; and in one that is confined as a worker is. `none` shows that
the attempt works at all.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import importlib
import json
import os
import signal
import socket
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import duckdb

from sandbox.engine import open_engine
from sandbox.files.pme import seal
from sandbox.processes import lockdown
from sandbox.protocol import Limits
from tests.attacks.sandbox.attempts import ENTRIES, LIBC, Target
from tests.attacks.sandbox.attempts_sql import STATEMENTS, Statement

LIMITS = Limits(deadline_seconds=20, memory_bytes=256 * 1024**2)
THROUGH = "through"
_PR_SET_DUMPABLE = 4
_MARK = ctypes.create_string_buffer(b"bonded")


def _worker(keep: list[int], *, fills_memory: bool = False) -> None:
    lockdown.confine_worker(
        LIMITS, parent=os.getppid(), keep=keep, fills_memory=fills_memory
    )


LAYERS: dict[str, Callable[[list[int]], object]] = {
    "none": lambda _: None,
    "limits": lambda _: lockdown.set_limits(LIMITS, files=16_384),
    "own_user": lambda _: lockdown.become_nobody(),
    "namespaces": lambda _: lockdown.leave_namespaces(),
    "landlock": lambda _: lockdown.confine_files(),
    "seccomp": lambda _: lockdown.confine_calls(),
    # Ingest has its engine write to files in memory that it was given, by their paths.
    "seccomp_of_ingest": lambda _: lockdown.confine_calls(fills_memory=True),
    "worker": _worker,
    "worker_of_ingest": lambda keep: _worker(keep, fills_memory=True),
}
WORKERS = ("worker", "worker_of_ingest")
SQL_LAYERS = ("none", "engine", "landlock", "seccomp", *WORKERS)
# What would go out to the network is tried only where it cannot.
CONFINED = ("engine", *WORKERS)


def matrix() -> dict[str, dict[str, dict[str, str]]]:
    """What became of each attempt: kind, then name, then layer; `through`, or an error."""
    for kind in ("files", "calls"):
        importlib.import_module(f"tests.attacks.sandbox.attempts_{kind}")
    found: dict[str, dict[str, dict[str, str]]] = {}
    with _surroundings() as target:
        for entry in ENTRIES:
            kinds = found.setdefault(entry.kind, {})
            kinds[entry.name] = {
                layer: _try(target, layer, entry.run, put_on)
                for layer, put_on in LAYERS.items()
            }
        for statement in STATEMENTS:
            kinds = found.setdefault("SQL", {})
            kinds[statement.name] = {
                layer: _try_sql(target, layer, statement)
                for layer in (SQL_LAYERS if statement.baseline else CONFINED)
            }
    return found


def _try_sql(target: Target, layer: str, statement: Statement) -> str:
    def run(at: Target) -> object:
        engine = open_engine({}, LIMITS) if layer == "engine" else duckdb.connect()
        text = statement.sql.format(
            secret=at.secret,
            folder=at.folder,
            pid=at.pid,
            port=at.port,
            up="/".join([".."] * 12),
        )
        return engine.execute(text).fetchall()

    # The engine that runs under the other layers has no setting made: they stand alone.
    return _try(target, layer, run, LAYERS["none" if layer == "engine" else layer])


def _try(
    target: Target,
    layer: str,
    run: Callable[[Target], object],
    put_on: Callable[[list[int]], object],
) -> str:
    (target.folder / "to-be-removed").write_text("once more")
    with _bystander(as_nobody=layer in WORKERS) as pid:
        at = replace(target, pid=pid)
        reading, writing = os.pipe()
        child = os.fork()
        if child == 0:
            _be_the_attacker(at, run, put_on, writing)
        os.close(writing)
        with os.fdopen(reading, "rb") as pipe:
            said = pipe.read().decode()
        _, status = os.waitpid(child, 0)
    if said.endswith("!"):
        return said[:-1]
    # It said nothing more: it became another program, or was killed.
    return f"signal {os.WTERMSIG(status)}" if os.WIFSIGNALED(status) else THROUGH


def _be_the_attacker(
    at: Target,
    run: Callable[[Target], object],
    put_on: Callable[[list[int]], object],
    report: int,
) -> None:
    """Put the layer on, try, say what came of it; never returns."""
    said = THROUGH
    own = os.getpid()
    try:
        signal.alarm(20)
        os.set_inheritable(report, False)
        put_on([report, at.given, at.sealed, at.output])
        try:
            run(at)
        except OSError as error:
            said = errno.errorcode.get(error.errno or 0, type(error).__name__)
        except BaseException as error:  # noqa: BLE001 - whatever stops it is told
            said = type(error).__name__
    finally:
        if os.getpid() == own:
            os.write(report, f"{said}!".encode())
        os._exit(0)


@contextlib.contextmanager
def _bystander(*, as_nobody: bool) -> Iterator[int]:
    """A process that nobody needs, of the attacker's own user and open to it."""
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        if as_nobody:
            lockdown.become_nobody()
        LIBC.prctl(_PR_SET_DUMPABLE, 1, 0, 0, 0)
        os.write(writing, b"1")
        time.sleep(60)
        os._exit(0)
    os.close(writing)
    os.read(reading, 1)
    os.close(reading)
    try:
        yield pid
    finally:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)


@contextlib.contextmanager
def _surroundings() -> Iterator[Target]:
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        folder.chmod(0o777)
        for name in ("secret", "open-to-all", "to-be-removed", "values.csv"):
            (folder / name).write_text("a,b\n1,2\n")
            (folder / name).chmod(0o666)
        (folder / "values.json").write_text('[{"a": 1}]')
        (folder / "evil.duckdb_extension").write_bytes(b"\0" * 1024)
        _write_parquet(folder / "other.parquet")
        tcp = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
        abstract = stack.enter_context(socket.socket(socket.AF_UNIX))
        abstract.bind(f"\0bonded-test-{os.getpid()}")
        abstract.listen()
        named = stack.enter_context(socket.socket(socket.AF_UNIX))
        named.bind(str(folder / "socket"))
        (folder / "socket").chmod(0o777)
        named.listen()
        given, kept = socket.socketpair()
        stack.enter_context(given)
        stack.enter_context(kept)
        sealed = os.memfd_create("image", os.MFD_ALLOW_SEALING)
        os.write(sealed, bytes(8192))
        seal(sealed)
        yield Target(
            pid=0,
            address=ctypes.addressof(_MARK),
            descriptor=os.open(folder / "secret", os.O_RDONLY),
            folder=folder,
            secret=folder / "secret",
            port=tcp.getsockname()[1],
            abstract=f"bonded-test-{os.getpid()}",
            path_socket=folder / "socket",
            given=given.fileno(),
            sealed=sealed,
            output=os.memfd_create("output"),
        )


def cells(row: dict[str, str], names: list[str]) -> list[str]:
    """One row for people: what stopped it, a dash where it got through, or nothing."""
    said = (row.get(name, "") for name in names)
    return ["–" if what == THROUGH else what for what in said]


def _write_parquet(path: Path) -> None:
    """In a child: an engine that has threads must not be forked."""
    if (child := os.fork()) == 0:
        duckdb.sql(f"COPY (SELECT 1 a) TO '{path}' (FORMAT parquet)")
        os._exit(0)
    os.waitpid(child, 0)


if __name__ == "__main__":
    json.dump(matrix(), sys.stdout)

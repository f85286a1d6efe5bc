"""An engine in a forked process that answers timed statements: confined, or plain."""

from __future__ import annotations

import _strptime  # noqa: F401
import contextlib
import dataclasses
import datetime  # noqa: F401
import decimal
import json
import os
import resource
import signal
import socket
import struct
import time
import traceback
import uuid  # noqa: F401
import zoneinfo  # noqa: F401
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType, TracebackType
from typing import Any, Self

import duckdb

from sandbox.engine import open_engine
from sandbox.processes import lockdown
from sandbox.protocol import Limits
from sandbox.quoting import quoted, text_literal

# Imports above that nothing here uses are the engine's own, made late: a confined process
# can load nothing.
#
# Large enough that no limit of a job ends a benchmark; the memory limit is the case's.
LIMITS = Limits(
    deadline_seconds=3600, memory_bytes=4 * 1024**3, output_bytes=1024**3, threads=2
)
_LENGTH = struct.Struct(">Q")


@dataclasses.dataclass(frozen=True, slots=True)
class Answer:
    """What a statement gave, what it took in there, and the process's peak memory."""

    rows: list[list[Any]]
    seconds: float
    cpu_seconds: float
    peak_bytes: int


class EngineProcess:
    """Forked from this process; `ask` runs one statement in it, `close` ends it."""

    def __init__(
        self,
        prepare: Callable[[], Callable[[str], Sequence[Sequence[Any]]]],
        *,
        keep: Sequence[int] = (),
        confined: bool = False,
        limits: Limits = LIMITS,
    ) -> None:
        """Fork; in the child, confine where asked, then `prepare` gives what answers."""
        ours, theirs = socket.socketpair()
        parent = os.getpid()
        self._pid = os.fork()
        if self._pid == 0:
            _live(ours, theirs, parent, prepare, keep, limits if confined else None)
        theirs.close()
        self._socket = ours

    def ask(self, text: str) -> Answer:
        """Return the answer; SystemExit with the child's words if there is none."""
        _send(self._socket.fileno(), text.encode())
        reply = _receive(self._socket.fileno())
        if reply is None:
            raise SystemExit("the engine's process of the benchmark died")
        message = json.loads(reply)
        if "error" in message:
            raise SystemExit(f"the benchmark's statement failed: {message['error']}")
        return Answer(**message)

    def close(self) -> None:
        """End the process."""
        self._socket.close()
        with contextlib.suppress(ProcessLookupError):
            os.kill(self._pid, signal.SIGKILL)
        with contextlib.suppress(ChildProcessError):
            os.waitpid(self._pid, 0)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


def plain_engine(
    plain: Mapping[str, str],
    limits: Limits = LIMITS,
    *,
    derived: Mapping[str, str] = MappingProxyType({}),
) -> Callable[[], Callable[[str], Sequence[Sequence[Any]]]]:
    """Plain DuckDB over plain Parquet, with as many threads.

    `derived` is SQL of further columns, by table.
    """

    def prepare() -> Callable[[str], Sequence[Sequence[Any]]]:
        connection = duckdb.connect()
        connection.execute(f"SET threads = {limits.threads}")
        for table, path in plain.items():
            more = f", {derived[table]}" if table in derived else ""
            connection.execute(
                f"CREATE VIEW {quoted(table)} AS"
                f" SELECT *{more} FROM read_parquet({text_literal(path)})"
            )
        return lambda sql: connection.execute(sql).fetchall()

    return prepare


def sandbox_engine(
    images: Mapping[str, Sequence[int]], limits: Limits = LIMITS
) -> Callable[[], Callable[[str], Sequence[Sequence[Any]]]]:
    """The product's locked engine over images that it was handed."""

    def prepare() -> Callable[[str], Sequence[Sequence[Any]]]:
        paths = {
            table: [f"/proc/self/fd/{descriptor}" for descriptor in shards]
            for table, shards in images.items()
        }
        connection = open_engine(paths, limits)
        return lambda sql: connection.execute(sql).fetchall()

    return prepare


def confined_engine(
    images: Mapping[str, Sequence[int]], limits: Limits = LIMITS
) -> EngineProcess:
    """Start a process confined as a worker is, with the product's engine over `images`."""
    keep = [descriptor for shards in images.values() for descriptor in shards]
    return EngineProcess(
        sandbox_engine(images, limits), keep=keep, confined=True, limits=limits
    )


def same_rows(ours: Sequence[Sequence[Any]], theirs: Sequence[Sequence[Any]]) -> bool:
    """Whether two results are equal, floating-point sums up to their order of summing."""
    if len(ours) != len(theirs):
        return False
    return all(
        len(a) == len(b) and all(map(_same, a, b))
        for a, b in zip(ours, theirs, strict=True)
    )


def _same(a: object, b: object) -> bool:
    if isinstance(a, float) and isinstance(b, float):
        return abs(a - b) <= 1e-9 * max(abs(a), abs(b), 1.0)
    return a == b


def _live(
    ours: socket.socket,
    theirs: socket.socket,
    parent: int,
    prepare: Callable[[], Callable[[str], Sequence[Sequence[Any]]]],
    keep: Sequence[int],
    limits: Limits | None,
) -> None:
    """Be the child; never returns."""
    try:
        talk = theirs.fileno()
        ours.close()
        if limits is None:
            lockdown.die_with_parent(parent)
        else:
            lockdown.confine_worker(limits, parent=parent, keep=[talk, *keep])
        answer = prepare()
        while (text := _receive(talk)) is not None:
            _send(talk, _answer(answer, text.decode()))
    except BaseException:  # noqa: BLE001 - a child must not return into its parent's code
        if limits is None:
            traceback.print_exc()
        with contextlib.suppress(OSError):
            _send(talk, json.dumps({"error": traceback.format_exc()}).encode())
    finally:
        os._exit(0)


def _answer(answer: Callable[[str], Sequence[Sequence[Any]]], text: str) -> bytes:
    started, cpu = time.perf_counter(), time.process_time()
    rows = answer(text)
    message = {
        "rows": rows,
        "seconds": time.perf_counter() - started,
        "cpu_seconds": time.process_time() - cpu,
        "peak_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
    }
    return json.dumps(message, default=_text).encode()


def _text(value: object) -> str:
    if isinstance(value, decimal.Decimal):
        # 1.50 and 1.5 are one number.
        return format(value.normalize(), "f")
    return str(value)


def _send(descriptor: int, data: bytes) -> None:
    view = memoryview(_LENGTH.pack(len(data)) + data)
    while view:
        view = view[os.write(descriptor, view) :]


def _receive(descriptor: int) -> bytes | None:
    head = _read(descriptor, _LENGTH.size)
    return None if head is None else _read(descriptor, _LENGTH.unpack(head)[0])


def _read(descriptor: int, size: int) -> bytes | None:
    data = bytearray()
    while len(data) < size:
        try:
            part = os.read(descriptor, size - len(data))
        except ConnectionError:
            return None
        if not part:
            return None
        data += part
    return bytes(data)

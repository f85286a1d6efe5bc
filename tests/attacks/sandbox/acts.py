"""What a test does inside a confined worker, by name; see `bypass`."""

from __future__ import annotations

import contextlib
import os
import stat
import threading
import time
from pathlib import Path

from sandbox import codec, protocol
from sandbox.processes import forbidden

_MOST_DESCRIPTORS = 20_000


def echo(value: object) -> object:
    """Give `value` back: the bypass works."""
    return value


def identity() -> dict[str, object]:
    """Say who the worker is."""
    return {
        "pid": os.getpid(),
        "parent": os.getppid(),
        "user": os.getuid(),
        "environment": dict(os.environ),
    }


def attempt(name: str) -> str:
    """Try one of the acts that no worker may do; `through`, or what stopped it."""
    attacks = {attack.__name__: attack for attack in forbidden.WORKER_ATTACKS}
    try:
        attacks[name]()
    except (OSError, MemoryError, ValueError) as error:
        return type(error).__name__
    return "through"


def sleep(seconds: float) -> str:
    """Wait, as a statement that takes its time."""
    time.sleep(seconds)
    return "slept"


def descriptors(marks: list[str], _named: str) -> list[dict[str, object]]:
    """Walk over every descriptor: what it is, and which of `marks` its bytes hold."""
    found: list[dict[str, object]] = []
    for number in range(_MOST_DESCRIPTORS):
        try:
            status = os.fstat(number)
        except OSError:
            continue
        kind = stat.S_IFMT(status.st_mode)
        content = b""
        if kind == stat.S_IFREG:
            with contextlib.suppress(OSError):
                content = os.pread(number, status.st_size, 0)
        found.append(
            {
                "number": number,
                "inode": status.st_ino,
                "is_socket": kind == stat.S_IFSOCK,
                "path": str(Path(f"/proc/self/fd/{number}").readlink()),
                "marks": [mark for mark in marks if mark.encode() in content],
            }
        )
    return found


def spin(threads: int) -> str:
    """Keep many threads busy for ever."""

    def turn() -> None:
        while True:
            pass

    for _ in range(threads):
        with contextlib.suppress(RuntimeError):  # as many as there may be
            threading.Thread(target=turn, daemon=True).start()
    turn()
    return ""


def refuse_to_die(seconds: float) -> str:
    """Block every signal that can be blocked, and wait."""
    import signal

    signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
    time.sleep(seconds)
    return ""


def answer_and_stay(seconds: float) -> str:
    """Write an outcome to every socket there is, then live on."""
    outcome = protocol.ExecuteOutcome(
        columns=(("c", "VARCHAR"),),
        rows=(("forged",),),
        withheld=((),),
        suppressed=0,
        partial=False,
        fingerprint="",
        executed_sql="",
    )
    _to_every_socket(codec.encode(outcome))
    time.sleep(seconds)
    return ""


def garbage(kind: str) -> str:
    """Write what is no frame to every socket there is."""
    _to_every_socket(
        {
            "zeros": bytes(64),
            "endless": b"\xff\xff\xff\xff" + b"x" * 1000,
            "half": (100).to_bytes(4, "big") + b"{",
            "other": codec.encode(protocol.AnalyseOutcome(shape="{}")),
            "deep": _framed(b"[" * 500_000 + b"]" * 500_000),
            "many": _framed(b'{"version":1,"type":"ExecuteOutcome","body":{"rows":['
            + b"[]," * 3_000_000 + b"[]]}}"),
        }[kind]
    )  # fmt: skip
    return ""


def _framed(payload: bytes) -> bytes:
    return len(payload).to_bytes(4, "big") + payload


def _to_every_socket(data: bytes) -> None:
    for number in range(3, 200):
        with contextlib.suppress(OSError):
            if stat.S_ISSOCK(os.fstat(number).st_mode):
                view = memoryview(data)
                while view:
                    view = view[os.write(number, view) :]


def die(number: int) -> str:
    """End by a signal of one's own."""
    import signal

    signal.pthread_kill(threading.get_ident(), number)
    time.sleep(60)
    return ""


def leave(status: int) -> str:
    """End without a word."""
    os._exit(status)
    return ""

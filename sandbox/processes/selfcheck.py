"""The forbidden things, tried: what a start-up must see fail before the daemon serves.

Each layer is tried alone in a process of its own, and all of them together, so that one
does not hide a hole in another.
"""

from __future__ import annotations

import errno
import json
import os
import signal
import socket
from collections.abc import Callable, Mapping

from sandbox.control import Layer
from sandbox.errors import SandboxError, SandboxUnavailable
from sandbox.files.pme import seal
from sandbox.processes import forbidden, lockdown, syscalls
from sandbox.protocol import Limits

_LIMITS = Limits(deadline_seconds=20, memory_bytes=256 * 1024**2)
_FILES, _CALLS, _WHOLE, _LIMITED = "landlock", "seccomp", "worker", "limits"
_ATTACKS: Mapping[str, tuple[forbidden.Attack, ...]] = {
    _FILES: forbidden.FILE_ATTACKS,
    _CALLS: forbidden.CALL_ATTACKS,
    _LIMITED: forbidden.LIMIT_ATTACKS,
    _WHOLE: forbidden.WORKER_ATTACKS,
}


def check_lockdown() -> tuple[Layer, ...]:
    """Return every layer as it was found; requires a process with one thread.

    Raises SandboxUnavailable if a required layer is off or lets an attack through.
    """
    layers = (
        _required(_FILES, f"ABI {syscalls.landlock_version()}: no file can be opened"),
        _required(_CALLS, "no socket, process, trace or write-open"),
        _required(_LIMITED, "memory, time, file size and descriptors are limited"),
        _required(_WHOLE, "all layers together; own process, empty environment, no keys"),
        *_optional(),
    )
    broken = [layer for layer in layers if layer.required and not layer.on]
    if broken:
        raise SandboxUnavailable(
            "the lock-down is incomplete: "
            + "; ".join(f"{layer.name}: {layer.reason}" for layer in broken),
            hint="The node needs Linux 5.13 or later with Landlock and seccomp filters.",
        )
    return layers


def _required(name: str, rests_on: str) -> Layer:
    result = _in_child(lambda report: _attack(name, report))
    if result is None:
        return Layer(name, required=True, on=False, reason="the check died")
    if not result.isdecimal():
        return Layer(name, required=True, on=False, reason=result)
    stopped = f"{rests_on}; {result} attempts were stopped"
    return Layer(name, required=True, on=True, reason=stopped)


def _optional() -> tuple[Layer, ...]:
    namespaces = _in_child(lambda report: _say(report, _leave_network()))
    own_user = os.geteuid() == 0
    return (
        Layer(
            "namespaces",
            required=False,
            on=namespaces == "",
            reason=namespaces or "own user, network, IPC and host name",
        ),
        Layer(
            "own_user",
            required=False,
            on=own_user,
            reason="workers run as nobody" if own_user else "same user as the daemon",
        ),
        Layer(
            "cgroup",
            required=False,
            on=False,
            reason="no group is delegated to workers; memory is held by limits",
        ),
    )


def _leave_network() -> str:
    """Leave the namespaces and look whether the network is gone; returns why not."""
    if problem := lockdown.leave_namespaces():
        return problem
    try:
        with socket.socket(socket.AF_INET) as client:
            client.connect(("127.0.0.1", 9))
    except OSError as error:
        return "" if error.errno == errno.ENETUNREACH else "the network is still there"
    return "the network is still there"


def _attack(name: str, report: int) -> None:
    """In the child: put the layer on, try its attacks, report those that succeeded."""
    attacks = _ATTACKS[name]
    try:
        if name == _FILES:
            lockdown.confine_files()
        elif name == _CALLS:
            lockdown.confine_calls()
        elif name == _LIMITED:
            lockdown.set_limits(_LIMITS, files=64)
        else:
            sealed = _sealed_file()
            attacks += forbidden.attacks_on(sealed)
            lockdown.confine_worker(_LIMITS, parent=os.getppid(), keep=[report, sealed])
    except SandboxError as error:
        _say(report, error.message)
        return
    succeeded = [attack.__name__.strip("_") for attack in attacks if _works(attack)]
    _say(report, f"got through: {', '.join(succeeded)}" if succeeded else str(len(attacks)))


def _sealed_file() -> int:
    descriptor = os.memfd_create("selfcheck", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    os.write(descriptor, b"sealed")
    seal(descriptor)
    return descriptor


def _works(attack: Callable[[], None]) -> bool:
    try:
        attack()
    except (OSError, MemoryError, ValueError):
        return False
    return True


def _say(report: int, text: str) -> None:
    os.write(report, json.dumps(text).encode())


def _in_child(run: Callable[[int], None]) -> str | None:
    """What `run` said in a forked child; None if it died without a word or hung."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            signal.alarm(20)
            os.close(reading)
            run(writing)
        finally:
            os._exit(0)
    os.close(writing)
    with os.fdopen(reading, "rb") as pipe:
        said = pipe.read()
    os.waitpid(child, 0)
    try:
        text = json.loads(said)
    except ValueError:
        return None
    return text if isinstance(text, str) else None

"""The forbidden things, tried: what a start-up must see fail before the daemon serves.

Each layer is tried alone in a process of its own, and all of them together, so that one
does not hide a hole in another.
"""

from __future__ import annotations

import json
import os
import resource
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Mapping

from sandbox.control import Layer
from sandbox.errors import SandboxError, SandboxUnavailable
from sandbox.processes import lockdown, syscalls
from sandbox.protocol import Limits

_LIMITS = Limits(deadline_seconds=20, memory_bytes=256 * 1024**2)
_FILES, _CALLS, _WHOLE, _LIMITED = "landlock", "seccomp", "worker", "limits"


def _read_file() -> None:
    os.open("/etc/passwd", os.O_RDONLY)


def _read_parent_environment() -> None:
    os.open(f"/proc/{os.getppid()}/environ", os.O_RDONLY)


def _list_directory() -> None:
    os.open("/", os.O_RDONLY | os.O_DIRECTORY)


def _write_file() -> None:
    os.open(f"/tmp/.bonded-selfcheck-{os.getpid()}", os.O_WRONLY | os.O_CREAT)  # noqa: S108 - tried because it must fail


def _open_for_writing() -> None:
    os.open("/dev/null", os.O_WRONLY)


def _internet_socket() -> None:
    socket.socket(socket.AF_INET, socket.SOCK_STREAM)


def _unix_socket() -> None:
    socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)


def _spawn() -> None:
    subprocess.run([sys.executable, "-c", ""], check=False)


def _fork() -> None:
    if os.fork() == 0:
        os._exit(0)


def _execute() -> None:
    os.execv("/bin/true", ["true"])  # noqa: S606 - tried because it must fail


def _signal_parent() -> None:
    os.kill(os.getppid(), 0)


def _trace_parent() -> None:
    syscalls.attach_to(os.getppid())


def _read_parent_memory() -> None:
    # Any mapped address will do: after a fork, this object lies there in the parent too.
    syscalls.read_memory_of(os.getppid(), id(_FILES), 16)


def _io_uring() -> None:
    syscalls.set_up_io_uring()


def _new_namespace() -> None:
    syscalls.unshare(syscalls.Namespace.USER)


def _raise_limit() -> None:
    # Root may raise limits; a worker must not be root any more.
    resource.setrlimit(resource.RLIMIT_AS, (resource.RLIM_INFINITY,) * 2)


def _use_memory() -> None:
    bytearray(2 * 1024**3)


def _see_environment() -> None:
    if not os.environ:
        raise PermissionError


_FILE_ATTACKS = (_read_file, _read_parent_environment, _list_directory, _write_file)
_CALL_ATTACKS = (
    _open_for_writing,
    _internet_socket,
    _unix_socket,
    _spawn,
    _fork,
    _execute,
    _signal_parent,
    _trace_parent,
    _read_parent_memory,
    _io_uring,
    _new_namespace,
)
_LIMIT_ATTACKS = (_use_memory,)
_ATTACKS: Mapping[str, tuple[Callable[[], None], ...]] = {
    _FILES: _FILE_ATTACKS,
    _CALLS: _CALL_ATTACKS,
    _LIMITED: _LIMIT_ATTACKS,
    _WHOLE: (
        *_FILE_ATTACKS,
        *_CALL_ATTACKS,
        *_LIMIT_ATTACKS,
        _raise_limit,
        _see_environment,
    ),
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
    on = result == ""
    return Layer(name, required=True, on=on, reason=rests_on if on else result)


def _optional() -> tuple[Layer, ...]:
    namespaces = _in_child(lambda report: _say(report, lockdown.leave_namespaces()))
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


def _attack(name: str, report: int) -> None:
    """In the child: put the layer on, try its attacks, report those that succeeded."""
    try:
        if name == _FILES:
            lockdown.confine_files()
        elif name == _CALLS:
            lockdown.confine_calls()
        elif name == _LIMITED:
            lockdown.set_limits(_LIMITS, files=64)
        else:
            lockdown.confine_worker(_LIMITS, parent=os.getppid(), keep=[report])
    except SandboxError as error:
        _say(report, error.message)
        return
    succeeded = [attack.__name__.strip("_") for attack in _ATTACKS[name] if _works(attack)]
    _say(report, f"got through: {', '.join(succeeded)}" if succeeded else "")


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

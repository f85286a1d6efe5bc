"""What a worker takes from itself before it touches anything foreign, in one fixed order.

Limits, parent-death signal, own user, namespaces, dumps, environment, capabilities,
Landlock, system call filter. The engine connects only afterwards: `unshare` needs a
process with one thread, and threads started before Landlock would stay free of it.
"""

from __future__ import annotations

import os
import resource
import signal
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.machinery import BuiltinImporter, FrozenImporter
from pathlib import Path

from sandbox.errors import SandboxUnavailable
from sandbox.processes import syscalls
from sandbox.processes.seccomp import worker_filter
from sandbox.processes.syscalls import Namespace
from sandbox.protocol import Limits

# What a process needs beyond the job's memory: stacks, allocator arenas, code.
_ADDRESS_SLACK_BYTES = 768 * 1024**2
# The same of what is mapped to be written, without the allocator's mere reservations.
_DATA_SLACK_BYTES = 256 * 1024**2
# DuckDB reads its own control group's limits when it connects, and aborts if it may not.
_READABLE = ("/proc/self/cgroup", "/sys/fs/cgroup")
_NOBODY = 65534
# Each image gets a number that none had before, so this bounds images over a job's life.
_MOST_FILES = 16_384
# Threads beyond the engine's: those of Arrow and of the allocator, by number of processors.
_MORE_THREADS = 64
_NAMESPACES = Namespace.USER | Namespace.NETWORK | Namespace.IPC | Namespace.UTS


def confine_worker(
    limits: Limits, *, parent: int, keep: Sequence[int], fills_memory: bool = False
) -> None:
    """Confine this process for the rest of its life; only descriptors `keep` stay open.

    Requires one thread. Afterwards it opens no file, no socket, no process; sees no
    environment; and dies with its parent, at its limits, or by its parent's kill.
    Raises SandboxUnavailable if a required layer cannot be put on.
    """
    footprint = confine_waiting(parent=parent, keep=keep)
    confine_run(limits, footprint, fills_memory=fills_memory)


def confine_waiting(*, parent: int, keep: Sequence[int]) -> Footprint:
    """Put on all that is the same for every job; returns what is mapped so far.

    As `confine_worker`, but that the limits of a job are still to come, by `confine_run`.
    """
    if len(list(Path("/proc/self/task").iterdir())) != 1:
        raise SandboxUnavailable("a worker must have one thread when it locks itself down")
    _close_all_but(keep)
    _reset_signals()
    become_nobody()
    is_alone = leave_namespaces() == ""
    die_with_parent(parent)
    syscalls.forbid_dumps()
    clear_environment()
    os.chdir("/")
    footprint = measure_footprint(is_alone=is_alone)
    confine_files()
    syscalls.drop_capabilities()
    confine_calls(is_waiting=True)
    forget_module_paths()
    return footprint


def confine_run(
    limits: Limits, footprint: Footprint, *, fills_memory: bool = False
) -> None:
    """Take on a job's limits, and the filter that lets nobody change them; for ever.

    `footprint` is what the process held before any job. `fills_memory`: whether its engine
    writes to files in memory, by the paths of their descriptors.
    """
    set_limits(limits, files=_MOST_FILES, footprint=footprint)
    confine_calls(fills_memory=fills_memory)


def forget_module_paths() -> None:
    """Have modules that are not loaded be absent, rather than there and unreadable.

    Arrow and the engine look for pandas in passing, and do without where there is none.
    """
    sys.meta_path[:] = [BuiltinImporter, FrozenImporter]


def confine_files() -> None:
    """Open no file any more (Landlock). Raises SandboxUnavailable where it is missing."""
    if syscalls.landlock_version() < 1:
        raise SandboxUnavailable(
            "the kernel offers no Landlock, a required layer",
            hint="Use Linux 5.13 or later with Landlock among its security modules.",
        )
    syscalls.landlock_restrict(tuple(path for path in _READABLE if Path(path).exists()))


def confine_calls(*, is_waiting: bool = False, fills_memory: bool = False) -> None:
    """Make no system call any more but those of the allow-list (seccomp)."""
    try:
        program = worker_filter(
            os.getpid(), is_waiting=is_waiting, fills_memory=fills_memory
        )
        syscalls.install_filter(program)
    except OSError as error:
        raise SandboxUnavailable(
            f"the kernel takes no system call filter, a required layer ({error.strerror})",
            hint="Use Linux on x86_64 or aarch64 with CONFIG_SECCOMP_FILTER.",
        ) from error


def confine_unsealer(vault: Path) -> None:
    """Read files beneath `vault` only, open none for writing, leave no dump."""
    syscalls.forbid_dumps()
    clear_environment()
    if syscalls.landlock_version() < 1:
        raise SandboxUnavailable("the kernel offers no Landlock, a required layer")
    syscalls.landlock_restrict((str(vault),))


@dataclass(frozen=True, slots=True)
class Footprint:
    """What a process holds before its job, which its limits come on top of."""

    mapped_bytes: int
    data_bytes: int  # of these, private and writable
    is_alone: bool  # in a user namespace of its own, where only its own threads count


def measure_footprint(*, is_alone: bool) -> Footprint:
    """Return this process's footprint; requires that /proc can be read."""
    pages = [int(word) for word in Path("/proc/self/statm").read_text().split()]
    size = resource.getpagesize()
    return Footprint(pages[0] * size, pages[5] * size, is_alone)


def set_limits(limits: Limits, *, files: int, footprint: Footprint | None = None) -> None:
    """Set the process's limits; hard, so that they cannot be raised again."""
    held = footprint or measure_footprint(is_alone=False)
    cpu = int(limits.deadline_seconds * max(1, limits.threads)) + 5
    for kind, value in (
        (
            resource.RLIMIT_AS,
            held.mapped_bytes + limits.memory_bytes + _ADDRESS_SLACK_BYTES,
        ),
        (resource.RLIMIT_DATA, held.data_bytes + limits.memory_bytes + _DATA_SLACK_BYTES),
        (resource.RLIMIT_FSIZE, max(limits.memory_bytes, limits.output_bytes)),
        (resource.RLIMIT_NOFILE, min(files, _hard_limit(resource.RLIMIT_NOFILE))),
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_MEMLOCK, 0),
        (resource.RLIMIT_MSGQUEUE, 0),
        (resource.RLIMIT_NICE, 0),
        (resource.RLIMIT_RTPRIO, 0),
    ):
        resource.setrlimit(kind, (value, value))
    # The first second beyond ends it by the signal that says why, the next one by force.
    resource.setrlimit(resource.RLIMIT_CPU, (cpu, cpu + 1))
    if held.is_alone:
        # Elsewhere all threads of the user count, of whom the daemon may be one.
        threads = limits.threads + _MORE_THREADS + (os.cpu_count() or 1)
        threads = min(threads, _hard_limit(resource.RLIMIT_NPROC))
        resource.setrlimit(resource.RLIMIT_NPROC, (threads, threads))


def _hard_limit(kind: int) -> int:
    _, hard = resource.getrlimit(kind)
    return sys.maxsize if hard == resource.RLIM_INFINITY else hard


def become_nobody() -> bool:
    """Give up root, where this process has it; says whether it has its own user now."""
    if os.geteuid() != 0:
        return False
    os.setgroups([])
    os.setresgid(_NOBODY, _NOBODY, _NOBODY)
    os.setresuid(_NOBODY, _NOBODY, _NOBODY)
    return True


def become(user: int, group: int) -> None:
    """Be another user for ever, in no other group, with nothing dumped; requires root.

    The kernel takes the parent-death signal back: set it afterwards.
    Raises SandboxUnavailable where that is refused.
    """
    try:
        os.setgroups([])
        os.setresgid(group, group, group)
        os.setresuid(user, user, user)
    except OSError as error:
        raise SandboxUnavailable(
            f"this process may not become another user ({error.strerror})",
            hint="Only root may: start the daemon as root, or without user names.",
        ) from error
    syscalls.forbid_dumps()


def leave_namespaces() -> str:
    """Move to empty namespaces (no network); returns why not, or nothing.

    Optional: some kernels and containers refuse it to ordinary users. It is reported.
    """
    try:
        syscalls.unshare(_NAMESPACES)
    except OSError as error:
        return f"unshare: {error.strerror}"
    return ""


def die_with_parent(parent: int) -> None:
    """Get SIGKILL when the parent dies, also if it died a moment ago."""
    # After the change of user: the kernel clears the setting with it.
    syscalls.set_parent_death_signal(signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(1)


def clear_environment() -> None:
    """Hold no environment variable."""
    os.environ.clear()


def _reset_signals() -> None:
    """Undo the parent's handlers: a worker dies of its signals."""
    signal.set_wakeup_fd(-1)
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGCHLD, signal.SIGXCPU):
        signal.signal(number, signal.SIG_DFL)
    # Writing beyond the size limit is then an error (EFBIG) that can be told in words.
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)


def _close_all_but(keep: Sequence[int]) -> None:
    """Close every descriptor but 0 to 2, which become /dev/null, and `keep`.

    The engine's and libraries' output goes nowhere: it may quote values.
    """
    nothing = os.open("/dev/null", os.O_RDWR)
    for standard in (0, 1, 2):
        os.dup2(nothing, standard)
    low = 3
    for descriptor in sorted(set(keep)):
        os.closerange(low, descriptor)
        low = descriptor + 1
    os.closerange(low, os.sysconf("SC_OPEN_MAX") if low < 65536 else low + 65536)

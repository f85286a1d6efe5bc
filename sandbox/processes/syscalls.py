"""The few Linux calls that Python does not offer, by ctypes; nothing else uses ctypes.

Each raises OSError with the kernel's errno.
"""

from __future__ import annotations

import ctypes
import errno
import mmap
import os
import platform
import resource
import stat
import struct
from enum import IntFlag

_LIBC = ctypes.CDLL(None, use_errno=True)
_LIBC.syscall.restype = ctypes.c_long

# The same on x86_64 and aarch64, the architectures that `sandbox.processes.seccomp` knows.
_LANDLOCK_CREATE_RULESET = 444
_LANDLOCK_ADD_RULE = 445
_LANDLOCK_RESTRICT_SELF = 446
_CAPSET = {"x86_64": 126, "aarch64": 91}
_SECCOMP = {"x86_64": 317, "aarch64": 277}
_PROCESS_VM_READV = {"x86_64": 310, "aarch64": 270}
_PTRACE = {"x86_64": 101, "aarch64": 117}
_KEYCTL = {"x86_64": 250, "aarch64": 219}
_IO_URING_SETUP = 425

_PR_SET_PDEATHSIG = 1
_PR_SET_DUMPABLE = 4
_PR_SET_NO_NEW_PRIVS = 38
_PTRACE_ATTACH = 16
_KEYCTL_GET_KEYRING_ID, _KEY_OF_PROCESS = 0, -2
_MCL_CURRENT, _MCL_FUTURE, _MCL_ONFAULT = 1, 2, 4
_LANDLOCK_VERSION_FLAG = 1
_LANDLOCK_RULE_PATH_BENEATH = 1
_SECCOMP_SET_MODE_FILTER = 1
_SECCOMP_FILTER_TSYNC = 1
_CAPABILITY_VERSION_3 = 0x20080522


class Namespace(IntFlag):
    """What `unshare` can take away."""

    MOUNT = 0x00020000
    UTS = 0x04000000
    IPC = 0x08000000
    USER = 0x10000000
    NETWORK = 0x40000000


class FileAccess(IntFlag):
    """Landlock's rights on files (linux/landlock.h)."""

    EXECUTE = 1 << 0
    WRITE_FILE = 1 << 1
    READ_FILE = 1 << 2
    READ_DIR = 1 << 3


def machine() -> str:
    """Return the architecture's name as the kernel gives it."""
    return platform.machine()


def unshare(namespaces: Namespace) -> None:
    """Leave these namespaces; requires a process with one thread for USER."""
    _check(_LIBC.unshare(ctypes.c_int(namespaces)))


def set_parent_death_signal(number: int) -> None:
    """Have this process get signal `number` when its parent dies."""
    _prctl(_PR_SET_PDEATHSIG, number)


def forbid_dumps() -> None:
    """Make this process's memory and /proc entries closed to others of its user."""
    _prctl(_PR_SET_DUMPABLE, 0)


def lock_all_memory() -> None:
    """Keep this process's pages, also those still to come, out of swap once touched."""
    # With a limit the lock would hold for what is mapped now, and the next large mapping
    # would fail: all or nothing.
    soft, _ = resource.getrlimit(resource.RLIMIT_MEMLOCK)
    if soft != resource.RLIM_INFINITY and os.geteuid() != 0:
        raise OSError(errno.EPERM, os.strerror(errno.EPERM))
    _check(_LIBC.mlockall(_MCL_CURRENT | _MCL_FUTURE | _MCL_ONFAULT))


def clear_bytes(value: bytes) -> None:
    """Overwrite an immutable object's bytes with zeros; nobody may use it any more."""
    # CPython keeps the bytes at the end of the object, before one byte of zero.
    start = id(value) + bytes.__basicsize__ - 1
    ctypes.memset(start, 0, len(value))


def forbid_new_privileges() -> None:
    """Make set-user-id programs and file capabilities void from here on."""
    _prctl(_PR_SET_NO_NEW_PRIVS, 1)


def drop_capabilities() -> None:
    """Hold no capability any more."""
    header = struct.pack("=Ii", _CAPABILITY_VERSION_3, 0)
    _syscall(_CAPSET[machine()], header, bytes(24))


def landlock_version() -> int:
    """Return the kernel's Landlock ABI version; 0 where it has none or it is disabled."""
    try:
        return _syscall(_LANDLOCK_CREATE_RULESET, None, 0, _LANDLOCK_VERSION_FLAG)
    except OSError:
        return 0


def landlock_restrict(readable: tuple[str, ...] = ()) -> None:
    """Open no file any more but those beneath `readable`, and those only for reading.

    Descriptors that are open stay usable. Where the kernel can, TCP, abstract sockets of
    others and signals to others are taken away too.
    """
    version = landlock_version()
    ruleset = _landlock_ruleset(version)
    try:
        for path in readable:
            _landlock_allow(ruleset, path)
        forbid_new_privileges()
        _syscall(_LANDLOCK_RESTRICT_SELF, ruleset, 0)
    finally:
        os.close(ruleset)


def _landlock_ruleset(version: int) -> int:
    # Rights by the version that brought them; to handle a right means to refuse it.
    file_bits = 13 if version < 2 else 14 if version < 3 else 15 if version < 5 else 16
    network = 0b11 if version >= 4 else 0
    scoped = 0b11 if version >= 6 else 0
    attributes = struct.pack("=QQQ", (1 << file_bits) - 1, network, scoped)
    length = 8 if version < 4 else 16 if version < 6 else 24
    return _syscall(_LANDLOCK_CREATE_RULESET, attributes[:length], length, 0)


def _landlock_allow(ruleset: int, path: str) -> None:
    beneath = os.open(path, os.O_PATH | os.O_CLOEXEC)
    try:
        rights = FileAccess.READ_FILE
        if stat.S_ISDIR(os.fstat(beneath).st_mode):
            rights |= FileAccess.READ_DIR
        rule = struct.pack("=Qi", rights, beneath)
        _syscall(_LANDLOCK_ADD_RULE, ruleset, _LANDLOCK_RULE_PATH_BENEATH, rule, 0)
    finally:
        os.close(beneath)


def install_filter(program: bytes) -> None:
    """Have the kernel judge every later system call of this process by a BPF program."""
    forbid_new_privileges()
    code = ctypes.create_string_buffer(program, len(program))
    # struct sock_fprog: a 16-bit count, padding, a pointer.
    fprog = struct.pack("=H6xQ", len(program) // 8, ctypes.addressof(code))
    _syscall(_SECCOMP[machine()], _SECCOMP_SET_MODE_FILTER, _SECCOMP_FILTER_TSYNC, fprog)


def read_memory_of(pid: int, address: int, count: int) -> bytes:
    """Return bytes of another process's memory: an attack that the self-check tries."""
    buffer = ctypes.create_string_buffer(count)
    local = struct.pack("=QQ", ctypes.addressof(buffer), count)
    remote = struct.pack("=QQ", address, count)
    _syscall(_PROCESS_VM_READV[machine()], pid, local, 1, remote, 1, 0)
    return buffer.raw


def attach_to(pid: int) -> None:
    """Become the tracer of another process: an attack that the self-check tries."""
    _syscall(_PTRACE[machine()], _PTRACE_ATTACH, pid, 0, 0)


def set_up_io_uring() -> int:
    """Make a ring that goes round system call filters: an attack the self-check tries."""
    return _syscall(_IO_URING_SETUP, 4, bytes(256))


def find_keyring() -> int:
    """Return this process's keyring: an attack that the self-check tries."""
    return _syscall(_KEYCTL[machine()], _KEYCTL_GET_KEYRING_ID, _KEY_OF_PROCESS, 1)


def allow_dumps() -> None:
    """Undo `forbid_dumps`: an attack that the self-check tries."""
    _prctl(_PR_SET_DUMPABLE, 1)


def make_memory_executable() -> None:
    """Have written memory run as code: an attack that the self-check tries."""
    with mmap.mmap(-1, mmap.PAGESIZE) as memory:
        start = ctypes.addressof(view := ctypes.c_char.from_buffer(memory))
        try:
            _check(
                _LIBC.mprotect(
                    ctypes.c_void_p(start),
                    ctypes.c_size_t(mmap.PAGESIZE),
                    ctypes.c_int(mmap.PROT_READ | mmap.PROT_EXEC),
                )
            )
        finally:
            del view


def _prctl(option: int, value: int) -> None:
    arguments = [ctypes.c_ulong(number) for number in (value, 0, 0, 0)]
    _check(_LIBC.prctl(ctypes.c_int(option), *arguments))


def _syscall(number: int, *arguments: int | bytes | None) -> int:
    converted = [
        ctypes.c_long(argument) if isinstance(argument, int) else argument
        for argument in arguments
    ]
    return _check(_LIBC.syscall(ctypes.c_long(number), *converted))


def _check(result: int) -> int:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return result

"""The system call filter of a worker, assembled to classic BPF.

An allow-list: whatever is not named answers EPERM. That takes away sockets, programs,
processes (threads stay), signals to others, tracing, other processes' memory, namespaces,
mounts, keyrings, io_uring, BPF, new executable memory and opening anything for writing.
Numbers: x86_64 from asm/unistd_64.h, aarch64 from asm-generic/unistd.h.
"""

from __future__ import annotations

import errno
import struct
from dataclasses import dataclass

from sandbox.processes.syscalls import machine

# struct sock_filter: code, jump if true, jump if false, operand (linux/filter.h).
_INSTRUCTION = struct.Struct("=HBBI")
_LOAD, _JUMP_EQUAL, _JUMP_AT_LEAST, _AND, _RETURN = 0x20, 0x15, 0x35, 0x54, 0x06
# Offsets into struct seccomp_data; arguments are 64 bits each, low half first.
_NUMBER_AT, _ARCHITECTURE_AT, _ARGUMENTS_AT = 0, 4, 16
_KILL, _ERRNO, _ALLOW = 0x80000000, 0x00050000, 0x7FFF0000
_ARCHITECTURES = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
_X32_BIT = 0x40000000

# Name -> number on x86_64, on aarch64 (None: the architecture has no such call).
_ALLOWED: dict[str, tuple[int | None, int | None]] = {
    "read": (0, 63),
    "write": (1, 64),
    "readv": (19, 65),
    "writev": (20, 66),
    "pread64": (17, 67),
    "pwrite64": (18, 68),
    "preadv": (295, 69),
    "pwritev": (296, 70),
    "lseek": (8, 62),
    "close": (3, 57),
    "fstat": (5, 80),
    "newfstatat": (262, 79),
    "statx": (332, 291),
    "readlinkat": (267, 78),
    "faccessat": (269, 48),
    "faccessat2": (439, 439),
    "getcwd": (79, 17),
    "fcntl": (72, 25),
    "dup": (32, 23),
    "ftruncate": (77, 46),
    "fsync": (74, 82),
    "fdatasync": (75, 83),
    "munmap": (11, 215),
    "mremap": (25, 216),
    "madvise": (28, 233),
    "brk": (12, 214),
    "futex": (202, 98),
    "sched_yield": (24, 124),
    "sched_getaffinity": (204, 123),
    "membarrier": (324, 283),
    "set_robust_list": (273, 99),
    "rseq": (334, 293),
    "set_tid_address": (218, 96),
    "gettid": (186, 178),
    "getpid": (39, 172),
    "getppid": (110, 173),
    "getuid": (102, 174),
    "geteuid": (107, 175),
    "getgid": (104, 176),
    "getegid": (108, 177),
    "rt_sigaction": (13, 134),
    "rt_sigprocmask": (14, 135),
    "rt_sigreturn": (15, 139),
    "rt_sigtimedwait": (128, 137),
    "sigaltstack": (131, 132),
    "nanosleep": (35, 101),
    "clock_nanosleep": (230, 115),
    "clock_gettime": (228, 113),
    "clock_getres": (229, 114),
    "gettimeofday": (96, 169),
    "getrandom": (318, 278),
    "getrusage": (98, 165),
    "times": (100, 153),
    "sysinfo": (99, 179),
    "uname": (63, 160),
    "ppoll": (271, 73),
    "exit": (60, 93),
    "exit_group": (231, 94),
    "restart_syscall": (219, 128),
    "getcpu": (309, 168),
    "mincore": (27, 232),
    "stat": (4, None),
    "lstat": (6, None),
    "readlink": (89, None),
    "access": (21, None),
    "poll": (7, None),
    "time": (201, None),
    "getrlimit": (97, 163),
    # Images come as descriptors over the worker's one socket to the unsealer; there is no
    # call to make another socket, nor to send a descriptor.
    "recvmsg": (47, 212),
}
_CONDITIONAL: dict[str, tuple[int | None, int | None]] = {
    "openat": (257, 56),
    "open": (2, None),
    "mmap": (9, 222),
    "mprotect": (10, 226),
    "clone": (56, 220),
    "prctl": (157, 167),
    "prlimit64": (302, 261),
    "tgkill": (234, 131),
}

_CLONE3 = 435  # on both
_O_WRITING = (
    0o3 | 0o100 | 0o1000 | 0o2000 | 0o20000000
)  # mode, CREAT, TRUNC, APPEND, TMPFILE
_PROT_EXEC = 4
_THREAD_FLAGS = 0x00010000 | 0x00000800 | 0x00000100  # THREAD, SIGHAND, VM
_NAMESPACE_FLAGS = 0x7E020080  # every CLONE_NEW*
_PR_SET_NAME, _PR_GET_NAME, _PR_SET_VMA = 15, 16, 0x53564D41


@dataclass(frozen=True, slots=True)
class _Condition:
    """Allow the call if an argument's low half, under `mask`, is one of `values`."""

    argument: int
    mask: int
    values: tuple[int, ...]


def _conditions(own_pid: int) -> dict[str, _Condition]:
    return {
        # Opening is refused by Landlock too; this stands if it has a hole, and for writing.
        "openat": _Condition(2, _O_WRITING, (0,)),
        "open": _Condition(1, _O_WRITING, (0,)),
        "mmap": _Condition(2, _PROT_EXEC, (0,)),
        "mprotect": _Condition(2, _PROT_EXEC, (0,)),
        "clone": _Condition(0, _THREAD_FLAGS | _NAMESPACE_FLAGS, (_THREAD_FLAGS,)),
        "prctl": _Condition(0, 0xFFFFFFFF, (_PR_SET_NAME, _PR_GET_NAME, _PR_SET_VMA)),
        "prlimit64": _Condition(0, 0xFFFFFFFF, (0, own_pid)),
        "tgkill": _Condition(0, 0xFFFFFFFF, (own_pid,)),
    }


def worker_filter(own_pid: int) -> bytes:
    """Return the program for the process `own_pid`, for `syscalls.install_filter`.

    Raises OSError (ENOSYS) on an architecture whose numbers are not known.
    """
    column = {"x86_64": 0, "aarch64": 1}.get(machine())
    if column is None:
        raise OSError(errno.ENOSYS, f"no system call numbers are known for {machine()}")
    program = [
        (_LOAD, 0, 0, _ARCHITECTURE_AT),
        (_JUMP_EQUAL, 1, 0, _ARCHITECTURES[machine()]),
        (_RETURN, 0, 0, _KILL),
        (_LOAD, 0, 0, _NUMBER_AT),
    ]
    if column == 0:  # the x32 numbers would pass by another table
        program += [(_JUMP_AT_LEAST, 0, 1, _X32_BIT), (_RETURN, 0, 0, _KILL)]
    for numbers in _ALLOWED.values():
        if (number := numbers[column]) is not None:
            program += [(_JUMP_EQUAL, 0, 1, number), (_RETURN, 0, 0, _ALLOW)]
    for name, condition in _conditions(own_pid).items():
        if (number := _CONDITIONAL[name][column]) is not None:
            body = _check(condition)
            program += [(_JUMP_EQUAL, 0, len(body), number), *body]
    # clone3 hides its flags behind a pointer; ENOSYS makes libc fall back to clone.
    program += [
        (_JUMP_EQUAL, 0, 1, _CLONE3),
        (_RETURN, 0, 0, _ERRNO | errno.ENOSYS),
        (_RETURN, 0, 0, _ERRNO | errno.EPERM),
    ]
    return b"".join(_INSTRUCTION.pack(*instruction) for instruction in program)


def _check(condition: _Condition) -> list[tuple[int, int, int, int]]:
    """Instructions that end in ALLOW or EPERM."""
    body = [
        (_LOAD, 0, 0, _ARGUMENTS_AT + 8 * condition.argument),
        (_AND, 0, 0, condition.mask),
    ]
    for value in condition.values:
        body += [(_JUMP_EQUAL, 0, 1, value), (_RETURN, 0, 0, _ALLOW)]
    return [*body, (_RETURN, 0, 0, _ERRNO | errno.EPERM)]

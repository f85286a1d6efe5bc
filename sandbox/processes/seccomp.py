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
    "writev": (20, 66),
    "pread64": (17, 67),
    "pwrite64": (18, 68),
    "lseek": (8, 62),
    "close": (3, 57),
    "fstat": (5, 80),
    "newfstatat": (262, 79),
    "statx": (332, 291),
    "readlinkat": (267, 78),
    "faccessat": (269, 48),
    "faccessat2": (439, 439),
    "dup": (32, 23),
    "ftruncate": (77, 46),
    "munmap": (11, 215),
    "mremap": (25, 216),
    "brk": (12, 214),
    "sched_yield": (24, 124),
    "set_robust_list": (273, 99),
    "rseq": (334, 293),
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
    "sigaltstack": (131, 132),
    "nanosleep": (35, 101),
    "clock_nanosleep": (230, 115),
    "clock_gettime": (228, 113),
    "clock_getres": (229, 114),
    "gettimeofday": (96, 169),
    "getrandom": (318, 278),
    "getrusage": (98, 165),
    "sysinfo": (99, 179),
    "ppoll": (271, 73),
    "exit": (60, 93),
    "exit_group": (231, 94),
    "restart_syscall": (219, 128),
    "stat": (4, None),
    "lstat": (6, None),
    "readlink": (89, None),
    "access": (21, None),
    "poll": (7, None),
    # Images come as descriptors over the worker's one socket to the unsealer; there is no
    # call to make another socket, nor to send a descriptor.
    "recvmsg": (47, 212),
}
_CONDITIONAL: dict[str, tuple[int | None, int | None]] = {
    "futex": (202, 98),
    "fcntl": (72, 25),
    "madvise": (28, 233),
    "sched_getaffinity": (204, 123),
    "openat": (257, 56),
    "open": (2, None),
    "mmap": (9, 222),
    "mprotect": (10, 226),
    "clone": (56, 220),
    "prctl": (157, 167),
    "prlimit64": (302, 261),
    "tgkill": (234, 131),
    "seccomp": (317, 277),
}

_CLONE3 = 435  # on both
# Opening is for reading only, with no flag but these: O_PATH would pass Landlock, O_ASYNC
# has the kernel send signals, O_CREAT and O_TRUNC write.
_F_SETLK = 6
_O_FILLING = 0o1 | 0o100 | 0o1000  # write only, create, truncate; the same on both
_O_NONBLOCK, _O_CLOEXEC = 0o4000, 0o2000000
_O_LARGEFILE = {"x86_64": 0o100000, "aarch64": 0o400000}
# Duplicates, flags of descriptors, and questions. F_SETOWN and F_SETSIG would have the
# kernel send any signal to any process of the same user; locks reach into other jobs.
_FCNTLS = (0, 1, 2, 3, 1030, 1034)  # DUPFD, GETFD, SETFD, GETFL, DUPFD_CLOEXEC, GET_SEALS
# WAIT, WAKE, REQUEUE, CMP_REQUEUE, WAKE_OP, WAIT_BITSET, WAKE_BITSET; not those that
# inherit priorities, which served as ways into the kernel (CVE-2014-3153, CVE-2021-3347).
_FUTEX_OPERATION, _FUTEXES = 0x7F, (0, 1, 3, 4, 5, 9, 10)
# NORMAL to DONTNEED, FREE, (NO)HUGEPAGE, (DO|DONT)DUMP; not MERGEABLE, by which a process
# tells what pages others have.
_ADVICE = (0, 1, 2, 3, 4, 8, 14, 15, 16, 17)
_MAP_HUGETLB = 0x40000  # a reserve of the whole machine
_PROT_EXEC = 4
_THREAD_FLAGS = 0x00010000 | 0x00000800 | 0x00000100  # THREAD, SIGHAND, VM
_NAMESPACE_FLAGS = 0x7E020080  # every CLONE_NEW*
_SET_MODE_FILTER = 1
_PRCTLS = (15, 16, 0x53564D41)  # SET_NAME, GET_NAME, SET_VMA
_PR_SET_NO_NEW_PRIVS = 38


@dataclass(frozen=True, slots=True)
class _Condition:
    """An argument's half, under `mask`, is one of `values`."""

    argument: int
    mask: int
    values: tuple[int, ...]
    half: int = 0  # 0: low, 1: high


def _conditions(
    own_pid: int, *, is_waiting: bool, fills_memory: bool
) -> dict[str, tuple[_Condition, ...]]:
    """Call -> what must hold of its arguments, all of it."""
    everywhere = 0xFFFFFFFF
    opening = _O_NONBLOCK | _O_CLOEXEC | _O_LARGEFILE[machine()]
    controls: tuple[int, ...] = _FCNTLS
    if is_waiting or fills_memory:
        # The engine writes images of ingest into files in memory, which it opens by the
        # path of a descriptor. Landlock alone keeps it from any other: it lets no path
        # beneath a mounted file system be opened for writing, and a memfd has no mount.
        opening |= _O_FILLING
        # It locks what it writes; nobody else locks a file in memory, or heeds a lock.
        controls = (*_FCNTLS, _F_SETLK)
    waiting = (_PR_SET_NO_NEW_PRIVS,) if is_waiting else ()
    own = _Condition(0, everywhere, (0, own_pid))
    no_new_limit = tuple(_Condition(2, everywhere, (0,), half) for half in (0, 1))
    return {
        "futex": (_Condition(1, _FUTEX_OPERATION, _FUTEXES),),
        "fcntl": (_Condition(1, everywhere, controls),),
        "madvise": (_Condition(2, everywhere, _ADVICE),),
        "sched_getaffinity": (own,),
        # Opening is refused by Landlock too; this stands if it has a hole, and for writing.
        "openat": (_Condition(2, everywhere & ~opening, (0,)),),
        "open": (_Condition(1, everywhere & ~opening, (0,)),),
        "mmap": (_Condition(2, _PROT_EXEC, (0,)), _Condition(3, _MAP_HUGETLB, (0,))),
        "mprotect": (_Condition(2, _PROT_EXEC, (0,)),),
        "clone": (_Condition(0, _THREAD_FLAGS | _NAMESPACE_FLAGS, (_THREAD_FLAGS,)),),
        "prctl": (_Condition(0, everywhere, (*_PRCTLS, *waiting)),),
        "tgkill": (_Condition(0, everywhere, (own_pid,)),),
        # Who waits for a job still sets the job's limits, and the filter for its run.
        "prlimit64": (own,) if is_waiting else (own, *no_new_limit),
        "seccomp": (_Condition(0, everywhere, (_SET_MODE_FILTER,) if is_waiting else ()),),
    }


def worker_filter(
    own_pid: int, *, is_waiting: bool = False, fills_memory: bool = False
) -> bytes:
    """Return the program for the process `own_pid`, for `syscalls.install_filter`.

    Filters add up and none can be taken back: with `is_waiting`, one that lets the process
    set its limits and one more filter. With `fills_memory`, files that Landlock lets it
    open may be opened for writing: those in memory that it already has.

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
    for name, conditions in _conditions(
        own_pid, is_waiting=is_waiting, fills_memory=fills_memory
    ).items():
        if (number := _CONDITIONAL[name][column]) is not None:
            body = _check(conditions)
            program += [(_JUMP_EQUAL, 0, len(body), number), *body]
    # clone3 hides its flags behind a pointer; ENOSYS makes libc fall back to clone.
    program += [
        (_JUMP_EQUAL, 0, 1, _CLONE3),
        (_RETURN, 0, 0, _ERRNO | errno.ENOSYS),
        (_RETURN, 0, 0, _ERRNO | errno.EPERM),
    ]
    return b"".join(_INSTRUCTION.pack(*instruction) for instruction in program)


def _check(conditions: tuple[_Condition, ...]) -> list[tuple[int, int, int, int]]:
    """Instructions that end in ALLOW or EPERM."""
    body = []
    for condition in conditions:
        body += [
            (_LOAD, 0, 0, _ARGUMENTS_AT + 8 * condition.argument + 4 * condition.half),
            (_AND, 0, 0, condition.mask),
        ]
        for left in range(len(condition.values), 0, -1):
            # Over the comparisons that are left, and the refusal behind them.
            body.append((_JUMP_EQUAL, left, 0, condition.values[-left]))
        body.append((_RETURN, 0, 0, _ERRNO | errno.EPERM))
    return [*body, (_RETURN, 0, 0, _ALLOW)]

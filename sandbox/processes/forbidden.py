"""What no worker may do, as functions that try it: they return if it worked.

Each is harmless where it works: it looks, asks or signals nothing. Those that must fail
under Landlock, the system call filter or the limits alone stand in one tuple each.
"""

from __future__ import annotations

import fcntl
import mmap
import os
import resource
import socket
import subprocess
import sys
from collections.abc import Callable

from sandbox.processes import syscalls

Attack = Callable[[], None]


def _read_file() -> None:
    os.open("/etc/passwd", os.O_RDONLY)


def _read_parent_environment() -> None:
    os.open(f"/proc/{os.getppid()}/environ", os.O_RDONLY)


def _read_own_environment() -> None:
    os.open("/proc/self/environ", os.O_RDONLY)


def _walk_out_of_descriptors() -> None:
    os.open("/proc/self/fd/../../../etc/passwd", os.O_RDONLY)


def _list_directory() -> None:
    os.open("/", os.O_RDONLY | os.O_DIRECTORY)


def _write_file() -> None:
    os.open(f"/tmp/.bonded-selfcheck-{os.getpid()}", os.O_WRONLY | os.O_CREAT)  # noqa: S108 - tried because it must fail


def _execute() -> None:
    os.execv("/bin/true", ["true"])  # noqa: S606 - tried because it must fail


def _open_for_writing() -> None:
    os.open("/dev/null", os.O_WRONLY)


def _hold_a_path() -> None:
    os.open("/etc/passwd", os.O_PATH)


def _make_memory_file() -> None:
    os.memfd_create("selfcheck")


def _internet_socket() -> None:
    socket.socket(socket.AF_INET, socket.SOCK_STREAM)


def _internet_6_socket() -> None:
    socket.socket(socket.AF_INET6, socket.SOCK_STREAM)


def _unix_socket() -> None:
    socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)


def _netlink_socket() -> None:
    socket.socket(socket.AF_NETLINK, socket.SOCK_RAW)


def _spawn() -> None:
    subprocess.run([sys.executable, "-c", ""], check=False)


def _fork() -> None:
    if os.fork() == 0:
        os._exit(0)


def _signal_parent() -> None:
    os.kill(os.getppid(), 0)


def _refer_to_parent() -> None:
    os.pidfd_open(os.getppid())


def _signal_parent_by_kernel() -> None:
    # Whoever owns a descriptor gets a signal of one's choice when something happens to it.
    fcntl.fcntl(1, fcntl.F_SETOWN, os.getppid())


def _trace_parent() -> None:
    syscalls.attach_to(os.getppid())


def _read_parent_memory() -> None:
    # Any mapped address will do: after a fork, this object lies there in the parent too.
    syscalls.read_memory_of(os.getppid(), id(FILE_ATTACKS), 16)


def _io_uring() -> None:
    syscalls.set_up_io_uring()


def _keyring() -> None:
    syscalls.find_keyring()


def _new_namespace() -> None:
    syscalls.unshare(syscalls.Namespace.USER)


def _run_new_code() -> None:
    mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)


def _run_old_memory() -> None:
    syscalls.make_memory_executable()


def _allow_dumps() -> None:
    syscalls.allow_dumps()


def _outlive_parent() -> None:
    syscalls.set_parent_death_signal(0)


def _share_pages() -> None:
    mmap.mmap(-1, 1 << 16).madvise(mmap.MADV_MERGEABLE)


def _use_memory() -> None:
    mmap.mmap(-1, 2 * 1024**3, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)


def _write_large_file() -> None:
    os.ftruncate(os.memfd_create("selfcheck"), 1 << 40)


def _use_a_high_descriptor() -> None:
    fcntl.fcntl(1, fcntl.F_DUPFD, 200)


def _raise_limit() -> None:
    # Root may raise limits; a worker must not be root any more.
    resource.setrlimit(resource.RLIMIT_AS, (resource.RLIM_INFINITY,) * 2)


def _become_root() -> None:
    os.setresuid(0, 0, 0)


def _see_environment() -> None:
    if not os.environ:
        raise PermissionError


FILE_ATTACKS: tuple[Attack, ...] = (
    _read_file,
    _read_parent_environment,
    _read_own_environment,
    _walk_out_of_descriptors,
    _list_directory,
    _write_file,
    _execute,
)
CALL_ATTACKS: tuple[Attack, ...] = (
    _open_for_writing,
    _hold_a_path,
    _make_memory_file,
    _internet_socket,
    _internet_6_socket,
    _unix_socket,
    _netlink_socket,
    _spawn,
    _fork,
    _execute,
    _signal_parent,
    _refer_to_parent,
    _signal_parent_by_kernel,
    _trace_parent,
    _read_parent_memory,
    _io_uring,
    _keyring,
    _new_namespace,
    _run_new_code,
    _run_old_memory,
    _allow_dumps,
    _outlive_parent,
    _share_pages,
)
# The limits' own, on a process that may hold 64 descriptors.
LIMIT_ATTACKS: tuple[Attack, ...] = (_use_memory, _write_large_file, _use_a_high_descriptor)
WORKER_ATTACKS: tuple[Attack, ...] = (
    *FILE_ATTACKS,
    *CALL_ATTACKS,
    _use_memory,
    _write_large_file,
    _raise_limit,
    _become_root,
    _see_environment,
)


def attacks_on(sealed: int) -> tuple[Attack, ...]:
    """Return attacks on a sealed file in memory, such as a worker's images are."""

    def write_sealed_file() -> None:
        os.pwrite(sealed, b"x", 0)

    def write_sealed_file_opened_anew() -> None:
        again = os.open(f"/proc/self/fd/{sealed}", os.O_RDWR)
        os.pwrite(again, b"x", 0)

    def map_sealed_file_to_write() -> None:
        mmap.mmap(sealed, 1, prot=mmap.PROT_READ | mmap.PROT_WRITE)

    def cut_sealed_file() -> None:
        os.ftruncate(sealed, 0)

    def unseal_file() -> None:
        fcntl.fcntl(sealed, fcntl.F_ADD_SEALS, 0)

    return (
        write_sealed_file,
        write_sealed_file_opened_anew,
        map_sealed_file_to_write,
        cut_sealed_file,
        unseal_file,
    )

"""Attempts on the network, on other processes, on the kernel, and to get more of it all."""

from __future__ import annotations

import ctypes
import errno
import fcntl
import mmap
import os
import resource
import signal
import socket
import struct
import subprocess
import threading

from sandbox.processes import syscalls
from tests.attacks.sandbox.attempts import LIBC, Target, attempt, call

_QUEUED = struct.pack("=iii", signal.SIGUSR2, 0, -1) + bytes(116)  # siginfo, SI_QUEUE


def _socket(family: int, kind: int = socket.SOCK_STREAM, protocol: int = 0) -> None:
    socket.socket(family, kind, protocol).close()


@attempt("network", "seccomp", "namespaces", "landlock")
def connect_by_tcp(at: Target) -> None:
    with socket.socket(socket.AF_INET) as client:
        client.connect(("127.0.0.1", at.port))


@attempt("network", "seccomp", "namespaces")
def send_by_udp(at: Target) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        sender.sendto(b"x", ("127.0.0.1", at.port))


@attempt("network", "seccomp", "namespaces", "landlock")
def connect_to_a_socket_without_a_path(at: Target) -> None:
    with socket.socket(socket.AF_UNIX) as client:
        client.connect("\0" + at.abstract)


@attempt("network", "seccomp")
def connect_to_a_socket_with_a_path(at: Target) -> None:
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(str(at.path_socket))


@attempt("network", "seccomp")
def internet_socket_version_6(at: Target) -> None:
    _socket(socket.AF_INET6)


@attempt("network", "seccomp")
def netlink_socket(at: Target) -> None:
    _socket(socket.AF_NETLINK, socket.SOCK_RAW)


@attempt("network", "seccomp", "own_user")
def packet_socket(at: Target) -> None:
    _socket(socket.AF_PACKET, socket.SOCK_RAW)


@attempt("network", "seccomp")
def pair_of_sockets(at: Target) -> None:
    socket.socketpair()


@attempt("network", "seccomp")
def pipe(at: Target) -> None:
    os.pipe()


# --- new processes and programs


@attempt("spawn", "seccomp")
def fork(at: Target) -> None:
    if os.fork() == 0:
        os._exit(0)


@attempt("spawn", "seccomp")
def vfork(at: Target) -> None:
    # Flags of vfork by number: a child in the same memory would run on this stack.
    if call((56, 220), signal.SIGCHLD, 0, 0, 0, 0) == 0:
        os._exit(0)


@attempt("spawn", "seccomp")
def clone3(at: Target) -> None:
    arguments = struct.pack("=11Q", 0, 0, 0, 0, signal.SIGCHLD, *([0] * 6))
    if call((435, 435), arguments, len(arguments)) == 0:
        os._exit(0)


@attempt("spawn", "seccomp")
def posix_spawn(at: Target) -> None:
    os.posix_spawn("/bin/true", ["true"], {})


@attempt("spawn", "seccomp", "landlock")
def run_a_program(at: Target) -> None:
    subprocess.run(["/bin/true"], check=True)


@attempt("spawn", "seccomp", "landlock")
def become_a_program(at: Target) -> None:
    os.execv("/bin/true", ["true"])  # noqa: S606 - tried because it must fail


@attempt("spawn", "seccomp")
def become_a_program_from_memory(at: Target) -> None:
    program = os.memfd_create("program", 0)
    os.write(program, b"#!/bin/true\n")
    os.execve(program, ["true"], {})  # noqa: S606 - tried because it must fail


# --- other processes


@attempt("processes", "seccomp", "own_user", "landlock")
def signal_a_process(at: Target) -> None:
    os.kill(at.pid, signal.SIGUSR2)


@attempt("processes", "seccomp", "own_user", "landlock")
def queue_a_signal(at: Target) -> None:
    call((129, 138), at.pid, signal.SIGUSR2, _QUEUED)


@attempt("processes", "seccomp")
def refer_to_a_process(at: Target) -> None:
    os.pidfd_open(at.pid)


@attempt("processes", "seccomp", "own_user", "landlock")
def take_a_descriptor_of_a_process(at: Target) -> None:
    call((438, 438), os.pidfd_open(at.pid), at.descriptor, 0)


@attempt("processes", "seccomp", "own_user", "landlock")
def trace_a_process(at: Target) -> None:
    syscalls.attach_to(at.pid)


@attempt("processes", "seccomp", "own_user", "landlock")
def read_the_memory_of_a_process(at: Target) -> None:
    syscalls.read_memory_of(at.pid, at.address, 6)


@attempt("processes", "seccomp", "own_user", "landlock")
def write_the_memory_of_a_process(at: Target) -> None:
    buffer = ctypes.create_string_buffer(b"broken")
    local = struct.pack("=QQ", ctypes.addressof(buffer), 6)
    call((311, 271), at.pid, local, 1, struct.pack("=QQ", at.address, 6), 1, 0)


@attempt("processes", "seccomp", "own_user")
def limit_a_process(at: Target) -> None:
    resource.prlimit(at.pid, resource.RLIMIT_CORE, (0, 0))


@attempt("processes", "seccomp", "own_user")
def slow_a_process_down(at: Target) -> None:
    os.setpriority(os.PRIO_PROCESS, at.pid, 19)


@attempt("processes", "seccomp", "own_user")
def move_a_process(at: Target) -> None:
    os.sched_setaffinity(at.pid, {0})


@attempt("processes", "seccomp")
def have_the_kernel_signal_a_process(at: Target) -> None:
    # The owner of a descriptor gets a signal of one's choice when something happens to it.
    fcntl.fcntl(at.given, fcntl.F_SETOWN, at.pid)
    fcntl.fcntl(at.given, fcntl.F_SETSIG, signal.SIGCONT)


@attempt("processes", "seccomp")
def lock_an_image_of_others(at: Target) -> None:
    fcntl.lockf(at.sealed, fcntl.LOCK_EX | fcntl.LOCK_NB)


# --- the kernel


@attempt("kernel", "seccomp")
def ring_of_io(at: Target) -> None:
    syscalls.set_up_io_uring()


@attempt("kernel", "seccomp", "own_user")
def bpf_map(at: Target) -> None:
    call((321, 280), 0, struct.pack("=IIII", 1, 4, 4, 1) + bytes(112), 128)


@attempt("kernel", "seccomp")
def keyring(at: Target) -> None:
    call((250, 219), 0, -2, 1)  # KEYCTL_GET_KEYRING_ID of the process, made if need be


@attempt("kernel", "seccomp")
def page_faults_of_ones_own(at: Target) -> None:
    call((323, 282), 1)  # UFFD_USER_MODE_ONLY


@attempt("kernel", "seccomp")
def performance_counter(at: Target) -> None:
    attributes = struct.pack("=IIQ", 1, 128, 1) + bytes(24) + struct.pack("=Q", 0x61)
    call((298, 241), attributes + bytes(128 - len(attributes)), 0, -1, -1, 0)


@attempt("kernel", "seccomp")
def new_user_namespace(at: Target) -> None:
    syscalls.unshare(syscalls.Namespace.USER)


@attempt("kernel", "seccomp")
def other_persona(at: Target) -> None:
    call((135, 92), 0x0400000)  # READ_IMPLIES_EXEC


@attempt("kernel", "seccomp", "own_user")
def change_the_root(at: Target) -> None:
    os.chroot(at.folder)


@attempt("kernel", "seccomp", "own_user")
def mount_something(at: Target) -> None:
    try:
        call((165, 40), b"none\0", os.fsencode(at.folder) + b"\0", b"no-such\0", 0, None)
    except OSError as error:
        if error.errno != errno.ENODEV:  # the kernel would have, had it known the kind
            raise


@attempt("kernel", "seccomp", "own_user")
def become_root(at: Target) -> None:
    os.setresuid(0, 0, 0)
    os.setgroups([])


@attempt("kernel", "seccomp", "own_user")
def name_the_machine(at: Target) -> None:
    socket.sethostname(socket.gethostname())


@attempt("kernel", "seccomp")
def be_dumpable_again(at: Target) -> None:
    call((157, 167), 4, 1, 0, 0, 0)


@attempt("kernel", "seccomp")
def outlive_the_parent(at: Target) -> None:
    call((157, 167), 1, 0, 0, 0, 0)


@attempt("kernel", "seccomp")
def another_filter(at: Target) -> None:
    syscalls.install_filter(struct.pack("=HBBI", 6, 0, 0, 0x7FFF0000))


@attempt("kernel", "seccomp")
def shared_memory_by_key(at: Target) -> None:
    call((29, 194), 0, 4096, 0o600)


@attempt("kernel", "seccomp")
def queue_of_messages(at: Target) -> None:
    call((68, 186), 0, 0o600)


@attempt("kernel", "seccomp")
def timer(at: Target) -> None:
    call((222, 107), 1, None, bytes(8))


@attempt("kernel", "seccomp")
def code_in_new_memory(at: Target) -> None:
    mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)


@attempt("kernel", "seccomp")
def code_in_old_memory(at: Target) -> None:
    memory = mmap.mmap(-1, 4096)
    place = ctypes.addressof(ctypes.c_char.from_buffer(memory))
    call((10, 226), place, 4096, 5)


@attempt("kernel", "seccomp")
def share_pages_with_others(at: Target) -> None:
    mmap.mmap(-1, 1 << 16).madvise(12)


@attempt("kernel", "seccomp")
def lock_with_priority(at: Target) -> None:
    call((202, 98), ctypes.create_string_buffer(8).raw, 6, 0, None)


@attempt("kernel", "seccomp", "own_user")
def real_time(at: Target) -> None:
    os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1))


# --- more than one's share


@attempt("limits", "limits")
def memory_of_two_gigabytes(at: Target) -> None:
    mmap.mmap(-1, 2 * 1024**3, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)


@attempt("limits", "limits", baseline=False)
def twenty_thousand_descriptors(at: Target) -> None:
    for _ in range(20_000):
        os.dup(at.sealed)


@attempt("limits", "limits")
def a_large_file(at: Target) -> None:
    os.ftruncate(at.output, 0)
    os.ftruncate(at.output, 1 << 40)


@attempt("limits", "worker")
def two_thousand_threads(at: Target) -> None:
    done = threading.Event()
    threading.stack_size(64 * 1024)
    try:
        for _ in range(2000):
            threading.Thread(target=done.wait, daemon=True).start()
    finally:
        done.set()


@attempt("limits", "seccomp")
def raise_a_limit(at: Target) -> None:
    resource.setrlimit(resource.RLIMIT_CORE, (0, resource.RLIM_INFINITY))


@attempt("limits", "seccomp", baseline=False)
def reserve_of_large_pages(at: Target) -> None:
    LIBC.mmap.restype = ctypes.c_void_p
    flags = 0x40022  # PRIVATE, ANONYMOUS, HUGETLB
    size = ctypes.c_size_t(2 << 20)
    place = LIBC.mmap(None, size, 3, flags, -1, ctypes.c_long(0))
    if place in (None, ctypes.c_void_p(-1).value):
        raise OSError(ctypes.get_errno(), "mmap")

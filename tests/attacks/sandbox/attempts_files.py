"""Attempts on files: to read, to write, to look at, to go round by descriptors."""

from __future__ import annotations

import mmap
import os
import socket
import struct

from tests.attacks.sandbox.attempts import Target, attempt, call

_PATH = os.O_PATH


def _read(path: object) -> None:
    descriptor = os.open(str(path), os.O_RDONLY)
    if not os.read(descriptor, 16):
        raise FileNotFoundError


@attempt("read", "landlock")
def read_a_file(at: Target) -> None:
    _read(at.secret)


@attempt("read", "landlock", "seccomp")
def read_by_openat2(at: Target) -> None:
    how = struct.pack("=QQQ", os.O_RDONLY, 0, 0)
    path = os.fsencode(at.secret) + b"\0"
    os.read(call((437, 437), -100, path, how, len(how)), 16)


@attempt("read", "landlock")
def read_by_the_root_of_proc(at: Target) -> None:
    _read(f"/proc/self/root{at.secret}")


@attempt("read", "landlock")
def read_by_walking_out_of_a_descriptor(at: Target) -> None:
    up = "/".join([".."] * 12)
    _read(f"/proc/self/fd/{up}{at.secret}")


@attempt("read", "landlock", "seccomp")
def list_a_directory(at: Target) -> None:
    list(at.folder.iterdir())


@attempt("read", "landlock")
def read_the_environment_of_a_process(at: Target) -> None:
    _read(f"/proc/{at.pid}/environ")


@attempt("read", "landlock")
def read_the_environment_of_the_parent(at: Target) -> None:
    _read(f"/proc/{os.getppid()}/environ")


@attempt("read", "landlock")
def read_own_first_environment(at: Target) -> None:
    _read("/proc/self/environ")


@attempt("read", "landlock")
def read_the_memory_file_of_a_process(at: Target) -> None:
    descriptor = os.open(f"/proc/{at.pid}/mem", os.O_RDONLY)
    os.pread(descriptor, 6, at.address)


@attempt("read", "landlock")
def open_a_descriptor_of_a_process(at: Target) -> None:
    _read(f"/proc/{at.pid}/fd/{at.descriptor}")


@attempt("read", "landlock")
def read_own_maps(at: Target) -> None:
    _read("/proc/self/maps")


@attempt("read", "seccomp")
def hold_a_path_without_opening_it(at: Target) -> None:
    os.open(at.secret, _PATH)


@attempt("read", "seccomp")
def watch_a_directory(at: Target) -> None:
    watch = call((294, 26), 0)
    call((254, 27), watch, os.fsencode(at.folder) + b"\0", 0xFFF)


@attempt("write", "landlock", "seccomp")
def create_a_file(at: Target) -> None:
    os.open(at.folder / f"made-{os.getpid()}", os.O_WRONLY | os.O_CREAT, 0o600)


@attempt("write", "landlock", "seccomp")
def create_a_nameless_file(at: Target) -> None:
    os.open(at.folder, os.O_WRONLY | os.O_TMPFILE, 0o600)


@attempt("write", "landlock", "seccomp")
def write_to_a_file(at: Target) -> None:
    os.open(at.folder / "open-to-all", os.O_WRONLY)


@attempt("write", "landlock", "seccomp")
def truncate_a_file(at: Target) -> None:
    os.truncate(at.folder / "open-to-all", 0)


@attempt("write", "landlock", "seccomp")
def write_to_own_code(at: Target) -> None:
    os.open("/proc/self/mem", os.O_RDWR)


@attempt("write", "landlock", "seccomp")
def make_a_directory(at: Target) -> None:
    (at.folder / f"dir-{os.getpid()}").mkdir()


@attempt("write", "landlock", "seccomp")
def remove_a_file(at: Target) -> None:
    (at.folder / "to-be-removed").unlink()


@attempt("write", "landlock", "seccomp")
def rename_a_file(at: Target) -> None:
    (at.folder / "to-be-removed").rename(at.folder / "renamed")


@attempt("write", "landlock", "seccomp")
def link_a_file(at: Target) -> None:
    (at.folder / f"link-{os.getpid()}").symlink_to("/")


@attempt("write", "landlock", "seccomp")
def make_a_pipe_with_a_name(at: Target) -> None:
    os.mkfifo(at.folder / f"pipe-{os.getpid()}")


@attempt("write", "seccomp")
def change_the_mode_of_a_file(at: Target) -> None:
    (at.folder / "to-be-removed").chmod(0o600)


@attempt("write", "seccomp")
def change_the_times_of_a_file(at: Target) -> None:
    os.utime(at.folder / "open-to-all")


@attempt("write", "seccomp")
def make_a_file_in_memory(at: Target) -> None:
    os.memfd_create("m")


@attempt("descriptors", "seal", baseline=False)
def write_to_a_sealed_image(at: Target) -> None:
    os.pwrite(at.sealed, b"x", 0)


@attempt("descriptors", "seal", baseline=False)
def write_to_a_sealed_image_by_its_path(at: Target) -> None:
    descriptor = os.open(f"/proc/self/fd/{at.sealed}", os.O_WRONLY)
    os.write(descriptor, b"x")


@attempt("descriptors", "seccomp")
def open_ones_output_by_its_path(at: Target) -> None:
    os.open(f"/proc/self/fd/{at.output}", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)


@attempt("descriptors", "seal", baseline=False)
def map_a_sealed_image_to_write(at: Target) -> None:
    mmap.mmap(at.sealed, 4096, prot=mmap.PROT_WRITE | mmap.PROT_READ)[0] = 1


@attempt("descriptors", "seal", baseline=False)
def cut_a_sealed_image(at: Target) -> None:
    os.ftruncate(at.sealed, 0)


@attempt("descriptors", "seal", baseline=False)
def enlarge_a_sealed_image(at: Target) -> None:
    os.ftruncate(at.sealed, 1 << 20)


@attempt("descriptors", "seal", "seccomp", baseline=False)
def punch_a_sealed_image(at: Target) -> None:
    call((285, 47), at.sealed, 3, 0, 4096)


@attempt("descriptors", "seccomp")
def send_a_descriptor(at: Target) -> None:
    with socket.socket(fileno=os.dup(at.given)) as given:
        socket.send_fds(given, [b"x"], [at.sealed])


@attempt("descriptors", "seccomp")
def ask_a_device(at: Target) -> None:
    # What TIOCSTI, which types into a terminal, goes through; here a harmless question.
    call((16, 29), at.given, 0x541B, bytes(8))

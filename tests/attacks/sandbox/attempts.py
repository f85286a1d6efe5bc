"""What an attempt is, what it may aim at, and the register of all of them.

An attempt is a function that returns when it got through and raises when it was stopped.
`by` names the layers of which each alone must stop it; what else stops it is found out
and printed. Numbers of system calls are those of x86_64 and aarch64.
"""

from __future__ import annotations

import ctypes
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from sandbox.processes.syscalls import machine

LIBC = ctypes.CDLL(None, use_errno=True)
LIBC.syscall.restype = ctypes.c_long
_COLUMN = {"x86_64": 0, "aarch64": 1}


@dataclass(frozen=True, slots=True)
class Target:
    """What lies around a worker: a process of its own user, files, sockets, descriptors."""

    pid: int  # of a bystander
    address: int  # in the bystander's memory, where `bonded` stands
    descriptor: int  # of an open file of the bystander
    folder: Path  # that everybody may write to
    secret: Path  # a file that everybody may read
    port: int  # of a TCP listener on this machine
    abstract: str  # name of a listening Unix socket without a path
    path_socket: Path  # a listening Unix socket
    given: int  # a stream socket that the worker was given
    sealed: int  # a sealed file in memory that the worker was given
    output: int  # a file that the worker was given to write


Attempt = Callable[[Target], object]


@dataclass(frozen=True, slots=True)
class Entry:
    """One attempt: its kind, its name, and the layers that must stop it alone."""

    kind: str
    name: str
    run: Attempt
    by: frozenset[str]
    baseline: bool  # whether it gets through where nothing is confined


ENTRIES: list[Entry] = []


def attempt(
    kind: str, *by: str, baseline: bool = True
) -> Callable[[Callable[[Target], object]], Callable[[Target], object]]:
    """Register a function as an attempt."""

    def register(run: Attempt) -> Attempt:
        ENTRIES.append(Entry(kind, run.__name__, run, frozenset(by), baseline))
        return run

    return register


def call(numbers: tuple[int | None, int], *arguments: int | bytes | None) -> int:
    """Make a system call by number; raises OSError, NotImplementedError where it is not."""
    number = numbers[_COLUMN[machine()]]
    if number is None:
        raise NotImplementedError
    converted = [
        ctypes.c_long(argument) if isinstance(argument, int) else argument
        for argument in arguments
    ]
    result = int(LIBC.syscall(ctypes.c_long(number), *converted))
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return result

"""Connecting to and binding of a Unix socket whose path may be long.

A socket address holds 107 bytes; a longer path is reached through a descriptor of its
directory (`/proc/self/fd/N/name`).
"""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_MAX_ADDRESS_BYTES = 107


def connect_to(path: Path) -> socket.socket:
    """Return a stream socket connected to `path`; raises OSError."""
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        with short_address(path) as address:
            connection.connect(address)
    except BaseException:
        connection.close()
        raise
    return connection


def listen_at(path: Path) -> socket.socket:
    """Return a socket that listens at `path`, which only this user may open (mode 0600).

    Requires that nothing is at `path`.
    """
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    before = os.umask(0o177)
    try:
        with short_address(path) as address:
            listener.bind(address)
        listener.listen(128)
    except BaseException:
        listener.close()
        raise
    finally:
        os.umask(before)
    return listener


@contextmanager
def short_address(path: Path) -> Iterator[str]:
    """Yield a name of `path` that fits into a socket address."""
    if len(os.fsencode(path)) <= _MAX_ADDRESS_BYTES:
        yield str(path)
        return
    directory = os.open(path.parent, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield f"/proc/self/fd/{directory}/{path.name}"
    finally:
        os.close(directory)

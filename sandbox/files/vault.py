"""Files of the vault as the daemon opens them: read under a checked name, written once.

A name is relative, has no empty, `.` or `..` part and leads through no symbolic link.
An output is written as NAME.….unfinished, and named only when it is whole and on disk.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import stat
from collections.abc import Iterator
from pathlib import Path

from sandbox.errors import (
    DistributionCorrupt,
    ProtocolError,
    ResourceExceeded,
    SandboxUnavailable,
)
from sandbox.files.chunk_digests import footer_sha256
from sandbox.protocol import StoredFile

# Not the suffix of uploads, which other processes may be writing when this one starts.
_PART = ".unfinished"
NO_SPACE = (errno.ENOSPC, errno.EDQUOT)


def vault_path(root: Path, name: str) -> Path:
    """Return where `name` lies under `root`; raises ProtocolError if that is outside."""
    parts = name.split("/")
    if any(part in ("", ".", "..") for part in parts) or "\0" in name or len(name) > 500:
        raise ProtocolError(
            "a vault name is relative and has no empty, '.' or '..' part; another came"
        )
    path = root.joinpath(*parts)
    for ancestor in path.parents:
        if ancestor == root:
            break
        if ancestor.is_symlink():
            raise ProtocolError("a vault name leads through a symbolic link")
    return path


def open_stored(root: Path, name: str) -> int:
    """Return a read-only descriptor of a stored file.

    Raises DistributionCorrupt if it is absent or no plain file.
    """
    # Without waiting: a pipe at the name would hold whoever opens it for ever.
    flags = os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
    try:
        descriptor = os.open(vault_path(root, name), flags)
    except OSError as error:
        raise _not_there(os.strerror(error.errno or 0)) from error
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise _not_there("no plain file")
    return descriptor


def _not_there(why: str) -> DistributionCorrupt:
    return DistributionCorrupt(
        f"a stored file cannot be opened ({why})",
        hint="Restore it from a backup, or publish a new version.",
    )


def sweep_parts(root: Path) -> int:
    """Remove parts of outputs that a crash left behind; returns how many there were.

    Requires that nobody writes to the vault: before the daemon serves.
    """
    parts = [path for path in root.rglob(f"*{_PART}") if path.is_file()]
    for path in parts:
        path.unlink()
    return len(parts)


class Output:
    """One file to be written: `descriptor` is for the worker, the name comes last."""

    def __init__(self, root: Path, name: str) -> None:
        self.name = name
        self._named = False  # whether the file at the name is this one
        self._path = vault_path(root, name)
        # A name of its own: a job that is delivered twice must not write into one file.
        own = os.urandom(6).hex()
        self._part = self._path.with_name(f"{self._path.name}.{own}{_PART}")
        if self._path.exists():
            raise ProtocolError("an output's vault name is taken; outputs are written once")
        flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW
        with _disk_errors():
            self._path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            self.descriptor = os.open(self._part, flags, 0o600)

    def commit(self, rows: int) -> StoredFile:
        """Give the file its name; it is whole and on disk, the digests are of its bytes.

        They are taken here and not from the worker, which has read foreign input.
        """
        with _disk_errors():
            digest, size = self._name()
            footer = footer_sha256(self.descriptor)
        return StoredFile(self.name, digest, size, rows, footer)

    def _name(self) -> tuple[str, int]:
        os.fsync(self.descriptor)
        os.lseek(self.descriptor, 0, os.SEEK_SET)
        with os.fdopen(os.dup(self.descriptor), "rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        size = os.fstat(self.descriptor).st_size
        try:
            os.link(self._part, self._path)  # refuses to replace, unlike rename
        except FileExistsError as error:
            raise ProtocolError("an output's vault name was taken while it ran") from error
        self._named = True
        self._part.unlink()
        directory = os.open(self._path.parent, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)
        return digest, size

    def discard(self) -> None:
        """Remove what was written, also where it already has its name."""
        self._part.unlink(missing_ok=True)
        if self._named:
            self._path.unlink(missing_ok=True)

    def close(self) -> None:
        """Let go of the descriptor; a part that was not committed is removed."""
        with contextlib.suppress(FileNotFoundError):
            self._part.unlink()
        os.close(self.descriptor)


@contextlib.contextmanager
def _disk_errors() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno in NO_SPACE:
            raise no_space() from error
        raise SandboxUnavailable(
            f"the vault cannot be written ({os.strerror(error.errno or 0)})",
            hint="Look at the directory of the vault and whom it belongs to.",
        ) from error


def no_space() -> ResourceExceeded:
    """Return the error for an output that finds no space on the disk."""
    return ResourceExceeded(
        "the vault has no space left for a job's output",
        hint="Free space where the vault lies, then run it again.",
    )

"""Files of the vault as the daemon opens them: read under a checked name, written once.

A name is relative, has no empty, `.` or `..` part and leads through no symbolic link.
An output is written as NAME.part and gets its name only when it is whole and on disk.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
from pathlib import Path

from sandbox.errors import DistributionCorrupt, ProtocolError
from sandbox.protocol import StoredFile

_PART = ".part"


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
    try:
        return os.open(vault_path(root, name), os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    except OSError as error:
        raise DistributionCorrupt(
            f"a stored file cannot be opened ({os.strerror(error.errno or 0)})",
            hint="Restore it from a backup, or publish a new version.",
        ) from error


class Output:
    """One file to be written: `descriptor` is for the worker, the name comes last."""

    def __init__(self, root: Path, name: str) -> None:
        self.name = name
        self._named = False  # whether the file at the name is this one
        self._path = vault_path(root, name)
        self._part = self._path.with_name(self._path.name + _PART)
        if self._path.exists():
            raise ProtocolError("an output's vault name is taken; outputs are written once")
        self._path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        # A part without a worker is the rest of a crash: no two jobs share an output name.
        self._part.unlink(missing_ok=True)
        flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW
        self.descriptor = os.open(self._part, flags, 0o600)

    def commit(self, rows: int) -> StoredFile:
        """Give the file its name; it is whole and on disk, and the digest is of its bytes.

        The digest is taken here and not from the worker, which has read foreign input.
        """
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
        return StoredFile(self.name, digest, size, rows)

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

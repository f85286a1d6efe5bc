"""Files that only their owner may read, complete on disk before anybody sees them."""

from __future__ import annotations

import os
from pathlib import Path


def write_new(path: Path, text: str) -> None:
    """Write a file of mode 0600 that was not there. Raises FileExistsError otherwise."""
    with open(path, "x", encoding="utf-8", opener=_owner_only) as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())


def replace(path: Path, text: str) -> None:
    """Put `text` in the place of `path` at once: nobody, nor a crash, meets half of it."""
    fresh = path.with_suffix(".new")
    fresh.unlink(missing_ok=True)
    write_new(fresh, text)
    fresh.replace(path)
    directory = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)


def _owner_only(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)

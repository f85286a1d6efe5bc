"""What leaves: opening a held release, handing out its bytes, shredding it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from exchange.parties.models import User
    from exchange.queries.models import Release


@dataclass(frozen=True, slots=True)
class Content:
    """The clear bytes of a release, unsealed while they are read."""

    filename: str
    media_type: str
    sha256: str
    size_bytes: int

    def read_range(self, start: int, end: int) -> bytes:
        """Bytes start..end-1 of the content."""
        raise NotImplementedError

    def __iter__(self) -> Iterator[bytes]:
        raise NotImplementedError


def open_release(*, release: Release) -> Release:
    """A held release is available once a signed checkpoint covers its record.

    Nothing changes while none does; already available: nothing changes.
    """
    raise NotImplementedError


def release_content(*, release: Release, by: User) -> Content:
    """The download is recorded, then its bytes can be read.

    Conflict `release_held` before a checkpoint covers it; NotFound `release_shredded`.
    """
    raise NotImplementedError


def shred_release(*, release: Release, by: User) -> Release:
    """The result's key is destroyed and its file gone; its record and digest stay."""
    raise NotImplementedError


def shred_expired(*, now: datetime) -> int:
    """Every release past its retention is shredded; how many comes back."""
    raise NotImplementedError

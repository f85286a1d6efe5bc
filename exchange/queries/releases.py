"""What leaves: opening a held release, handing out its bytes, shredding it.

Record, then release: the event that states a result's digest is under a signed checkpoint
before anyone can fetch the bytes.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime

from django.db import transaction
from django.utils import timezone

from exchange.audit.actors import NODE, Actor
from exchange.audit.events import EventType
from exchange.audit.models import AuditEvent
from exchange.audit.selectors import covering
from exchange.audit.services import record
from exchange.catalogue import vault
from exchange.catalogue.datakeys import destroy_keys
from exchange.errors import Conflict, NotFound
from exchange.keys import services as keys
from exchange.parties.models import User
from exchange.parties.permissions import check_can_submit_queries
from exchange.queries.models import Release
from exchange.queries.moves import move
from exchange.queries.states import QueryState, ReleaseState
from exchange.transitions import advance

# What becomes of a release; the rest of its row is as it was held.
_CHANGING = ("state", "available_at", "shredded_at", "stored_name")


@dataclass(frozen=True, slots=True)
class Content:
    """The clear bytes of a release, unsealed while they are read; nothing stays open."""

    filename: str
    media_type: str
    sha256: str
    size_bytes: int
    _stored_name: str
    _key: bytes = field(repr=False)

    def read_range(self, start: int, end: int) -> bytes:
        """Bytes start..end-1 of the content; requires 0 <= start <= end <= size_bytes."""
        file, reader = vault.open_sealed(self._stored_name, self._key)
        with file:
            return reader.read_range(start, end)

    def __iter__(self) -> Iterator[bytes]:
        file, reader = vault.open_sealed(self._stored_name, self._key)
        with file:
            yield from reader


def open_release(*, release: Release) -> Release:
    """A held release is available once a signed checkpoint covers its record.

    Nothing changes while none does, nor once it is available or shredded.
    """
    release.refresh_from_db(fields=_CHANGING)
    if release.state == ReleaseState.HELD:
        event = AuditEvent.objects.get(event_id=release.event_id)
        if covering(event) is not None:
            _open(release)
    return release


def _open(release: Release) -> None:
    """Requires that a checkpoint covers its record; Conflict where it is held no more."""
    query, changes = release.query, {"available_at": timezone.now()}
    with transaction.atomic():
        advance(release, to=ReleaseState.AVAILABLE, by=NODE, changes=changes)
        record(
            type=EventType.RELEASE_AVAILABLE,
            actor=NODE,
            subject=release,
            case_id=query.case_id,
            organisation=query.grant.provider.slug,
            result_sha256=release.content_sha256,
        )
        move(query, to=QueryState.RELEASED, by=NODE)


def open_covered() -> int:
    """Every held release whose record is covered is available; how many that were."""
    opened = 0
    for release in Release.objects.filter(state=ReleaseState.HELD):
        # Another process may be opening the same one.
        with suppress(Conflict):
            opened += open_release(release=release).state == ReleaseState.AVAILABLE
    return opened


def on_held(event: AuditEvent) -> None:
    """News from the sequencer: the record of a held release is covered now."""
    if event.index is None:
        return  # no news: what a checkpoint covers has its place
    held = (
        Release.objects.filter(event_id=event.event_id, state=ReleaseState.HELD)
        .select_related("query__grant__provider")
        .order_by()
    )
    for release in held:
        # Another process may have opened it a moment ago.
        with suppress(Conflict):
            _open(release)


def release_content(*, release: Release, by: User) -> Content:
    """The download is recorded, then its bytes can be read.

    Conflict `release_held` before a checkpoint covers it; NotFound `release_shredded`.
    """
    grant = release.query.grant
    check_can_submit_queries(by, grant.consumer)
    release = open_release(release=release)
    if release.state == ReleaseState.HELD:
        raise Conflict(
            "the result is held until a signed checkpoint covers its record",
            code="release_held",
            hint="Ask again in a second or two.",
        )
    if release.state == ReleaseState.SHREDDED:
        raise NotFound(
            "the result was shredded; its record and digest remain",
            code="release_shredded",
            hint="Submit the query again.",
        )
    key = keys.unwrap(release.data_key)
    # Opened once before it is recorded: a file that is lost or altered is not a download.
    file, _reader = vault.open_sealed(release.stored_name, key)
    file.close()
    with transaction.atomic():
        record(
            type=EventType.RELEASE_DOWNLOADED,
            actor=by,
            subject=release,
            case_id=release.query.case_id,
            organisation=grant.provider.slug,
            result_sha256=release.content_sha256,
            bytes=release.content_bytes,
        )
    return Content(
        filename=release.filename,
        media_type=release.media_type,
        sha256=release.content_sha256,
        size_bytes=release.content_bytes,
        _stored_name=release.stored_name,
        _key=key,
    )


def shred_release(*, release: Release, by: User) -> Release:
    """The result's key is destroyed and its file gone; its record and digest stay."""
    check_can_submit_queries(by, release.query.grant.consumer)
    return shred(release, by=by)


def shred_expired(*, now: datetime) -> int:
    """Every release past its retention is shredded; how many comes back."""
    shredded = 0
    expired = Release.objects.filter(shred_after__lte=now).exclude(
        state=ReleaseState.SHREDDED
    )
    for release in expired:
        with suppress(Conflict):
            shred(release, by=NODE)
            shredded += 1
    return shredded


def shred(release: Release, *, by: Actor) -> Release:
    """Shred it whoever asks: for retention, and where the provider's keys end."""
    # From held or available alike: what the caller had loaded may be a moment old.
    release.refresh_from_db()
    query, name = release.query, release.stored_name
    with transaction.atomic():
        advance(
            release,
            to=ReleaseState.SHREDDED,
            by=by,
            event=EventType.RELEASE_SHREDDED,
            case_id=query.case_id,
            changes={"shredded_at": timezone.now(), "stored_name": ""},
            organisation=query.grant.provider.slug,
            result_sha256=release.content_sha256,
        )
        move(query, to=QueryState.SHREDDED, by=by)
        destroy_keys(release.data_key, by=by)
        transaction.on_commit(lambda: vault.remove(name))
    return release

"""The log's knowledge of master keys: each is noted before anything is stored under it."""

from __future__ import annotations

from django.db import IntegrityError, transaction

from exchange.audit.actors import Actor
from exchange.audit.events import EventType
from exchange.audit.services import record
from exchange.errors import Conflict
from exchange.keys.choice import kind_of
from exchange.keys.models import MasterKey


def note_master(ref: str, *, by: Actor) -> MasterKey:
    """The master key has its row and its event; for the transaction that stores a key.

    The row stays locked until that ends, so that a master key is not retired while
    something is being put under it. Raises Conflict (`master_key_retired`).
    """
    if not MasterKey.objects.filter(ref=ref).exists():
        try:
            with transaction.atomic():
                _note_first(ref, by=by)
        except IntegrityError:  # another process saw it first, and recorded it
            pass
    row = MasterKey.objects.select_for_update().get(ref=ref)
    if row.retired_at is not None:
        raise Conflict(
            f"The master key {ref} is being retired.",
            code="master_key_retired",
            hint="Try again: the next key goes under the current master key.",
        )
    return row


def _note_first(ref: str, *, by: Actor) -> None:
    before = MasterKey.objects.order_by("-pk").first()
    row = MasterKey.objects.create(ref=ref)
    kind = kind_of(ref)
    subject = ("masterkey", str(row.pk))
    about = {"provider": str(kind), "master_key": ref}
    if before is None:
        record(
            type=EventType.KEY_ISSUED, actor=by, subject=subject, purpose="master", **about
        )
    elif kind_of(before.ref) is not kind:
        record(
            type=EventType.KEY_PROVIDER_CHANGED,
            actor=by,
            subject=subject,
            earlier=str(kind_of(before.ref)),
            **about,
        )
    else:
        record(type=EventType.KEY_MASTER_ROTATED, actor=by, subject=subject, **about)

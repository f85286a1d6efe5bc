"""A new key for an organisation, and its data keys brought under it, some at a time.

    begun      the old key is `retiring`: it opens, and takes nothing new; the new is active
    batches    data keys move, each compared with what was read; a kill loses a batch
    ended      nothing lies under the old key: it is destroyed

Called again at any moment it goes on where it stood. Data is not touched.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from django.db import transaction
from django.utils import timezone

from exchange.audit.actors import Actor
from exchange.audit.events import EventType
from exchange.audit.services import record
from exchange.errors import Conflict
from exchange.keys import organisation_keys
from exchange.keys.models import DataKey, KeyState, OrganisationKey
from exchange.keys.provider import open_key, seal_key
from exchange.keys.services import context_of
from exchange.parties.models import Organisation

# Small enough that other writers of a SQLite node wait some milliseconds, not seconds.
BATCH: Final = 200

Told = Callable[[int], None]


def rotate_organisation(
    *, organisation: Organisation, by: Actor, told: Told | None = None
) -> OrganisationKey:
    """The organisation has a new key, its data keys lie under it, the old one is destroyed.

    An unfinished rotation is finished instead of another begun. `told` hears after each
    batch how many data keys have moved. Raises Conflict `key_not_issued` where the
    organisation has no key yet, `organisation_keys_destroyed`, ProviderUnavailable.
    """
    new = _begun(organisation, by=by)
    moved = 0
    for old in OrganisationKey.objects.filter(
        organisation=organisation, state=KeyState.RETIRING
    ).select_related("organisation"):
        while count := _move_batch(old, new):
            moved += count
            if told is not None:
                told(moved)
        _ended(old, new, by=by)
    return new


def _begun(organisation: Organisation, *, by: Actor) -> OrganisationKey:
    newest = OrganisationKey.objects.filter(organisation=organisation).order_by(
        "generation"
    )
    before = newest.last()
    generation = before.generation + 1 if before is not None else 1
    # Before the row is locked, and for nothing where a rotation goes on or none can be.
    wrapped = organisation_keys.wrapped_anew(organisation, generation)
    with transaction.atomic():
        keys = OrganisationKey.objects.filter(organisation=organisation)
        active = keys.filter(state=KeyState.ACTIVE).select_for_update().first()
        if active is None:
            if keys.exists():
                raise organisation_keys.destroyed()
            raise Conflict("The organisation has no key to rotate.", code="key_not_issued")
        if keys.filter(state=KeyState.RETIRING).exists():
            return active
        if active.generation + 1 != generation:
            return active  # another process rotated a moment ago
        keys.filter(pk=active.pk).update(state=KeyState.RETIRING)
        return organisation_keys.store(organisation, generation, wrapped, by=by)


def _move_batch(old: OrganisationKey, new: OrganisationKey) -> int:
    """Move some data keys; 0 when none is left."""
    under = DataKey.objects.filter(organisation_key=old, state=KeyState.ACTIVE)
    batch = list(under.order_by("pk")[:BATCH])
    if not batch:
        return 0
    # The provider is asked outside the transaction.
    old_clear = organisation_keys.open_key_of(old)
    new_clear = organisation_keys.open_key_of(new)
    with transaction.atomic():
        for data_key in batch:
            context = context_of(data_key)
            clear = open_key(bytes(data_key.wrapped), under=old_clear, context=context)
            # Compared with what was read: one that was destroyed meanwhile stays so.
            under.filter(pk=data_key.pk, wrapped=bytes(data_key.wrapped)).update(
                organisation_key=new,
                wrapped=seal_key(clear, under=new_clear, context=context),
            )
    return len(batch)


def _ended(old: OrganisationKey, new: OrganisationKey, *, by: Actor) -> None:
    slug = new.organisation.slug
    with transaction.atomic():
        held = OrganisationKey.objects.select_for_update().get(pk=old.pk)
        if held.state != KeyState.RETIRING:
            return  # another process ended it
        if DataKey.objects.filter(organisation_key=old, state=KeyState.ACTIVE).exists():
            raise Conflict(
                "A data key lies under the old key still.",
                code="state_changed",
                hint="Rotate again: it goes on where it stood.",
            )
        OrganisationKey.objects.filter(pk=old.pk).update(
            state=KeyState.DESTROYED, wrapped=b"", destroyed_at=timezone.now()
        )
        record(
            type=EventType.KEY_REWRAPPED,
            actor=by,
            subject=new.organisation,
            organisation=slug,
            generation=new.generation,
            data_keys=DataKey.objects.filter(organisation_key=new).count(),
        )
        record(
            type=EventType.KEY_DESTROYED,
            actor=by,
            subject=new.organisation,
            organisation=slug,
            purpose="organisation",
            generation=old.generation,
        )

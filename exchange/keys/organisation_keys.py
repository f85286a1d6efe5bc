"""An organisation's own key: made at first use, opened by the provider, never a row.

After `shredding.destroy_organisation` none is made any more: what a fresh key would begin
could not continue what the old one held (history, shards, pseudonyms).
"""

from __future__ import annotations

import secrets

from django.db import IntegrityError, transaction

from exchange.audit.actors import Actor
from exchange.audit.events import EventType
from exchange.audit.services import record
from exchange.errors import Conflict
from exchange.keys.choice import kind_of, provider, provider_for
from exchange.keys.models import KeyState, OrganisationKey
from exchange.keys.notes import note_master
from exchange.keys.provider import KEY_BYTES, Wrapped
from exchange.parties.models import Organisation


def context_of(organisation: Organisation, generation: int) -> bytes:
    """What the wrapping is bound to: a row that was copied or edited does not open."""
    return f"bonded/organisation-key/1\x00{organisation.public_id}\x00{generation}".encode()


def open_key_of(key: OrganisationKey) -> bytes:
    """Return the clear 32 bytes. Raises KeyUnusable, ProviderUnavailable, Conflict."""
    if key.state == KeyState.DESTROYED:
        raise destroyed()
    return provider_for(key.provider_ref).unwrap(
        Wrapped(blob=bytes(key.wrapped), ref=key.provider_ref),
        context=context_of(key.organisation, key.generation),
    )


def active_key(organisation: Organisation, *, by: Actor) -> OrganisationKey:
    """The key under which new data keys go, made now if there was never one.

    Locked for the caller's transaction: a rotation waits, and then finds what was put under
    it. Raises Conflict (`organisation_keys_destroyed`).
    """
    active = OrganisationKey.objects.filter(
        organisation=organisation, state=KeyState.ACTIVE
    ).select_for_update(of=("self",))
    found = active.select_related("organisation").first()
    if found is not None:
        return found
    if OrganisationKey.objects.filter(organisation=organisation).exists():
        raise destroyed()
    try:
        with transaction.atomic():
            made = store(organisation, 1, secrets.token_bytes(KEY_BYTES), by=by)
    except IntegrityError:  # another process was first; the constraint keeps one active
        return active.get()
    return made


def store(
    organisation: Organisation, generation: int, clear: bytes, *, by: Actor
) -> OrganisationKey:
    """The organisation's key of that generation is active, wrapped and recorded."""
    wrapped = provider().wrap(clear, context=context_of(organisation, generation))
    note_master(wrapped.ref, by=by)
    made = OrganisationKey.objects.create(
        organisation=organisation,
        generation=generation,
        wrapped=wrapped.blob,
        provider_ref=wrapped.ref,
    )
    record(
        type=EventType.KEY_ISSUED,
        actor=by,
        subject=organisation,
        organisation=organisation.slug,
        purpose="organisation",
        generation=generation,
        provider=str(kind_of(wrapped.ref)),
    )
    return made


def destroyed() -> Conflict:
    return Conflict(
        "The organisation's key was destroyed, and with it all that lay under it.",
        code="organisation_keys_destroyed",
        hint="Register the organisation anew, under another short name, to begin afresh.",
    )

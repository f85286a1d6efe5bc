"""An organisation's own key: made at first use, opened by the provider, never a row.

The provider is asked before a row is locked: it may be a network away, and who waits for
the row would wait for the network too.

After `shredding.destroy_organisation` none is made any more: what a fresh key would begin
could not continue what the old one held (history, shards, pseudonyms).
"""

from __future__ import annotations

import secrets
from contextlib import suppress

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

    Nothing is locked: the provider is asked for a first key before anything is written, so
    call this ahead of a transaction that issues. Raises Conflict
    (`organisation_keys_destroyed`).
    """
    keys = OrganisationKey.objects.filter(organisation=organisation)
    while True:
        found = keys.filter(state=KeyState.ACTIVE).select_related("organisation").first()
        if found is not None:
            return found
        if keys.exists():
            # Asked again: another process may have made the first one a moment ago.
            if not keys.filter(state=KeyState.ACTIVE).exists():
                raise destroyed()
            continue
        wrapped = wrapped_anew(organisation, 1)
        with suppress(IntegrityError), transaction.atomic():
            # The constraint keeps one active; where another process was first, that is it.
            return store(organisation, 1, wrapped, by=by)


def is_active_still(key: OrganisationKey) -> bool:
    """Whether new data keys may go under it; if so it is locked for the transaction.

    A rotation or destruction waits then, and finds what was put under it.
    """
    active = OrganisationKey.objects.filter(pk=key.pk, state=KeyState.ACTIVE)
    return active.select_for_update().exists()


def wrapped_anew(organisation: Organisation, generation: int) -> Wrapped:
    """A fresh key of that generation, by the provider; no row says so yet."""
    context = context_of(organisation, generation)
    return provider().wrap(secrets.token_bytes(KEY_BYTES), context=context)


def store(
    organisation: Organisation, generation: int, wrapped: Wrapped, *, by: Actor
) -> OrganisationKey:
    """In the caller's transaction: `wrapped` is the active key, recorded."""
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

"""Issue, unwrap, rewrap and destroy keys. Clear keys are return values, never rows."""

from __future__ import annotations

import secrets
from typing import Any

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from django.db import IntegrityError, transaction
from django.utils import timezone

from exchange.audit.actors import NODE, Actor
from exchange.audit.events import EventType
from exchange.audit.services import Subject, record, subject_of
from exchange.errors import Conflict
from exchange.keys.choice import provider, provider_for
from exchange.keys.models import DataKey, KeyPurpose, KeyState, OrganisationKey
from exchange.keys.provider import KEY_BYTES, Wrapped, open_key, seal_key
from exchange.parties.models import Organisation


def issue_data_key(
    *, organisation: Organisation, purpose: KeyPurpose | str, subject: Subject, by: Actor
) -> DataKey:
    """Make a fresh data key for one purpose and subject; only wrapped bytes are kept."""
    subject_type, subject_id = subject_of(subject)
    with transaction.atomic():
        holder = _active_key(organisation, by=by)
        data_key = DataKey(
            organisation_key=holder,
            purpose=KeyPurpose(purpose),
            subject_type=subject_type,
            subject_id=subject_id,
        )
        data_key.wrapped = seal_key(
            secrets.token_bytes(KEY_BYTES),
            under=_open_organisation_key(holder),
            context=_context(data_key),
        )
        data_key.save(force_insert=True)
        record(
            type=EventType.KEY_ISSUED,
            actor=by,
            subject=data_key,
            organisation=organisation.slug,
            purpose=str(data_key.purpose),
            protects=[subject_type, subject_id],
        )
    return data_key


def unwrap(data_key: DataKey) -> bytes:
    """Return the clear 32 bytes. Raises Conflict (`key_destroyed`), KeyUnusable."""
    # Asked anew: a key that was destroyed after `data_key` was loaded must not open.
    row = DataKey.objects.select_related("organisation_key").get(pk=data_key.pk)
    if row.state != KeyState.ACTIVE:
        raise Conflict(
            "The key was destroyed; what it encrypted can no longer be read.",
            code="key_destroyed",
        )
    return open_key(
        bytes(row.wrapped),
        under=_open_organisation_key(row.organisation_key),
        context=_context(row),
    )


def derive(organisation: Organisation, label: str) -> bytes:
    """Return the organisation's 32-byte key for `label`: the same for ever.

    Its root is a data key of its own, made at first use; a rewrap does not change it.
    """
    roots = DataKey.objects.filter(
        purpose=KeyPurpose.DERIVATION,
        subject_type="organisation",
        subject_id=str(organisation.public_id),
    )
    root = roots.first()
    if root is None:
        try:
            with transaction.atomic():
                root = issue_data_key(
                    organisation=organisation,
                    purpose=KeyPurpose.DERIVATION,
                    subject=organisation,
                    by=NODE,
                )
        except IntegrityError:  # another process was first; the constraint keeps one root
            root = roots.get()
    hkdf = HKDF(
        algorithm=hashes.SHA256(),
        length=KEY_BYTES,
        salt=None,
        info=b"bonded/derive/1\x00" + label.encode(),
    )
    return hkdf.derive(unwrap(root))


def rewrap(*, organisation: Organisation, by: Actor) -> OrganisationKey:
    """Give the organisation a new key, wrap its data keys under it, destroy the old one.

    All in one transaction. Raises Conflict (`key_not_issued`) when there is none yet.
    """
    now = timezone.now()
    with transaction.atomic():
        old = (
            OrganisationKey.objects.select_for_update()
            .filter(organisation=organisation, state=KeyState.ACTIVE)
            .first()
        )
        if old is None:
            raise Conflict("The organisation has no key to rewrap.", code="key_not_issued")
        old_clear, new_clear = _open_organisation_key(old), secrets.token_bytes(KEY_BYTES)
        retired = OrganisationKey.objects.filter(pk=old.pk, state=KeyState.ACTIVE).update(
            state=KeyState.DESTROYED, wrapped=b"", destroyed_at=now
        )
        if retired != 1:
            raise Conflict("Somebody else rewrapped these keys.", code="state_changed")
        new = _store_organisation_key(organisation, old.generation + 1, new_clear)
        for data_key in DataKey.objects.filter(organisation_key=old):
            changes: dict[str, Any] = {"organisation_key": new}
            if data_key.state == KeyState.ACTIVE:
                clear = open_key(
                    bytes(data_key.wrapped), under=old_clear, context=_context(data_key)
                )
                changes["wrapped"] = seal_key(
                    clear, under=new_clear, context=_context(data_key)
                )
            DataKey.objects.filter(pk=data_key.pk).update(**changes)
        record(
            type=EventType.KEY_REWRAPPED,
            actor=by,
            subject=organisation,
            organisation=organisation.slug,
            generation=new.generation,
        )
    return new


def destroy(data_key: DataKey, *, by: Actor) -> DataKey:
    """Make what the key encrypted unreadable for ever.

    Raises Conflict (`key_destroyed`) the second time.
    """
    now = timezone.now()
    with transaction.atomic():
        gone = DataKey.objects.filter(pk=data_key.pk, state=KeyState.ACTIVE).update(
            state=KeyState.DESTROYED, wrapped=b"", destroyed_at=now
        )
        if gone != 1:
            raise Conflict("The key is destroyed already.", code="key_destroyed")
        record(
            type=EventType.KEY_DESTROYED,
            actor=by,
            subject=data_key,
            organisation=data_key.organisation_key.organisation.slug,
            purpose=str(data_key.purpose),
        )
    data_key.state, data_key.wrapped, data_key.destroyed_at = KeyState.DESTROYED, b"", now
    return data_key


def _context(data_key: DataKey) -> bytes:
    # Bound into the wrapping: a row whose wrapped bytes were copied from another row, or
    # whose purpose or subject was edited, does not open.
    parts = ("bonded/data-key/1", str(data_key.public_id), str(data_key.purpose))
    return "\x00".join((*parts, data_key.subject_type, data_key.subject_id)).encode()


def _organisation_context(organisation: Organisation, generation: int) -> bytes:
    return f"bonded/organisation-key/1\x00{organisation.public_id}\x00{generation}".encode()


def _active_key(organisation: Organisation, *, by: Actor) -> OrganisationKey:
    active = OrganisationKey.objects.filter(
        organisation=organisation, state=KeyState.ACTIVE
    )
    found = active.first()
    if found is not None:
        return found
    try:
        with transaction.atomic():
            made = _store_organisation_key(organisation, 1, secrets.token_bytes(KEY_BYTES))
            record(
                type=EventType.KEY_ISSUED,
                actor=by,
                subject=organisation,
                organisation=organisation.slug,
                purpose="organisation",
            )
    except IntegrityError:  # another process was first; the constraint keeps one active
        return active.get()
    return made


def _store_organisation_key(
    organisation: Organisation, generation: int, clear: bytes
) -> OrganisationKey:
    wrapped = provider().wrap(
        clear, context=_organisation_context(organisation, generation)
    )
    return OrganisationKey.objects.create(
        organisation=organisation,
        generation=generation,
        wrapped=wrapped.blob,
        provider_ref=wrapped.ref,
    )


def _open_organisation_key(key: OrganisationKey) -> bytes:
    return provider_for(key.provider_ref).unwrap(
        Wrapped(blob=bytes(key.wrapped), ref=key.provider_ref),
        context=_organisation_context(key.organisation, key.generation),
    )

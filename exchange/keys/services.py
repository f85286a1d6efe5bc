"""Issue, unwrap, derive and destroy data keys. Clear keys are return values, never rows."""

from __future__ import annotations

import secrets

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from django.db import IntegrityError, transaction
from django.utils import timezone

from exchange.audit.actors import NODE, Actor
from exchange.audit.events import EventType
from exchange.audit.services import Subject, record, subject_of
from exchange.errors import Conflict
from exchange.keys.models import DataKey, KeyPurpose, KeyState, OrganisationKey
from exchange.keys.organisation_keys import active_key, is_active_still, open_key_of
from exchange.keys.provider import KEY_BYTES, open_key, seal_key
from exchange.parties.models import Organisation


def issue_data_key(
    *, organisation: Organisation, purpose: KeyPurpose | str, subject: Subject, by: Actor
) -> DataKey:
    """Make a fresh data key for one purpose and subject; only wrapped bytes are kept.

    In a caller's transaction, have the organisation's first key made before that begins
    (`organisation_keys.active_key`).
    """
    issued = None
    while issued is None:  # once more after a rotation that came between
        holder = active_key(organisation, by=by)
        # The provider is asked before the key's row is locked.
        clear = open_key_of(holder)
        with transaction.atomic():
            if is_active_still(holder):
                issued = _issue(holder, clear, KeyPurpose(purpose), subject, by)
    return issued


def _issue(
    holder: OrganisationKey, under: bytes, purpose: KeyPurpose, subject: Subject, by: Actor
) -> DataKey:
    subject_type, subject_id = subject_of(subject)
    data_key = DataKey(
        organisation_key=holder,
        purpose=purpose,
        subject_type=subject_type,
        subject_id=subject_id,
    )
    data_key.wrapped = seal_key(
        secrets.token_bytes(KEY_BYTES), under=under, context=context_of(data_key)
    )
    data_key.save(force_insert=True)
    record(
        type=EventType.KEY_ISSUED,
        actor=by,
        subject=data_key,
        organisation=holder.organisation.slug,
        purpose=str(purpose),
        protects=[subject_type, subject_id],
    )
    return data_key


def unwrap(data_key: DataKey) -> bytes:
    """Return the clear 32 bytes. Raises Conflict (`key_destroyed`), KeyUnusable."""
    # Asked anew: a key that was destroyed after `data_key` was loaded must not open.
    row = DataKey.objects.select_related("organisation_key__organisation").get(
        pk=data_key.pk
    )
    return _open(row)


def _open(row: DataKey) -> bytes:
    if row.state != KeyState.ACTIVE:
        raise Conflict(
            "The key was destroyed; what it encrypted can no longer be read.",
            code="key_destroyed",
        )
    return open_key(
        bytes(row.wrapped),
        under=open_key_of(row.organisation_key),
        context=context_of(row),
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
    root = roots.select_related("organisation_key__organisation").order_by("pk").first()
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
    # Read a moment ago: it is not asked for once more, as one is that somebody holds.
    clear = _open(root)
    hkdf = HKDF(
        algorithm=hashes.SHA256(),
        length=KEY_BYTES,
        salt=None,
        info=b"bonded/derive/1\x00" + label.encode(),
    )
    return hkdf.derive(clear)


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


def context_of(data_key: DataKey) -> bytes:
    """What the wrapping is bound to.

    A row whose wrapped bytes were copied from another row, or whose purpose or subject was
    edited, does not open.
    """
    parts = ("bonded/data-key/1", str(data_key.public_id), str(data_key.purpose))
    return "\x00".join((*parts, data_key.subject_type, data_key.subject_id)).encode()

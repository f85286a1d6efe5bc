"""Write the record of an act, inside the act."""

from __future__ import annotations

import uuid
from typing import Any

from django.db import models, transaction
from django.utils import timezone

from exchange.audit.actors import Actor
from exchange.audit.entries import commit_actor, commit_private, timestamp
from exchange.audit.events import REQUIRED, EventType
from exchange.audit.models import AuditEvent
from exchange.audit.selectors import export_log
from exchange.audit.sequencer import seal, seal_all
from exchange.audit.signing import verifier_key
from exchange.errors import ExchangeError
from ledger.entry import Entry, encode_entry
from ledger.log import VerifiedLog, verify_log_export

__all__ = ["check_log", "record", "seal", "seal_all", "subject_of"]

Subject = models.Model | tuple[str, str]


class RecordOutsideAct(ExchangeError):
    """An event was about to be written outside its act's transaction."""

    code = "audit_outside_transaction"


class EventIncomplete(ExchangeError):
    """An event lacks what its type must carry."""

    code = "audit_event_incomplete"


def subject_of(subject: Subject) -> tuple[str, str]:
    """Return (type, id): the model's name and its public id where it has one."""
    if isinstance(subject, tuple):
        return subject
    return str(subject._meta.model_name), str(getattr(subject, "public_id", subject.pk))


def record(
    *,
    type: EventType,  # noqa: A002 - the field's word
    actor: Actor,
    subject: Subject,
    case_id: str | None = None,
    organisation: str | None = None,
    **payload: Any,
) -> AuditEvent:
    """Add one event to the log; it holds exactly when the caller's transaction commits.

    `payload` must carry what `REQUIRED` lists for `type`; values are JSON without floats
    (text or integers instead), or `Private` for free text and personal fields.
    `organisation` is the slug of the one whose log it belongs to, the actor's by default.
    Raises RecordOutsideAct without a transaction, EventIncomplete for a missing key, and
    ledger.errors.LedgerError for a value or a length that no entry can hold.
    """
    if not transaction.get_connection().in_atomic_block:
        raise RecordOutsideAct(
            f"{type} was to be recorded outside a transaction",
            hint="Call record() inside the transaction.atomic() of the act itself.",
        )
    missing = REQUIRED[type] - payload.keys()
    if missing:
        raise EventIncomplete(f"{type} lacks {', '.join(sorted(missing))}")
    event_id, at = uuid.uuid4(), timezone.now()
    subject_type, subject_id = subject_of(subject)
    public, private = commit_private(payload)
    name_commitment, opened_name = commit_actor(actor)
    where = actor.actor_organisation if organisation is None else organisation
    entry = Entry(
        event_id=str(event_id),
        type=str(type),
        at=timestamp(at),
        actor=actor.actor_id,
        actor_name=name_commitment,
        organisation=where or None,
        subject_type=subject_type,
        subject_id=subject_id,
        case_id=case_id or None,
        payload=public,
    )
    return AuditEvent.objects.create(
        event_id=event_id,
        type=type,
        at=at,
        actor_id=actor.actor_id,
        actor_name=actor.actor_name,
        organisation=where,
        subject_type=subject_type,
        subject_id=subject_id,
        case_id=case_id or "",
        entry=encode_entry(entry),
        private=private | opened_name,
    )


def check_log(*, by: Actor) -> VerifiedLog:
    """Hash every sealed entry anew, compare with the signed root, and record that.

    Raises ledger.errors.LedgerError when they do not meet: something was altered.
    """
    verified = verify_log_export(export_log(), verifier_key())
    with transaction.atomic():
        record(
            type=EventType.LOG_CHECKED,
            actor=by,
            subject=("log", verified.checkpoint.origin),
            size=verified.checkpoint.size,
            root=verified.checkpoint.root.hex(),
        )
    return verified

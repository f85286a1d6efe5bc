"""Enqueue work, lease it, and end it exactly once.

How «exactly once» holds, whatever dies when:

    before the act commits     the row rolls back with the act: there is no work
    after commit, no ring      the sweep rings what waits longer than a moment
    rung twice                 `claim` is a compare-and-set: the second gets nothing
    worker dies in the work    its lease runs out, or its process is seen to be gone;
                               the next claim gets a fresh lease
    worker dies at the end     the work's last transaction and `done` are one (`completing`)
    worker wakes up too late   its lease is not the row's: its last transaction rolls back
"""

from __future__ import annotations

import datetime as dt
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

from django.conf import settings
from django.db import IntegrityError, transaction
from django.utils import timezone

from exchange.audit.actors import Actor
from exchange.celery import app
from exchange.errors import Conflict
from exchange.nudges import nudge
from exchange.operations.models import Operation, OperationState
from exchange.operations.owners import this_process
from exchange.operations.registry import Failure, handler_of


class LeaseLost(Conflict):
    """The work was taken over or cancelled meanwhile; what this worker did rolls back."""

    code = "operation_lease_lost"


def enqueue(
    kind: str, target_id: object, *, rings: bool = True, begins: bool = False
) -> Operation:
    """Add work to the caller's transaction; the bell rings when that commits.

    Without `rings` the caller does it next (`work.perform`); the sweep finds it if not.
    With `begins` it is also claimed from the first: there is nobody else to take it.
    Raises Conflict (`operation_unfinished`) while earlier work of this kind on this target
    has not ended.
    """
    try:
        with transaction.atomic():
            operation = Operation(kind=kind, target_id=str(target_id))
            if begins:
                operation.is_begun = True
                for name, value in _claimed(operation).items():
                    setattr(operation, name, value)
            operation.save(force_insert=True)
    except IntegrityError as error:
        raise Conflict(
            f"{kind} is under way for this already.",
            code="operation_unfinished",
            hint="Wait for it to end, or cancel it.",
        ) from error
    if rings and not begins:
        transaction.on_commit(partial(ring, operation.public_id))
    return operation


def ring(public_id: uuid.UUID) -> None:
    """Tell a worker that there is work. A lost ring is rung again by the sweep."""
    app.send_task("operations.ring", args=[str(public_id)], ignore_result=True)


def claim(work: uuid.UUID | str | Operation) -> Operation | None:
    """Take the work for this process, or return None when it is not to be had."""
    operation = (
        work
        if isinstance(work, Operation)
        else Operation.objects.filter(public_id=work).first()
    )
    if operation is None:
        return None
    if operation.is_begun:
        operation.is_begun = False  # once: another claim has to find it expired
        return operation
    changes = _claimed(operation)
    taken = (
        Operation.objects.claimable(timezone.now())
        .filter(pk=operation.pk, attempt=operation.attempt)
        .update(**changes)
    )
    if taken != 1:
        return None
    for name, value in changes.items():
        setattr(operation, name, value)
    return operation


def _claimed(operation: Operation) -> dict[str, Any]:
    """The fields of the operation, leased to this process now."""
    now, seconds = timezone.now(), handler_of(operation.kind).lease_seconds
    if seconds is None:
        seconds = settings.BONDED_OPERATION_LEASE_SECONDS
    return {
        "state": OperationState.LEASED,
        "lease": uuid.uuid4(),
        "lease_owner": this_process(),
        "lease_until": now + dt.timedelta(seconds=seconds),
        "attempt": operation.attempt + 1,
        "started_at": operation.started_at or now,
    }


def extend(operation: Operation, *, progress: str | None = None) -> None:
    """Keep the lease for another period, and say how far the work is. Raises LeaseLost."""
    seconds = handler_of(operation.kind).lease_seconds
    if seconds is None:
        seconds = settings.BONDED_OPERATION_LEASE_SECONDS
    changes: dict[str, object] = {
        "lease_until": timezone.now() + dt.timedelta(seconds=seconds)
    }
    if progress is not None:
        changes["progress"] = progress[:200]
    _move_leased(operation, changes)


@contextmanager
def completing(operation: Operation) -> Iterator[None]:
    """Commit what happens inside together with the operation's end, or neither.

    Raises LeaseLost at the end, which rolls everything back, when another worker has taken
    the work over.
    """
    with transaction.atomic():
        yield
        finish(operation)


def finish(operation: Operation) -> None:
    """Mark leased work done, in the caller's transaction. Raises LeaseLost."""
    _move_leased(
        operation,
        {"state": OperationState.DONE, "finished_at": timezone.now(), "lease": None},
    )
    nudge(operation.target_id)


def fail(operation: Operation, error: Failure) -> None:
    """Mark leased work failed with the error's code, its target as the handler says."""
    handler = handler_of(operation.kind)
    with transaction.atomic():
        _move_leased(
            operation,
            {
                "state": OperationState.FAILED,
                "finished_at": timezone.now(),
                "lease": None,
                "error_code": error.code,
                "error_message": error.message,
                "error_hint": error.hint,
            },
        )
        if handler.failed is not None:
            handler.failed(operation, error)
        nudge(operation.target_id)


def cancel(operation: Operation, *, by: Actor) -> Operation:
    """End work that nobody should finish. Raises Conflict (`operation_finished`).

    A worker that runs it loses its lease; the sandbox job itself is cancelled by job id.
    """
    del by  # who cancelled is in the event of the act that cancels
    gone = (
        Operation.objects.unfinished()
        .filter(pk=operation.pk)
        .update(state=OperationState.CANCELLED, finished_at=timezone.now(), lease=None)
    )
    operation.refresh_from_db()
    if gone != 1:
        raise Conflict(
            f"The operation is {operation.state} already.", code="operation_finished"
        )
    nudge(operation.target_id)
    return operation


def restart(operation: Operation) -> Operation:
    """Let failed or cancelled work be done again, from its beginning.

    Raises Conflict (`operation_not_restartable`, `operation_unfinished`).
    """
    try:
        with transaction.atomic():
            again = Operation.objects.filter(
                pk=operation.pk, state__in=[OperationState.FAILED, OperationState.CANCELLED]
            ).update(
                state=OperationState.PENDING,
                attempt=0,
                lease=None,
                lease_until=None,
                finished_at=None,
                progress="",
                error_code="",
                error_message="",
                error_hint="",
                rung_at=timezone.now(),
            )
            if again == 1:
                transaction.on_commit(partial(ring, operation.public_id))
    except IntegrityError as error:
        raise Conflict(
            f"{operation.kind} is under way for this already.", code="operation_unfinished"
        ) from error
    operation.refresh_from_db()
    if again != 1:
        raise Conflict(
            f"The operation is {operation.state}; only failed or cancelled work restarts.",
            code="operation_not_restartable",
        )
    return operation


def _move_leased(operation: Operation, changes: dict[str, object]) -> None:
    held = Operation.objects.filter(
        pk=operation.pk, state=OperationState.LEASED, lease=operation.lease
    )
    if operation.lease is None or held.update(**changes) != 1:
        raise LeaseLost(
            "Another worker has taken this work over, or it was cancelled.",
            hint="Nothing is to be done: what this worker did was rolled back.",
        )
    for name, value in changes.items():
        setattr(operation, name, value)

"""Do one piece of work, and look for work that nobody does."""

from __future__ import annotations

import datetime as dt
import logging
import traceback
import uuid

from django.db import transaction
from django.utils import timezone

from exchange.errors import ExchangeError
from exchange.operations import services
from exchange.operations.models import Operation, OperationState
from exchange.operations.owners import is_gone
from exchange.operations.registry import Failure, handler_of
from sandbox.errors import SandboxError

logger = logging.getLogger(__name__)

# A pending row this old was rung in vain, or its ringing process died before it rang.
RING_AGAIN_AFTER = dt.timedelta(seconds=3)


class Abandoned(ExchangeError):
    """The work's process died every time it was tried."""

    code = "operation_abandoned"


class Unexpected(ExchangeError):
    """A fault of the node; what it said stays in its log, for it may quote data."""

    code = "internal_error"


def perform(work: uuid.UUID | str | Operation, *, goes_on: bool = True) -> Operation | None:
    """Claim one operation, run its handler, and leave it done or failed.

    What follows from it is done here too, or, unless it `goes_on`, a worker is told of it.
    Returns None when there was nothing to claim. Safe to call twice, from anywhere.
    """
    operation = services.claim(work)
    following = _carry_out(operation) if operation is not None else None
    while following is not None:
        if not goes_on:
            services.ring(following.public_id)
            break
        claimed = services.claim(following)
        following = _carry_out(claimed) if claimed is not None else None
    return operation


def _carry_out(operation: Operation) -> Operation | None:
    """Run the handler of claimed work; what it says follows comes back."""
    handler = handler_of(operation.kind)
    if operation.attempt > handler.max_attempts:
        _fail(
            operation,
            Abandoned(
                f"The worker died {handler.max_attempts} times while doing this.",
                hint="Restart it once the cause is found; the node's log has it.",
            ),
        )
        return None
    try:
        following = handler.run(operation)
        if operation.state == OperationState.LEASED:
            services.finish(operation)
    except services.LeaseLost:
        logger.warning("operation %s: lease lost, work rolled back", operation.public_id)
    except (ExchangeError, SandboxError) as error:
        _fail(operation, error)
    except Exception as error:  # noqa: BLE001 - the last line: no row may stay leased
        # Places only: messages of unknown errors may quote data values.
        places = "; ".join(
            f"{f.filename}:{f.lineno}" for f in traceback.extract_tb(error.__traceback__)
        )
        logger.error(  # noqa: TRY400 - a traceback would quote values
            "operation %s: %s at %s", operation.public_id, type(error).__name__, places
        )
        _fail(
            operation,
            Unexpected(
                "The node met a fault it did not expect.",
                hint="Restart it; if it fails again, tell the node's operator its id.",
            ),
        )
    else:
        return following
    return None


def sweep(now: dt.datetime | None = None) -> int:
    """Ring again for what nobody started or whose worker is gone; returns how many."""
    now = now or timezone.now()
    leased = Operation.objects.filter(state=OperationState.LEASED)
    for operation in leased.only("pk", "lease", "lease_owner"):
        if is_gone(operation.lease_owner):
            leased.filter(pk=operation.pk, lease=operation.lease).update(
                lease_until=now - dt.timedelta(microseconds=1)
            )
    rung = 0
    overdue = Operation.objects.claimable(now).filter(rung_at__lt=now - RING_AGAIN_AFTER)
    for operation in overdue:
        if overdue.filter(pk=operation.pk).update(rung_at=now):
            services.ring(operation.public_id)
            rung += 1
    return rung


def _fail(operation: Operation, error: Failure) -> None:
    try:
        with transaction.atomic():
            services.fail(operation, error)
    except services.LeaseLost:
        logger.warning("operation %s: lease lost before it failed", operation.public_id)

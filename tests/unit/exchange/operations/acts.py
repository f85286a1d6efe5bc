"""Handlers for the tests of operations.

Each kind dies, with its whole worker, at one point of its first attempt; its act is one
audit event.
"""

from __future__ import annotations

import os
import signal

from django.db import transaction

from exchange.audit.actors import NODE
from exchange.audit.events import EventType
from exchange.errors import Refused
from exchange.operations import registry, services
from exchange.operations.models import Operation
from exchange.operations.registry import Failure, register


def act(operation: Operation) -> None:
    from exchange.audit.services import record

    with transaction.atomic():
        record(
            type=EventType.LOG_CHECKED,
            actor=NODE,
            subject=("act", operation.target_id),
            size=operation.attempt,
            root="",
        )


def die(operation: Operation) -> None:
    """On the first attempt, kill the worker: its pool, its beat and itself."""
    if operation.attempt == 1:
        os.killpg(os.getpgid(0), signal.SIGKILL)


def plain(operation: Operation) -> None:
    with services.completing(operation):
        act(operation)


def die_after_pickup(operation: Operation) -> None:
    die(operation)
    plain(operation)


def die_before_commit(operation: Operation) -> None:
    with services.completing(operation):
        act(operation)
        die(operation)


def die_after_commit(operation: Operation) -> None:
    plain(operation)
    die(operation)


def die_always(operation: Operation) -> None:
    os.kill(os.getpid(), signal.SIGKILL)  # the pool's child; the worker lives on


def refuse(operation: Operation) -> None:
    raise Refused("The mill is closed.", code="mill_closed", hint="Come back tomorrow.")


def explode(operation: Operation) -> None:
    raise ValueError("the patient's name is Hildegard")


def note_failure(operation: Operation, failure: Failure) -> None:
    from exchange.audit.services import record

    record(
        type=EventType.VERSION_FAILED,
        actor=NODE,
        subject=("act", operation.target_id),
        code=failure.code,
    )


def register_all() -> None:
    for handler in (plain, die_after_pickup, die_before_commit, die_after_commit, explode):
        register(f"test.{handler.__name__}", handler)
    register("test.die_always", die_always, failed=note_failure, max_attempts=2)
    register("test.refuse", refuse, failed=note_failure)


def forget_all() -> None:
    for kind in [k for k in registry.handlers if k.startswith("test.")]:
        del registry.handlers[kind]

"""Several sequencers and writers at once, as when a node is restarted too eagerly."""

from __future__ import annotations

import threading
from collections.abc import Callable

import pytest
from django.db import connection, transaction

from exchange.audit.actors import NODE
from exchange.audit.events import EventType
from exchange.audit.models import AuditEvent, StoredCheckpoint
from exchange.audit.selectors import export_log
from exchange.audit.services import record, seal, seal_all
from exchange.audit.signing import verifier_key
from ledger.checkpoint import verify_checkpoint
from ledger.log import verify_log_export

WRITERS, SEALERS, EVENTS = 3, 3, 15


def write() -> None:
    for i in range(EVENTS):
        with transaction.atomic():
            record(
                type=EventType.LOGIN_SUCCEEDED,
                actor=NODE,
                subject=("user", str(i)),
                method="password",
            )


@pytest.mark.django_db(transaction=True)
def test_seal_by_several_at_once_makes_one_log() -> None:
    writing = threading.Event()
    writing.set()
    failures: list[BaseException] = []

    def sealing() -> None:
        while writing.is_set():
            seal()

    def guarded(work: Callable[[], None]) -> None:
        try:
            work()
        except BaseException as error:  # noqa: BLE001 - shown by the test
            failures.append(error)
        finally:
            connection.close()

    sealers = [threading.Thread(target=guarded, args=(sealing,)) for _ in range(SEALERS)]
    writers = [threading.Thread(target=guarded, args=(write,)) for _ in range(WRITERS)]
    for thread in (*sealers, *writers):
        thread.start()
    for thread in writers:
        thread.join()
    writing.clear()
    for thread in sealers:
        thread.join()

    assert failures == []
    assert seal_all() == WRITERS * EVENTS == AuditEvent.objects.sealed().count()
    checkpoints = [
        verify_checkpoint(stored.note, verifier_key())
        for stored in StoredCheckpoint.objects.order_by("size")
    ]
    verified = verify_log_export(export_log(), verifier_key(), passed=checkpoints)
    assert verified.checkpoint.size == WRITERS * EVENTS

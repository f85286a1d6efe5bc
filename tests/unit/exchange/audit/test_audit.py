from __future__ import annotations

import importlib
import json
from typing import Any

import pytest
from django.db import DatabaseError, connection, transaction

from exchange.audit import news, selectors
from exchange.audit.actors import NODE, NamedActor, Private
from exchange.audit.events import REQUIRED, EventType
from exchange.audit.models import AuditEvent, StoredCheckpoint, TreeNode
from exchange.audit.selectors import export_log, receipt, timeline
from exchange.audit.services import (
    EventIncomplete,
    RecordOutsideAct,
    check_log,
    record,
    seal,
    seal_all,
)
from exchange.audit.signing import verifier_key
from exchange.errors import NotFound, Refused
from ledger.entry import decode_entry, salted_commitment
from ledger.errors import EntryMalformed, EntryTooLarge, LedgerError, RootMismatch
from ledger.log import verify_log_export
from ledger.receipt import dump_receipt, load_receipt, verify_receipt

pytestmark = pytest.mark.django_db
ADA = NamedActor("11111111-1111-1111-1111-111111111111", "Ada Lovelace", "ministry")


def write(number: int = 1, **extra: Any) -> list[AuditEvent]:
    with transaction.atomic():
        return [
            record(
                type=EventType.LOGIN_SUCCEEDED,
                actor=ADA,
                subject=("user", str(i)),
                method="password",
                **extra,
            )
            for i in range(number)
        ]


@pytest.mark.parametrize("event_type", list(EventType))
def test_record_refuses_an_event_that_lacks_any_required_key(event_type: EventType) -> None:
    for absent in REQUIRED[event_type]:
        payload = {key: "x" for key in REQUIRED[event_type] if key != absent}

        with pytest.raises(EventIncomplete, match=absent), transaction.atomic():
            record(type=event_type, actor=ADA, subject=("thing", "1"), **payload)
    assert not AuditEvent.objects.exists()


@pytest.mark.parametrize("event_type", list(EventType))
def test_record_keeps_an_event_of_each_type(event_type: EventType) -> None:
    with transaction.atomic():
        event = record(
            type=event_type,
            actor=ADA,
            subject=("thing", "1"),
            case_id="case-1",
            **dict.fromkeys(REQUIRED[event_type], "x"),
        )

    entry = decode_entry(bytes(event.entry))
    assert (entry.type, entry.actor, entry.organisation) == (
        event_type,
        ADA.actor_id,
        "ministry",
    )
    assert (entry.subject_type, entry.subject_id, entry.case_id) == ("thing", "1", "case-1")
    assert event.payload == dict.fromkeys(REQUIRED[event_type], "x")


def test_record_puts_names_and_free_text_into_the_entry_as_commitments_only() -> None:
    (event,) = write(note=Private("Frau Müller asked for it"))

    text = bytes(event.entry).decode()
    assert "Müller" not in text
    assert "Lovelace" not in text
    opened = event.private["note"]
    assert event.payload["note"]["commitment"] == salted_commitment(
        opened["text"], bytes.fromhex(opened["salt"])
    )
    assert event.actor_name == "Ada Lovelace"


@pytest.mark.django_db(transaction=True)
def test_record_outside_a_transaction_writes_nothing() -> None:
    with pytest.raises(RecordOutsideAct):
        record(type=EventType.LOGIN_SUCCEEDED, actor=ADA, subject=("user", "1"), method="x")

    assert not AuditEvent.objects.exists()


@pytest.mark.django_db(transaction=True)
def test_record_in_a_transaction_that_rolls_back_leaves_nothing() -> None:
    class Stop(Exception):
        pass

    def act() -> None:
        record(type=EventType.LOGIN_SUCCEEDED, actor=ADA, subject=("user", "1"), method="x")
        raise Stop

    with pytest.raises(Stop), transaction.atomic():
        act()

    assert not AuditEvent.objects.exists()


@pytest.mark.parametrize(
    ("value", "error"),
    [(0.1, EntryMalformed), (b"raw", EntryMalformed), ("x" * 70_000, EntryTooLarge)],
)
def test_record_refuses_values_that_no_entry_holds(
    value: object, error: type[LedgerError]
) -> None:
    with pytest.raises(error):
        write(extra=value)


def test_seal_without_pending_events_does_nothing() -> None:
    assert seal() is None
    assert not StoredCheckpoint.objects.exists()


@pytest.mark.parametrize("batches", [(1,), (1, 1, 1), (3, 5, 8, 1), (7, 2)])
def test_seal_gives_every_event_a_receipt_that_verifies(batches: tuple[int, ...]) -> None:
    events = []
    for count in batches:
        events += write(count)
        assert seal() is not None

    for index, event in enumerate(events):
        event.refresh_from_db()
        bundle = receipt(event)
        assert bundle is not None
        assert event.index == index
        read = load_receipt(dump_receipt(bundle))
        assert verify_receipt(read, verifier_key()).entry.event_id == str(event.event_id)
    sizes = list(
        StoredCheckpoint.objects.order_by("size").values_list("previous_size", "size")
    )
    assert sizes == [(sum(batches[:i]), sum(batches[: i + 1])) for i in range(len(batches))]


def test_receipt_of_a_pending_event_is_not_there() -> None:
    (event,) = write()

    assert receipt(event) is None


def test_receipt_stays_the_same_while_the_log_grows() -> None:
    (event,) = write()
    seal()
    early = receipt(AuditEvent.objects.get(pk=event.pk))
    write(5)
    seal()

    assert receipt(AuditEvent.objects.get(pk=event.pk)) == early


def test_receipt_of_a_release_names_the_digest_of_its_result() -> None:
    digest = "a" * 64
    with transaction.atomic():
        event = record(
            type=EventType.RELEASE_HELD,
            actor=ADA,
            subject=("release", "1"),
            result_sha256=digest,
            bytes=10,
            rows=1,
        )
    seal()

    bundle = receipt(event)

    assert bundle is not None
    assert bundle.content_sha256 == digest


def test_seal_overtaken_by_another_sequencer_leaves_the_log_as_the_other_made_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The second one read the same size before the first committed."""
    write(3)
    stale = selectors.latest_checkpoint()
    assert seal() is not None
    write(2)
    monkeypatch.setattr("exchange.audit.sequencer.latest_checkpoint", lambda: stale)

    assert seal() is None

    assert StoredCheckpoint.objects.count() == 1
    assert AuditEvent.objects.pending().count() == 2
    assert TreeNode.objects.filter(level=0).count() == 3


def test_seal_fails_whole_when_an_event_got_its_place_elsewhere(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    write(2)
    monkeypatch.setattr("exchange.audit.models.EventQuerySet.give_places", lambda *_: 0)

    assert seal() is None

    assert not StoredCheckpoint.objects.exists()
    assert not TreeNode.objects.exists()


def test_seal_takes_a_thousand_events_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("exchange.audit.sequencer.BATCH", 4)
    write(10)

    assert seal_all() == 10

    assert StoredCheckpoint.objects.count() == 3
    verify_log_export(export_log(), verifier_key())


def test_seal_says_whether_more_may_be_pending(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("exchange.audit.sequencer.BATCH", 3)
    write(4)

    first, second = seal(), seal()

    assert first is not None
    assert first.is_whole_batch
    assert second is not None
    assert not second.is_whole_batch


def test_news_reach_a_listener_once_sealed_and_a_failing_one_harms_nobody(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(news, "_listeners", {})
    heard: list[AuditEvent] = []

    def failing(event: AuditEvent) -> None:
        raise ValueError("a secret value 4711")

    news.subscribe(EventType.LOGIN_SUCCEEDED, failing)
    news.subscribe(EventType.LOGIN_SUCCEEDED, heard.append)
    news.subscribe(EventType.LOGIN_SUCCEEDED, heard.append)
    (event,) = write()
    assert heard == []

    seal()

    assert [e.event_id for e in heard] == [event.event_id]
    assert heard[0].is_sealed
    assert "ValueError" in caplog.text
    assert "4711" not in caplog.text


def test_export_log_from_anywhere_verifies_and_an_altered_byte_does_not() -> None:
    for count in (3, 4, 1):
        write(count)
        seal()

    for start in range(9):
        verified = verify_log_export(export_log(start), verifier_key())
        assert (verified.start, verified.checkpoint.size) == (start, 8)
    assert verify_log_export(export_log(0, 3), verifier_key()).checkpoint.size == 3
    lines = list(export_log())
    lines[4] = lines[4].replace(b"password", b"passw0rd")
    with pytest.raises(RootMismatch):
        verify_log_export(lines, verifier_key())


@pytest.mark.parametrize(
    ("start", "size", "code"), [(0, 5, "checkpoint_unknown"), (9, None, "log_range")]
)
def test_export_log_of_what_is_not_there(start: int, size: int | None, code: str) -> None:
    write(2)
    seal()

    with pytest.raises(NotFound) as caught:
        export_log(start, size)

    assert caught.value.code == code


def test_export_log_before_anything_is_sealed() -> None:
    with pytest.raises(NotFound) as caught:
        export_log()

    assert caught.value.code == "log_empty"


def test_check_log_records_what_it_found() -> None:
    write(3)
    seal()

    verified = check_log(by=ADA)

    event = AuditEvent.objects.get(type=EventType.LOG_CHECKED)
    assert event.payload == {"size": 3, "root": verified.checkpoint.root.hex()}


def test_check_log_finds_an_entry_that_was_edited_on_disk() -> None:
    events = write(3)
    seal()
    _without_triggers(
        "UPDATE audit_auditevent SET entry = %s WHERE seq = %s",
        [bytes(events[1].entry).replace(b"password", b"token"), events[1].seq],
    )

    with pytest.raises(RootMismatch):
        check_log(by=ADA)

    assert not AuditEvent.objects.filter(type=EventType.LOG_CHECKED).exists()


def test_timeline_holds_one_case_in_order() -> None:
    with transaction.atomic():
        for case, method in (("a", "1"), ("b", "2"), ("a", "3")):
            record(
                type=EventType.LOGIN_SUCCEEDED,
                actor=NODE,
                subject=("user", "1"),
                case_id=case,
                method=method,
            )

    assert [e.payload["method"] for e in timeline("a")] == ["1", "3"]


def test_managers_refuse_to_change_or_delete() -> None:
    (event,) = write()
    seal()
    event.actor_name = "Somebody Else"

    for attempt in (
        event.save,
        event.delete,
        lambda: AuditEvent.objects.update(actor_name="x"),
        lambda: AuditEvent.objects.all().delete(),
        lambda: TreeNode.objects.all().delete(),
        lambda: StoredCheckpoint.objects.update(note="x"),
        lambda: AuditEvent.objects.bulk_update([event], ["actor_name"]),
    ):
        with pytest.raises(Refused) as caught:
            attempt()
        assert caught.value.code == "audit_insert_only"


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE audit_auditevent SET actor_name = 'x'",
        "UPDATE audit_auditevent SET private = '{}'",
        'UPDATE audit_auditevent SET "index" = 5',
        'UPDATE audit_auditevent SET "index" = NULL, leaf_hash = NULL',
        "UPDATE audit_treenode SET level = 9",
        "UPDATE audit_storedcheckpoint SET note = 'x'",
        "DELETE FROM audit_auditevent",
        "DELETE FROM audit_treenode",
        "DELETE FROM audit_storedcheckpoint",
    ],
)
def test_triggers_refuse_whoever_goes_round_the_managers(statement: str) -> None:
    write()
    seal()
    _restore_triggers()

    with (
        pytest.raises(DatabaseError, match="insert only"),
        transaction.atomic(),
        connection.cursor() as cursor,
    ):
        cursor.execute(statement)


def test_entry_of_an_event_is_what_anybody_can_read() -> None:
    (event,) = write()

    assert json.loads(bytes(event.entry))["payload"] == {"method": "password"}


def _triggers() -> dict[str, str]:
    migration = importlib.import_module("exchange.audit.migrations.0002_refuse_changes")
    made: dict[str, str] = (
        migration.postgres_triggers()
        if connection.vendor == "postgresql"
        else migration.sqlite_triggers()
    )
    return made


def _restore_triggers() -> None:
    if connection.vendor != "sqlite":
        return
    with connection.cursor() as cursor:
        for name, statement in _triggers().items():
            cursor.execute(f"DROP TRIGGER IF EXISTS {name}")
            cursor.execute(statement)


def _without_triggers(statement: str, values: list[object]) -> None:
    with connection.cursor() as cursor:
        on = " ON audit_auditevent" if connection.vendor == "postgresql" else ""
        cursor.execute(f"DROP TRIGGER audit_event_stays{on}")
        cursor.execute(statement, values)
        cursor.execute(_triggers()["audit_event_stays"])

from __future__ import annotations

import datetime as dt
import os
import subprocess
import sys
import threading
import uuid
from collections.abc import Iterator

import pytest
from celery import signals
from django.db import connection, connections, transaction
from django.utils import timezone

from exchange.audit.actors import NODE
from exchange.audit.models import AuditEvent
from exchange.celery import app
from exchange.errors import Conflict, Refused
from exchange.operations import owners, services, work
from exchange.operations.models import Operation, OperationState
from exchange.operations.registry import handler_of, register
from tests.unit.exchange.operations import acts

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def handlers() -> Iterator[None]:
    acts.register_all()
    yield
    acts.forget_all()


@pytest.fixture
def rings(monkeypatch: pytest.MonkeyPatch) -> list[uuid.UUID]:
    rung: list[uuid.UUID] = []
    monkeypatch.setattr(services, "ring", rung.append)
    return rung


def enqueue(kind: str, target: object = "t") -> Operation:
    with transaction.atomic():
        return services.enqueue(kind, target)


def claimed(kind: str = "test.plain") -> Operation:
    operation = services.claim(enqueue(kind).public_id)
    assert operation is not None
    return operation


def number_of_acts() -> int:
    return AuditEvent.objects.filter(type="log:checked", subject_type="act").count()


def acts_of(target: str) -> list[int]:
    """The attempts in which the act happened."""
    events = AuditEvent.objects.filter(type="log:checked", subject_id=target)
    return [event.payload["size"] for event in events]


@pytest.mark.django_db(transaction=True)
def test_enqueue_rings_once_the_act_commits(rings: list[uuid.UUID]) -> None:
    with transaction.atomic():
        operation = services.enqueue("test.plain", 7)
        assert rings == []

    assert rings == [operation.public_id]
    assert operation.target_id == "7"


@pytest.mark.django_db(transaction=True)
def test_enqueue_in_an_act_that_rolls_back_leaves_no_work(rings: list[uuid.UUID]) -> None:
    def act() -> None:
        services.enqueue("test.plain", 7)
        raise RuntimeError("the act fails")

    with pytest.raises(RuntimeError), transaction.atomic():
        act()

    assert rings == []
    assert not Operation.objects.exists()


def test_enqueue_twice_for_one_target_is_refused_until_the_first_ended() -> None:
    first = enqueue("test.plain")

    with pytest.raises(Conflict) as caught:
        enqueue("test.plain")

    assert caught.value.code == "operation_unfinished"
    work.perform(first.public_id)
    enqueue("test.plain")


def test_claim_of_work_that_is_held_gets_nothing() -> None:
    operation = claimed()

    assert services.claim(operation.public_id) is None
    assert operation.state == OperationState.LEASED
    assert operation.attempt == 1


def test_work_that_begins_with_its_enqueueing_is_done_once_and_here(
    rings: list[uuid.UUID],
) -> None:
    with transaction.atomic():
        begun = services.enqueue("test.plain", "begun", begins=True)

    assert services.claim(begun.public_id) is None  # whoever else looks finds it held
    assert work.sweep() == 0
    assert work.perform(begun) is begun
    assert (begun.state, acts_of("begun")) == (OperationState.DONE, [1])
    assert work.perform(begun) is None
    assert (rings, acts_of("begun")) == ([], [1])


def test_work_that_begins_and_whose_process_dies_is_found_by_the_sweep(
    rings: list[uuid.UUID], monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch, transaction.atomic():
        patch.setattr(services, "this_process", _dead_owner)
        begun = services.enqueue("test.plain", "begun", begins=True)
    Operation.objects.update(rung_at=timezone.now() - dt.timedelta(minutes=1))

    assert work.sweep() == 1

    assert rings == [begun.public_id]
    work.perform(begun.public_id)
    assert acts_of("begun") == [2]


def test_claim_of_work_that_nobody_knows_gets_nothing() -> None:
    assert services.claim(uuid.uuid4()) is None


def test_claim_after_the_lease_ran_out_gets_a_fresh_lease() -> None:
    first = claimed()
    Operation.objects.update(lease_until=timezone.now() - dt.timedelta(seconds=1))

    second = services.claim(first.public_id)

    assert second is not None
    assert second.attempt == 2
    assert second.lease != first.lease


def test_claim_that_another_overtook_since_it_read_the_row_gets_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    operation = enqueue("test.plain")

    def overtaken() -> str:
        Operation.objects.update(attempt=1)  # claimed by another, who failed since
        return "owner"

    monkeypatch.setattr(services, "this_process", overtaken)

    assert services.claim(operation.public_id) is None


def test_completing_by_a_worker_that_lost_its_lease_rolls_its_act_back() -> None:
    late = claimed()
    Operation.objects.update(lease_until=timezone.now() - dt.timedelta(seconds=1))
    other = services.claim(late.public_id)
    assert other is not None

    with pytest.raises(services.LeaseLost), services.completing(late):
        acts.act(late)

    assert number_of_acts() == 0
    with services.completing(other):
        acts.act(other)
    assert number_of_acts() == 1


@pytest.mark.parametrize("ending", ["finish", "extend"])
def test_ending_or_extending_work_that_was_cancelled_loses_the_lease(ending: str) -> None:
    operation = claimed()
    services.cancel(Operation.objects.get(pk=operation.pk), by=NODE)

    with pytest.raises(services.LeaseLost):
        getattr(services, ending)(operation)

    operation.refresh_from_db()
    assert operation.state == OperationState.CANCELLED


def test_extend_says_how_far_the_work_is() -> None:
    operation = claimed()
    before = operation.lease_until

    services.extend(operation, progress="half of the rows")

    stored = Operation.objects.get()
    assert stored.progress == "half of the rows"
    assert before is not None
    assert stored.lease_until is not None
    assert stored.lease_until > before


def test_perform_runs_the_handler_and_marks_done() -> None:
    operation = work.perform(enqueue("test.plain").public_id)

    assert operation is not None
    stored = Operation.objects.get()
    assert (stored.state, stored.lease) == (OperationState.DONE, None)
    assert stored.finished_at is not None
    assert number_of_acts() == 1


def test_perform_twice_acts_once() -> None:
    public_id = enqueue("test.plain").public_id
    work.perform(public_id)

    assert work.perform(public_id) is None
    assert number_of_acts() == 1


def test_perform_of_a_handler_that_refuses_keeps_its_code_and_moves_the_target() -> None:
    work.perform(enqueue("test.refuse").public_id)

    stored = Operation.objects.get()
    assert stored.state == OperationState.FAILED
    assert (stored.error_code, stored.error_hint) == ("mill_closed", "Come back tomorrow.")
    assert AuditEvent.objects.get(type="version:failed").payload == {"code": "mill_closed"}


def test_perform_whose_failure_cannot_be_noted_does_not_end_the_work(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    public_id = enqueue("test.refuse").public_id
    monkeypatch.setattr(AuditEvent.objects, "create", _broken)

    with pytest.raises(RuntimeError):
        work.perform(public_id)

    assert Operation.objects.get().state == OperationState.LEASED


def test_perform_of_an_unexpected_fault_tells_nobody_what_it_said(
    caplog: pytest.LogCaptureFixture,
) -> None:
    work.perform(enqueue("test.explode").public_id)

    stored = Operation.objects.get()
    assert stored.error_code == "internal_error"
    assert "ValueError" in caplog.text
    assert "Hildegard" not in caplog.text + stored.error_message + stored.error_hint


def test_perform_gives_up_after_the_last_attempt() -> None:
    operation = enqueue("test.die_always")
    Operation.objects.update(attempt=2)

    work.perform(operation.public_id)

    stored = Operation.objects.get()
    assert (stored.state, stored.error_code) == (
        OperationState.FAILED,
        "operation_abandoned",
    )
    assert (
        AuditEvent.objects.get(type="version:failed").payload["code"] == stored.error_code
    )


def test_restart_of_failed_work_does_it_from_the_beginning(rings: list[uuid.UUID]) -> None:
    operation = work.perform(enqueue("test.refuse").public_id)
    assert operation is not None

    again = services.restart(operation)

    assert (again.state, again.attempt, again.error_code) == (OperationState.PENDING, 0, "")


@pytest.mark.parametrize("state", ["pending", "done"])
def test_restart_of_work_that_did_not_fail_is_refused(state: str) -> None:
    operation = enqueue("test.plain")
    if state == "done":
        work.perform(operation.public_id)

    with pytest.raises(Conflict) as caught:
        services.restart(operation)

    assert caught.value.code == "operation_not_restartable"


def test_cancel_of_finished_work_is_refused() -> None:
    operation = enqueue("test.plain")
    work.perform(operation.public_id)

    with pytest.raises(Conflict) as caught:
        services.cancel(operation, by=NODE)

    assert caught.value.code == "operation_finished"


def test_handlers_of_one_kind_are_one() -> None:
    with pytest.raises(Refused):
        register("test.plain", acts.refuse)
    with pytest.raises(Refused):
        handler_of("test.nobody")


def test_sweep_rings_for_what_waits_and_for_what_lost_its_worker(
    rings: list[uuid.UUID],
) -> None:
    waiting, held, gone, fresh = (enqueue("test.plain", i) for i in range(4))
    services.claim(held.public_id)
    services.claim(gone.public_id)
    Operation.objects.filter(pk=gone.pk).update(lease_owner=_dead_owner())
    Operation.objects.exclude(pk=fresh.pk).update(
        rung_at=timezone.now() - dt.timedelta(minutes=1)
    )

    assert work.sweep() == 2

    assert set(rings) == {waiting.public_id, gone.public_id}
    assert services.claim(gone.public_id) is not None
    assert work.sweep() == 0


def test_owner_that_lives_is_not_gone() -> None:
    assert not owners.is_gone(owners.this_process())


@pytest.mark.parametrize(
    "owner", ["", "elsewhere/pid:[1]#99999#5", "no-hash", f"{owners._boot_id()}#x#1"]
)
def test_owner_that_cannot_be_judged_from_here_is_not_gone(owner: str) -> None:
    assert not owners.is_gone(owner)


def test_owner_whose_number_was_given_to_another_process_is_gone() -> None:
    boot, pid, ticks = owners.this_process().split("#")

    assert owners.is_gone(f"{boot}#{pid}#{int(ticks) - 1}")


@pytest.mark.django_db(transaction=True)
def test_claim_by_many_at_once_is_won_by_one() -> None:
    operation = enqueue("test.plain")
    won: list[Operation] = []
    start = threading.Barrier(6)

    def attempt() -> None:
        start.wait()
        got = services.claim(operation.public_id)
        if got is not None:
            won.append(got)
        connection.close()

    threads = [threading.Thread(target=attempt) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert len(won) == 1


def _dead_owner() -> str:
    code = "from exchange.operations.owners import this_process; print(this_process())"
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        env=os.environ,
    )
    return done.stdout.strip()


def _broken(*args: object, **kwargs: object) -> None:
    raise RuntimeError("the log cannot be written")


def test_workers_keep_their_connection_as_long_as_it_is_sound(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Celery's own handler would close it before and after each task."""
    looked: list[str] = []
    monkeypatch.setattr(
        type(connections["default"]),
        "close_if_unusable_or_obsolete",
        lambda _: looked.append("at"),
    )

    signals.task_prerun.send(sender=None)

    assert looked
    assert app.conf.get("CELERY_DB_REUSE_MAX") > 1

from __future__ import annotations

from typing import ClassVar

import pytest

from exchange.audit.actors import NODE
from exchange.audit.events import EventType
from exchange.audit.models import AuditEvent
from exchange.errors import Conflict
from exchange.operations.models import Operation, OperationState
from exchange.transitions import Moves, advance

pytestmark = pytest.mark.django_db


class Walk(Operation):
    """An operation with a table of moves, to walk through."""

    MOVES: ClassVar[Moves] = {
        OperationState.PENDING: frozenset(
            {OperationState.LEASED, OperationState.CANCELLED}
        ),
        OperationState.LEASED: frozenset({OperationState.DONE}),
    }

    class Meta:
        proxy = True
        app_label = "operations"


@pytest.fixture
def walk() -> Walk:
    return Walk.objects.create(kind="test", target_id="1")


def test_advance_moves_changes_and_records(walk: Walk) -> None:
    moved = advance(
        walk,
        to=OperationState.CANCELLED,
        by=NODE,
        event=EventType.VERSION_FAILED,
        case_id="case",
        changes={"progress": "stopped"},
        code="cancelled",
    )

    stored = Walk.objects.get()
    assert moved is walk
    for row in (walk, stored):
        assert (row.state, row.progress) == (OperationState.CANCELLED, "stopped")
    event = AuditEvent.objects.get()
    assert (event.subject_id, event.case_id) == (str(walk.public_id), "case")


@pytest.mark.parametrize("to", [OperationState.DONE, OperationState.PENDING])
def test_advance_off_the_table_is_refused(walk: Walk, to: OperationState) -> None:
    with pytest.raises(Conflict) as caught:
        advance(walk, to=to, by=NODE)

    assert caught.value.code == "illegal_move"
    assert "cancelled, leased" in caught.value.message


def test_advance_from_a_state_without_moves_is_refused(walk: Walk) -> None:
    walk.state = OperationState.FAILED

    with pytest.raises(Conflict, match="nowhere"):
        advance(walk, to=OperationState.DONE, by=NODE)


def test_advance_of_a_stale_row_is_refused_and_changes_nothing(walk: Walk) -> None:
    Walk.objects.update(state=OperationState.FAILED, error_code="x")

    with pytest.raises(Conflict) as caught:
        advance(
            walk,
            to=OperationState.CANCELLED,
            by=NODE,
            event=EventType.VERSION_FAILED,
            changes={"progress": "stopped"},
            code="x",
        )

    assert caught.value.code == "state_changed"
    stored = Walk.objects.get()
    assert (stored.state, stored.progress) == (OperationState.FAILED, "")
    assert walk.state == OperationState.PENDING
    assert not AuditEvent.objects.exists()


def test_advance_whose_event_is_incomplete_does_not_move(walk: Walk) -> None:
    from exchange.audit.services import EventIncomplete

    with pytest.raises(EventIncomplete):
        advance(walk, to=OperationState.CANCELLED, by=NODE, event=EventType.VERSION_FAILED)

    assert Walk.objects.get().state == OperationState.PENDING
    assert walk.state == OperationState.PENDING

"""Every event, state and scope has words; a new one without them fails here."""

from __future__ import annotations

from typing import Any

import pytest
from django.db import transaction

from exchange.agreements.states import NegotiationState
from exchange.audit.actors import NODE, NamedActor, Private
from exchange.audit.events import REQUIRED, EventType
from exchange.audit.services import record
from exchange.catalogue.states import VersionState
from exchange.operations.models import OperationState
from exchange.parties.models import Scope
from exchange.queries.states import QueryState, ReleaseState
from exchange.web import statuses
from exchange.web.filters import AuditFilter
from exchange.web.operations import layer_words
from exchange.web.parties import scope_words
from exchange.web.presenters import PRESENTERS, present

ADA = NamedActor("ada-id", "Ada", "mill")


def _payload(kind: EventType, **more: Any) -> dict[str, Any]:
    return dict.fromkeys(REQUIRED[kind], "7") | more


@pytest.mark.parametrize("kind", EventType)
def test_presenters_every_event_type_is_a_whole_sentence(kind: EventType) -> None:
    sentence = PRESENTERS[kind].say("ada", _payload(kind))

    assert sentence[0].isupper()
    assert sentence.endswith(".")
    assert not sentence.endswith("..")
    assert "%" not in sentence
    assert PRESENTERS[kind].tone in {"", "ok", "wait", "stop"}


def test_presenters_name_no_unknown_type() -> None:
    assert set(PRESENTERS) == set(EventType)


@pytest.mark.parametrize(
    "decision", ["approve", "reject", "automatic", "withdrawn", "overdue"]
)
def test_request_decided_says_who_decided_what(decision: str) -> None:
    sentences = {
        word: PRESENTERS[EventType.REQUEST_DECIDED].say(
            "Ada", _payload(EventType.REQUEST_DECIDED, decision=word)
        )
        for word in (decision, "something else")
    }

    assert sentences[decision] != sentences["something else"]


@pytest.mark.parametrize(
    ("table", "states"),
    [
        (statuses.VERSIONS, VersionState),
        (statuses.REQUESTS, NegotiationState),
        (statuses.QUERIES, QueryState),
        (statuses.RELEASES, ReleaseState),
        (statuses.OPERATIONS, OperationState),
    ],
)
def test_statuses_every_state_has_one(table: Any, states: Any) -> None:
    assert set(table) == set(states.values)


def test_scope_words_every_scope_has_its_own() -> None:
    assert len({scope_words(scope) for scope in Scope}) == len(Scope)


def test_audit_filter_offers_every_subject() -> None:
    field: Any = AuditFilter().fields["subject"]
    offered = {value for value, _ in field.choices if value}

    assert offered == {kind.split(":")[0] for kind in EventType}


def _recorded(actor: Any, **payload: Any) -> Any:
    with transaction.atomic():
        return record(
            type=EventType.GRANT_REVOKED, actor=actor, subject=("grant", "1"), **payload
        )


def test_present_shows_a_private_text_while_it_is_kept(db: None) -> None:
    event = _recorded(ADA, reason=Private("a breach of terms"))

    line = present(event, names={"mill": "The Mill"})

    assert line.sentence == "Ada revoked the grant."
    assert line.organisation == "The Mill"
    assert ("Reason", "a breach of terms") in line.detail
    assert not any("salt" in value for _, value in line.detail)


def test_present_shows_the_commitment_of_an_erased_text(db: None) -> None:
    event = _recorded(ADA, reason=Private("a breach of terms"))
    event.private = {}

    ((_, words),) = present(event).detail

    assert "erased" in words
    assert "breach" not in words


def test_present_an_act_of_the_node_begins_with_a_capital(db: None) -> None:
    event = _recorded(NODE, reason="over")

    assert present(event).sentence == "This node revoked the grant."


def test_layer_words_every_layer_of_the_self_check_has_some() -> None:
    from sandbox.processes import selfcheck

    names = [*selfcheck._ATTACKS, "namespaces", "own_user", "cgroup"]

    assert all(layer_words(name) != name.replace("_", " ") for name in names)

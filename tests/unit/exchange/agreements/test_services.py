from __future__ import annotations

import datetime as dt
from typing import Any

import pytest
from django.db import IntegrityError, transaction
from django.utils import timezone

from exchange.agreements import selectors
from exchange.agreements.models import AccessRequest, Grant, RequestDecision
from exchange.agreements.rules import rules_offered
from exchange.agreements.services import (
    decide_request,
    revoke_grant,
    terminate_overdue,
    withdraw_request,
)
from exchange.audit.models import AuditEvent
from exchange.audit.selectors import timeline
from exchange.catalogue.services import publish, set_policy, withdraw
from exchange.errors import Conflict, Forbidden, Invalid, NotFound, Refused
from exchange.parties.models import Kind, Role
from policies.document import AggregateRule, SubsetRule
from tests.factories.parties import OrganisationFactory, join, member
from tests.factories.walk import House, asked, granted, offered, policy_text, with_policy


def events_of(request: AccessRequest) -> list[str]:
    return [event.type for event in timeline(str(request.pk))]


def test_request_access_under_an_automatic_policy_ends_in_a_grant(house: House) -> None:
    offer = offered(house)

    request = asked(house, offer)

    grant = request.grant
    assert request.state == "FINALIZED"
    assert (grant.version, grant.policy_version) == (offer.version, offer.policy_version)
    assert (grant.provider, grant.consumer) == (house.provider, house.consumer)
    assert grant.ends_at - grant.starts_at == dt.timedelta(days=30)
    assert grant.case_id == str(request.pk)
    assert events_of(request) == ["request:submitted", "request:decided", "grant:issued"]


def test_request_access_keeps_the_justification_out_of_the_log(house: House) -> None:
    asked(house, offered(house), justification="Jane Doe asked me to.")

    event = AuditEvent.objects.get(type="request:submitted")

    assert b"Jane Doe" not in bytes(event.entry)


def test_request_access_that_people_decide_waits_with_a_due_time(house: House) -> None:
    request = asked(house, offered(house, aggregate=2))

    assert request.state == "REQUESTED"
    assert request.due_at is not None
    assert request.due_at > timezone.now()
    assert not Grant.objects.exists()


def test_request_access_to_a_subset_takes_the_rules_columns_in_its_order(
    house: House,
) -> None:
    request = asked(house, offered(house), kind="subset", columns=["failure", "type"])

    assert request.columns == ["type", "failure"]
    assert request.grant.kind == "subset"


def test_request_access_to_a_subset_lasts_no_longer_than_the_rule_says(
    house: House,
) -> None:
    offer = offered(house)
    text = policy_text().replace("max_rows: 50", "max_rows: 50\n    expires_after_days: 7")
    policy = set_policy(dataset=offer.dataset, text=text, by=house.steward)
    offer = publish(
        version=offer.version, policy_version=policy, licence="CC-BY-4.0", by=house.steward
    )

    grant = asked(house, offer, kind="subset").grant

    assert grant.ends_at - grant.starts_at == dt.timedelta(days=7)


@pytest.mark.parametrize(
    ("fields", "code"),
    [
        ({"purpose": "marketing"}, "purpose_not_offered"),
        ({"kind": "everything"}, "rule_kind_unknown"),
        ({"accepted_licence": "CC0-1.0"}, "licence_not_accepted"),
        ({"accepted_licence": ""}, "licence_not_accepted"),
        ({"kind": "subset", "columns": ["id"]}, "column_not_offered"),
        ({"kind": "subset", "purpose": " "}, "purpose_not_offered"),
        ({"legal_basis": "because"}, "legal_basis_unknown"),
        ({"justification": "  "}, "justification_missing"),
        ({"duration_days": 0}, "duration_out_of_range"),
        ({"duration_days": 99999}, "duration_out_of_range"),
    ],
)
def test_request_access_refuses_by_name(
    fields: dict[str, Any], code: str, house: House
) -> None:
    offer = offered(house)

    with pytest.raises((Refused, Invalid)) as caught:
        asked(house, offer, **fields)

    assert caught.value.code == code
    assert not AccessRequest.objects.exists()


def test_request_access_by_the_provider_itself_is_refused(house: House) -> None:
    offer = offered(house)
    join(house.steward, house.provider, Role.BUILDER)

    with pytest.raises(Refused) as caught:
        asked(
            house,
            offer,
            consumer=house.provider,
            by=type(house.steward).objects.get(pk=house.steward.pk),
        )

    assert caught.value.code == "own_dataset"


def test_request_access_for_a_house_that_is_not_ones_own_is_forbidden(house: House) -> None:
    with pytest.raises(Forbidden):
        asked(house, offered(house), by=house.reviewer)


def test_request_access_twice_while_one_waits_conflicts(house: House) -> None:
    offer = offered(house, aggregate=1)
    asked(house, offer)

    with pytest.raises(Conflict) as caught:
        asked(house, offer)

    assert caught.value.code == "request_already_open"


def test_request_access_to_a_closed_offer_conflicts(house: House) -> None:
    offer = offered(house)
    withdraw(version=offer.version, by=house.steward)

    with pytest.raises(Conflict) as caught:
        asked(house, offer)

    assert caught.value.code == "offer_closed"


def test_decide_request_needs_as_many_reviewers_as_the_policy_says(house: House) -> None:
    request = asked(house, offered(house, aggregate=2))

    first = decide_request(request=request, approve=True, by=house.reviewer)
    assert (first.state, first.approvals) == ("REQUESTED", 1)
    second = decide_request(request=request, approve=True, by=house.second_reviewer)

    assert second.state == "FINALIZED"
    assert second.grant.purpose == "predictive-maintenance"
    assert events_of(request) == [
        "request:submitted",
        "request:decided",
        "request:decided",
        "grant:issued",
    ]


def test_decide_request_one_rejection_ends_it(house: House) -> None:
    request = asked(house, offered(house, aggregate=2))

    decided = decide_request(request=request, approve=False, note="no", by=house.reviewer)

    assert (decided.state, decided.refusal_code) == ("TERMINATED", "rejected")
    with pytest.raises(Conflict) as caught:
        decide_request(request=request, approve=True, by=house.second_reviewer)
    assert caught.value.code == "request_not_waiting"


def test_decide_request_twice_by_one_reviewer_counts_once(house: House) -> None:
    request = asked(house, offered(house, aggregate=2))
    decide_request(request=request, approve=True, by=house.reviewer)

    with pytest.raises(Conflict) as caught:
        decide_request(request=request, approve=True, by=house.reviewer)

    assert caught.value.code == "already_decided"
    assert RequestDecision.objects.count() == 1


def test_decide_request_by_the_requester_is_forbidden(house: House) -> None:
    request = asked(house, offered(house, aggregate=1))
    join(house.builder, house.provider, Role.REVIEWER)
    insider = type(house.builder).objects.get(pk=house.builder.pk)

    with pytest.raises(Forbidden) as caught:
        decide_request(request=request, approve=True, by=insider)

    assert caught.value.code == "four_eyes"


def test_decide_request_by_a_member_of_both_houses_is_forbidden(house: House) -> None:
    request = asked(house, offered(house, aggregate=1))
    both = member(house.provider, Role.REVIEWER)
    join(both, house.consumer, Role.REVIEWER)

    with pytest.raises(Forbidden) as caught:
        decide_request(request=request, approve=True, by=both)

    assert caught.value.code == "four_eyes"
    assert both not in [r.requested_by for r in selectors.requests_to_decide(both)]
    assert not selectors.requests_to_decide(both)


def test_decide_request_by_a_steward_is_forbidden(house: House) -> None:
    request = asked(house, offered(house, aggregate=1))

    with pytest.raises(Forbidden):
        decide_request(request=request, approve=True, by=house.steward)


@pytest.mark.parametrize("same", ["reviewer", "organisation"])
def test_request_decision_holds_four_eyes_by_constraint(same: str, house: House) -> None:
    """Whoever goes round the service meets the database."""
    request = asked(house, offered(house, aggregate=1))
    is_same = same == "reviewer"

    with pytest.raises(IntegrityError), transaction.atomic():
        RequestDecision.objects.create(
            request=request,
            reviewer=house.builder if is_same else house.reviewer,
            reviewer_organisation=house.provider if is_same else house.consumer,
            requester=house.builder,
            consumer=house.consumer,
            approves=True,
        )


def test_decide_request_on_an_offer_that_was_replaced_cannot_approve(house: House) -> None:
    """The newer policy may be stricter; the old one is not granted any more."""
    offer = offered(house, aggregate=1)
    request = asked(house, offer)
    policy = with_policy(house, offer.dataset, aggregate=2)
    publish(
        version=offer.version, policy_version=policy, licence="CC-BY-4.0", by=house.steward
    )

    with pytest.raises(Conflict) as caught:
        decide_request(request=request, approve=True, by=house.reviewer)

    assert caught.value.code == "offer_closed"
    ended = decide_request(request=request, approve=False, by=house.reviewer)
    assert ended.state == "TERMINATED"


def test_withdraw_request_is_for_the_side_that_asked(house: House) -> None:
    request = asked(house, offered(house, aggregate=1))

    with pytest.raises(Forbidden):
        withdraw_request(request=request, by=house.reviewer)
    ended = withdraw_request(request=request, by=house.builder)

    assert (ended.state, ended.refusal_code) == ("TERMINATED", "withdrawn")


def test_terminate_overdue_ends_what_nobody_decided_in_time(house: House) -> None:
    request = asked(house, offered(house, aggregate=1))
    due = request.due_at
    assert due is not None

    assert terminate_overdue(now=due - dt.timedelta(seconds=1)) == 0
    assert terminate_overdue(now=due + dt.timedelta(seconds=1)) == 1

    request.refresh_from_db()
    assert (request.state, request.refusal_code) == ("TERMINATED", "overdue")


def test_revoke_grant_is_for_the_provider_and_happens_once(house: House) -> None:
    grant = granted(house)

    with pytest.raises(Forbidden):
        revoke_grant(grant=grant, note="", by=house.builder)
    revoke_grant(grant=grant, note="purpose ended", by=house.reviewer)
    with pytest.raises(Conflict) as caught:
        revoke_grant(grant=grant, note="", by=house.steward)

    assert caught.value.code == "grant_revoked"
    assert not grant.is_active(timezone.now())


def test_requests_and_grants_are_seen_by_both_sides_and_a_regulator(house: House) -> None:
    grant = granted(house)
    stranger = member(OrganisationFactory(), Role.BUILDER)
    regulator = member(OrganisationFactory(kind=Kind.REGULATOR), Role.REGULATOR)

    for reader in (house.builder, house.steward, house.reviewer, regulator):
        assert selectors.grant_visible_to(reader, grant.pk) == grant
        assert selectors.request_visible_to(reader, grant.request_id) == grant.request
    with pytest.raises(NotFound):
        selectors.grant_visible_to(stranger, grant.pk)
    with pytest.raises(NotFound):
        selectors.request_visible_to(stranger, grant.request_id)


def test_requests_to_decide_holds_what_still_needs_ones_word(house: House) -> None:
    request = asked(house, offered(house, aggregate=2))

    assert list(selectors.requests_to_decide(house.reviewer)) == [request]
    decide_request(request=request, approve=True, by=house.reviewer)

    assert not selectors.requests_to_decide(house.reviewer)
    assert list(selectors.requests_to_decide(house.second_reviewer)) == [request]
    assert not selectors.requests_to_decide(house.steward)
    assert not selectors.requests_to_decide(house.builder)


def test_rules_offered_lists_each_rule_with_the_licence_to_accept(house: House) -> None:
    offer = offered(house, subset=2)

    aggregate, subset = rules_offered(offer)

    assert (aggregate.kind, aggregate.licence, aggregate.reviewers) == (
        "aggregate",
        "CC-BY-4.0",
        0,
    )
    assert (subset.kind, subset.licence, subset.reviewers) == (
        "subset",
        "CDLA-Permissive-2.0",
        2,
    )
    assert subset.columns == ("type", "torque", "failure")


def test_rule_of_gives_the_rule_itself(house: House) -> None:
    offer = offered(house)

    assert isinstance(selectors.rule_of(asked(house, offer)), AggregateRule)
    assert isinstance(
        selectors.rule_of(asked(house, offer, kind="subset").grant), SubsetRule
    )


def test_grant_between_one_and_the_same_party_is_no_row(house: House) -> None:
    grant = granted(house)

    with pytest.raises(IntegrityError), transaction.atomic():
        Grant.objects.filter(pk=grant.pk).update(consumer=house.provider)

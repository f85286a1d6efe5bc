"""What a reader may see of requests and grants."""

from __future__ import annotations

from contextlib import suppress
from uuid import UUID

from django.db.models import Q, QuerySet
from guardian.shortcuts import get_objects_for_user

from exchange.agreements.models import AccessRequest, Grant
from exchange.agreements.states import NegotiationState
from exchange.catalogue.selectors import one_of
from exchange.errors import NotFound
from exchange.parties.models import Organisation, User
from exchange.parties.permissions import sees_all_evidence
from policies.document import Rule


def requests_visible_to(user: User) -> QuerySet[AccessRequest]:
    """Requests of the reader's organisations on either side; all for a regulator."""
    found = AccessRequest.objects.select_related(
        "offer__dataset__organisation",
        "offer__version",
        "offer__policy_version",
        "consumer",
        "requested_by",
        "grant",
    ).prefetch_related("decisions__reviewer")
    if sees_all_evidence(user):
        return found
    mine = _organisations(user)
    return found.filter(Q(consumer__in=mine) | Q(offer__dataset__organisation__in=mine))


def request_visible_to(user: User, request_id: UUID | str) -> AccessRequest:
    """That request, or NotFound."""
    return one_of(requests_visible_to(user), request_id)


def requests_to_decide(user: User) -> QuerySet[AccessRequest]:
    """Waiting requests on which this user may still give a word: the inbox."""
    return (
        requests_visible_to(user)
        .filter(
            state=NegotiationState.REQUESTED,
            offer__dataset__organisation__in=reviewed_by(user),
        )
        .exclude(consumer__in=_organisations(user))
        .exclude(requested_by=user)
        .exclude(decisions__reviewer=user)
    )


def grants_visible_to(user: User) -> QuerySet[Grant]:
    """Grants of the reader's organisations on either side; all for a regulator."""
    found = Grant.objects.select_related(
        "offer__dataset__organisation",
        "version__dataset__organisation",
        "policy_version",
        "provider",
        "consumer",
        "request__requested_by",
        "revoked_by",
    )
    return found if sees_all_evidence(user) else found.filter(_is_of_own(user))


def grant_visible_to(user: User, grant_id: UUID | str) -> Grant:
    """That grant, or NotFound."""
    return one_of(grants_visible_to(user), grant_id)


def grant_to_ask_under(user: User, grant_id: UUID | str) -> Grant:
    """That grant, or NotFound, with what a submission needs of it and no more."""
    found = Grant.objects.select_related(
        "offer__dataset__organisation", "policy_version", "provider", "consumer"
    )
    # Who asks is nearly always a member: others are asked for their role afterwards.
    with suppress(NotFound):
        return one_of(found.filter(_is_of_own(user)), grant_id)
    return grant_visible_to(user, grant_id)


def rule_of(subject: AccessRequest | Grant) -> Rule:
    """The policy's rule that the request or grant is about."""
    policy = subject.offer.policy_version.policy
    rules = policy.aggregate_rules if subject.kind == "aggregate" else policy.subset_rules
    return rules[subject.rule_index]


def reviewed_by(user: User) -> QuerySet[Organisation]:
    """Organisations for which the user reviews."""
    found: QuerySet[Organisation] = get_objects_for_user(
        user,
        "parties.review",
        Organisation,
        accept_global_perms=False,
        with_superuser=False,
    )
    return found.order_by()


def _is_of_own(user: User) -> Q:
    mine = _organisations(user)
    return Q(consumer__in=mine) | Q(provider__in=mine)


def _organisations(user: User) -> QuerySet[Organisation]:
    return Organisation.objects.filter(memberships__user=user).order_by()

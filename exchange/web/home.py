"""The first page: what waits for me, and where to begin."""

from __future__ import annotations

from typing import Any

from django.db.models import Q, QuerySet
from django.http import HttpResponse
from django.utils import timezone

from exchange.agreements.models import AccessRequest, Grant
from exchange.agreements.selectors import (
    grants_visible_to,
    requests_to_decide,
    requests_visible_to,
)
from exchange.agreements.states import NegotiationState
from exchange.audit.models import AuditEvent
from exchange.catalogue.models import DatasetVersion
from exchange.catalogue.states import VersionState
from exchange.operations.models import OperationState
from exchange.parties.models import Organisation
from exchange.parties.permissions import sees_all_evidence
from exchange.queries.models import Query
from exchange.queries.selectors import queries_to_review, queries_visible_to
from exchange.web.access import UserRequest, signed_in
from exchange.web.operations import operations_visible_to
from exchange.web.page import render_page
from exchange.web.presenters import Line, present
from exchange.web.rules import purpose_words
from exchange.web.standing import Standing, standing_of
from exchange.web.statuses import query_status, request_status, version_status

FEW = 6
_UNFINISHED = (
    VersionState.PROFILING,
    VersionState.PROFILED,
    VersionState.PARTITIONING,
    VersionState.READY,
    VersionState.FAILED,
)


def _drafts(standing: Standing) -> list[dict[str, Any]]:
    """Versions of the reader's datasets that ask for a next step."""
    versions = DatasetVersion.objects.filter(
        dataset__organisation__in=standing.where("manage_datasets"), state__in=_UNFINISHED
    )
    return [
        {"version": version, "status": version_status(version)}
        for version in versions.select_related("dataset").order_by("-created_at")[:FEW]
    ]


def _to_decide(request: UserRequest) -> tuple[QuerySet[AccessRequest], QuerySet[Query]]:
    return (
        requests_to_decide(request.user)
        .select_related("offer__dataset", "consumer")
        .order_by("created_at")[:FEW],
        queries_to_review(request.user)
        .select_related("grant__offer__dataset", "grant__consumer")
        .order_by("submitted_at")[:FEW],
    )


def _grants(request: UserRequest, standing: Standing) -> list[dict[str, Any]]:
    now = timezone.now()
    grants: QuerySet[Grant] = grants_visible_to(request.user).filter(
        consumer__in=standing.where("submit_queries"), revoked_at=None, ends_at__gt=now
    )
    return [
        {"grant": grant, "purpose": purpose_words(grant.purpose)}
        for grant in grants.select_related("offer__dataset", "provider").order_by(
            "ends_at"
        )[:FEW]
    ]


def _latest_events() -> list[Line]:
    """What a regulator looks at first: exchanges, not sign-ins and keys."""
    kinds = Q()
    for subject in ("request", "grant", "query", "release", "version", "policy"):
        kinds |= Q(type__startswith=f"{subject}:")
    events = AuditEvent.objects.filter(kinds).order_by("-seq")[:10]
    names = dict(Organisation.objects.values_list("slug", "name"))
    return [present(event, names=names) for event in events]


@signed_in
def home(request: UserRequest) -> HttpResponse:
    standing = standing_of(request.user)
    requests, reviews = _to_decide(request) if standing.may("review") else ([], [])
    mine = requests_visible_to(request.user).filter(
        consumer__in=standing.where("request_access"), state=NegotiationState.REQUESTED
    )
    recent = queries_visible_to(request.user).filter(submitted_by=request.user)
    regulator = sees_all_evidence(request.user)
    return render_page(
        request,
        "home/home.html",
        here="home:home",
        standing=standing,
        requests=requests,
        reviews=reviews,
        drafts=_drafts(standing) if standing.may("manage_datasets") else [],
        grants=_grants(request, standing) if standing.may("submit_queries") else [],
        asked=[
            {"request": access, "status": request_status(access)}
            for access in mine.select_related("offer__dataset")[:FEW]
        ],
        recent=[
            {"query": query, "status": query_status(query)}
            for query in recent.select_related("grant__offer__dataset").order_by(
                "-submitted_at"
            )[:FEW]
        ]
        if standing.may("submit_queries")
        else [],
        events=_latest_events() if regulator else [],
        is_regulator=regulator,
        failed_operations=operations_visible_to(request.user)
        .filter(state=OperationState.FAILED)
        .count()
        if standing.may("administer")
        else 0,
        may={
            name: standing.may(name)
            for name in (
                "administer",
                "manage_datasets",
                "submit_queries",
                "review",
                "request_access",
            )
        },
    )

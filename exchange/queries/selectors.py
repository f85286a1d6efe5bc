"""What a reader may see of queries and releases."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from django.db.models import Count, FloatField, Max, Q, QuerySet, Sum
from django.db.models.fields.json import KT
from django.db.models.functions import Cast

from exchange.agreements.models import Grant
from exchange.agreements.selectors import reviewed_by
from exchange.audit import selectors as audit
from exchange.audit.models import AuditEvent
from exchange.catalogue.selectors import one_of
from exchange.errors import NotFound
from exchange.parties.models import Organisation, User
from exchange.parties.permissions import sees_all_evidence
from exchange.queries import analysis
from exchange.queries.models import FailedRun, Query, Release
from exchange.queries.states import QUERY_AT_REST, QueryState
from ledger.receipt import Receipt


def queries_visible_to(user: User) -> QuerySet[Query]:
    """Queries under grants of the reader's organisations; all for a regulator."""
    found = Query.objects.select_related(
        "grant__offer__dataset__organisation",
        "grant__version",
        "grant__policy_version",
        "grant__provider",
        "grant__consumer",
        "submitted_by",
        "release",
        "same_as__release",
    ).prefetch_related("reviews__reviewer")
    return found if sees_all_evidence(user) else found.filter(_is_of_own(user, "grant"))


def query_visible_to(user: User, query_id: UUID | str) -> Query:
    """That query, or NotFound."""
    return one_of(queries_visible_to(user), query_id)


def query_under(grant: Grant, query_id: UUID, user: User) -> Query:
    """That query, or NotFound; `grant` is its own and loaded already."""
    found = (
        Query.objects.filter(_is_of_own(user, "grant"), grant=grant)
        .select_related("submitted_by", "release", "same_as__release")
        .prefetch_related("reviews__reviewer")
    )
    try:
        query = one_of(found, query_id)
    except NotFound:
        query = query_visible_to(user, query_id)
    query.grant = grant
    return query


def is_at_rest(query_id: UUID) -> bool:
    """Whether the query goes on by itself no more: it ended, or people decide."""
    return Query.objects.filter(pk=query_id, state__in=QUERY_AT_REST).exists()


def queries_to_review(user: User) -> QuerySet[Query]:
    """Queries in review on which this user may still give a word: the inbox."""
    return (
        queries_visible_to(user)
        .filter(
            state=QueryState.IN_REVIEW, same_as=None, grant__provider__in=reviewed_by(user)
        )
        .exclude(grant__consumer__in=_organisations(user))
        .exclude(submitted_by=user)
        .exclude(reviews__reviewer=user)
    )


def releases_visible_to(user: User) -> QuerySet[Release]:
    """Releases under grants of the reader's organisations; all for a regulator."""
    found = Release.objects.select_related(
        "query__grant__offer__dataset__organisation",
        "query__grant__version",
        "query__grant__policy_version",
        "query__grant__provider",
        "query__grant__consumer",
        "query__submitted_by",
        "data_key",
    )
    if sees_all_evidence(user):
        return found
    return found.filter(_is_of_own(user, "query__grant"))


def release_visible_to(user: User, release_id: UUID | str) -> Release:
    """That release, or NotFound."""
    return one_of(releases_visible_to(user), release_id)


def release_to_fetch(user: User, release_id: UUID | str) -> Release:
    """That release, or NotFound, with what a download needs of it and no more."""
    found = Release.objects.select_related(
        "query__grant__provider", "query__grant__consumer", "data_key"
    )
    # Who fetches is nearly always a member: others are asked for their role afterwards.
    with suppress(NotFound):
        return one_of(found.filter(_is_of_own(user, "query__grant")), release_id)
    return release_visible_to(user, release_id)


def answer_of(query: Query) -> Release | None:
    """The release that answers the query: its own, or that of the query it repeats."""
    asked = query.same_as or query
    found: Release | None = getattr(asked, "release", None)
    return found


def receipt_of(release: Release) -> Receipt | None:
    """The receipt of its release:held record; None until a checkpoint covers that."""
    event = AuditEvent.objects.filter(event_id=release.event_id).first()
    return audit.receipt(event) if event is not None else None


@dataclass(frozen=True, slots=True)
class Used:
    """What runs have used together; of memory the most that one of them had.

    A run that was killed counts no scanned bytes: only its own process knew them.
    """

    runs: int  # that ended in a release
    failed_runs: int
    cpu_seconds: float
    peak_memory_bytes: int
    bytes_scanned: int


def used_under(grant: Grant) -> Used:
    """What the runs under a grant have used, those included that failed."""

    def of(name: str) -> Cast:
        return Cast(KT(f"metering__{name}"), FloatField())

    rows: tuple[QuerySet[Any], ...] = (Release.objects.all(), FailedRun.objects.all())
    released, failed = (
        found.filter(query__grant=grant).aggregate(
            runs=Count("pk"),
            cpu=Sum(of("cpu_seconds")),
            memory=Max(of("peak_memory_bytes")),
            scanned=Sum(of("bytes_scanned")),
        )
        for found in rows
    )
    return Used(
        released["runs"],
        failed["runs"],
        round((released["cpu"] or 0.0) + (failed["cpu"] or 0.0), 3),
        int(max(released["memory"] or 0, failed["memory"] or 0)),
        int((released["scanned"] or 0) + (failed["scanned"] or 0)),
    )


def runs_left_today(grant: Grant) -> int | None:
    """Runs that the rule's daily cap still allows; None where it has no cap."""
    return analysis.runs_left(grant)


def _is_of_own(user: User, grant: str) -> Q:
    """Whether the reader stands on a side of the grant that lies at this path."""
    mine = _organisations(user)
    return Q(**{f"{grant}__consumer__in": mine}) | Q(**{f"{grant}__provider__in": mine})


def _organisations(user: User) -> QuerySet[Organisation]:
    return Organisation.objects.filter(memberships__user=user).order_by()

"""Queries and subsets: try, submit, see every reason and where it stands, review."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import Any, ClassVar

from django.db.models import Q, QuerySet
from django.urls import reverse
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from exchange.agreements import selectors as agreements
from exchange.agreements.models import Grant
from exchange.agreements.states import RuleKind
from exchange.api.grants import state_of
from exchange.api.idempotency import idempotency_key, idempotent
from exchange.api.preconditions import check_if_match
from exchange.api.query_fields import (
    CheckShown,
    Draft,
    NewReview,
    QueryLine,
    QueryShown,
    Submission,
    SubsetOrder,
)
from exchange.api.releases import opened
from exchange.api.resource import Resource, accepted, awaiting
from exchange.api.waiting import (
    APPLIED,
    PREFER,
    Outcome,
    outcome_or,
    seconds_preferred,
    shown_at,
)
from exchange.catalogue.policy_views import with_lines
from exchange.errors import Refused
from exchange.operations.waiting import waiters
from exchange.parties.models import Scope
from exchange.queries import selectors, services
from exchange.queries.models import Query
from exchange.queries.moves import rest_of
from exchange.queries.states import QUERY_AT_REST, QueryState, ReleaseState


class Queries(Resource):
    serializer_class = QueryLine
    ordering = ("-submitted_at", "id")
    scopes: ClassVar = {
        "list": Scope.CATALOGUE_READ,
        "retrieve": Scope.CATALOGUE_READ,
        "check": Scope.QUERIES_WRITE,
        "create": Scope.QUERIES_WRITE,
        "create_subset": Scope.QUERIES_WRITE,
        "retry": Scope.QUERIES_WRITE,
        "cancel": Scope.QUERIES_WRITE,
        "review": Scope.REQUESTS_DECIDE,
    }

    def get_queryset(self) -> QuerySet[Query]:
        asked, chosen = self.request.query_params, Q()
        for name, field in (("grant", "grant"), ("dataset", "grant__offer__dataset")):
            if asked.get(name):
                wanted = serializers.UUIDField().run_validation(asked[name])
                chosen &= Q(**{field: wanted})
        for name, field in (("state", "state"), ("kind", "grant__kind")):
            if asked.get(name):
                chosen &= Q(**{field: asked[name]})
        rows = (
            selectors.queries_to_review(self.reader)
            if asked.get("to_review", "") in {"1", "true"}
            else selectors.queries_visible_to(self.reader)
        )
        return rows.filter(chosen)

    @extend_schema(
        operation_id="queries_list",
        parameters=[
            OpenApiParameter("grant"),
            OpenApiParameter("dataset"),
            OpenApiParameter("kind", enum=RuleKind.values),
            OpenApiParameter("state", enum=QueryState.values),
            OpenApiParameter("to_review", description="`true`: those that wait for me"),
        ],
    )
    def list(self, request: Request) -> Response:
        """Queries and subsets under grants of this reader's organisations, newest first."""
        return self.page(self.get_queryset())

    @extend_schema(parameters=[PREFER], responses=QueryShown)
    def retrieve(self, request: Request, pk: str) -> Response:
        """Where the query stands, with every reason and its release once there is one."""
        query = selectors.query_visible_to(self.reader, pk)
        release = selectors.answer_of(query)
        if release is not None and release.state == ReleaseState.HELD:
            opened(release)
            query = selectors.query_visible_to(self.reader, pk)
        self.serializer_class = QueryShown
        response = self.tagged(query)
        if query.state not in QUERY_AT_REST:
            awaiting(response, self._outcome(query))
        return response

    @extend_schema(request=Draft, responses=CheckShown)
    def check(self, request: Request) -> Response:
        """What a submission would meet; nothing is run, stored or charged."""
        fields = self.read(Draft)
        grant = self._grant(fields)
        found = services.dry_run(
            grant=grant,
            sql=fields["sql"],
            purpose=fields["purpose"],
            by=self.reader,
        )
        reasons = with_lines(self.reader, grant.policy_version, found.reasons)
        return Response(CheckShown(replace(found, reasons=tuple(reasons))).data)

    @extend_schema(request=Submission, responses={202: QueryShown})
    def create(self, request: Request) -> Response:
        """The query stands under its grant and is being analysed.

        The same Idempotency-Key gives the same query back, in its present state.
        """
        fields = self.read(Submission)
        grant = agreements.grant_to_ask_under(self.reader, fields["grant"])
        return self._submit(grant, sql=fields["sql"], purpose=fields["purpose"])

    @extend_schema(
        operation_id="subsets_create", request=SubsetOrder, responses={202: QueryShown}
    )
    def create_subset(self, request: Request) -> Response:
        """Licensed labelled rows are being packed for the one who accepts their licence."""
        fields = self.read(SubsetOrder)
        grant = agreements.grant_visible_to(self.reader, fields["grant"])
        licence = grant.request.accepted_licence
        if fields["accept_licence"] != licence:
            raise Refused(
                f"these rows are under {licence}, another licence was accepted",
                code="licence_not_accepted",
                hint=f'Read its terms, then send "accept_licence": "{licence}".',
            )
        return self._submit(grant, columns=fields["columns"], purpose=fields["purpose"])

    @extend_schema(request=None, responses={202: QueryShown})
    @idempotent
    def retry(self, request: Request, pk: str) -> Response:
        """A failed query is being worked on again."""
        query = selectors.query_visible_to(self.reader, pk)
        return self._under_way(services.retry_query(query=query, by=self.reader))

    @extend_schema(request=None, responses=QueryShown)
    @idempotent
    def cancel(self, request: Request, pk: str) -> Response:
        """A query under way is ended, and its job in the sandbox killed."""
        query = selectors.query_visible_to(self.reader, pk)
        query = services.cancel_query(query=query, by=self.reader)
        return Response(self.shown(query, QueryShown))

    @extend_schema(request=NewReview, responses=QueryShown)
    @idempotent
    def review(self, request: Request, pk: str) -> Response:
        """The reviewer's word is recorded; the last one needed decides."""
        query = selectors.query_visible_to(self.reader, pk)
        check_if_match(request, self.shown(query, QueryShown))
        fields = self.read(NewReview)
        query = services.review_query(
            query=query, approve=fields["approve"], note=fields["note"], by=self.reader
        )
        return Response(self.shown(query, QueryShown))

    def _submit(self, grant: Grant, **what: Any) -> Response:
        key = idempotency_key(self.request)
        seconds = seconds_preferred(self.request)
        with waiters.place() as has_place:
            query = services.submit(
                grant=grant,
                idempotency_key=key,
                at_once=has_place and seconds > 0,
                by=self.reader,
                **what,
            )
        if seconds and query.state in QUERY_AT_REST:
            response = self._final(query)
            response[APPLIED] = f"wait={seconds}"
            return response
        outcome = self._outcome(query)
        return outcome_or(lambda: self._accepted(query), self.request, outcome)

    def _final(self, query: Query) -> Response:
        where = reverse("api:query", args=[query.pk])
        response = shown_at(self.shown(query, QueryShown), where)
        if query.state == QueryState.IN_REVIEW:
            response.status_code = 202
        return response

    def _under_way(self, query: Query) -> Response:
        return awaiting(self._accepted(query), self._outcome(query))

    def _accepted(self, query: Query) -> Response:
        return accepted(
            self.shown(query, QueryShown),
            target=query.pk,
            otherwise=reverse("api:query", args=[query.pk]),
        )

    def _outcome(self, query: Query) -> Outcome:
        """What the query comes to without anybody's doing: its end, or its review."""

        def show() -> Response:
            return self._final(selectors.query_under(query.grant, query.pk, self.reader))

        return Outcome((rest_of(query.pk),), partial(selectors.is_at_rest, query.pk), show)

    def _grant(self, fields: Any) -> Grant:
        if "grant" in fields:
            return agreements.grant_visible_to(self.reader, fields["grant"])
        fitting = [
            grant
            for grant in agreements.grants_visible_to(self.reader).filter(
                version__dataset=fields["dataset"],
                consumer__in=self.reader.organisations.all(),
                kind=RuleKind.AGGREGATE,
            )
            if state_of(grant) == "active" and fields["purpose"] in {"", grant.purpose}
        ]
        if not fitting:
            raise Refused(
                "no grant in force covers this dataset for this purpose",
                code="grant_missing",
                hint="Request access first: POST /api/v1/requests.",
            )
        return max(fitting, key=lambda grant: grant.ends_at)

"""Queries and subsets: try, submit, see every reason and where it stands, review."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import Any, ClassVar

from django.db.models import Q, QuerySet
from django.urls import reverse
from drf_spectacular.utils import OpenApiParameter, extend_schema, extend_schema_field
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from exchange.agreements import selectors as agreements
from exchange.agreements.models import Grant
from exchange.agreements.states import RuleKind
from exchange.api.grants import state_of
from exchange.api.idempotency import idempotency_key, idempotent
from exchange.api.preconditions import check_if_match
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
from exchange.catalogue.models import PolicyVersion
from exchange.catalogue.policy_views import policy_view, with_lines
from exchange.errors import Refused
from exchange.operations.models import Operation
from exchange.operations.waiting import waiters
from exchange.parties.models import Scope
from exchange.queries import selectors, services
from exchange.queries.models import Query
from exchange.queries.moves import rest_of
from exchange.queries.states import QUERY_AT_REST, QueryState, ReleaseState
from policies.query_words import explain_query
from policies.shape_codec import shape_from_json


class ReasonShown(serializers.Serializer[Any]):
    """One ground of a decision: what, the way forward, where in the SQL and the policy."""

    code = serializers.CharField()
    message = serializers.CharField()
    hint = serializers.CharField(default="")
    line = serializers.IntegerField(default=None, allow_null=True)
    column = serializers.IntegerField(default=None, allow_null=True)
    policy_path = serializers.CharField(default="", allow_null=True)
    policy_line = serializers.IntegerField(
        default=None,
        allow_null=True,
        help_text="in the policy's text as this reader sees it",
    )


class ReleaseOfQuery(serializers.Serializer[Any]):
    id = serializers.UUIDField()
    state = serializers.CharField()
    url = serializers.SerializerMethodField()

    def get_url(self, release: Any) -> str:
        return reverse("api:release", args=[release.pk])


class QueryLine(serializers.Serializer[Any]):
    id = serializers.UUIDField()
    url = serializers.SerializerMethodField()
    grant = serializers.UUIDField(source="grant_id")
    kind = serializers.CharField(source="grant.kind")
    dataset = serializers.UUIDField(source="grant.offer.dataset_id")
    dataset_name = serializers.SerializerMethodField()
    consumer = serializers.CharField(source="grant.consumer.slug")
    purpose = serializers.CharField()
    state = serializers.CharField()
    verdict = serializers.CharField(
        help_text="allow, review, refuse; empty before analysis"
    )
    submitted_by = serializers.CharField(source="submitted_by.actor_name")
    submitted_at = serializers.DateTimeField()
    finished_at = serializers.DateTimeField(allow_null=True)

    def get_url(self, query: Query) -> str:
        return reverse("api:query", args=[query.pk])

    def get_dataset_name(self, query: Query) -> str:
        dataset = query.grant.offer.dataset
        return f"{dataset.organisation.slug}/{dataset.slug}"


class QueryShown(QueryLine):
    sql = serializers.CharField(help_text="empty for a subset")
    columns = serializers.ListField(child=serializers.CharField(), help_text="of a subset")
    reasons = serializers.SerializerMethodField()
    asks = serializers.SerializerMethodField(help_text="The query in words.")
    fingerprint = serializers.CharField()
    executed_sql = serializers.CharField()
    same_as = serializers.UUIDField(source="same_as_id", allow_null=True)
    reviews = serializers.SerializerMethodField()
    error = serializers.SerializerMethodField(help_text="Why it failed, else null.")
    release = serializers.SerializerMethodField(help_text="What answers it, else null.")
    progress = serializers.SerializerMethodField()
    operation = serializers.SerializerMethodField(help_text="Path of its work, or null.")

    @extend_schema_field(ReasonShown(many=True))
    def get_reasons(self, query: Query) -> list[dict[str, Any]]:
        reader, policy = self.context["request"].user, _policy_of(query)
        found = ReasonShown(with_lines(reader, policy, query.reasons), many=True)
        return [dict(reason) for reason in found.data]

    def get_asks(self, query: Query) -> list[str]:
        if not query.shape:
            return []
        reader, version = self.context["request"].user, _policy_of(query)
        policy = policy_view(reader, version).policy
        return list(explain_query(policy, shape_from_json(query.shape)))

    def get_reviews(self, query: Query) -> list[dict[str, Any]]:
        return [
            {
                "reviewer": review.reviewer.actor_name,
                "approves": review.approves,
                "note": review.note,
                "created_at": review.created_at.isoformat(),
            }
            for review in query.reviews.all()
        ]

    def get_error(self, query: Query) -> dict[str, str] | None:
        if not query.error_code:
            return None
        return {
            "code": query.error_code,
            "message": query.error_message,
            "hint": query.error_hint,
        }

    @extend_schema_field(ReleaseOfQuery(allow_null=True))
    def get_release(self, query: Query) -> dict[str, Any] | None:
        release = selectors.answer_of(query)
        return dict(ReleaseOfQuery(release).data) if release else None

    def get_progress(self, query: Query) -> str:
        work = _work_of(query)
        return work.progress if work and not work.is_finished else ""

    def get_operation(self, query: Query) -> str | None:
        work = _work_of(query)
        return reverse("api:operation", args=[work.public_id]) if work else None


class Draft(serializers.Serializer[Any]):
    """A query to try: under a grant, or under the grant that fits dataset and purpose."""

    grant = serializers.UUIDField(required=False)
    dataset = serializers.UUIDField(required=False)
    sql = serializers.CharField(trim_whitespace=False)
    purpose = serializers.CharField(
        required=False, default="", allow_blank=True, max_length=100
    )

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        if ("dataset" in attrs) == ("grant" in attrs):
            raise serializers.ValidationError("name either a grant or a dataset")
        return attrs


class CheckShown(serializers.Serializer[Any]):
    """What a submission would meet; nothing was run, stored or charged."""

    verdict = serializers.CharField(help_text="allow, review or refuse")
    reasons = ReasonShown(many=True)
    outputs = serializers.ListField(child=serializers.CharField())
    executed_sql = serializers.CharField()
    fingerprint = serializers.CharField()


class Submission(serializers.Serializer[Any]):
    grant = serializers.UUIDField()
    sql = serializers.CharField(trim_whitespace=False)
    purpose = serializers.CharField(
        required=False, default="", allow_blank=True, max_length=100
    )


class SubsetOrder(serializers.Serializer[Any]):
    grant = serializers.UUIDField()
    columns = serializers.ListField(
        child=serializers.CharField(max_length=255), required=False, default=list
    )
    accept_licence = serializers.CharField(help_text="SPDX name of the grant's licence")
    purpose = serializers.CharField(
        required=False, default="", allow_blank=True, max_length=100
    )


class NewReview(serializers.Serializer[Any]):
    approve = serializers.BooleanField()
    note = serializers.CharField(required=False, default="", allow_blank=True)


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


def _policy_of(query: Query) -> PolicyVersion:
    version = query.grant.policy_version
    version.dataset = query.grant.offer.dataset  # the same one, and loaded already
    return version


def _work_of(query: Query) -> Operation | None:
    # Asked for by two fields of one representation.
    known: dict[str, Any] = query.__dict__
    if "_work" not in known:
        rows = Operation.objects.filter(target_id=str(query.pk))
        known["_work"] = rows.order_by("-created_at").first()
    found: Operation | None = known["_work"]
    return found

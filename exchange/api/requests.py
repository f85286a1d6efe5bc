"""Access requests: ask, see where it stands, decide, take back."""

from __future__ import annotations

from typing import Any, ClassVar

from django.db.models import Q, QuerySet
from django.urls import reverse
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from exchange.agreements import selectors, services
from exchange.agreements.models import AccessRequest
from exchange.agreements.states import LegalBasis, NegotiationState, RuleKind
from exchange.api.idempotency import idempotent
from exchange.api.limits import NewLimits
from exchange.api.preconditions import check_if_match
from exchange.api.resource import Resource, created, organisation_named
from exchange.catalogue import selectors as catalogue
from exchange.catalogue.models import Offer
from exchange.errors import Conflict
from exchange.parties.models import Scope


class DecisionShown(serializers.Serializer[Any]):
    reviewer = serializers.CharField(source="reviewer.actor_name")
    organisation = serializers.CharField(source="reviewer_organisation.slug")
    approves = serializers.BooleanField()
    note = serializers.CharField()
    created_at = serializers.DateTimeField()


class RequestShown(serializers.Serializer[Any]):
    """A request and where it stands, in the state names of the Dataspace Protocol."""

    id = serializers.UUIDField()
    url = serializers.SerializerMethodField()
    dataset = serializers.UUIDField(source="offer.dataset_id")
    dataset_name = serializers.SerializerMethodField()
    offer = serializers.UUIDField(source="offer_id")
    kind = serializers.CharField()
    state = serializers.CharField()
    consumer = serializers.CharField(source="consumer.slug")
    requested_by = serializers.CharField(source="requested_by.actor_name")
    purpose = serializers.CharField()
    legal_basis = serializers.CharField()
    justification = serializers.CharField()
    columns = serializers.ListField(child=serializers.CharField())
    duration_days = serializers.IntegerField()
    accepted_licence = serializers.CharField()
    reviewers_needed = serializers.IntegerField()
    approvals = serializers.IntegerField()
    decisions = DecisionShown(many=True, source="decisions.all")
    refusal_code = serializers.CharField()
    refusal_note = serializers.CharField()
    grant = serializers.SerializerMethodField(help_text="Its id once it stands, else null.")
    due_at = serializers.DateTimeField(allow_null=True)
    created_at = serializers.DateTimeField()
    decided_at = serializers.DateTimeField(allow_null=True)

    def get_url(self, request: AccessRequest) -> str:
        return reverse("api:request", args=[request.pk])

    def get_dataset_name(self, request: AccessRequest) -> str:
        dataset = request.offer.dataset
        return f"{dataset.organisation.slug}/{dataset.slug}"

    def get_grant(self, request: AccessRequest) -> str | None:
        # A reverse one-to-one that is not there raises; hasattr is Django's own idiom.
        return str(request.grant.pk) if hasattr(request, "grant") else None


class NewRequest(serializers.Serializer[Any]):
    dataset = serializers.UUIDField(required=False, help_text="its open offer is asked for")
    offer = serializers.UUIDField(required=False)
    consumer = serializers.SlugField(required=False, default="")
    kind = serializers.ChoiceField(RuleKind.values, default=RuleKind.AGGREGATE.value)
    purpose = serializers.CharField(max_length=100)
    legal_basis = serializers.ChoiceField(LegalBasis.values)
    justification = serializers.CharField(required=False, default="", allow_blank=True)
    columns = serializers.ListField(
        child=serializers.CharField(max_length=255), required=False, default=list
    )
    duration_days = serializers.IntegerField(default=30, min_value=1, max_value=3660)
    accept_licence = serializers.CharField(
        required=False, default="", allow_blank=True, max_length=100
    )

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        if ("dataset" in attrs) == ("offer" in attrs):
            raise serializers.ValidationError("name either a dataset or an offer")
        return attrs


class NewDecision(serializers.Serializer[Any]):
    approve = serializers.BooleanField()
    note = serializers.CharField(required=False, default="", allow_blank=True)
    limits = NewLimits(required=False, default=dict)


class Requests(Resource):
    serializer_class = RequestShown
    ordering = ("-created_at", "id")
    scopes: ClassVar = {
        "list": Scope.CATALOGUE_READ,
        "retrieve": Scope.CATALOGUE_READ,
        "create": Scope.REQUESTS_WRITE,
        "decide": Scope.REQUESTS_DECIDE,
        "withdraw": Scope.REQUESTS_WRITE,
    }

    def get_queryset(self) -> QuerySet[AccessRequest]:
        asked = self.request.query_params
        rows = (
            selectors.requests_to_decide(self.reader)
            if asked.get("to_decide", "") in {"1", "true"}
            else selectors.requests_visible_to(self.reader)
        )
        chosen = Q()
        if state := asked.get("state", ""):
            chosen &= Q(state=state.upper())
        if dataset := asked.get("dataset", ""):
            chosen &= Q(offer__dataset__pk=serializers.UUIDField().run_validation(dataset))
        return (
            rows.filter(chosen)
            .select_related(
                "offer__dataset__organisation", "consumer", "requested_by", "grant"
            )
            .prefetch_related("decisions__reviewer", "decisions__reviewer_organisation")
        )

    @extend_schema(
        operation_id="requests_list",
        parameters=[
            OpenApiParameter("state", enum=NegotiationState.values),
            OpenApiParameter("dataset", description="id of a dataset"),
            OpenApiParameter("to_decide", description="`true`: those that wait for me"),
        ],
    )
    def list(self, request: Request) -> Response:
        """Requests that this reader's organisations made or received, newest first."""
        return self.page(self.get_queryset())

    def retrieve(self, request: Request, pk: str) -> Response:
        """Where a request stands, with every word of its reviewers."""
        return self.tagged(selectors.request_visible_to(self.reader, pk))

    @extend_schema(request=NewRequest, responses={201: RequestShown})
    @idempotent
    def create(self, request: Request) -> Response:
        """A request stands; where the policy decides alone, its grant stands too."""
        fields = self.read(NewRequest)
        row = services.request_access(
            offer=self._offer(fields),
            consumer=organisation_named(fields["consumer"], self.reader),
            kind=fields["kind"],
            purpose=fields["purpose"],
            legal_basis=fields["legal_basis"],
            justification=fields["justification"],
            duration_days=fields["duration_days"],
            accepted_licence=fields["accept_licence"],
            columns=fields["columns"],
            by=self.reader,
        )
        return created(self.shown(row), reverse("api:request", args=[row.pk]))

    @extend_schema(request=NewDecision, responses=RequestShown)
    @idempotent
    def decide(self, request: Request, pk: str) -> Response:
        """The reviewer's word is recorded; the last one needed decides."""
        row = self._unchanged(pk)
        fields = self.read(NewDecision)
        row = services.decide_request(
            request=row,
            approve=fields["approve"],
            note=fields["note"],
            limits=fields["limits"],
            by=self.reader,
        )
        return Response(self.shown(row))

    @extend_schema(request=None, responses=RequestShown)
    @idempotent
    def withdraw(self, request: Request, pk: str) -> Response:
        """A waiting request is taken back by its own side."""
        row = services.withdraw_request(request=self._unchanged(pk), by=self.reader)
        return Response(self.shown(row))

    def _unchanged(self, pk: str) -> AccessRequest:
        row = selectors.request_visible_to(self.reader, pk)
        check_if_match(self.request, self.shown(row))
        return row

    def _offer(self, fields: Any) -> Offer:
        if "offer" in fields:
            return catalogue.offer_visible_to(self.reader, fields["offer"])
        dataset = catalogue.dataset_visible_to(self.reader, fields["dataset"])
        offer = catalogue.open_offer(dataset)
        if offer is None:
            raise Conflict(
                "the dataset has no offer that is open to requests",
                code="offer_closed",
                hint="Wait until its provider publishes a version.",
            )
        return offer

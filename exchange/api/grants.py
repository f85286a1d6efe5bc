"""Grants: what one organisation may run on one dataset version, for one purpose."""

from __future__ import annotations

from typing import Any, ClassVar

from django.db.models import Q, QuerySet
from django.urls import reverse
from django.utils import timezone
from drf_spectacular.utils import OpenApiParameter, extend_schema, extend_schema_field
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from exchange.agreements import selectors, services
from exchange.agreements.effective import effective_words
from exchange.agreements.limits import limits_of, set_limits
from exchange.agreements.models import Grant
from exchange.agreements.states import RuleKind
from exchange.api.datasets import RuleShown, rule_shown
from exchange.api.idempotency import idempotent
from exchange.api.limits import LimitsShown, NewLimits, UsedShown
from exchange.api.preconditions import check_if_match
from exchange.api.resource import Resource
from exchange.parties.models import Scope
from exchange.parties.permissions import can_manage_datasets
from exchange.queries.selectors import runs_left_today, used_under

STATES = ("active", "pending", "expired", "revoked")


def state_of(grant: Grant) -> str:
    """One of STATES: whether it may be used now, and if not, why not."""
    now = timezone.now()
    if grant.revoked_at is not None:
        return "revoked"
    if grant.is_active(now):
        return "active"
    return "pending" if now < grant.starts_at else "expired"


class GrantLine(serializers.Serializer[Any]):
    id = serializers.UUIDField()
    url = serializers.SerializerMethodField()
    request = serializers.UUIDField(source="request_id", help_text="the case's id too")
    dataset = serializers.UUIDField(source="version.dataset_id")
    dataset_name = serializers.SerializerMethodField()
    version = serializers.UUIDField(source="version_id")
    version_number = serializers.IntegerField(source="version.number")
    policy = serializers.UUIDField(source="policy_version_id")
    kind = serializers.CharField()
    provider = serializers.CharField(source="provider.slug")
    consumer = serializers.CharField(source="consumer.slug")
    purpose = serializers.CharField()
    columns = serializers.ListField(child=serializers.CharField())
    licence = serializers.CharField(source="request.accepted_licence")
    state = serializers.SerializerMethodField()
    starts_at = serializers.DateTimeField()
    ends_at = serializers.DateTimeField()
    revoked_at = serializers.DateTimeField(allow_null=True)

    def get_url(self, grant: Grant) -> str:
        return reverse("api:grant", args=[grant.pk])

    def get_dataset_name(self, grant: Grant) -> str:
        dataset = grant.version.dataset
        return f"{dataset.organisation.slug}/{dataset.slug}"

    def get_state(self, grant: Grant) -> str:
        return state_of(grant)


class GrantShown(GrantLine):
    rule = serializers.SerializerMethodField(help_text="the policy's rule it rests on")
    effective_policy = serializers.SerializerMethodField(
        help_text="What the grant lets be learned, in sentences, by table."
    )
    limits = serializers.SerializerMethodField(help_text="what one run may use")
    limits_set = serializers.JSONField(
        source="limits", help_text="those that the provider has set"
    )
    used = serializers.SerializerMethodField(
        help_text="what runs have used; for the provider, else null"
    )
    runs_left_today = serializers.SerializerMethodField(help_text="null: no daily cap")

    @extend_schema_field(RuleShown)
    def get_rule(self, grant: Grant) -> dict[str, Any]:
        return rule_shown(selectors.rule_of(grant), grant.rule_index)

    @extend_schema_field(
        {
            "type": "object",
            "additionalProperties": {"type": "array", "items": {"type": "string"}},
        }
    )
    def get_effective_policy(self, grant: Grant) -> dict[str, list[str]]:
        return effective_words(self.context["request"].user, grant)

    @extend_schema_field(LimitsShown)
    def get_limits(self, grant: Grant) -> dict[str, int]:
        return limits_of(grant).words()

    @extend_schema_field(UsedShown(allow_null=True))
    def get_used(self, grant: Grant) -> dict[str, Any] | None:
        mine = can_manage_datasets(self.context["request"].user, grant.provider)
        return dict(UsedShown(used_under(grant)).data) if mine else None

    def get_runs_left_today(self, grant: Grant) -> int | None:
        return runs_left_today(grant)


class Revocation(serializers.Serializer[Any]):
    note = serializers.CharField()


class Grants(Resource):
    serializer_class = GrantLine
    ordering = ("-created_at", "id")
    scopes: ClassVar = {
        "list": Scope.CATALOGUE_READ,
        "retrieve": Scope.CATALOGUE_READ,
        "revoke": Scope.REQUESTS_DECIDE,
        "limits": Scope.REQUESTS_DECIDE,
    }

    def get_queryset(self) -> QuerySet[Grant]:
        asked, chosen = self.request.query_params, Q()
        if dataset := asked.get("dataset", ""):
            chosen &= Q(version__dataset=serializers.UUIDField().run_validation(dataset))
        for name in ("kind", "purpose"):
            if asked.get(name):
                chosen &= Q(**{name: asked[name]})
        if state := asked.get("state", ""):
            chosen &= _in_state(serializers.ChoiceField(STATES).run_validation(state))
        if asked.get("held", "") in {"1", "true"}:
            chosen &= Q(consumer__in=self.reader.organisations.all())
        return selectors.grants_visible_to(self.reader).filter(chosen)

    @extend_schema(
        operation_id="grants_list",
        parameters=[
            OpenApiParameter("dataset", description="id of a dataset"),
            OpenApiParameter("kind", enum=RuleKind.values),
            OpenApiParameter("purpose"),
            OpenApiParameter("state", enum=STATES),
            OpenApiParameter("held", description="`true`: those my organisations hold"),
        ],
    )
    def list(self, request: Request) -> Response:
        """Grants that this reader's organisations gave or hold, newest first."""
        return self.page(self.get_queryset())

    @extend_schema(responses=GrantShown)
    def retrieve(self, request: Request, pk: str) -> Response:
        """A grant with the rule it rests on and what is left of today's runs."""
        self.serializer_class = GrantShown
        return self.tagged(selectors.grant_visible_to(self.reader, pk))

    @extend_schema(request=Revocation, responses=GrantShown)
    @idempotent
    def revoke(self, request: Request, pk: str) -> Response:
        """Nothing can be run under the grant any more."""
        grant = selectors.grant_visible_to(self.reader, pk)
        check_if_match(request, self.shown(grant, GrantShown))
        note = self.read(Revocation)["note"]
        grant = services.revoke_grant(grant=grant, note=note, by=self.reader)
        return Response(self.shown(grant, GrantShown))

    @extend_schema(request=NewLimits, responses=GrantShown)
    @idempotent
    def limits(self, request: Request, pk: str) -> Response:
        """Runs that begin from now on may use this, within the node's maxima."""
        grant = selectors.grant_visible_to(self.reader, pk)
        check_if_match(request, self.shown(grant, GrantShown))
        said = self.read(NewLimits)
        grant = set_limits(grant=grant, limits=said, by=self.reader)
        return Response(self.shown(grant, GrantShown))


def _in_state(state: str) -> Q:
    now = timezone.now()
    if state == "revoked":
        return Q(revoked_at__isnull=False)
    standing = Q(revoked_at__isnull=True)
    if state == "active":
        return standing & Q(starts_at__lte=now, ends_at__gt=now)
    return standing & (Q(starts_at__gt=now) if state == "pending" else Q(ends_at__lte=now))

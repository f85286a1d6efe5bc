"""Datasets: search and filter, register, and one dataset as its reader may know it."""

from __future__ import annotations

from typing import Any, ClassVar

from django.db.models import Prefetch, QuerySet
from django.urls import reverse
from drf_spectacular.utils import OpenApiParameter, extend_schema, extend_schema_field
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from exchange.api.idempotency import idempotent
from exchange.api.resource import Resource, created, organisation_named
from exchange.catalogue import selectors, services
from exchange.catalogue.models import Dataset, Offer
from exchange.catalogue.policy_views import policy_view
from exchange.parties.models import Scope
from exchange.parties.permissions import can_manage_datasets
from policies.document import AggregateRule, Rule

MAX_WORDS = 8
OPEN = "open_offers"  # where the prefetch keeps a dataset's open offer


class OrganisationName(serializers.Serializer[Any]):
    slug = serializers.CharField()
    name = serializers.CharField()


class OfferOfDataset(serializers.Serializer[Any]):
    id = serializers.UUIDField()
    version = serializers.UUIDField(source="version_id")
    version_number = serializers.IntegerField(source="version.number")
    rows = serializers.IntegerField(
        source="version.rows_about", help_text="To two significant digits."
    )
    policy = serializers.UUIDField(source="policy_version_id")
    licence = serializers.CharField()
    terms = serializers.CharField()
    attribution = serializers.CharField()
    published_at = serializers.DateTimeField()


class DatasetLine(serializers.Serializer[Any]):
    """A dataset in a list."""

    id = serializers.UUIDField()
    slug = serializers.CharField()
    title = serializers.CharField()
    description = serializers.CharField()
    keywords = serializers.ListField(child=serializers.CharField())
    table = serializers.CharField(source="table_name", help_text="Its name in SQL.")
    organisation = OrganisationName()
    aggregate_mode = serializers.CharField(
        help_text="safe, dp, or empty before publication"
    )
    offer = serializers.SerializerMethodField(
        help_text="What is open to requests, or null."
    )
    url = serializers.SerializerMethodField()
    created_at = serializers.DateTimeField()

    @extend_schema_field(OfferOfDataset(allow_null=True))
    def get_offer(self, dataset: Dataset) -> dict[str, Any] | None:
        offer = offer_of(dataset)
        return dict(OfferOfDataset(offer).data) if offer else None

    def get_url(self, dataset: Dataset) -> str:
        return reverse("api:dataset", args=[dataset.pk])


class ColumnShown(serializers.Serializer[Any]):
    name = serializers.CharField()
    type = serializers.CharField()
    roles = serializers.ListField(child=serializers.CharField())
    description = serializers.CharField()
    grid = serializers.CharField()
    grain = serializers.CharField()
    values_public = serializers.BooleanField()
    limits = serializers.SerializerMethodField(help_text="Grid and grain in words.")
    null_share = serializers.FloatField(allow_null=True, help_text="Provider only.")
    distinct = serializers.IntegerField(allow_null=True, help_text="Provider only.")
    minimum = serializers.CharField(help_text="Provider only.")
    maximum = serializers.CharField(help_text="Provider only.")
    reason = serializers.CharField(
        help_text="Why these roles were proposed; provider only."
    )

    def get_limits(self, column: selectors.ColumnCard) -> str:
        parts = []
        if column.grid:
            parts.append(f"in steps of {column.grid}")
        if column.grain:
            parts.append(f"by {column.grain} or coarser")
        return ", ".join(parts)


class RuleShown(serializers.Serializer[Any]):
    """A rule of the policy; fields that its kind does not have are absent."""

    kind = serializers.CharField(help_text="aggregate or subset")
    index = serializers.IntegerField(help_text="among the rules of its kind")
    purposes = serializers.ListField(child=serializers.CharField())
    reviewers = serializers.IntegerField(help_text="0: decided automatically")
    mode = serializers.CharField(required=False)
    min_units = serializers.IntegerField(required=False)
    aggregates = serializers.ListField(child=serializers.CharField(), required=False)
    max_queries_per_day = serializers.IntegerField(required=False, allow_null=True)
    licence = serializers.CharField(required=False)
    columns = serializers.ListField(child=serializers.CharField(), required=False)
    # DRF's metaclass takes the fields out of the class, so `label` shadows nothing.
    label = serializers.CharField(required=False, allow_null=True)  # type: ignore[assignment]  # DRF's own attribute is a title, ours a field
    max_rows = serializers.IntegerField(required=False)
    expires_after_days = serializers.IntegerField(required=False, allow_null=True)


class DatasetShown(DatasetLine):
    """A dataset as its reader may know it."""

    columns = serializers.SerializerMethodField()
    policy_words = serializers.SerializerMethodField(help_text="The policy in sentences.")
    policy_digest = serializers.SerializerMethodField()
    rules = serializers.SerializerMethodField()
    is_mine = serializers.SerializerMethodField(help_text="Whether the reader manages it.")

    @extend_schema_field(ColumnShown(many=True))
    def get_columns(self, dataset: Dataset) -> list[dict[str, Any]]:
        offer = offer_of(dataset)
        reader = self.context["request"].user
        version = offer.version if offer else dataset.versions.order_by("-number").first()
        if version is None:
            return []
        policy = offer.policy_version if offer else selectors.newest_policy(dataset)
        cards = selectors.columns_for(reader, version, policy)
        return [dict(ColumnShown(card).data) for card in cards]

    def get_policy_words(self, dataset: Dataset) -> list[str]:
        offer = offer_of(dataset)
        if offer is None:
            return []
        view = policy_view(self.context["request"].user, offer.policy_version)
        return list(view.sentences(dataset.table_name))

    def get_policy_digest(self, dataset: Dataset) -> str:
        offer = offer_of(dataset)
        return offer.policy_version.digest if offer else ""

    @extend_schema_field(RuleShown(many=True))
    def get_rules(self, dataset: Dataset) -> list[dict[str, Any]]:
        offer = offer_of(dataset)
        if offer is None:
            return []
        policy = offer.policy_version.policy
        aggregate = [rule_shown(r, index) for index, r in enumerate(policy.aggregate_rules)]
        subset = [rule_shown(r, index) for index, r in enumerate(policy.subset_rules)]
        return aggregate + subset

    def get_is_mine(self, dataset: Dataset) -> bool:
        return can_manage_datasets(self.context["request"].user, dataset.organisation)


class DatasetRegistration(serializers.Serializer[Any]):
    title = serializers.CharField(max_length=200)
    organisation = serializers.SlugField(required=False, default="")
    slug = serializers.SlugField(required=False, default="", max_length=80)
    table = serializers.CharField(required=False, default="", max_length=63)
    description = serializers.CharField(required=False, default="", allow_blank=True)
    keywords = serializers.ListField(
        child=serializers.CharField(max_length=60),
        required=False,
        default=list,
        max_length=30,
    )


class Datasets(Resource):
    serializer_class = DatasetLine
    ordering = ("title", "id")
    scopes: ClassVar = {
        "list": Scope.CATALOGUE_READ,
        "retrieve": Scope.CATALOGUE_READ,
        "create": Scope.DATASETS_WRITE,
    }

    def get_queryset(self) -> QuerySet[Dataset]:
        asked = self.request.query_params
        rows = selectors.datasets_visible_to(self.reader, keyword=asked.get("keyword", ""))
        for word in asked.get("search", "").split()[:MAX_WORDS]:
            found = selectors.datasets_visible_to(self.reader, text=word)
            rows = rows.filter(pk__in=found.order_by().values("pk"))
        if name := asked.get("name", ""):
            organisation, _, slug = name.rpartition("/")
            rows = rows.filter(slug=slug)
            rows = rows.filter(organisation__slug=organisation) if organisation else rows
        if organisation := asked.get("organisation", ""):
            rows = rows.filter(organisation__slug=organisation)
        return with_offer(rows)

    @extend_schema(
        operation_id="datasets_list",
        parameters=[
            OpenApiParameter("search", description="words that must all occur"),
            OpenApiParameter("keyword", description="one keyword, exactly"),
            OpenApiParameter("organisation", description="slug of the provider"),
            OpenApiParameter("name", description="`organisation/slug` or `slug`, exactly"),
        ],
    )
    def list(self, request: Request) -> Response:
        """The datasets on offer to this reader, and those of the reader's organisations."""
        return self.page(self.get_queryset())

    @extend_schema(responses=DatasetShown)
    def retrieve(self, request: Request, pk: str) -> Response:
        """The dataset, the columns that this reader may know, the policy in words."""
        self.serializer_class = DatasetShown
        return self.tagged(selectors.dataset_visible_to(self.reader, pk))

    @extend_schema(request=DatasetRegistration, responses={201: DatasetShown})
    @idempotent
    def create(self, request: Request) -> Response:
        """A dataset without versions is registered under the organisation."""
        fields = self.read(DatasetRegistration)
        dataset = services.register_dataset(
            organisation=organisation_named(fields["organisation"], self.reader),
            title=fields["title"],
            slug=fields["slug"],
            table_name=fields["table"],
            description=fields["description"],
            keywords=fields["keywords"],
            by=self.reader,
        )
        return created(
            self.shown(dataset, DatasetShown), reverse("api:dataset", args=[dataset.pk])
        )


def with_offer(rows: QuerySet[Dataset]) -> QuerySet[Dataset]:
    """`rows` with each one's open offer at hand, in one more query for all."""
    offers = Offer.objects.filter(closed_at=None).select_related(
        "version", "policy_version"
    )
    return rows.prefetch_related(Prefetch("offers", queryset=offers, to_attr=OPEN))


def offer_of(dataset: Dataset) -> Offer | None:
    """The open offer, from the list's prefetch where there is one."""
    prefetched: list[Offer] | None = getattr(dataset, OPEN, None)
    if prefetched is None:
        offer = selectors.open_offer(dataset)
        prefetched = [offer] if offer else []
        setattr(dataset, OPEN, prefetched)
    return prefetched[0] if prefetched else None


def rule_shown(rule: Rule, index: int) -> dict[str, Any]:
    """A rule as JSON; what a subset's row filter says stays with the provider."""
    shown: dict[str, Any] = {
        "kind": "aggregate" if isinstance(rule, AggregateRule) else "subset",
        "index": index,
        "purposes": list(rule.purposes),
        "reviewers": rule.approval.reviewers,
    }
    if isinstance(rule, AggregateRule):
        return shown | {
            "mode": rule.mode.value,
            "min_units": rule.min_units,
            "aggregates": sorted(aggregate.value for aggregate in rule.aggregates),
            "max_queries_per_day": rule.max_queries_per_day,
        }
    return shown | {
        "licence": rule.licence,
        "columns": list(rule.columns),
        "label": rule.label,
        "max_rows": rule.max_rows,
        "expires_after_days": rule.expires_after_days,
    }

"""Versions of a dataset: where they stand, and the acts from profile to withdrawal."""

from __future__ import annotations

from functools import partial
from typing import Any, ClassVar

from django.urls import reverse
from drf_spectacular.utils import extend_schema, extend_schema_field
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from exchange.api.datasets import ColumnShown
from exchange.api.idempotency import idempotent
from exchange.api.preconditions import check_if_match
from exchange.api.resource import Resource, accepted, created
from exchange.api.waiting import Outcome, shown_at, work_ended
from exchange.catalogue import selectors, services
from exchange.catalogue.models import Dataset, DatasetVersion, PolicyVersion
from exchange.errors import NotFound
from exchange.operations.models import Operation
from exchange.parties.models import Scope
from exchange.parties.permissions import can_manage_datasets, check_can_manage_datasets
from sandbox.protocol import CsvOptions

PROVIDES = "provider_of_dataset"  # where a request remembers whose data its reader manages


class VersionError(serializers.Serializer[Any]):
    """Why a stage failed; for a bad upload, where."""

    stage = serializers.CharField(source="failed_stage")
    code = serializers.CharField(source="error_code")
    message = serializers.CharField(source="error_message")
    hint = serializers.CharField(source="error_hint")
    line = serializers.IntegerField(source="error_line", allow_null=True)
    column = serializers.CharField(source="error_column")


class VersionLine(serializers.Serializer[Any]):
    """A version in a list. What came in and what failed is for the provider only."""

    id = serializers.UUIDField()
    dataset = serializers.UUIDField(source="dataset_id")
    number = serializers.IntegerField()
    state = serializers.CharField()
    rows = serializers.IntegerField(
        source="rows_about", allow_null=True, help_text="To two significant digits."
    )
    format = serializers.CharField()
    url = serializers.SerializerMethodField()
    created_at = serializers.DateTimeField()
    published_at = serializers.DateTimeField(allow_null=True)
    withdrawn_at = serializers.DateTimeField(allow_null=True)
    upload = serializers.SerializerMethodField(help_text="Provider only, else null.")
    error = serializers.SerializerMethodField(help_text="Provider only, else null.")

    def get_url(self, version: DatasetVersion) -> str:
        return reverse("api:version", args=[version.pk])

    def get_upload(self, version: DatasetVersion) -> dict[str, Any] | None:
        if not self.is_provider(version.dataset):
            return None
        return {
            "filename": version.filename,
            "sha256": version.content_sha256,
            "bytes": version.content_bytes,
            "profile": version.profile,
            "units": version.unit_count,
            "unit_columns": version.unit_columns,
        }

    @extend_schema_field(VersionError(allow_null=True))
    def get_error(self, version: DatasetVersion) -> dict[str, Any] | None:
        if not version.error_code or not self.is_provider(version.dataset):
            return None
        return dict(VersionError(version).data)

    def is_provider(self, dataset: Dataset) -> bool:
        """Asked once a dataset and answer: a list of versions is of one dataset."""
        known: dict[Any, bool] = getattr(self.context["request"], PROVIDES, {})
        if dataset.pk not in known:
            reader = self.context["request"].user
            known[dataset.pk] = can_manage_datasets(reader, dataset.organisation)
            setattr(self.context["request"], PROVIDES, known)
        return known[dataset.pk]


class VersionShown(VersionLine):
    """A version with its columns, and the operation that works on it."""

    columns = serializers.SerializerMethodField()
    operation = serializers.SerializerMethodField(help_text="Path of its work, or null.")

    @extend_schema_field(ColumnShown(many=True))
    def get_columns(self, version: DatasetVersion) -> list[dict[str, Any]]:
        policy = selectors.newest_policy(version.dataset)
        cards = selectors.columns_for(self.context["request"].user, version, policy)
        return [dict(ColumnShown(card).data) for card in cards]

    def get_operation(self, version: DatasetVersion) -> str | None:
        work = Operation.objects.filter(target_id=str(version.pk)).order_by("-created_at")
        last = work.first()
        return reverse("api:operation", args=[last.public_id]) if last else None


class Reading(serializers.Serializer[Any]):
    """Reading options of a CSV that replace those of the upload."""

    delimiter = serializers.ChoiceField([",", ";", "\t", "|"], required=False, default=None)
    encoding = serializers.CharField(required=False, default=None, max_length=32)
    header = serializers.BooleanField(required=False, default=True)


class Partitioning(serializers.Serializer[Any]):
    policy = serializers.UUIDField(required=False, help_text="default: the newest")


class Publication(Partitioning):
    licence = serializers.CharField(max_length=100, help_text="SPDX expression")
    terms = serializers.CharField(required=False, default="", allow_blank=True)
    attribution = serializers.CharField(
        required=False, default="", allow_blank=True, max_length=500
    )


class OfferShown(serializers.Serializer[Any]):
    id = serializers.UUIDField()
    dataset = serializers.UUIDField(source="dataset_id")
    version = serializers.UUIDField(source="version_id")
    policy = serializers.UUIDField(source="policy_version_id")
    licence = serializers.CharField()
    terms = serializers.CharField()
    attribution = serializers.CharField()
    is_open = serializers.BooleanField()
    published_at = serializers.DateTimeField()
    closed_at = serializers.DateTimeField(allow_null=True)


class Withdrawal(serializers.Serializer[Any]):
    note = serializers.CharField(required=False, default="", allow_blank=True)


class Versions(Resource):
    serializer_class = VersionLine
    ordering = ("-number",)
    scopes: ClassVar = {
        "list": Scope.CATALOGUE_READ,
        "retrieve": Scope.CATALOGUE_READ,
        "starting_policies": Scope.DATASETS_WRITE,
        "retry": Scope.DATASETS_WRITE,
        "partition": Scope.DATASETS_WRITE,
        "publish": Scope.DATASETS_WRITE,
        "withdraw": Scope.DATASETS_WRITE,
    }

    @extend_schema(operation_id="versions_list")
    def list(self, request: Request, pk: str) -> Response:
        """The dataset's versions that this reader may know, newest first."""
        dataset = selectors.dataset_visible_to(self.reader, pk)
        rows = selectors.versions_visible_to(self.reader, dataset)
        return self.page(rows.select_related("dataset__organisation"))

    @extend_schema(responses=VersionShown)
    def retrieve(self, request: Request, pk: str) -> Response:
        """Where the version stands, with its columns."""
        self.serializer_class = VersionShown
        return self.tagged(self._version(pk))

    @extend_schema(
        responses={200: {"type": "object", "additionalProperties": {"type": "string"}}}
    )
    def starting_policies(self, request: Request, pk: str) -> Response:
        """Policy texts to start from, by template, made from the version's profile."""
        version = self._version(pk)
        check_can_manage_datasets(self.reader, version.dataset.organisation)
        return Response(selectors.starting_policies(version))

    @extend_schema(request=Reading, responses={202: VersionShown})
    @idempotent
    def retry(self, request: Request, pk: str) -> Response:
        """A failed version is being worked on again, from the bytes that were sent."""
        version = self._unchanged(pk)
        csv = CsvOptions(**self.read(Reading)) if request.data else None
        return self._under_way(
            services.retry_version(version=version, csv=csv, by=self.reader)
        )

    @extend_schema(request=Partitioning, responses={202: VersionShown})
    @idempotent
    def partition(self, request: Request, pk: str) -> Response:
        """The version's rows are being laid out by the policy's privacy unit."""
        version = self._unchanged(pk)
        policy = _policy_of(version, self.read(Partitioning).get("policy"))
        return self._under_way(
            services.partition_version(
                version=version, policy_version=policy, by=self.reader
            )
        )

    @extend_schema(request=Publication, responses={201: OfferShown})
    @idempotent
    def publish(self, request: Request, pk: str) -> Response:
        """The version is on offer; the dataset's earlier offer is closed."""
        version = self._unchanged(pk)
        fields = self.read(Publication)
        offer = services.publish(
            version=version,
            policy_version=_policy_of(version, fields.get("policy")),
            licence=fields["licence"],
            terms=fields["terms"],
            attribution=fields["attribution"],
            by=self.reader,
        )
        return created(self.shown(offer, OfferShown), reverse("api:offer", args=[offer.pk]))

    @extend_schema(request=Withdrawal, responses=VersionShown)
    @idempotent
    def withdraw(self, request: Request, pk: str) -> Response:
        """The version is offered no more and no grant on it runs."""
        version = self._unchanged(pk)
        note = self.read(Withdrawal)["note"]
        version = services.withdraw(version=version, note=note, by=self.reader)
        return Response(self.shown(version, VersionShown))

    def _version(self, pk: str) -> DatasetVersion:
        return selectors.version_visible_to(self.reader, pk)

    def _unchanged(self, pk: str) -> DatasetVersion:
        version = self._version(pk)
        check_if_match(self.request, self.shown(version, VersionShown))
        return version

    def _under_way(self, version: DatasetVersion) -> Response:
        return version_under_way(self, version)


def version_under_way(view: Resource, version: DatasetVersion) -> Response:
    """202 with the version, or what becomes of it for who prefers to wait."""
    where = reverse("api:version", args=[version.pk])

    def show() -> Response:
        current = selectors.version_visible_to(view.reader, version.pk)
        return shown_at(view.shown(current, VersionShown), where)

    return accepted(
        view.shown(version, VersionShown),
        target=version.pk,
        otherwise=where,
        outcome=Outcome((version.pk,), partial(work_ended, version.pk), show),
    )


class Offers(Resource):
    serializer_class = OfferShown
    scopes: ClassVar = {"retrieve": Scope.CATALOGUE_READ}

    def retrieve(self, request: Request, pk: str) -> Response:
        """An offer that is open, one's own, or behind one of one's grants."""
        return self.tagged(selectors.offer_visible_to(self.reader, pk))


def _policy_of(version: DatasetVersion, wanted: Any) -> PolicyVersion:
    policies = PolicyVersion.objects.filter(dataset=version.dataset)
    found = (
        policies.filter(pk=wanted).first()
        if wanted
        else selectors.newest_policy(version.dataset)
    )
    if found is None:
        raise NotFound(
            "the dataset has no such policy version"
            if wanted
            else "the dataset has no policy",
            code="policy_unknown",
            hint="POST one to /api/v1/datasets/<id>/policies first.",
        )
    return found

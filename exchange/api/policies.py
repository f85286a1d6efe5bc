"""Policy versions of a dataset: set by its provider, told to everybody in sentences."""

from __future__ import annotations

import builtins
from typing import Any, ClassVar

from django.urls import reverse
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework import serializers
from rest_framework.parsers import BaseParser
from rest_framework.renderers import BaseRenderer, JSONRenderer
from rest_framework.request import Request
from rest_framework.response import Response

from exchange.api.bodies import JsonBody
from exchange.api.errors import HttpProblem
from exchange.api.idempotency import idempotent
from exchange.api.preconditions import tagged
from exchange.api.resource import Resource, created
from exchange.catalogue import selectors, services
from exchange.catalogue.models import PolicyVersion
from exchange.catalogue.policy_views import policy_view, policy_visible_to
from exchange.errors import Invalid
from exchange.parties.models import Scope
from exchange.parties.permissions import can_manage_datasets, check_can_manage_datasets
from policies.difference import Effect, differences, loosens
from policies.explain import explain_column
from policies.odrl.items import MAX_ODRL_CHARACTERS
from policies.odrl.writing import to_odrl

MAX_POLICY_BYTES = 256 * 1024


class YamlText(BaseParser):
    """A policy sent as it stands: `{"text": body}`, whatever the policy's own form is."""

    media_type = "application/yaml"
    max_bytes = MAX_POLICY_BYTES

    def parse(self, stream: Any, media_type: Any = None, parser_context: Any = None) -> Any:
        raw = stream.read(self.max_bytes + 1)
        if len(raw) > self.max_bytes:
            raise HttpProblem(
                "body_too_large",
                f"a policy has at most {self.max_bytes} bytes, more came",
            )
        try:
            return {"text": raw.decode("utf-8")}
        except UnicodeDecodeError as error:
            raise HttpProblem("body_malformed", "the policy is not UTF-8 text") from error


class OldYamlText(YamlText):
    media_type = "text/yaml"


class PlainText(YamlText):
    media_type = "text/plain"


class LinkedJson(YamlText):
    media_type = "application/ld+json"
    max_bytes = MAX_ODRL_CHARACTERS


class Odrl(BaseRenderer):
    """`?format=odrl`, or Accept: the text that the view made of a policy."""

    media_type = "application/ld+json"
    format = "odrl"
    charset = None

    def render(self, data: Any, media_type: Any = None, context: Any = None) -> bytes:
        # What is no policy is a problem document.
        return data.encode() if isinstance(data, str) else JSONRenderer().render(data)


class PolicyText(serializers.Serializer[Any]):
    text = serializers.CharField(
        max_length=MAX_ODRL_CHARACTERS,
        trim_whitespace=False,
        help_text="YAML or JSON of version 1, or ODRL 2.2 of our profile",
    )


class PolicyShown(serializers.Serializer[Any]):
    id = serializers.UUIDField()
    dataset = serializers.UUIDField(source="dataset_id")
    number = serializers.IntegerField()
    digest = serializers.CharField()
    words = serializers.SerializerMethodField(help_text="The policy in plain sentences.")
    text = serializers.SerializerMethodField(
        help_text="As written; provider only, else null."
    )
    created_at = serializers.DateTimeField()

    def get_words(self, policy: PolicyVersion) -> list[str]:
        view = policy_view(self.context["request"].user, policy)
        return list(view.sentences(policy.dataset.table_name))

    def get_text(self, policy: PolicyVersion) -> str | None:
        organisation = policy.dataset.organisation
        mine = can_manage_datasets(self.context["request"].user, organisation)
        return policy.source if mine else None


class DifferenceShown(serializers.Serializer[Any]):
    """One change between two versions."""

    sentence = serializers.CharField()
    effect = serializers.ChoiceField([effect.value for effect in Effect])
    path = serializers.CharField()


class DifferencesShown(serializers.Serializer[Any]):
    """What changed from one version to another; `loosens`: whether more can be learned."""

    old = serializers.IntegerField(help_text="number of the version before")
    new = serializers.IntegerField()
    loosens = serializers.BooleanField()
    differences = DifferenceShown(many=True)


class LearningShown(serializers.Serializer[Any]):
    """What one audience can learn from a column."""

    kind = serializers.CharField()
    audience = serializers.CharField()
    sentences = serializers.ListField(child=serializers.CharField())
    not_protected = serializers.ListField(child=serializers.CharField())
    path = serializers.CharField()


class ColumnExplained(serializers.Serializer[Any]):
    """A column with its audiences; none: nothing can be learned from it."""

    table = serializers.CharField()
    column = serializers.CharField()
    audiences = LearningShown(many=True)


class Policies(Resource):
    serializer_class = PolicyShown
    parser_classes = (JsonBody, YamlText, OldYamlText, PlainText, LinkedJson)
    ordering = ("-number",)
    scopes: ClassVar = {
        "list": Scope.CATALOGUE_READ,
        "retrieve": Scope.CATALOGUE_READ,
        "differences": Scope.CATALOGUE_READ,
        "explain": Scope.CATALOGUE_READ,
        "create": Scope.DATASETS_WRITE,
    }

    @extend_schema(operation_id="policies_list")
    def list(self, request: Request, pk: str) -> Response:
        """The dataset's policy versions, newest first; for its provider."""
        dataset = selectors.dataset_visible_to(self.reader, pk)
        check_can_manage_datasets(self.reader, dataset.organisation)
        rows = PolicyVersion.objects.filter(dataset=dataset)
        return self.page(rows.select_related("dataset__organisation"))

    @extend_schema(
        request={
            "application/json": PolicyText,
            "application/yaml": OpenApiTypes.STR,
            "application/ld+json": OpenApiTypes.STR,
        },
        responses={201: PolicyShown},
    )
    @idempotent
    def create(self, request: Request, pk: str) -> Response:
        """The text is the dataset's newest policy version; grants keep theirs."""
        dataset = selectors.dataset_visible_to(self.reader, pk)
        text = self.read(PolicyText)["text"]
        policy = services.set_policy(dataset=dataset, text=text, by=self.reader)
        return created(self.shown(policy), reverse("api:policy", args=[policy.pk]))

    @extend_schema(
        parameters=[OpenApiParameter("format", enum=["json", "odrl"])],
        responses={
            (200, "application/json"): PolicyShown,
            (200, "application/ld+json"): OpenApiTypes.STR,
        },
    )
    def retrieve(self, request: Request, pk: str) -> Response:
        """One policy version: every one for the provider, else those that were offered.

        As ODRL 2.2 (JSON-LD) with `Accept: application/ld+json` or `?format=odrl`.
        """
        policy = policy_visible_to(self.reader, pk)
        if request.accepted_renderer.format == Odrl.format:
            return tagged(request, to_odrl(policy_view(self.reader, policy).policy))
        return self.tagged(policy)

    @extend_schema(
        parameters=[OpenApiParameter("since", required=True, description="id of another")],
        responses=DifferencesShown,
    )
    def differences(self, request: Request, pk: str) -> Response:
        """What changed since another version of the same policy, in words."""
        new = policy_visible_to(self.reader, pk)
        since = serializers.UUIDField().run_validation(request.query_params.get("since"))
        old = policy_visible_to(self.reader, since)
        if old.dataset_id != new.dataset_id:
            raise Invalid(
                "the two policy versions are of different datasets",
                code="policy_of_another_dataset",
                hint="GET /api/v1/datasets/<id>/policies lists those of one.",
            )
        before, after = (policy_view(self.reader, found).policy for found in (old, new))
        changes = differences(before, after)
        found = {
            "old": old.number,
            "new": new.number,
            "loosens": loosens(changes),
            "differences": changes,
        }
        return tagged(request, DifferencesShown(found).data)

    @extend_schema(
        parameters=[
            OpenApiParameter("column", required=True),
            OpenApiParameter("table", description="default: the dataset's own"),
        ],
        responses=ColumnExplained,
    )
    def explain(self, request: Request, pk: str) -> Response:
        """What can be learned from a column, by each audience, and what is left open."""
        policy = policy_visible_to(self.reader, pk)
        column = serializers.CharField().run_validation(request.query_params.get("column"))
        table = request.query_params.get("table") or policy.dataset.table_name
        found = {
            "table": table,
            "column": column,
            "audiences": explain_column(
                policy_view(self.reader, policy).policy, table, column
            ),
        }
        return tagged(request, ColumnExplained(found).data)

    def perform_content_negotiation(self, request: Request, force: bool = False) -> Any:  # noqa: FBT001, FBT002  # DRF's own signature
        """`?format=odrl` asks for ODRL whatever Accept says; a link carries no header."""
        wanted = request.query_params.get("format")
        if self.action == "retrieve" and wanted == Odrl.format:
            return Odrl(), Odrl.media_type
        return super().perform_content_negotiation(request, force)

    def get_renderers(self) -> builtins.list[BaseRenderer]:
        """ODRL is a form of one policy, not of lists."""
        found = list(super().get_renderers())
        return [*found, Odrl()] if self.action == "retrieve" else found

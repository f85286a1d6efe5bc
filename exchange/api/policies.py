"""Policy versions of a dataset: set by its provider, told to everybody in sentences."""

from __future__ import annotations

from typing import Any, ClassVar

from django.urls import reverse
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.parsers import BaseParser
from rest_framework.request import Request
from rest_framework.response import Response

from exchange.api.bodies import JsonBody
from exchange.api.errors import HttpProblem
from exchange.api.idempotency import idempotent
from exchange.api.resource import Resource, created
from exchange.catalogue import selectors, services
from exchange.catalogue.models import PolicyVersion
from exchange.errors import NotFound
from exchange.parties.models import Scope
from exchange.parties.permissions import can_manage_datasets, check_can_manage_datasets

MAX_POLICY_BYTES = 256 * 1024


class YamlText(BaseParser):
    """A policy sent as it stands: `{"text": body}`, whatever the policy's own form is."""

    media_type = "application/yaml"

    def parse(self, stream: Any, media_type: Any = None, parser_context: Any = None) -> Any:
        raw = stream.read(MAX_POLICY_BYTES + 1)
        if len(raw) > MAX_POLICY_BYTES:
            raise HttpProblem(
                "body_too_large",
                f"a policy has at most {MAX_POLICY_BYTES} bytes, more came",
            )
        try:
            return {"text": raw.decode("utf-8")}
        except UnicodeDecodeError as error:
            raise HttpProblem("body_malformed", "the policy is not UTF-8 text") from error


class OldYamlText(YamlText):
    media_type = "text/yaml"


class PlainText(YamlText):
    media_type = "text/plain"


class PolicyText(serializers.Serializer[Any]):
    text = serializers.CharField(
        max_length=MAX_POLICY_BYTES, trim_whitespace=False, help_text="YAML or JSON"
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
        return list(selectors.policy_sentences(policy))

    def get_text(self, policy: PolicyVersion) -> str | None:
        organisation = policy.dataset.organisation
        mine = can_manage_datasets(self.context["request"].user, organisation)
        return policy.source if mine else None


class Policies(Resource):
    serializer_class = PolicyShown
    parser_classes = (JsonBody, YamlText, OldYamlText, PlainText)
    ordering = ("-number",)
    scopes: ClassVar = {
        "list": Scope.CATALOGUE_READ,
        "retrieve": Scope.CATALOGUE_READ,
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

    def retrieve(self, request: Request, pk: str) -> Response:
        """One policy version: every one for the provider, else those that were offered."""
        found = PolicyVersion.objects.select_related("dataset__organisation").filter(pk=pk)
        policy = found.first()
        if policy is None or not self._may_know(policy):
            raise NotFound("there is no such policy version, or not for this reader")
        return self.tagged(policy)

    def _may_know(self, policy: PolicyVersion) -> bool:
        if can_manage_datasets(self.reader, policy.dataset.organisation):
            return True
        visible = selectors.datasets_visible_to(self.reader)
        return policy.offers.exists() and visible.filter(pk=policy.dataset_id).exists()

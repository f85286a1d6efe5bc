"""The fields of queries and subsets over the API: as they are shown, as they are sent."""

from __future__ import annotations

from typing import Any

from django.urls import reverse
from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from exchange.catalogue.models import PolicyVersion
from exchange.catalogue.policy_views import policy_seen_by, with_lines
from exchange.operations.models import Operation
from exchange.queries import selectors
from exchange.queries.models import Query
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
        policy = policy_seen_by(reader, version)
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

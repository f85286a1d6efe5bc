"""Operations: how far long work is, for those who may see what it is about."""

from __future__ import annotations

from contextlib import suppress
from functools import partial
from typing import Any, ClassVar

from django.urls import reverse
from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from exchange.api.preconditions import tagged
from exchange.api.resource import RETRY_AFTER_SECONDS, Resource, awaiting
from exchange.api.waiting import PREFER, Outcome, work_ended
from exchange.catalogue.selectors import version_visible_to
from exchange.errors import NotFound
from exchange.keys.selectors import organisation_seen_by
from exchange.operations.models import Operation
from exchange.parties.models import Scope
from exchange.queries.selectors import query_visible_to, release_visible_to

# Where to look for what an operation is about, and who may see it there.
TARGETS = (
    (version_visible_to, "api:version"),
    (query_visible_to, "api:query"),
    (release_visible_to, "api:release"),
)


class OperationShown(serializers.Serializer[Any]):
    id = serializers.UUIDField(source="public_id")
    kind = serializers.CharField()
    state = serializers.CharField(help_text="pending, leased, done, failed or cancelled")
    is_finished = serializers.BooleanField()
    progress = serializers.CharField()
    attempt = serializers.IntegerField()
    target = serializers.SerializerMethodField(help_text="Path of what it works on.")
    error = serializers.SerializerMethodField(help_text="Why it failed, else null.")
    created_at = serializers.DateTimeField()
    started_at = serializers.DateTimeField(allow_null=True)
    finished_at = serializers.DateTimeField(allow_null=True)

    def get_target(self, operation: Operation) -> str:
        return str(self.context["target"])

    def get_error(self, operation: Operation) -> dict[str, str] | None:
        if not operation.error_code:
            return None
        return {
            "code": operation.error_code,
            "message": operation.error_message,
            "hint": operation.error_hint,
        }


class Operations(Resource):
    serializer_class = OperationShown
    scopes: ClassVar = {"retrieve": Scope.CATALOGUE_READ}

    @extend_schema(parameters=[PREFER])
    def retrieve(self, request: Request, pk: str) -> Response:
        """How far the work is; Retry-After says when to look again while it goes on."""
        operation = Operation.objects.filter(public_id=pk).first()
        target = self._target(operation) if operation else None
        if operation is None or target is None:
            raise NotFound("there is no such operation, or not for this reader")
        context = {**self.get_serializer_context(), "target": target}
        response = tagged(request, OperationShown(operation, context=context).data)
        if operation.is_finished:
            return response
        response["Retry-After"] = RETRY_AFTER_SECONDS

        def show() -> Response:
            operation.refresh_from_db()
            return tagged(request, OperationShown(operation, context=context).data)

        ended = partial(work_ended, operation.target_id)
        return awaiting(response, Outcome((operation.target_id,), ended, show))

    def _target(self, operation: Operation) -> str | None:
        """The path of what it works on, or None if this reader may not see that."""
        for visible, name in TARGETS:
            with suppress(NotFound):
                return reverse(name, args=[visible(self.reader, operation.target_id).pk])
        with suppress(NotFound):
            organisation = organisation_seen_by(self.reader, operation.target_id)
            where = reverse("api:organisation-key")
            return f"{where}?organisation={organisation.slug}"
        return None

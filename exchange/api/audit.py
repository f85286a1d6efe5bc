"""Audit events: everybody's for a regulator, one's own organisation's for its members."""

from __future__ import annotations

from typing import Any, ClassVar

from django.db.models import Q, QuerySet
from django.http import HttpResponse, StreamingHttpResponse
from django.utils import timezone
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from exchange.agreements.selectors import requests_visible_to
from exchange.api.releases import RECEIPT_TYPE, AnyRepresentation
from exchange.api.resource import Resource
from exchange.audit import selectors
from exchange.audit.events import EventType
from exchange.audit.models import AuditEvent
from exchange.errors import Conflict, Forbidden, NotFound
from exchange.parties.models import Organisation, Scope, User
from exchange.parties.permissions import can_view_evidence, sees_all_evidence
from ledger.receipt import dump_receipt

JSON_LINES = "application/jsonl"


class EventShown(serializers.Serializer[Any]):
    """One event. `payload` is what the log says; `private` what it only commits to."""

    id = serializers.UUIDField(source="event_id")
    type = serializers.CharField()
    at = serializers.DateTimeField()
    actor = serializers.CharField(source="actor_id")
    actor_name = serializers.CharField()
    organisation = serializers.CharField()
    subject_type = serializers.CharField()
    subject_id = serializers.CharField()
    case = serializers.CharField(source="case_id")
    index = serializers.IntegerField(allow_null=True, help_text="null: not sealed yet")
    payload = serializers.DictField()
    private = serializers.SerializerMethodField()

    def get_private(self, event: AuditEvent) -> dict[str, str]:
        return {
            name: str(value.get("text", ""))
            for name, value in event.private.items()
            if isinstance(value, dict)
        }


class EventFilter(serializers.Serializer[Any]):
    type = serializers.ChoiceField([str(kind) for kind in EventType], required=False)
    organisation = serializers.SlugField(required=False)
    actor = serializers.CharField(required=False, max_length=64)
    subject = serializers.CharField(required=False, max_length=64)
    case = serializers.CharField(required=False, max_length=64)
    since = serializers.DateTimeField(required=False)
    until = serializers.DateTimeField(required=False)

    FIELDS: ClassVar = {
        "type": "type",
        "organisation": "organisation",
        "actor": "actor_id",
        "subject": "subject_id",
        "case": "case_id",
        "since": "at__gte",
        "until": "at__lt",
    }

    def condition(self) -> Q:
        """The events that all given filters let through."""
        return Q(
            **{self.FIELDS[name]: value for name, value in self.validated_data.items()}
        )


class Events(Resource):
    serializer_class = EventShown
    ordering = ("-seq",)
    scopes: ClassVar = {
        "list": Scope.EVIDENCE_READ,
        "retrieve": Scope.EVIDENCE_READ,
        "receipt": Scope.EVIDENCE_READ,
        "export": Scope.EVIDENCE_READ,
    }

    @extend_schema(operation_id="audit_events_list", parameters=[EventFilter])
    def list(self, request: Request) -> Response:
        """Events that this reader may see, newest first."""
        return self.page(events_visible_to(self.reader).filter(self._condition()))

    def retrieve(self, request: Request, pk: str) -> Response:
        """One event with its place in the log."""
        return Response(self.shown(self._event(pk)))

    @extend_schema(responses={(200, RECEIPT_TYPE): OpenApiTypes.OBJECT})
    def receipt(self, request: Request, pk: str) -> HttpResponse:
        """The proof that the event stands in the node's log."""
        event = self._event(pk)
        receipt = selectors.receipt(event)
        if receipt is None:
            raise Conflict(
                "no signed checkpoint covers this event yet",
                code="receipt_pending",
                hint="Try again in a few seconds.",
            )
        name = f"receipt-{event.event_id}.json"
        return HttpResponse(
            dump_receipt(receipt),
            content_type=RECEIPT_TYPE,
            headers={"Content-Disposition": f'attachment; filename="{name}"'},
        )

    @extend_schema(
        parameters=[
            OpenApiParameter("start", OpenApiTypes.INT, description="first entry, from 0"),
            OpenApiParameter("size", OpenApiTypes.INT, description="a checkpoint's size"),
        ],
        responses={(200, JSON_LINES): OpenApiTypes.STR},
    )
    def export(self, request: Request) -> StreamingHttpResponse:
        """The log's entries as JSON lines, for `bonded verify --log`; for a regulator."""
        if not sees_all_evidence(self.reader):
            raise Forbidden(
                "the export holds every organisation's entries",
                code="may_not_view_evidence_of_all",
                hint="Ask the node's regulator, or list your own organisation's events.",
            )
        start, size = (self._number(name) for name in ("start", "size"))
        lines = selectors.export_log(start or 0, size)
        stamp = timezone.now().strftime("%Y%m%dT%H%M%SZ")
        return StreamingHttpResponse(
            lines,
            content_type=JSON_LINES,
            headers={"Content-Disposition": f'attachment; filename="log-{stamp}.jsonl"'},
        )

    def get_content_negotiator(self) -> Any:
        if getattr(self, "action", "") in {"receipt", "export"}:
            return AnyRepresentation()
        return super().get_content_negotiator()

    def _event(self, pk: str) -> AuditEvent:
        found = events_visible_to(self.reader).filter(event_id=pk).first()
        if found is None:
            raise NotFound("there is no such event, or not for this reader")
        return found

    def _condition(self) -> Q:
        asked = EventFilter(data=self.request.query_params.dict())
        asked.is_valid(raise_exception=True)
        return asked.condition()

    def _number(self, name: str) -> int | None:
        value = self.request.query_params.get(name)
        if value is None:
            return None
        return int(serializers.IntegerField(min_value=0).run_validation(value))


def events_visible_to(user: User) -> QuerySet[AuditEvent]:
    """Every event for a regulator; else those of one's organisations and of one's cases."""
    if sees_all_evidence(user):
        return AuditEvent.objects.all()
    mine = [
        organisation
        for organisation in Organisation.objects.filter(members=user).distinct()
        if can_view_evidence(user, organisation)
    ]
    slugs = [organisation.slug for organisation in mine]
    cases = [str(pk) for pk in requests_visible_to(user).values_list("pk", flat=True)]
    shown = Q(organisation__in=slugs)
    if mine:
        shown |= Q(case_id__in=cases)
    return AuditEvent.objects.filter(shown)

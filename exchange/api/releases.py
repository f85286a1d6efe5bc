"""Releases: what left, its bytes by whole or range, and the receipt that proves it."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from typing import Any, ClassVar

from django.db.models import Q, QuerySet
from django.http import HttpResponse, HttpResponseBase
from django.urls import reverse
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework import serializers
from rest_framework.negotiation import BaseContentNegotiation
from rest_framework.request import Request
from rest_framework.response import Response

from exchange.api.idempotency import idempotent
from exchange.api.ranges import content_response, head_of, not_modified, wanted_range
from exchange.api.resource import Resource
from exchange.errors import Conflict, NotFound
from exchange.parties.models import Scope
from exchange.parties.permissions import can_manage_datasets
from exchange.queries import releases, selectors
from exchange.queries.models import Release
from exchange.queries.states import ReleaseState
from ledger.receipt import dump_receipt

RECEIPT_TYPE = "application/vnd.bonded.receipt+json"


class ReleaseLine(serializers.Serializer[Any]):
    id = serializers.UUIDField()
    url = serializers.SerializerMethodField()
    content = serializers.SerializerMethodField(help_text="Path of its bytes.")
    receipt = serializers.SerializerMethodField(help_text="Path of its proof.")
    query = serializers.UUIDField(source="query_id")
    kind = serializers.CharField(source="query.grant.kind", help_text="aggregate or subset")
    dataset_name = serializers.SerializerMethodField()
    state = serializers.CharField()
    media_type = serializers.CharField()
    filename = serializers.CharField()
    sha256 = serializers.CharField(source="content_sha256")
    size_bytes = serializers.IntegerField(source="content_bytes")
    rows = serializers.IntegerField()
    columns = serializers.ListField(help_text="[[name, type], ...]")
    suppressed = serializers.IntegerField(help_text="rows with something withheld")
    # DRF's metaclass takes the fields out of the class, so `partial` shadows nothing.
    partial = serializers.BooleanField()  # type: ignore[assignment]  # DRF's own attribute is a flag, ours a field
    licence = serializers.CharField(source="query.grant.request.accepted_licence")
    held_at = serializers.DateTimeField()
    available_at = serializers.DateTimeField(allow_null=True)
    shred_after = serializers.DateTimeField()
    shredded_at = serializers.DateTimeField(allow_null=True)

    def get_url(self, release: Release) -> str:
        return reverse("api:release", args=[release.pk])

    def get_content(self, release: Release) -> str:
        return reverse("api:release-content", args=[release.pk])

    def get_receipt(self, release: Release) -> str:
        return reverse("api:release-receipt", args=[release.pk])

    def get_dataset_name(self, release: Release) -> str:
        dataset = release.query.grant.offer.dataset
        return f"{dataset.organisation.slug}/{dataset.slug}"


class ReleaseShown(ReleaseLine):
    report = serializers.SerializerMethodField(
        help_text="Why cells were withheld: [[reason, cells], ...]; for the provider."
    )

    metering = serializers.SerializerMethodField(
        help_text="What its run used: seconds of CPU and wall, peak memory, bytes scanned; "
        "for the provider, whose machine it was, else null."
    )

    def get_metering(self, release: Release) -> dict[str, Any] | None:
        provider = release.query.grant.provider
        mine = can_manage_datasets(self.context["request"].user, provider)
        return dict(release.metering) if mine else None

    def get_report(self, release: Release) -> list[Any] | None:
        provider = release.query.grant.provider
        mine = can_manage_datasets(self.context["request"].user, provider)
        return list(release.report) if mine else None


class AnyRepresentation(BaseContentNegotiation):
    """Content has one media type; what a loader says it accepts does not change it."""

    def select_parser(self, request: Request, parsers: Any) -> Any:
        return parsers[0]

    def select_renderer(
        self, request: Request, renderers: Any, format_suffix: Any = None
    ) -> Any:
        return renderers[0], renderers[0].media_type


@dataclass(frozen=True, slots=True)
class Whole:
    """What may be said of a release's bytes before they are opened."""

    filename: str
    media_type: str
    sha256: str
    size_bytes: int


class Releases(Resource):
    serializer_class = ReleaseLine
    ordering = ("-held_at", "id")
    scopes: ClassVar = {
        "list": Scope.CATALOGUE_READ,
        "retrieve": Scope.CATALOGUE_READ,
        "content": Scope.RELEASES_READ,
        "receipt": Scope.CATALOGUE_READ,
        "shred": Scope.QUERIES_WRITE,
    }

    def get_queryset(self) -> QuerySet[Release]:
        asked, chosen = self.request.query_params, Q()
        if state := asked.get("state", ""):
            chosen &= Q(state=state)
        if query := asked.get("query", ""):
            chosen &= Q(query=serializers.UUIDField().run_validation(query))
        return (
            selectors.releases_visible_to(self.reader)
            .filter(chosen)
            .select_related(
                "query__grant__request",
                "query__grant__provider",
                "query__grant__offer__dataset__organisation",
            )
        )

    @extend_schema(
        operation_id="releases_list",
        parameters=[
            OpenApiParameter("state", enum=ReleaseState.values),
            OpenApiParameter("query", description="id of a query"),
        ],
    )
    def list(self, request: Request) -> Response:
        """Releases under grants of this reader's organisations, newest first."""
        return self.page(self.get_queryset())

    @extend_schema(responses=ReleaseShown)
    def retrieve(self, request: Request, pk: str) -> Response:
        """A release: its digest, size, columns and what was withheld."""
        self.serializer_class = ReleaseShown
        return self.tagged(self._opened(pk))

    @extend_schema(
        responses={
            (200, "application/json"): OpenApiTypes.OBJECT,
            (200, "application/vnd.apache.parquet"): OpenApiTypes.BINARY,
            (206, "application/vnd.apache.parquet"): OpenApiTypes.BINARY,
        },
        parameters=[
            OpenApiParameter("Range", location="header", description="one byte range"),
        ],
    )
    def content(self, request: Request, pk: str) -> HttpResponseBase:
        """The released bytes; each GET is recorded as a download before a byte leaves.

        HEAD and an If-None-Match that holds tell size and digest, record nothing and send
        nothing. Bearer, or Basic with the token as the password.
        """
        release = opened(selectors.release_to_fetch(self.reader, pk))
        whole = _whole(release)
        unchanged = not_modified(request, whole)
        if unchanged is not None:
            return unchanged
        if request.method == "HEAD":
            return head_of(whole)
        wanted_range(request, whole)  # refused before the download is recorded
        return content_response(
            request, releases.release_content(release=release, by=self.reader)
        )

    @extend_schema(responses={(200, RECEIPT_TYPE): OpenApiTypes.OBJECT})
    def receipt(self, request: Request, pk: str) -> HttpResponse:
        """The proof that the release's record stands in the node's log: a file to keep."""
        release = self._opened(pk)
        receipt = selectors.receipt_of(release)
        if receipt is None:
            raise Conflict(
                "no signed checkpoint covers the release's record yet",
                code="receipt_pending",
                hint="Try again in a few seconds.",
            )
        return HttpResponse(
            dump_receipt(receipt),
            content_type=RECEIPT_TYPE,
            headers={
                "Content-Disposition": f'attachment; filename="receipt-{release.pk}.json"',
                "Cache-Control": "private, no-cache",
            },
        )

    @extend_schema(request=None, responses=ReleaseShown)
    @idempotent
    def shred(self, request: Request, pk: str) -> Response:
        """The bytes are gone for good before their time; record and digest stay."""
        release = selectors.release_visible_to(self.reader, pk)
        release = releases.shred_release(release=release, by=self.reader)
        return Response(self.shown(release, ReleaseShown))

    def get_content_negotiator(self) -> BaseContentNegotiation:
        if getattr(self, "action", "") in {"content", "receipt"}:
            return AnyRepresentation()
        return super().get_content_negotiator()

    def _opened(self, pk: str) -> Release:
        return opened(selectors.release_visible_to(self.reader, pk))


def opened(release: Release) -> Release:
    """The release, available if a checkpoint covers it: whoever looks first opens it."""
    if release.state == ReleaseState.HELD:
        # A Conflict: the sequencer's news opened it between our read and our write.
        with suppress(Conflict):
            return releases.open_release(release=release)
        release.refresh_from_db()
    return release


def _whole(release: Release) -> Whole:
    if release.state == ReleaseState.HELD:
        raise Conflict(
            "the release waits for a signed checkpoint that covers its record",
            code="release_held",
            hint="Try again in a few seconds.",
        )
    if release.state == ReleaseState.SHREDDED:
        raise NotFound(
            "the release's bytes are past their retention and were shredded",
            code="release_shredded",
            hint="Its record and digest stay in the log; submit the query again.",
        )
    return Whole(
        release.filename,
        release.media_type,
        release.content_sha256,
        release.content_bytes,
    )

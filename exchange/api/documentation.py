"""The API about itself: its entrance, the OpenAPI document, and a page for each problem."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.urls import reverse
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import extend_schema
from drf_spectacular.views import SpectacularAPIView
from rest_framework.permissions import AllowAny
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from exchange.api.problems import documented
from exchange.errors import NotFound


class Open(APIView):
    """What anybody may read, so that errors before signing in can be looked up too."""

    authentication_classes: Any = ()
    permission_classes = (AllowAny,)


class Entrance(Open):
    @extend_schema(operation_id="entrance", responses=OpenApiTypes.OBJECT)
    def get(self, request: Request) -> Response:
        """What this is and where things are."""
        names = ("me", "datasets", "requests", "grants", "queries", "releases", "tokens")
        links = {name: reverse(f"api:{name}") for name in names}
        links |= {
            "audit_events": reverse("api:events"),
            "health": reverse("api:health"),
            "log_checkpoint": reverse("api:log-checkpoint"),
            "log_key": reverse("api:log-key"),
            "openapi": reverse("api:schema"),
            "problems": reverse("api:problems"),
        }
        return Response({"node": settings.BONDED_NODE_NAME, "version": "1", "links": links})


class Problems(Open):
    @extend_schema(operation_id="problems_list", responses=OpenApiTypes.OBJECT)
    def get(self, request: Request) -> Response:
        """Every code that a problem document can carry."""
        return Response({"results": [_entry(code) for code in documented()]})


class ProblemPage(Open):
    @extend_schema(operation_id="problems_retrieve", responses=OpenApiTypes.OBJECT)
    def get(self, request: Request, code: str) -> Response:
        """What one code means and what to do: the page that `docs` of a problem names."""
        if code not in documented():
            raise NotFound("no problem has this code")
        return Response(_entry(code))


class Schema(SpectacularAPIView):
    authentication_classes: Any = ()
    permission_classes = (AllowAny,)


def _entry(code: str) -> dict[str, Any]:
    kind = documented()[code]
    return {
        "code": code,
        "status": kind.status,
        "title": kind.title,
        "hint": kind.hint,
        "url": reverse("api:problem", args=[code]),
    }

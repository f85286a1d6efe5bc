"""The node's log for everybody: its newest signed checkpoint and the key that checks it.

Open, without a token: a checkpoint that only insiders can read convinces only insiders.
"""

from __future__ import annotations

from typing import Any

from django.http import HttpResponse
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import extend_schema
from rest_framework.permissions import AllowAny
from rest_framework.request import Request
from rest_framework.views import APIView

from exchange.api.releases import AnyRepresentation
from exchange.audit.selectors import latest_checkpoint
from exchange.audit.signing import verifier_key
from exchange.errors import NotFound

TEXT = "text/plain; charset=utf-8"


class OpenText(APIView):
    authentication_classes: Any = ()
    permission_classes = (AllowAny,)
    content_negotiation_class = AnyRepresentation


class CheckpointView(OpenText):
    @extend_schema(operation_id="log_checkpoint", responses={(200, TEXT): OpenApiTypes.STR})
    def get(self, request: Request) -> HttpResponse:
        """The newest checkpoint as a signed note (C2SP)."""
        checkpoint = latest_checkpoint()
        if checkpoint is None:
            raise NotFound(
                "nothing is sealed in the log yet",
                code="log_empty",
                hint="Try again once something has happened at this node.",
            )
        return HttpResponse(
            checkpoint.note, content_type=TEXT, headers={"Cache-Control": "no-cache"}
        )


class VerifierKeyView(OpenText):
    @extend_schema(operation_id="log_key", responses={(200, TEXT): OpenApiTypes.STR})
    def get(self, request: Request) -> HttpResponse:
        """The key that checks the node's checkpoints; compare it by other means."""
        return HttpResponse(
            f"{verifier_key()}\n", content_type=TEXT, headers={"Cache-Control": "no-cache"}
        )

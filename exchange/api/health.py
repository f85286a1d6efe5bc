"""Whether the node can do its work now: for a load balancer, without a token."""

from __future__ import annotations

from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import extend_schema
from rest_framework.request import Request
from rest_framework.response import Response

from exchange.api.documentation import Open
from exchange.keys.standing import standing


class Health(Open):
    @extend_schema(operation_id="health", responses=OpenApiTypes.OBJECT)
    def get(self, request: Request) -> Response:
        """200 while the node's keys can be opened, else 503 with the code of the reason.

        Who asks is not known, so nothing more is told: no address, no name of a provider.
        """
        problem = standing.problem()
        code = problem.code if problem is not None else ""
        return Response(
            {"ready": problem is None, "keys": code or "ok"},
            status=503 if code else 200,
            headers={"Cache-Control": "no-store"},
        )

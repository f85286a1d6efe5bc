"""What all resources share: who asks, how far a token reaches, lists, links."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar, cast

from django.db.models import Model, QuerySet
from django.urls import reverse
from rest_framework.permissions import BasePermission, IsAuthenticated
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.serializers import BaseSerializer
from rest_framework.viewsets import GenericViewSet

from exchange.api.pagination import Cursor
from exchange.api.preconditions import tagged
from exchange.api.waiting import Outcome, outcome_or
from exchange.errors import NotFound
from exchange.operations.models import Operation
from exchange.parties.models import Organisation, Scope, User
from exchange.parties.tokens import check_scope

if TYPE_CHECKING:
    from uuid import UUID

RETRY_AFTER_SECONDS = "1"
Permissions = tuple[type[BasePermission], ...]


class ReachesThisFar(BasePermission):
    """The token's scopes cover the action; an action that names no scope is for nobody."""

    def has_permission(self, request: Request, view: Any) -> bool:
        scope = view.scopes.get(view.action, None)
        if scope is None:
            return False
        check_scope(request.auth, scope)
        return True


class Resource(GenericViewSet[Any]):
    """A resource of version 1. Subclasses say by `scopes` what each action needs."""

    permission_classes: Permissions = (IsAuthenticated, ReachesThisFar)
    pagination_class = Cursor
    scopes: ClassVar[Mapping[str, Scope]] = {}
    ordering: ClassVar[tuple[str, ...]] = ("-pk",)

    @property
    def reader(self) -> User:
        """Who asks; IsAuthenticated has seen to it that it is somebody."""
        return cast("User", self.request.user)

    def page(self, rows: QuerySet[Any]) -> Response:
        """One page of `rows`, in the view's order."""
        page = self.paginate_queryset(rows)
        return self.get_paginated_response(self.get_serializer(page, many=True).data)

    def finalize_response(
        self, request: Request, response: Any, *args: Any, **kwargs: Any
    ) -> Any:
        """The answer; waited for here, where no transaction of the act is open any more."""
        outcome = getattr(response, "outcome", None)
        if outcome is not None:
            try:
                response = outcome_or(lambda: response, request, outcome)
            except Exception as error:  # noqa: BLE001 - as in any act: a problem document
                response = self.handle_exception(error)
        return super().finalize_response(request, response, *args, **kwargs)

    def read(self, serializer: type[BaseSerializer[Any]]) -> Mapping[str, Any]:
        """The fields of the body, of the shape that `serializer` states."""
        shaped = serializer(data=self.request.data, context=self.get_serializer_context())
        shaped.is_valid(raise_exception=True)
        return cast("Mapping[str, Any]", shaped.validated_data)

    def shown(self, row: Model, serializer: type[BaseSerializer[Any]] | None = None) -> Any:
        """The representation of `row` for this reader."""
        kind = serializer or self.get_serializer_class()
        return kind(row, context=self.get_serializer_context()).data

    def tagged(self, row: Model) -> Response:
        """The representation of `row` with its ETag, or 304."""
        return tagged(self.request, self.shown(row))


def created(representation: Any, location: str) -> Response:
    """201: it stands at `location` now."""
    return Response(representation, status=201, headers={"Location": location})


def accepted(
    representation: Any, *, target: UUID, otherwise: str, outcome: Outcome | None = None
) -> Response:
    """202: the work goes on; Location is its operation, or `otherwise` where none waits.

    Who prefers to wait gets the outcome instead, if it comes in time (`Resource`).
    """
    operation = (
        Operation.objects.filter(target_id=str(target)).order_by("-created_at").first()
    )
    location = (
        reverse("api:operation", args=[operation.public_id]) if operation else otherwise
    )
    response = Response(
        representation,
        status=202,
        headers={"Location": location, "Retry-After": RETRY_AFTER_SECONDS},
    )
    return awaiting(response, outcome)


def awaiting(response: Response, outcome: Outcome | None) -> Response:
    """The response, and what it becomes for who prefers to wait (`Resource` sees to it)."""
    response.outcome = outcome  # type: ignore[attr-defined]  # ours; no other class reads it
    return response


def organisation_named(slug: str, user: User) -> Organisation:
    """The user's organisation of that slug, or, where none is named, the one they act for.

    Raises NotFound (`organisation_unknown`): membership is asked by the services, but a
    name that is not the user's own need not be told apart from one that nobody has.
    """
    mine = Organisation.objects.filter(members=user).distinct()
    found = mine.filter(slug=slug).first() if slug else user.organisation
    if found is None:
        raise NotFound(
            f"you belong to no organisation called {slug}"
            if slug
            else "you belong to no organisation yet",
            code="organisation_unknown",
            hint="GET /api/v1/me lists your organisations.",
        )
    return found

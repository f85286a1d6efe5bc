"""Tokens of the reader, and who the reader is."""

from __future__ import annotations

from typing import Any, ClassVar

from django.db.models import QuerySet
from django.urls import reverse
from django.utils import timezone
from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.permissions import IsAuthenticated
from rest_framework.request import Request
from rest_framework.response import Response

from exchange.api.resource import Permissions, Resource, created
from exchange.errors import Forbidden, NotFound
from exchange.parties import permissions, services
from exchange.parties.models import ApiToken, Organisation, User


class TokenShown(serializers.Serializer[Any]):
    """A token by its name and first characters; its text is never shown again."""

    id = serializers.UUIDField(source="public_id")
    name = serializers.CharField()
    prefix = serializers.CharField()
    scopes = serializers.ListField(child=serializers.CharField())
    created_at = serializers.DateTimeField()
    expires_at = serializers.DateTimeField()
    revoked_at = serializers.DateTimeField(allow_null=True)
    last_used_at = serializers.DateTimeField(allow_null=True)
    is_usable = serializers.SerializerMethodField()

    def get_is_usable(self, token: ApiToken) -> bool:
        return token.revoked_at is None and token.expires_at > timezone.now()


class NewToken(serializers.Serializer[Any]):
    name = serializers.CharField(max_length=100)
    scopes = serializers.ListField(child=serializers.CharField(), allow_empty=False)
    expires_in_days = serializers.IntegerField(default=30, min_value=1, max_value=365)


class TokenIssued(TokenShown):
    token = serializers.SerializerMethodField(help_text="The text; shown this once.")

    def get_token(self, token: ApiToken) -> str:
        return str(self.context["secret"])


class Tokens(Resource):
    serializer_class = TokenShown
    ordering = ("-created_at", "pk")
    # Whoever is signed in may see and revoke their own; what a token may make is below.
    permission_classes: Permissions = (IsAuthenticated,)

    def get_queryset(self) -> QuerySet[ApiToken]:
        return ApiToken.objects.filter(user=self.reader)

    @extend_schema(operation_id="tokens_list")
    def list(self, request: Request) -> Response:
        """The reader's tokens, newest first."""
        return self.page(self.get_queryset())

    # Not idempotent by key: a kept answer would keep the token's text.
    @extend_schema(request=NewToken, responses={201: TokenIssued})
    def create(self, request: Request) -> Response:
        """A new token of the reader; it reaches no further than one that makes it.

        Nor does it live longer: a token that was stolen would otherwise never expire.
        """
        fields = self.read(NewToken)
        made_by = request.auth
        if isinstance(made_by, ApiToken):
            further = sorted(set(fields["scopes"]) - set(made_by.scopes))
            if further:
                raise Forbidden(
                    f"this token does not reach as far as {', '.join(further)}",
                    code="token_scope",
                    hint="Sign in with your password to make a token that does.",
                )
        token, secret = services.issue_token(
            user=self.reader,
            name=fields["name"],
            scopes=fields["scopes"],
            expires_in_days=fields["expires_in_days"],
            not_after=made_by.expires_at if isinstance(made_by, ApiToken) else None,
            by=self.reader,
        )
        context = {**self.get_serializer_context(), "secret": secret}
        response = created(
            TokenIssued(token, context=context).data,
            reverse("api:token", args=[token.public_id]),
        )
        response["Cache-Control"] = "no-store"
        return response

    def retrieve(self, request: Request, pk: str) -> Response:
        """One of the reader's tokens."""
        return self.tagged(self._token(pk))

    @extend_schema(responses={204: None})
    def destroy(self, request: Request, pk: str) -> Response:
        """The token opens nothing any more."""
        services.revoke_token(token=self._token(pk), by=self.reader)
        return Response(status=204)

    def _token(self, pk: str) -> ApiToken:
        token = self.get_queryset().filter(public_id=pk).first()
        if token is None:
            raise NotFound("you have no such token")
        return token


class OrganisationOfMine(serializers.Serializer[Any]):
    slug = serializers.CharField()
    name = serializers.CharField()
    kind = serializers.CharField()
    roles = serializers.ListField(child=serializers.CharField())
    may = serializers.ListField(child=serializers.CharField())


class Me(serializers.Serializer[Any]):
    id = serializers.UUIDField(source="public_id")
    username = serializers.CharField()
    name = serializers.CharField(source="actor_name")
    sees_all_evidence = serializers.SerializerMethodField()
    organisations = serializers.SerializerMethodField()
    token = serializers.SerializerMethodField(help_text="The one in use, else null.")

    def get_sees_all_evidence(self, user: User) -> bool:
        return permissions.sees_all_evidence(user)

    def get_organisations(self, user: User) -> list[dict[str, Any]]:
        rows = user.memberships.select_related("organisation").order_by("pk")
        found: dict[str, dict[str, Any]] = {}
        for row in rows:
            entry = found.setdefault(
                row.organisation.slug, _organisation(user, row.organisation)
            )
            entry["roles"].append(row.role)
        return list(found.values())

    def get_token(self, user: User) -> dict[str, Any] | None:
        auth = self.context["request"].auth
        return dict(TokenShown(auth).data) if isinstance(auth, ApiToken) else None


class Myself(Resource):
    serializer_class = Me
    permission_classes: Permissions = (IsAuthenticated,)
    scopes: ClassVar = {}

    def retrieve(self, request: Request) -> Response:
        """Who the reader is, for which organisations, and how far the token reaches."""
        return Response(self.shown(self.reader))


_MAY = {
    "administer": permissions.can_administer,
    "manage_datasets": permissions.can_manage_datasets,
    "request_access": permissions.can_request_access,
    "submit_queries": permissions.can_submit_queries,
    "review": permissions.can_review,
    "view_evidence": permissions.can_view_evidence,
}


def _organisation(user: User, organisation: Organisation) -> dict[str, Any]:
    return {
        "slug": organisation.slug,
        "name": organisation.name,
        "kind": organisation.kind,
        "roles": [],
        "may": [act for act, can in _MAY.items() if can(user, organisation)],
    }

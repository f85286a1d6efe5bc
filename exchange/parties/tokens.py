"""How a request proves who it is: an API token, as Bearer or as Basic password."""

from __future__ import annotations

import base64
import binascii
import datetime as dt

from django.utils import timezone
from rest_framework.authentication import BaseAuthentication, get_authorization_header
from rest_framework.request import Request

from exchange.errors import Forbidden, Unauthenticated
from exchange.parties.models import ApiToken, Scope, User
from exchange.parties.secret_tokens import PREFIX, digest_of

# `last_used_at` is for people; writing it at every request would make reads into writes.
USED_RESOLUTION = dt.timedelta(minutes=1)


def token_user(secret: str) -> tuple[User, ApiToken]:
    """Return the owner and the token that `secret` is.

    Raises Unauthenticated: `token_expired`, `token_revoked`, or `token_unknown`.
    """
    if not secret.startswith(PREFIX):
        raise Unauthenticated(
            f"This is not an API token: those begin with {PREFIX}.", code="token_unknown"
        )
    known = ApiToken.objects.select_related("user").filter(digest=digest_of(secret))
    token = next(iter(known.order_by()[:1]), None)
    now = timezone.now()
    if token is None or not token.user.is_active:
        raise Unauthenticated(
            "This API token is not known here.",
            code="token_unknown",
            hint="Check that it is whole and of this node, or issue a new one.",
        )
    if token.revoked_at is not None:
        raise Unauthenticated(
            "This API token was revoked.",
            code="token_revoked",
            hint="Issue a new one on your account page.",
        )
    if token.expires_at <= now:
        raise Unauthenticated(
            f"This API token expired at {token.expires_at.isoformat(timespec='seconds')}.",
            code="token_expired",
            hint="Issue a new one on your account page.",
        )
    if token.last_used_at is None or now - token.last_used_at > USED_RESOLUTION:
        ApiToken.objects.filter(pk=token.pk).update(last_used_at=now)
    return token.user, token


def check_scope(auth: object, scope: Scope) -> None:
    """Raise Forbidden (`token_scope`) when a token was used that does not reach this far.

    `auth` is `request.auth`: None for a browser session, which has its owner's whole reach.
    """
    if isinstance(auth, ApiToken) and not auth.allows(scope):
        raise Forbidden(
            f"This token's scopes do not include {scope}.",
            code="token_scope",
            hint=f"Issue a token with the scope {scope}.",
        )


class TokenAuthentication(BaseAuthentication):
    """`Authorization: Bearer bnd_…`, or Basic with any name and the token as password."""

    def authenticate(self, request: Request) -> tuple[User, ApiToken] | None:
        header = get_authorization_header(request).split()
        if not header or header[0].lower() not in {b"bearer", b"basic"}:
            return None
        if len(header) != 2:
            raise Unauthenticated(
                f"The Authorization header has {len(header)} parts, expected 2: a scheme "
                "and a token.",
                code="authorization_malformed",
            )
        secret = (
            header[1].decode("latin-1")
            if header[0].lower() == b"bearer"
            else _basic_password(header[1])
        )
        return token_user(secret)

    def authenticate_header(self, request: Request) -> str:  # noqa: ARG002 - DRF's
        return 'Bearer realm="bonded"'


def _basic_password(encoded: bytes) -> str:
    try:
        decoded = base64.b64decode(encoded, validate=True).decode()
    except (binascii.Error, UnicodeDecodeError) as error:
        raise Unauthenticated(
            "The Basic credentials are not base64 of UTF-8 text.",
            code="authorization_malformed",
        ) from error
    return decoded.partition(":")[2]

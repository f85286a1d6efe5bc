from __future__ import annotations

import base64
import datetime as dt

import pytest
from django.utils import timezone
from rest_framework.request import Request
from rest_framework.test import APIRequestFactory

from exchange.errors import Forbidden, Unauthenticated
from exchange.parties.models import ApiToken, Scope, User
from exchange.parties.services import issue_token, revoke_token
from exchange.parties.tokens import TokenAuthentication, check_scope
from tests.factories.parties import UserFactory

pytestmark = pytest.mark.django_db


@pytest.fixture
def issued() -> tuple[ApiToken, str]:
    user = UserFactory()
    return issue_token(
        user=user, name="t", scopes=[Scope.QUERIES_WRITE], expires_in_days=1, by=user
    )


def authenticate(header: str | None) -> tuple[User, ApiToken] | None:
    headers = {} if header is None else {"authorization": header}
    return TokenAuthentication().authenticate(
        Request(APIRequestFactory().get("/", headers=headers))
    )


def basic(password: str, name: str = "") -> str:
    return "Basic " + base64.b64encode(f"{name}:{password}".encode()).decode()


def code_of(header: str) -> str:
    with pytest.raises(Unauthenticated) as caught:
        authenticate(header)
    return caught.value.code


def test_bearer_and_basic_are_the_owner(issued: tuple[ApiToken, str]) -> None:
    token, secret = issued

    for header in (
        f"Bearer {secret}",
        f"bearer {secret}",
        basic(secret),
        basic(secret, "me"),
    ):
        assert authenticate(header) == (token.user, token)


@pytest.mark.parametrize("header", [None, "", "Negotiate abc"])
def test_request_with_no_token_is_left_to_others(header: str | None) -> None:
    assert authenticate(header) is None


def test_altered_token_is_not_known(issued: tuple[ApiToken, str]) -> None:
    secret = issued[1]

    for i in range(4, len(secret)):
        altered = secret[:i] + ("A" if secret[i] != "A" else "B") + secret[i + 1 :]
        assert code_of(f"Bearer {altered}") == "token_unknown"


@pytest.mark.parametrize(
    ("header", "code"),
    [
        ("Bearer", "authorization_malformed"),
        ("Bearer a b", "authorization_malformed"),
        ("Basic !!!", "authorization_malformed"),
        ("Basic /w==", "authorization_malformed"),
        ("Bearer password", "token_unknown"),
        (basic(""), "token_unknown"),
    ],
)
def test_malformed_header_is_refused(header: str, code: str) -> None:
    assert code_of(header) == code


def test_expired_token_is_refused_from_its_moment_on(issued: tuple[ApiToken, str]) -> None:
    ApiToken.objects.update(
        created_at=timezone.now() - dt.timedelta(days=2), expires_at=timezone.now()
    )

    assert code_of(f"Bearer {issued[1]}") == "token_expired"


def test_revoked_token_is_refused(issued: tuple[ApiToken, str]) -> None:
    revoke_token(token=issued[0], by=issued[0].user)

    assert code_of(f"Bearer {issued[1]}") == "token_revoked"


def test_token_of_an_inactive_user_is_refused(issued: tuple[ApiToken, str]) -> None:
    User.objects.update(is_active=False)

    assert code_of(f"Bearer {issued[1]}") == "token_unknown"
    assert not ApiToken.objects.usable(timezone.now()).exists()


def test_refusal_does_not_show_the_token(issued: tuple[ApiToken, str]) -> None:
    secret = issued[1][:-1]

    with pytest.raises(Unauthenticated) as caught:
        authenticate(f"Bearer {secret}")

    assert secret[4:] not in repr(caught.value) + caught.value.hint


def test_use_is_noted_at_most_once_a_minute(issued: tuple[ApiToken, str]) -> None:
    authenticate(f"Bearer {issued[1]}")
    first = ApiToken.objects.get().last_used_at

    authenticate(f"Bearer {issued[1]}")

    assert first is not None
    assert ApiToken.objects.get().last_used_at == first


def test_scope_binds_a_token_and_not_a_session(issued: tuple[ApiToken, str]) -> None:
    check_scope(issued[0], Scope.QUERIES_WRITE)
    check_scope(None, Scope.DATASETS_WRITE)

    with pytest.raises(Forbidden) as caught:
        check_scope(issued[0], Scope.DATASETS_WRITE)

    assert caught.value.code == "token_scope"

from __future__ import annotations

from typing import Any

import pytest
from django.test import Client
from django.urls import reverse

from exchange.audit.models import AuditEvent
from exchange.parties.models import ApiToken, Role, User
from tests.factories.parties import PASSWORD, OrganisationFactory, member
from tests.unit.exchange.web.conftest import SignedIn

URL = "/login/"


@pytest.fixture
def ada(db: None) -> User:
    user = member(OrganisationFactory(), Role.STEWARD, username="ada")
    user.set_password(PASSWORD)
    user.save()
    return user


def _send(client: Client, **fields: str) -> Any:
    return client.post(URL, {"username": "ada", "password": PASSWORD, **fields})


def test_sign_in_is_where_settings_expect_it() -> None:
    assert reverse("parties:sign_in") == URL


def test_sign_in_goes_where_the_reader_wanted(ada: User) -> None:
    response = _send(Client(), next="/datasets/")

    assert response.url == "/datasets/"


def test_sign_in_never_goes_to_another_host(ada: User) -> None:
    response = _send(Client(), next="https://elsewhere.example/")

    assert response.url == "/"


def test_sign_in_wrong_password_has_an_error_summary_and_keeps_the_name(ada: User) -> None:
    response = _send(Client(), password="wrong")

    assert response.status_code == 422
    page = response.content.decode()
    assert "data-error-summary" in page
    assert "<title>Error:" in page
    assert 'value="ada"' in page
    assert "wrong" not in page


def test_sign_in_empty_links_each_fault_to_its_field(db: None) -> None:
    page = Client().post(URL, {"username": "", "password": ""}).content.decode()

    assert 'href="#id_username"' in page
    assert 'href="#id_password"' in page
    assert 'aria-invalid="true"' in page


def test_sign_in_pauses_after_five_failures_without_saying_who_exists(ada: User) -> None:
    client = Client()
    for _ in range(5):
        response = _send(client, password="wrong")

    assert response.status_code == 429
    assert "sign_in_paused" in response.content.decode()
    assert _send(client).status_code == 429


@pytest.mark.parametrize(
    "name", ["home:home", "parties:tokens", "audit:list", "catalogue:list"]
)
def test_pages_ask_for_a_sign_in_first(db: None, name: str) -> None:
    response: Any = Client().get(reverse(name))

    assert response.url.startswith(f"{URL}?next=")


def test_sign_out_is_a_post_and_ends_the_session(ada: User, as_user: SignedIn) -> None:
    client = as_user(ada)

    assert client.get(reverse("parties:sign_out")).status_code == 405
    assert client.post(reverse("parties:sign_out")).url == URL
    assert client.get("/").status_code == 302


def test_tokens_shows_the_secret_once(ada: User, as_user: SignedIn) -> None:
    client = as_user(ada)

    page = client.post(
        "/tokens/", {"name": "cluster", "scopes": ["catalogue:read"], "days": "7"}
    ).content.decode()
    again = client.get("/tokens/").content.decode()

    token = ApiToken.objects.get()
    assert "bnd_" in page
    assert token.name == "cluster"
    assert "It is not stored" not in again
    assert token.prefix in again


def test_tokens_without_scope_says_what_is_missing(ada: User, as_user: SignedIn) -> None:
    response = as_user(ada).post("/tokens/", {"name": "x", "days": "7"})

    assert response.status_code == 422
    assert "Choose at least one thing it may do" in response.content.decode()
    assert not ApiToken.objects.exists()


def test_revoke_ends_an_own_token_only(ada: User, as_user: SignedIn) -> None:
    client = as_user(ada)
    client.post("/tokens/", {"name": "x", "scopes": ["catalogue:read"], "days": "7"})
    token = ApiToken.objects.get()
    stranger = as_user(member(OrganisationFactory(), Role.STEWARD))
    url = reverse("parties:revoke", args=[token.public_id])

    assert stranger.post(url).status_code == 404
    assert client.post(url).status_code == 302

    token.refresh_from_db()
    assert token.revoked_at is not None
    assert AuditEvent.objects.filter(type="token:revoked").count() == 1

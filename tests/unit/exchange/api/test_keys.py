"""Keys over the API: states for those who may see them, acts by scope and permission."""

from __future__ import annotations

from typing import Any

import pytest
from django.test import Client

from exchange.audit.actors import NODE
from exchange.keys.models import DataKey, KeyState, OrganisationKey
from exchange.parties.models import Kind, Role, Scope, User
from exchange.parties.services import issue_token
from exchange.queries.shredding import keys_of
from tests.factories.fixtures import daemon, house
from tests.factories.parties import OrganisationFactory, member
from tests.factories.walk import House, offered, perform_all

__all__ = ["daemon", "house"]


class Caller:
    def __init__(self, user: User, *scopes: Scope) -> None:
        _, secret = issue_token(
            user=user,
            name="t",
            scopes=list(scopes or Scope),
            expires_in_days=1,
            by=NODE,
        )
        self._headers = {"Authorization": f"Bearer {secret}"}

    def get(self, path: str) -> Any:
        return Client().get(f"/api/v1/{path}", headers=self._headers)

    def post(self, path: str, **body: Any) -> Any:
        return Client().post(
            f"/api/v1/{path}", body, content_type="application/json", headers=self._headers
        )


def test_states_are_told_and_never_a_key(house: House) -> None:
    offered(house)
    steward = Caller(house.steward)

    own = steward.get("keys/organisation").json()
    listed = steward.get("keys").json()["results"]

    assert (own["organisation"], own["state"], own["generation"]) == ("mill", "active", 1)
    assert own["provider"] == "file"
    assert {key["state"] for key in listed} == {"active", "destroyed"}
    assert set(listed[0]) == {
        *("id", "purpose", "state", "protects", "generation", "provider"),
        *("created_at", "destroyed_at"),
    }


def test_regulator_reads_the_states_of_all(house: House) -> None:
    offered(house)
    regulator = Caller(
        member(OrganisationFactory(slug="office", kind=Kind.REGULATOR), Role.REGULATOR)
    )

    assert regulator.get("keys/organisation?organisation=mill").json()["state"] == "active"
    assert regulator.get("keys?organisation=mill").status_code == 200
    assert (
        regulator.post("keys/organisation/rotate", organisation="mill").status_code == 404
    )


@pytest.mark.parametrize("path", ["keys/organisation", "keys"])
def test_states_look_like_nothing_to_others(house: House, path: str) -> None:
    offered(house)

    for person in (house.builder, house.reviewer):
        assert Caller(person).get(f"{path}?organisation=mill").status_code == 404
    assert Caller(house.steward).get(f"{path}?organisation=none").status_code == 404


def test_rotate_answers_with_its_operation(house: House) -> None:
    offered(house)
    steward = Caller(house.steward)

    answer = steward.post("keys/organisation/rotate")
    perform_all()

    assert answer.status_code == 202
    operation = steward.get(answer["Location"].removeprefix("/api/v1/")).json()
    assert (operation["kind"], operation["state"]) == ("keys.rotate", "done")
    assert OrganisationKey.objects.get(state=KeyState.ACTIVE).generation == 2


def test_rotate_version_writes_it_anew(house: House) -> None:
    version = offered(house).version
    before = version.data_key_id

    answer = Caller(house.steward).post(f"versions/{version.pk}/rotate-key")
    perform_all()

    version.refresh_from_db()
    assert answer.status_code == 202
    assert version.data_key_id != before


def test_destroy_wants_the_words_and_the_scope(house: House) -> None:
    version = offered(house).version
    address = f"versions/{version.pk}/destroy-key"

    refused = Caller(house.steward, Scope.DATASETS_WRITE).post(
        address, confirm="milling-runs 1"
    )
    wrong = Caller(house.steward).post(address, confirm="yes")
    stranger = Caller(house.reviewer).post(address, confirm="milling-runs 1")

    assert (refused.status_code, refused.json()["code"]) == (403, "token_scope")
    assert (wrong.status_code, wrong.json()["code"]) == (422, "confirmation_differs")
    assert (stranger.status_code, stranger.json()["code"]) == (403, "may_not_manage_keys")
    assert keys_of(version).filter(state=KeyState.ACTIVE).exists()

    done = Caller(house.steward).post(address, confirm="milling-runs 1")
    again = Caller(house.steward).post(address, confirm="milling-runs 1")

    assert (done.status_code, again.json()["code"]) == (200, "key_destroyed")


def test_destroy_of_an_organisations_key_is_for_its_administrator(house: House) -> None:
    offered(house)
    address = "keys/organisation/destroy"

    steward = Caller(house.steward).post(address, confirm="mill")
    admin = Caller(member(house.provider, Role.ADMIN)).post(address, confirm="mill")

    assert (steward.status_code, admin.status_code) == (403, 202)
    assert not DataKey.objects.filter(state=KeyState.ACTIVE).exists()

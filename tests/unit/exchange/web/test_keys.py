"""The page of keys: who sees it, what it offers, and what a typed confirmation does."""

from __future__ import annotations

from typing import Any

import pytest
from django.test import Client
from django.urls import reverse

from exchange.keys.models import DataKey, KeyState, OrganisationKey
from exchange.keys.services import unwrap
from exchange.operations.models import Operation
from exchange.parties.models import Kind, Role, User
from exchange.queries.shredding import keys_of
from tests.factories.fixtures import daemon, house
from tests.factories.parties import OrganisationFactory, member
from tests.factories.walk import House, granted, offered, perform_all

__all__ = ["daemon", "house"]


def as_(user: User) -> Client:
    client = Client()
    client.force_login(user)
    return client


def page_of(user: User, **query: str) -> str:
    return as_(user).get(reverse("keys:list"), query).content.decode()


def test_page_shows_states_to_the_steward_and_no_byte_of_a_key(house: House) -> None:
    version = offered(house).version

    page = page_of(house.steward)

    assert "Milling runs" in page
    assert "Rotate this key" in page
    assert reverse("keys:destroy_version", args=[version.pk]) in page
    for key in DataKey.objects.filter(state=KeyState.ACTIVE):
        assert unwrap(key).hex() not in page
        assert bytes(key.wrapped).hex() not in page


def test_page_shows_states_to_a_regulator_and_offers_no_act(house: House) -> None:
    version = offered(house).version
    regulator = member(
        OrganisationFactory(slug="office", kind=Kind.REGULATOR), Role.REGULATOR
    )

    page = page_of(regulator, organisation="mill")

    assert "Milling runs" in page
    assert "Rotate" not in page
    assert reverse("keys:destroy_version", args=[version.pk]) not in page


@pytest.mark.parametrize("who", ["builder", "reviewer"])
def test_page_shows_nothing_to_others(house: House, who: str) -> None:
    offered(house)

    page = page_of(getattr(house, who), organisation="mill")

    assert "No keys are yours to see" in page


def test_page_reads_as_often_for_many_versions_as_for_one(
    house: House, django_assert_max_num_queries: Any
) -> None:
    offered(house)
    client = as_(house.steward)
    client.get(reverse("keys:list"))

    with django_assert_max_num_queries(32):
        client.get(reverse("keys:list"))


def test_rotate_gives_the_organisation_a_new_key(house: House) -> None:
    offered(house)

    as_(house.steward).post(reverse("keys:rotate", args=["mill"]))
    perform_all()

    assert OrganisationKey.objects.get(state=KeyState.ACTIVE).generation == 2
    assert Operation.objects.get(kind="keys.rotate").state == "done"


def test_rotate_version_writes_it_anew(house: House) -> None:
    version = offered(house).version
    before = version.data_key_id

    as_(house.steward).post(reverse("keys:rotate_version", args=[version.pk]))
    perform_all()

    version.refresh_from_db()
    assert version.data_key_id != before
    assert "Active" in page_of(house.steward)


def test_destroy_says_what_becomes_unreadable_and_wants_the_words(house: House) -> None:
    version = granted(house).version
    client, address = (
        as_(house.steward),
        reverse("keys:destroy_version", args=[version.pk]),
    )

    page = client.get(address).content.decode()
    wrong = client.post(address, {"words": "milling-runs"})
    empty = client.post(address, {"words": ""})

    assert "milling-runs 1" in page
    assert "1 grant on it runs nothing any more" in page
    assert wrong.status_code == empty.status_code == 422
    assert "nothing was destroyed" in wrong.content.decode()
    assert keys_of(version).filter(state=KeyState.ACTIVE).exists()

    done = client.post(address, {"words": "milling-runs 1"})

    assert done.status_code == 302
    assert not keys_of(version).filter(state=KeyState.ACTIVE).exists()
    assert "Destroyed" in page_of(house.steward)


@pytest.mark.parametrize("who", ["builder", "reviewer"])
@pytest.mark.parametrize("act", ["rotate_version", "destroy_version"])
def test_acts_on_a_version_are_for_its_steward(house: House, who: str, act: str) -> None:
    version = offered(house).version

    answer = as_(getattr(house, who)).post(
        reverse(f"keys:{act}", args=[version.pk]), {"words": "milling-runs 1"}
    )

    assert answer.status_code == 403
    assert keys_of(version).filter(state=KeyState.ACTIVE).exists()


def test_acts_on_an_organisation_are_hidden_from_strangers(house: House) -> None:
    offered(house)

    for act in ("rotate", "destroy"):
        answer = as_(house.builder).post(
            reverse(f"keys:{act}", args=["mill"]), {"words": "mill"}
        )
        assert answer.status_code == 404
    assert OrganisationKey.objects.get().generation == 1


def test_regulator_may_look_and_not_touch(house: House) -> None:
    version = offered(house).version
    regulator = as_(
        member(OrganisationFactory(slug="office", kind=Kind.REGULATOR), Role.REGULATOR)
    )

    for address in (
        reverse("keys:rotate", args=["mill"]),
        reverse("keys:destroy", args=["mill"]),
        reverse("keys:rotate_version", args=[version.pk]),
        reverse("keys:destroy_version", args=[version.pk]),
    ):
        answer = regulator.post(address, {"words": "mill"})
        assert answer.status_code == 403, address
    assert DataKey.objects.filter(state=KeyState.ACTIVE).exists()


def test_end_of_an_organisations_key_is_for_its_administrator(house: House) -> None:
    offered(house)
    address = reverse("keys:destroy", args=["mill"])
    assert as_(house.steward).get(address).status_code == 403
    admin = as_(member(house.provider, Role.ADMIN))

    assert "mill" in admin.get(address).content.decode()
    assert admin.post(address, {"words": "Mill"}).status_code == 422
    assert admin.post(address, {"words": "mill"}).status_code == 302
    perform_all()

    assert not DataKey.objects.filter(state=KeyState.ACTIVE).exists()
    assert "Destroyed" in page_of(house.steward)


def test_failed_work_on_keys_restarts_from_the_page_of_operations(
    house: House, daemon: Any
) -> None:
    from sandbox.errors import WorkerLost

    version = offered(house).version
    daemon.errors = [WorkerLost("gone")]
    client = as_(house.steward)
    client.post(reverse("keys:rotate_version", args=[version.pk]))
    perform_all()
    operation = Operation.objects.get(kind="catalogue.rekey")
    assert operation.state == "failed"

    client.post(reverse("operations:restart", args=[operation.public_id]))
    perform_all()

    operation.refresh_from_db()
    assert operation.state == "done"


def test_grant_says_that_its_data_is_gone_and_why(house: House) -> None:
    grant = granted(house)
    as_(house.steward).post(
        reverse("keys:destroy_version", args=[grant.version_id]),
        {"words": "milling-runs 1"},
    )

    page = as_(house.builder).get(reverse("agreements:grant", args=[grant.pk]))

    said = page.content.decode()
    assert "The key of the version it stands on was destroyed" in said
    assert "Data withdrawn" in said
    assert "Write a query" not in said

"""Which provider the settings give, and what a node says while it is away."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from django.test import Client

from exchange.audit.actors import NODE
from exchange.errors import Unavailable
from exchange.keys import choice
from exchange.keys.choice import ProviderKind, kind_of, provider
from exchange.keys.hardware import HardwareKeys
from exchange.keys.keyring import FileKeyring
from exchange.keys.models import DataKey, KeyPurpose
from exchange.keys.provider import ProviderMisconfigured, check_works
from exchange.keys.services import issue_data_key, unwrap
from exchange.keys.standing import standing
from exchange.keys.transit import TransitKeys
from exchange.parties.models import Organisation
from tests.factories.parties import OrganisationFactory, member
from tests.factories.transit_fake import TransitFake
from tests.unit.exchange.keys.conftest import Token


@pytest.fixture(autouse=True)
def chosen_anew() -> Iterator[None]:
    choice.provider_of.cache_clear()
    standing.forget()
    yield
    choice.provider_of.cache_clear()
    standing.forget()


@pytest.fixture
def transit(settings: Any, fake: TransitFake, tmp_path: Path) -> TransitFake:
    """The node's settings name the fake."""
    token = tmp_path / "token"
    token.write_text(fake.token)
    token.chmod(0o600)
    settings.BONDED_KEY_PROVIDER = "transit"
    settings.BONDED_TRANSIT_URL = fake.url
    settings.BONDED_TRANSIT_TOKEN_FILE = token
    return fake


def issued(organisation: Organisation) -> DataKey:
    return issue_data_key(
        organisation=organisation, purpose=KeyPurpose.VERSION, subject=("v", "1"), by=NODE
    )


def test_provider_is_the_keyring_where_nothing_is_set() -> None:
    assert isinstance(provider(), FileKeyring)
    assert provider() is provider()


def test_provider_by_transit_settings(transit: TransitFake) -> None:
    assert isinstance(provider(), TransitKeys)
    check_works(provider())


def test_provider_by_pkcs11_settings(settings: Any, token: Token) -> None:
    settings.BONDED_KEY_PROVIDER = "pkcs11"
    settings.BONDED_PKCS11_MODULE = token.module
    settings.BONDED_PKCS11_TOKEN = token.label
    settings.BONDED_PKCS11_PIN_FILE = token.pin_file
    settings.BONDED_PKCS11_LABEL = "choice"

    assert isinstance(provider(), HardwareKeys)
    provider().rotate()
    check_works(provider())


@pytest.mark.parametrize("kind", ["transit", "pkcs11"])
def test_provider_that_was_not_told_where_is_misconfigured(
    settings: Any, kind: str
) -> None:
    settings.BONDED_KEY_PROVIDER = kind

    with pytest.raises(ProviderMisconfigured):
        provider()


@pytest.mark.parametrize(
    ("ref", "kind"),
    [
        ("0123456789abcdef", ProviderKind.FILE),
        ("transit/transit/bonded/3", ProviderKind.TRANSIT),
        ("pkcs11/bonded/0000000100000000", ProviderKind.PKCS11),
        ("file/x", ProviderKind.FILE),
        ("nobody/x", ProviderKind.FILE),
    ],
)
def test_kind_of_a_ref(ref: str, kind: ProviderKind) -> None:
    assert kind_of(ref) is kind


@pytest.mark.django_db
def test_key_under_the_earlier_provider_opens_after_a_change(
    settings: Any, fake: TransitFake, tmp_path: Path
) -> None:
    organisation = OrganisationFactory()
    data_key = issued(organisation)
    clear = unwrap(data_key)
    token = tmp_path / "token"
    token.write_text(fake.token)
    token.chmod(0o600)
    settings.BONDED_KEY_PROVIDER = "transit"
    settings.BONDED_TRANSIT_URL = fake.url
    settings.BONDED_TRANSIT_TOKEN_FILE = token

    assert isinstance(provider(), TransitKeys)
    assert unwrap(data_key) == clear


@pytest.mark.django_db
def test_node_without_its_provider_says_so_refuses_and_recovers(
    transit: TransitFake,
) -> None:
    user = member()
    organisation = user.memberships.get().organisation
    client = Client()
    client.force_login(user)
    transit.sealed = True

    health = client.get("/api/v1/health")
    page = client.get("/health/").content.decode()
    with pytest.raises(Unavailable) as caught:
        issue_data_key(
            organisation=organisation,
            purpose=KeyPurpose.VERSION,
            subject=("v", "1"),
            by=NODE,
        )

    assert (health.status_code, health.json()["keys"]) == (503, "key_provider_sealed")
    assert "key_provider_sealed" in page
    assert caught.value.code == "key_provider_sealed"

    transit.sealed = False
    standing.forget()

    assert client.get("/api/v1/health").json() == {"ready": True, "keys": "ok"}
    assert "key_provider_sealed" not in client.get("/health/").content.decode()
    data_key = issued(organisation)
    assert len(unwrap(data_key)) == 32


def test_health_asks_the_provider_once_in_a_while(transit: TransitFake) -> None:
    for _ in range(20):
        Client().get("/api/v1/health")

    assert transit.asked <= 3

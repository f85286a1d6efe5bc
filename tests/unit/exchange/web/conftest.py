from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from django.test import Client

from exchange.parties.models import Kind, Role, User
from tests.factories.fixtures import daemon, house
from tests.factories.parties import OrganisationFactory, member

__all__ = ["daemon", "house"]

# Responses of the test client carry attributes that its types do not know.
SignedIn = Callable[[User], Any]


@pytest.fixture
def as_user() -> SignedIn:
    def sign_in(user: User) -> Any:
        client = Client()
        client.force_login(user, backend="django.contrib.auth.backends.ModelBackend")
        return client

    return sign_in


@pytest.fixture
def regulator(db: None) -> User:
    return member(
        OrganisationFactory(slug="regulator", name="Regulator", kind=Kind.REGULATOR),
        Role.REGULATOR,
    )

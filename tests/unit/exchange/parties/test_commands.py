from __future__ import annotations

import io
import sys

import pytest
from django.core.management import CommandError, call_command

from exchange.audit.models import AuditEvent
from exchange.parties.models import Membership, User
from tests.factories.parties import OrganisationFactory

pytestmark = pytest.mark.django_db
PASSWORD = "a long and quiet river"


@pytest.fixture
def typed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO(PASSWORD + "\n"))


def test_add_organisation_and_person_lets_the_person_log_in(typed: None) -> None:
    call_command("add_organisation", "harbour", name="The Harbour", kind="provider")

    call_command("add_person", "ada", organisation="harbour", role="steward", name="Ada L")

    user = User.objects.get(username="ada")
    assert user.check_password(PASSWORD)
    assert Membership.objects.get(user=user).role == "steward"
    types = set(AuditEvent.objects.values_list("type", flat=True))
    assert {"party:registered", "membership:granted"} <= types


def test_add_person_to_an_unknown_organisation_names_the_known() -> None:
    OrganisationFactory(slug="steelworks")

    with pytest.raises(CommandError, match="steelworks"):
        call_command("add_person", "ada", organisation="harbour", role="steward")


def test_add_person_with_a_weak_password_adds_nobody(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    OrganisationFactory(slug="harbour")
    monkeypatch.setattr(sys, "stdin", io.StringIO("1234\n"))

    with pytest.raises(CommandError, match="too weak"):
        call_command("add_person", "ada", organisation="harbour", role="steward")

    assert not User.objects.filter(username="ada").exists()


def test_add_organisation_twice_is_refused() -> None:
    call_command("add_organisation", "harbour", name="The Harbour", kind="provider")

    with pytest.raises(CommandError, match="exists already"):
        call_command("add_organisation", "harbour", name="Another", kind="provider")

"""The operator's commands over log and keys."""

from __future__ import annotations

from io import StringIO
from pathlib import Path

import pytest
from django.core.management import CommandError, call_command

from exchange.audit.actors import NODE
from exchange.audit.models import AuditEvent
from exchange.audit.services import seal
from exchange.audit.signing import verifier_key
from exchange.keys.choice import provider
from exchange.keys.models import OrganisationKey
from exchange.keys.services import issue_data_key, unwrap
from ledger.log import verify_log_export
from tests.factories.parties import OrganisationFactory, member

pytestmark = pytest.mark.django_db


def call(*arguments: str) -> str:
    out = StringIO()
    call_command(*arguments, stdout=out)
    return out.getvalue()


def test_check_log_says_what_it_compared() -> None:
    member()
    seal()

    said = call("check_log")

    assert said.startswith("1 entries of test.bonded.localhost")
    assert AuditEvent.objects.filter(type="log:checked").count() == 1


def test_check_log_of_an_empty_log_ends_in_an_error() -> None:
    with pytest.raises(CommandError, match="log_empty"):
        call("check_log")


def test_export_log_writes_what_verifies_and_overwrites_nothing(tmp_path: Path) -> None:
    member()
    seal()
    file = tmp_path / "log.jsonl"

    said = call("export_log", str(file))

    with file.open("rb") as lines:
        assert verify_log_export(lines, verifier_key()).checkpoint.size == 1
    assert str(verifier_key()) in said
    with pytest.raises(CommandError, match="not overwritten"):
        call("export_log", str(file))


def test_rotate_keys_leaves_every_data_key_readable_under_a_new_master_key() -> None:
    organisation = OrganisationFactory(slug="port")
    data_key = issue_data_key(
        organisation=organisation, purpose="version", subject=("version", "1"), by=NODE
    )
    clear, before = unwrap(data_key), provider().current
    OrganisationFactory(slug="keyless")

    said = call("rotate_keys")

    assert said == "port: generation 2\n"
    assert provider().current != before
    assert unwrap(data_key) == clear
    assert OrganisationKey.objects.get(generation=2).provider_ref == provider().current

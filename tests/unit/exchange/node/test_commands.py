"""The operator's commands over log and keys."""

from __future__ import annotations

import json
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError, call_command

from exchange.audit.actors import NODE
from exchange.audit.models import AuditEvent
from exchange.audit.services import seal
from exchange.audit.signing import verifier_key
from exchange.errors import Conflict
from exchange.keys.choice import provider
from exchange.keys.models import DataKey, OrganisationKey
from exchange.keys.provider import ProviderSealed
from exchange.keys.services import issue_data_key, unwrap
from exchange.node import key_status
from ledger.log import verify_log_export
from tests.factories.parties import OrganisationFactory, member

pytestmark = pytest.mark.django_db


def call(*arguments: str) -> str:
    out = StringIO()
    call_command(*arguments, stdout=out)
    return out.getvalue()


def issued(slug: str) -> tuple[DataKey, bytes]:
    data_key = issue_data_key(
        organisation=OrganisationFactory(slug=slug),
        purpose="version",
        subject=("version", "1"),
        by=NODE,
    )
    return data_key, unwrap(data_key)


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


def test_keys_rotate_master_leaves_every_data_key_readable_under_a_new_master_key() -> None:
    data_key, clear = issued("port")
    before = provider().current
    OrganisationFactory(slug="keyless")

    said = call("keys", "rotate-master")

    assert said == f"master key {provider().current}: 1 organisation keys lie under it\n"
    assert provider().current != before
    assert unwrap(data_key) == clear
    assert OrganisationKey.objects.get().provider_ref == provider().current


def test_keys_status_tells_states_and_ends_in_3_while_a_rotation_is_unfinished() -> None:
    issued("port")

    said = call("keys", "status")
    about = json.loads(call("keys", "status", "--json"))

    assert "port: active, generation 1" in said
    assert about["provider"] == "file"
    assert about["organisations"][0]["data_keys_active"] == 1
    assert not about["unfinished"]
    provider().rotate()
    with pytest.raises(CommandError) as caught:
        call("keys", "status")
    assert caught.value.returncode == 3
    call("keys", "rewrap")
    call("keys", "status")


def test_keys_status_ends_in_4_where_the_provider_does_not_serve(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def away(_provider: object) -> None:
        raise ProviderSealed("sealed")

    monkeypatch.setattr(key_status, "check_works", away)

    with pytest.raises(CommandError, match="key_provider_sealed") as caught:
        call("keys", "status")

    assert caught.value.returncode == 4


def test_keys_retire_masters_takes_the_old_ones() -> None:
    data_key, clear = issued("port")
    call("keys", "rotate-master")
    assert call("keys", "retire-masters", "--dry-run").startswith("would retire ")

    call("keys", "retire-masters")

    assert provider().refs() == (provider().current,)
    assert unwrap(data_key) == clear


def test_keys_rotate_organisation_gives_a_new_generation() -> None:
    data_key, clear = issued("port")

    said = call("keys", "rotate-organisation", "port")

    assert said == "port: generation 2, 1 data keys\n"
    assert unwrap(data_key) == clear


@pytest.mark.parametrize(
    "arguments",
    [
        ("rotate-master",),
        ("rewrap",),
        ("retire-masters",),
        ("rotate-organisation", "port"),
        ("destroy", "organisation", "port"),
    ],
)
def test_keys_dry_run_does_nothing(arguments: tuple[str, ...]) -> None:
    issued("port")
    before = provider().refs(), AuditEvent.objects.count()

    said = call("keys", *arguments, "--dry-run")

    assert said.startswith("would ")
    assert (provider().refs(), AuditEvent.objects.count()) == before


def test_keys_destroy_organisation_wants_its_name() -> None:
    data_key, _ = issued("port")

    with pytest.raises(CommandError, match="confirmation_differs"):
        call("keys", "destroy", "organisation", "port")
    said = call("keys", "destroy", "organisation", "port", "--confirm", "port")

    assert said == "port: its key and 1 data keys are destroyed\n"
    with pytest.raises(Conflict):
        unwrap(data_key)


@pytest.mark.parametrize(
    "arguments",
    [
        ("rotate-organisation", "nobody"),
        ("rotate-data", "no-id"),
        ("rotate-data", "11111111-1111-1111-1111-111111111111"),
        ("destroy", "version", "no-id"),
    ],
)
def test_keys_of_what_is_not_there_end_in_an_error(arguments: tuple[str, ...]) -> None:
    with pytest.raises(CommandError, match="no "):
        call("keys", *arguments)


def test_keys_lock_and_unlock_the_keyring(settings: Any, tmp_path: Path) -> None:
    data_key, clear = issued("port")
    with pytest.raises(CommandError, match="BONDED_KEYRING_PASSPHRASE_FILE"):
        call("keys", "lock-keyring")
    settings.BONDED_KEYRING_PASSPHRASE_FILE = tmp_path / "passphrase"
    (tmp_path / "passphrase").write_text("a horse, a battery, a staple")
    (tmp_path / "passphrase").chmod(0o600)

    call("keys", "lock-keyring")
    try:
        assert "locked by a passphrase" in call("keys", "status")
        assert unwrap(data_key) == clear
    finally:
        call("keys", "unlock-keyring")

    assert unwrap(data_key) == clear

"""After a whole walk no key stands in the database's file, a log, a page, a command."""

from __future__ import annotations

import base64
import json
import logging
import subprocess
import traceback
from collections.abc import Iterator
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings
from django.core.management import call_command
from django.db import connection
from django.test import Client

from exchange.audit.actors import NODE
from exchange.audit.selectors import export_log
from exchange.audit.services import seal_all
from exchange.catalogue.rekeying import rekey_version
from exchange.errors import ExchangeError
from exchange.keys.choice import provider
from exchange.keys.masters import rotate_master
from exchange.keys.models import DataKey, KeyPurpose, KeyState, OrganisationKey
from exchange.keys.organisation_keys import open_key_of
from exchange.keys.rotation import rotate_organisation
from exchange.keys.services import derive, unwrap
from exchange.queries import releases
from tests.factories.fixtures import daemon
from tests.factories.walk import answered, granted, make_house, perform_all

__all__ = ["daemon"]


def forms_of(key: bytes) -> Iterator[bytes]:
    """A key as it could stand somewhere: raw, hex, base64 at each alignment, a repr."""
    yield key
    yield key.hex().encode()
    yield key.hex().upper().encode()
    yield repr(key)[2:-1].encode()
    yield str(list(key))[1:-1].encode()
    for shift in range(3):
        for encode in (base64.b64encode, base64.urlsafe_b64encode):
            # Whole groups of the middle: what comes before and after changes the edges.
            yield encode(b"\x00" * shift + key)[4:40]


def test_search_finds_a_key_in_each_form() -> None:
    """Or it would be no search."""
    key = bytes(range(7, 39))
    for place in (
        b"x" + key,
        key.hex().encode(),
        base64.b64encode(b"ab" + key + b"c"),
        base64.urlsafe_b64encode(b"a" + key),
        repr({"key": key}).encode(),
    ):
        assert any(form in place for form in forms_of(key))


@pytest.mark.django_db(transaction=True)
def test_no_key_shows_after_a_walk(
    daemon: Any, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    caplog.set_level(logging.DEBUG)
    house = make_house()
    grant = granted(house)
    keys = _known(house.provider)
    answered(house, grant)
    seal_all()
    releases.open_covered()
    keys |= _known(house.provider)
    rotate_master(by=NODE)
    rotate_organisation(organisation=house.provider, by=NODE)
    keys |= _known(house.provider)
    rekey_version(version=grant.version, by=house.steward)
    perform_all()
    seal_all()
    keys |= _known(house.provider)
    assert len(keys) >= 8

    shown = {
        "database": _database(),
        "log export": b"".join(export_log()),
        "log lines": caplog.text.encode(),
        "commands": _commands().encode(),
        "pages": _pages(house.steward),
        "tracebacks": _tracebacks().encode(),
        "output": "".join(capsys.readouterr()).encode(),
        "vault": b"".join(
            path.read_bytes() for path in daemon.vault.rglob("*") if path.is_file()
        ),
    }

    found = [
        (place, what)
        for place, content in shown.items()
        for key, what in keys.items()
        if any(form in content for form in forms_of(key))
    ]
    assert found == []
    assert len(shown["database"]) > 10_000
    assert len(shown["log lines"]) > 0


def _known(organisation: Any) -> dict[bytes, str]:
    """Every key that opens something now, and what it is."""
    file = json.loads(Path(settings.KEYRING_FILE).read_text())
    keys = {base64.b64decode(text): "master" for text in file["keys"].values()}
    for holder in OrganisationKey.objects.live():
        keys[open_key_of(holder)] = "organisation"
    for data_key in DataKey.objects.filter(state=KeyState.ACTIVE):
        keys[unwrap(data_key)] = str(data_key.purpose)
    keys[derive(organisation, "shards/1")] = "derived"
    return keys


def _database() -> bytes:
    if connection.vendor != "sqlite":
        with connection.cursor() as cursor:
            text = ""
            for table in connection.introspection.table_names():
                cursor.execute(f'SELECT t::text FROM "{table}" t')
                text += repr(cursor.fetchall())
        return text.encode()
    name = Path(connection.settings_dict["NAME"])
    # By another process: one that closes a file gives up all its locks on it (POSIX), those
    # of SQLite too, and whoever closes the database next removes the log under our feet.
    files = [str(path) for path in name.parent.glob(f"{name.name}*") if path.is_file()]
    return subprocess.run(["cat", *files], capture_output=True, check=True).stdout


def _commands() -> str:
    out = StringIO()
    call_command("keys", "status", stdout=out)
    call_command("keys", "status", "--json", stdout=out)
    call_command("keys", "rewrap", "--dry-run", stdout=out)
    call_command("keys", "retire-masters", "--dry-run", stdout=out)
    return out.getvalue()


def _pages(user: Any) -> bytes:
    client = Client()
    client.force_login(user)
    return b"".join(
        client.get(address).content for address in ("/keys/", "/audit/", "/operations/")
    )


def _tracebacks() -> str:
    """Keys that do not open, with everything that the frames' values would print as."""
    said = repr(provider())
    data_key = DataKey.objects.filter(
        state=KeyState.ACTIVE, purpose=KeyPurpose.VERSION
    ).first()
    assert data_key is not None
    DataKey.objects.filter(pk=data_key.pk).update(subject_id="another")
    try:
        unwrap(data_key)
    except ExchangeError as error:
        said += "".join(
            traceback.TracebackException.from_exception(error).format(chain=True)
        )
    assert "KeyUnusable" in said
    return said

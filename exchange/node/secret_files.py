"""The files a node cannot be without: its directories and its three secrets."""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from pathlib import Path

from exchange.audit.signing import create_signing_key
from exchange.keys.keyring import FileKeyring
from exchange.private_files import write_new


@dataclass(frozen=True, slots=True)
class Places:
    """Where things lie; `exchange.settings` says so for the running node."""

    home: Path
    vault: Path
    secrets: Path
    broker: Path
    run: Path
    django_key: Path
    keyring: Path
    signing_key: Path


def make_directories(places: Places) -> None:
    """Every directory is there and open to its owner only."""
    for directory in (places.home, places.vault, places.secrets, places.broker, places.run):
        directory.mkdir(parents=True, exist_ok=True)
        directory.chmod(0o700)
    for folder in ("queue", "control"):
        (places.broker / folder).mkdir(exist_ok=True)


def make_secrets(
    places: Places, *, node_name: str, with_keyring: bool = True, passphrase: str = ""
) -> tuple[str, ...]:
    """Every secret is there, mode 0600; returns the names of those made now.

    A secret that is there is never touched: losing the keyring loses the data. A node whose
    master keys are elsewhere needs no keyring; a `passphrase` locks the one that is made.
    """
    made = []
    if not places.django_key.exists():
        write_new(places.django_key, secrets.token_urlsafe(64) + "\n")
        made.append(places.django_key.name)
    if with_keyring and not places.keyring.exists():
        FileKeyring.create(places.keyring, passphrase=passphrase)
        made.append(places.keyring.name)
    if not places.signing_key.exists():
        create_signing_key(places.signing_key, node_name)
        made.append(places.signing_key.name)
    return tuple(made)


def places_under(home: Path) -> Places:
    """Return the default places of a node that lives in `home`."""
    return Places(
        home=home,
        vault=home / "vault",
        secrets=home / "secrets",
        broker=home / "broker",
        run=home / "run",
        django_key=home / "secrets" / "django.key",
        keyring=home / "secrets" / "keyring.json",
        signing_key=home / "secrets" / "log-signing.key",
    )

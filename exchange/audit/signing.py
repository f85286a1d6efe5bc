"""The key that signs the log's checkpoints: one file, mode 0600, bound to one name."""

from __future__ import annotations

import secrets
from functools import cache
from pathlib import Path
from typing import Final

from django.conf import settings

from exchange.errors import Unavailable
from exchange.private_files import write_new
from ledger.canonical import decode_bytes, encode_bytes
from ledger.errors import KeyMalformed
from ledger.note import KEY_BYTES, SigningKey, VerifierKey

FORMAT: Final = "bonded-signing-key/1"


class SigningKeyUnusable(Unavailable):
    """The log's signing key is missing, malformed, of another name, or open to others."""

    code = "signing_key_unusable"


def create_signing_key(path: Path, name: str) -> None:
    """Write a fresh key for the log `name`. Raises FileExistsError if there is one."""
    key = SigningKey(name, secrets.token_bytes(KEY_BYTES))
    write_new(path, f"{FORMAT}\n{key.name}\n{encode_bytes(key.seed)}\n")


def read_signing_key(path: Path, name: str) -> SigningKey:
    """Return the key in `path`; SigningKeyUnusable unless it is sound and for `name`."""
    try:
        mode = path.stat().st_mode & 0o777
        lines = path.read_text(encoding="utf-8").splitlines()
    except FileNotFoundError as error:
        raise SigningKeyUnusable(
            "The node has no key to sign its log with.", hint="Run `manage.py setup`."
        ) from error
    if mode & 0o077:
        raise SigningKeyUnusable(
            f"The signing key's mode is {mode:o}, expected 600: others could read it.",
            hint="Set the mode to 600; if somebody may have read it, begin a new log name.",
        )
    seed = decode_bytes(lines[2]) if len(lines) == 3 and lines[0] == FORMAT else None
    if seed is None:
        raise SigningKeyUnusable(
            "The signing key cannot be read.", hint="Restore it from a backup."
        )
    if lines[1] != name:
        raise SigningKeyUnusable(
            f"The signing key is for the log {lines[1]}, the node is called {name}.",
            hint="Set BONDED_NODE_NAME to the name the log began with.",
        )
    try:
        return SigningKey(name, seed)
    except KeyMalformed as error:
        raise SigningKeyUnusable(
            "The signing key is not of its format.", hint="Restore it from a backup."
        ) from error


@cache
def signing_key() -> SigningKey:
    """Return the node's signing key, read once in a process."""
    return read_signing_key(settings.LOG_SIGNING_KEY_FILE, settings.BONDED_NODE_NAME)


def verifier_key() -> VerifierKey:
    """Return what others need to verify the node's receipts; it is public."""
    return signing_key().verifier_key

"""The text of an API token: made here, kept only as its digest."""

from __future__ import annotations

import hashlib
import secrets
from typing import Final

# Secret scanners find leaked tokens by a fixed prefix.
PREFIX: Final = "bnd_"


def new_secret() -> str:
    """Return 256 fresh random bits behind the prefix."""
    return PREFIX + secrets.token_urlsafe(32)


def digest_of(secret: str) -> str:
    """Return the SHA-256 of a token; 256 random bits need neither salt nor stretching."""
    return hashlib.sha256(secret.encode()).hexdigest()

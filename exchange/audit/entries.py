"""From an act to what is hashed: what the log says, and what it only commits to."""

from __future__ import annotations

import datetime as dt
import secrets
from collections.abc import Mapping
from typing import Any, Final

from exchange.audit.actors import Actor, Private
from ledger.entry import salted_commitment

SALT_BYTES: Final = 32
ACTOR_NAME: Final = "actor_name"


def timestamp(at: dt.datetime) -> str:
    """Write a moment as entries do: UTC, microseconds."""
    return at.astimezone(dt.UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def commit(text: str) -> tuple[str, dict[str, str]]:
    """Return a salted commitment to `text`, and text with salt for the row."""
    salt = secrets.token_bytes(SALT_BYTES)
    return salted_commitment(text, salt), {"text": text, "salt": salt.hex()}


def commit_private(payload: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Split a payload: what the entry carries, and the texts with salts for the row.

    Each `Private` becomes a commitment in the entry, so that erasing the text and its salt
    leaves the log verifiable and the text unguessable.
    """
    public: dict[str, Any] = {}
    private: dict[str, Any] = {}
    for name, value in payload.items():
        if isinstance(value, Private):
            commitment, private[name] = commit(value.text)
            public[name] = {"commitment": commitment}
        else:
            public[name] = value
    return public, private


def commit_actor(actor: Actor) -> tuple[str | None, dict[str, Any]]:
    """Return the commitment to the actor's name, and name with salt; nothing for nobody."""
    if not actor.actor_name:
        return None, {}
    commitment, opened = commit(actor.actor_name)
    return commitment, {ACTOR_NAME: opened}

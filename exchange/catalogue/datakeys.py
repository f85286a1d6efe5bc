"""The data keys that rows of later stages hold: opened for a job, destroyed when done."""

from __future__ import annotations

from exchange.audit.actors import Actor
from exchange.errors import Conflict
from exchange.keys import services as keys
from exchange.keys.models import DataKey, KeyState


def opened(data_key: DataKey | None) -> bytes:
    """The clear key. Conflict `key_missing` where none was issued, `key_destroyed`."""
    if data_key is None:
        raise Conflict("no key was issued for this yet", code="key_missing")
    return keys.unwrap(data_key)


def destroy_keys(*data_keys: DataKey | None, by: Actor) -> None:
    """None of these keys opens anything any more; one destroyed earlier is no error."""
    for data_key in data_keys:
        if data_key is None:
            continue
        data_key.refresh_from_db()
        if data_key.state == KeyState.ACTIVE:
            keys.destroy(data_key, by=by)

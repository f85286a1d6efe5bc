"""`Entry`: one audit event as the log keeps it; what is hashed is what is stored.

An entry never holds a person's name or free text, only salted commitments to them: when
the node erases text and salt, the commitment says nothing and the log still verifies.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NoReturn

from ledger import canonical
from ledger.canonical import JsonValue
from ledger.errors import EntryMalformed, EntryTooLarge

VERSION = 1
MAX_ENTRY_BYTES = 65_535  # a log entry is stored behind a 16-bit length (C2SP tlog-tiles)
MIN_SALT_BYTES = 16
MAX_SALT_BYTES = 255

_TYPE = re.compile(r"[a-z][a-z_]*:[a-z][a-z_]*")
_AT = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z")
_SHA256 = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class Entry:
    """One audit event. Identifiers are public; `payload` holds what its type demands."""

    event_id: str  # UUID
    type: str  # subject:action, in the past tense
    at: str  # UTC, microseconds: 2026-11-24T08:00:00.000000Z
    actor: str | None  # the acting user's public id; None when the node itself acted
    actor_name: str | None  # commitment to the name, 64 hex digits, never the name
    organisation: str | None  # on whose behalf: its slug
    subject_type: str
    subject_id: str
    case_id: str | None  # the exchange that it belongs to
    payload: Mapping[str, JsonValue] = field(default_factory=dict)


def encode_entry(entry: Entry) -> bytes:
    """Return the canonical bytes of `entry`, at most 65,535, that the log hashes and keeps.

    Raises `EntryMalformed` when a field is not in its form or the payload holds a float,
    a large integer or any type that is not JSON; `EntryTooLarge` beyond the limit.
    """
    _check(entry)
    document: dict[str, JsonValue] = {
        name: getattr(entry, name) for name in _FIELDS if name != "version"
    }
    data = canonical.encode({"version": VERSION, **document}, refuse=_refuse)
    _check_size(data)
    return data


def decode_entry(data: bytes) -> Entry:
    """Return the entry whose canonical bytes are `data`.

    Raises `EntryMalformed` when they are not in canonical form, of another version, or
    lack or add a field; `EntryTooLarge` beyond 65,535 bytes.
    """
    _check_size(data)
    document = canonical.decode(data, refuse=_refuse)
    if not isinstance(document, dict):
        _refuse(f"an object is expected, {type(document).__name__} came")
    if document.get("version") != VERSION or isinstance(document["version"], bool):
        _refuse(f"version {VERSION} is expected, another came")
    if document.keys() != _FIELDS:
        # Unknown names are counted, not shown: they are whatever the sender chose.
        missing = ", ".join(sorted(_FIELDS - document.keys())) or "none"
        unknown = len(document.keys() - _FIELDS)
        _refuse(f"version {VERSION} has other fields: missing {missing}, unknown {unknown}")
    fields = {name: value for name, value in document.items() if name != "version"}
    entry = Entry(**fields)  # each field is narrowed by _check
    _check(entry)
    return entry


def salted_commitment(value: str, salt: bytes) -> str:
    """Return a commitment to `value`, 64 hex digits, that says nothing without `salt`.

    Requires 16 to 255 random bytes of `salt`, else `EntryMalformed`. Length and prefix are
    hashed too, so that no byte can move between salt and value.
    """
    if not MIN_SALT_BYTES <= len(salt) <= MAX_SALT_BYTES:
        raise EntryMalformed(
            f"a salt has {MIN_SALT_BYTES} to {MAX_SALT_BYTES} bytes, {len(salt)} came",
            hint="Draw 32 random bytes per value and keep them beside it.",
        )
    try:
        encoded = value.encode()
    except UnicodeEncodeError:
        _refuse("a committed value is UTF-8, an unpaired surrogate came")
    prefix = b"bonded-commitment/1\n" + bytes([len(salt)])
    return hashlib.sha256(prefix + salt + encoded).hexdigest()


_FIELDS = frozenset(Entry.__dataclass_fields__) | {"version"}
_NULLABLE = frozenset({"actor", "actor_name", "organisation", "case_id"})


def _check(entry: Entry) -> None:
    for name in sorted(_FIELDS - {"version", "payload"}):
        value = getattr(entry, name)
        if not (isinstance(value, str) and value) and not (
            name in _NULLABLE and value is None
        ):
            _refuse(f"{name} is a string that is not empty, {type(value).__name__} came")
    if not isinstance(entry.payload, Mapping):
        _refuse(f"payload is an object, {type(entry.payload).__name__} came")
    for name, form in (("type", _TYPE), ("at", _AT), ("actor_name", _SHA256)):
        value = getattr(entry, name)
        if value is not None and not form.fullmatch(value):
            _refuse(f"{name} must match {form.pattern}, another form came")


def _check_size(data: bytes) -> None:
    if len(data) > MAX_ENTRY_BYTES:
        raise EntryTooLarge(
            f"an entry has at most {MAX_ENTRY_BYTES} bytes, {len(data)} came"
        )


def _refuse(reason: str) -> NoReturn:
    raise EntryMalformed(f"entry: {reason}")

"""Canonical JSON: one value, one sequence of bytes; what was hashed can be written again.

UTF-8, object keys sorted by code point, no space, no float, integers within ±(2^53 − 1)
(RFC 7493 section 2.2: beyond it readers disagree), no unpaired surrogate. Decoding refuses
whatever encoding would not have written; so no byte of a canonical text can be altered
without altering its value.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NoReturn, TypeAlias

JsonValue: TypeAlias = (
    "str | int | bool | Sequence[JsonValue] | Mapping[str, JsonValue] | None"  # no float
)
MAX_INTEGER = 2**53 - 1
MAX_DEPTH = 16


def encode(value: JsonValue, *, refuse: Callable[[str], NoReturn]) -> bytes:
    """Return the canonical bytes of `value`; tuples are written as lists.

    Calls `refuse` with the reason, which raises the caller's error, when `value` holds
    anything else, or nests deeper than 16.
    """
    plain = _plain(value, depth=0, refuse=refuse)
    text = json.dumps(plain, ensure_ascii=False, sort_keys=True, separators=(",", ":"))
    try:
        return text.encode()
    except UnicodeEncodeError:
        refuse("strings are UTF-8, an unpaired surrogate came")


def decode(data: bytes, *, refuse: Callable[[str], NoReturn]) -> JsonValue:
    """Return the value whose canonical bytes are `data`.

    Calls `refuse` with the reason when `data` is not JSON, or not in canonical form.
    """
    try:
        value: JsonValue = json.loads(data.decode())
    except (ValueError, RecursionError):
        refuse(f"canonical JSON is expected, {len(data)} bytes came that are not JSON")
    if encode(value, refuse=refuse) != data:
        refuse("canonical JSON is expected, JSON in another form came")
    return value


def encode_bytes(data: bytes) -> str:
    """Return `data` as a JSON string holds it: base64 with padding."""
    return base64.b64encode(data).decode()


def decode_bytes(text: object) -> bytes | None:
    """Return the bytes that `encode_bytes` writes as `text`; None if it writes none so.

    A plain decoder ignores unused bits, and one hash or signature could be written in
    several ways.
    """
    if not isinstance(text, str):
        return None
    try:
        data = base64.b64decode(text, validate=True)
    except ValueError:
        return None
    return data if encode_bytes(data) == text else None


def _plain(value: Any, *, depth: int, refuse: Callable[[str], NoReturn]) -> JsonValue:
    if depth > MAX_DEPTH:
        refuse(f"values nest at most {MAX_DEPTH} deep, deeper came")
    if value is None or isinstance(value, (str, bool)):
        return value
    if isinstance(value, int):
        if abs(value) > MAX_INTEGER:
            refuse(
                "integers lie within ±(2^53 − 1), a larger one came: write it as a string"
            )
        return value
    if isinstance(value, (list, tuple)):
        return [_plain(item, depth=depth + 1, refuse=refuse) for item in value]
    if isinstance(value, Mapping):
        if not all(isinstance(key, str) for key in value):
            refuse("object keys are strings, another type came")
        return {k: _plain(v, depth=depth + 1, refuse=refuse) for k, v in value.items()}
    return refuse(f"a JSON value without floats is expected, {type(value).__name__} came")

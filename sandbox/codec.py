"""Messages to frames and back: 4 bytes big-endian length, then canonical JSON.

The JSON is `{"body", "type", "version"}`, keys sorted, no spaces, UTF-8, bytes as base64,
no NaN. Decoding is strict and driven by the fields of the dataclasses themselves: an
unknown type, version or field, a missing field and a value of another type are refused.
"""

from __future__ import annotations

import base64
import binascii
import contextlib
import dataclasses
import gc
import json
import math
import socket
import struct
import threading
import types
import typing
from collections.abc import Iterable, Iterator
from enum import StrEnum
from functools import cache
from itertools import chain
from typing import Any, get_args, get_origin, get_type_hints

from sandbox import control, protocol
from sandbox.errors import ProtocolError

Message = protocol.Message | control.Control


class _Collector:
    """The garbage collector: over a long frame it walks the new lists again and again.

    None of them is in a cycle. Four fifths of the time to read a million rows went there.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._resting = 0

    @contextlib.contextmanager
    def at_rest(self, *, is_needed: bool) -> Iterator[None]:
        """Collect nothing meanwhile; it goes on when the last thread is through."""
        if not is_needed:
            yield
            return
        with self._lock:
            self._resting += 1
            gc.disable()
        try:
            yield
        finally:
            with self._lock:
                self._resting -= 1
                if not self._resting:
                    gc.enable()


_COLLECTOR = _Collector()
_MANY_BYTES = 1024**2

_KINDS: dict[str, type] = {
    kind.__name__: kind for kind in get_args(protocol.Message) + get_args(control.Control)
}
_LENGTH = struct.Struct(">I")
# Types whose values stand in JSON as they are.
_AS_THEY_ARE = frozenset({str, int, float, bool, type(None)})


def encode(message: Message) -> bytes:
    """Return the frame of `message`, length prefix included.

    Raises ProtocolError if it would exceed MAX_FRAME_BYTES or holds a NaN or infinity.
    """
    document = {
        "version": protocol.VERSION,
        "type": type(message).__name__,
        "body": _to_json(message),
    }
    try:
        text = json.dumps(
            document,
            sort_keys=True,
            separators=(",", ":"),
            ensure_ascii=False,
            allow_nan=False,
        )
        payload = text.encode()
    except ValueError as error:  # NaN, or a lone surrogate
        raise ProtocolError(
            f"a {type(message).__name__} holds a number that is not finite or a text that"
            " is not Unicode; JSON has neither"
        ) from error
    _check_length(len(payload))
    return _LENGTH.pack(len(payload)) + payload


def decode(payload: bytes) -> Message:
    """Return the message of a frame's payload (the bytes after the length prefix).

    Raises ProtocolError unless every part of it is exactly as the protocol states.
    """
    with _COLLECTOR.at_rest(is_needed=len(payload) > _MANY_BYTES):
        return _decode(payload)


def _decode(payload: bytes) -> Message:
    try:
        document = json.loads(payload)
    except (ValueError, RecursionError) as error:
        raise ProtocolError("a frame was expected to hold JSON in UTF-8") from error
    if not isinstance(document, dict) or set(document) != {"version", "type", "body"}:
        raise ProtocolError("a frame was expected to hold version, type and body")
    if document["version"] != protocol.VERSION or document["version"] is True:
        raise ProtocolError(
            f"this side speaks version {protocol.VERSION}, the frame has another",
            hint="Run the node and its sandbox from the same release.",
        )
    kind = _KINDS.get(document["type"]) if isinstance(document["type"], str) else None
    if kind is None:
        raise ProtocolError("the frame's type is none of this version's messages")
    return typing.cast("Message", _from_json(kind, document["body"], kind.__name__))


def send(connection: socket.socket, message: Message) -> None:
    """Write one frame; returns when the kernel has all of it."""
    connection.sendall(encode(message))


def receive(
    connection: socket.socket, *, max_bytes: int = protocol.MAX_FRAME_BYTES
) -> Message | None:
    """Read one frame; None when the peer closed before its first byte.

    Raises ProtocolError if the peer closed inside a frame or announced more than
    `max_bytes`.
    """
    head = _read_exactly(connection, _LENGTH.size)
    if head is None:
        return None
    (length,) = _LENGTH.unpack(head)
    _check_length(length, max_bytes)
    payload = _read_exactly(connection, length)
    if payload is None:
        raise ProtocolError(f"the peer closed before the {length} bytes of a frame")
    return decode(payload)


def frame_payload(frame: bytes) -> bytes:
    """Return what stands after the length prefix of one whole frame."""
    if len(frame) < _LENGTH.size or _LENGTH.unpack_from(frame)[0] != len(frame) - 4:
        raise ProtocolError("a frame's length does not fit its bytes")
    return frame[_LENGTH.size :]


def split_frames(record: bytes) -> list[bytes]:
    """Return the payloads of frames that lie one behind the other."""
    payloads = []
    position = 0
    while position < len(record):
        start = position + _LENGTH.size
        whole = start <= len(record)
        position = start + _LENGTH.unpack_from(record, position)[0] if whole else start
        if position > len(record):
            raise ProtocolError("a frame's length does not fit its bytes")
        payloads.append(record[start:position])
    return payloads


def _check_length(length: int, most: int = protocol.MAX_FRAME_BYTES) -> None:
    if length > most:
        raise ProtocolError(
            f"a frame of {length} bytes came, at most {most} are allowed",
            hint="Ask for fewer rows or columns.",
        )


def _read_exactly(connection: socket.socket, count: int) -> bytes | None:
    """The next `count` bytes; None if the peer closed before the first one."""
    buffer = bytearray()
    while len(buffer) < count:
        piece = connection.recv(min(count - len(buffer), 1 << 20))
        if not piece:
            if buffer:
                raise ProtocolError("the peer closed inside a frame")
            return None
        buffer += piece
    return bytes(buffer)


def _to_json(value: Any) -> Any:
    if dataclasses.is_dataclass(value):
        fields = dataclasses.fields(value)
        return {field.name: _to_json(getattr(value, field.name)) for field in fields}
    if isinstance(value, bytes):
        return base64.b64encode(value).decode("ascii")
    if isinstance(value, (tuple, list)):
        # Rows of a result, of which there may be a million, stand in JSON as they are.
        kinds = set(map(type, value))
        if kinds <= _AS_THEY_ARE or (
            kinds <= {tuple, list}
            and _AS_THEY_ARE.issuperset(map(type, chain.from_iterable(value)))
        ):
            return value
        return [_to_json(item) for item in value]
    if isinstance(value, StrEnum):
        return value.value
    if type(value) in _AS_THEY_ARE:
        return value
    raise ProtocolError(f"a {type(value).__name__} cannot stand in a message")


@cache
def _fields_of(kind: type) -> dict[str, Any]:
    """Name -> type. All fields are always written, so all must be there."""
    hints = get_type_hints(kind)
    return {field.name: hints[field.name] for field in dataclasses.fields(kind)}


def _from_json(hint: Any, value: Any, place: str) -> Any:
    origin = get_origin(hint)
    if origin in (typing.Union, types.UnionType):
        return _union_from_json(hint, value, place)
    if origin is tuple:
        return _tuple_from_json(get_args(hint), value, place)
    if dataclasses.is_dataclass(hint):
        return _dataclass_from_json(typing.cast("type", hint), value, place)
    if hint is bytes:
        return _bytes_from_json(value, place)
    if isinstance(hint, type) and issubclass(hint, StrEnum):
        if isinstance(value, str) and value in {member.value for member in hint}:
            return hint(value)
        raise _misfit(place, "one of the words of its list", value)
    if hint is float and type(value) in (int, float):
        return _finite(value, place)
    if hint is type(None) and value is None:
        return None
    if hint in (str, int, float, bool) and type(value) is hint:
        return value
    raise _misfit(place, getattr(hint, "__name__", str(hint)), value)


def _union_from_json(hint: Any, value: Any, place: str) -> Any:
    members = get_args(hint)
    if value is None and type(None) in members:
        return None
    for member in members:
        if member is type(value) or (member is bytes and type(value) is str):
            return _from_json(member, value, place)
    others = [member for member in members if member is not type(None)]
    if len(others) == 1:
        return _from_json(others[0], value, place)
    raise _misfit(place, "one of several types", value)


def _tuple_from_json(items: tuple[Any, ...], value: Any, place: str) -> Any:
    if not isinstance(value, list):
        raise _misfit(place, "a list", value)
    if len(items) == 2 and items[1] is Ellipsis:
        if _fits(value, _taken_as_they_are(items[0])):
            return tuple(value)
        if _is_row(items[0]) and _rows_fit(
            value, _taken_as_they_are(get_args(items[0])[0])
        ):
            return tuple(map(tuple, value))
        return tuple(_from_json(items[0], item, place) for item in value)
    if len(items) != len(value):
        raise _misfit(place, f"{len(items)} items", value)
    return tuple(_from_json(i, item, place) for i, item in zip(items, value, strict=True))


@cache
def _is_row(hint: Any) -> bool:
    """Whether a hint is `tuple[X, ...]`."""
    return get_origin(hint) is tuple and get_args(hint)[1:] == (Ellipsis,)


@cache
def _taken_as_they_are(hint: Any) -> frozenset[type] | None:
    """The types whose values a hint takes unchanged; None if it takes any other way."""
    is_union = get_origin(hint) in (typing.Union, types.UnionType)
    members = frozenset(get_args(hint) if is_union else (hint,))
    return members if members <= _AS_THEY_ARE else None


def _fits(value: Iterable[Any], taken: frozenset[type] | None) -> bool:
    """Whether all items may be taken as they are, seen without a call for each."""
    if taken is None:
        return False
    items = list(value)
    seen = set(map(type, items))
    return taken.issuperset(seen) and (
        float not in seen
        or all(math.isfinite(item) for item in items if type(item) is float)
    )


def _rows_fit(value: list[Any], taken: frozenset[type] | None) -> bool:
    """The same of the items of all the lists in a list."""
    return {list}.issuperset(map(type, value)) and _fits(chain.from_iterable(value), taken)


def _dataclass_from_json(kind: type, value: Any, place: str) -> Any:
    fields = _fields_of(kind)
    if not isinstance(value, dict):
        raise _misfit(place, "an object", value)
    if value.keys() - fields.keys():
        raise ProtocolError(f"{place} has a field that this version does not know")
    missing = sorted(fields.keys() - value.keys())
    if missing:
        raise ProtocolError(f"{place} lacks {', '.join(missing)}")
    parts = {
        name: _from_json(hint, value[name], f"{place}.{name}")
        for name, hint in fields.items()
    }
    return kind(**parts)


def _bytes_from_json(value: Any, place: str) -> bytes:
    if not isinstance(value, str):
        raise _misfit(place, "base64", value)
    try:
        return base64.b64decode(value, validate=True)
    except (binascii.Error, ValueError) as error:
        raise ProtocolError(f"{place} was expected to be base64") from error


def _finite(value: float, place: str) -> float:
    """The number; no deadline may be one that never comes."""
    try:
        number = float(value)
    except OverflowError:
        number = math.inf
    if not math.isfinite(number):
        raise ProtocolError(f"{place}: expected a finite number")
    return number


def _misfit(place: str, expected: str, value: Any) -> ProtocolError:
    return ProtocolError(f"{place}: expected {expected}, a {type(value).__name__} came")

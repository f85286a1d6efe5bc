from __future__ import annotations

from collections.abc import Callable
from typing import NoReturn

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ledger import canonical

LARGEST = 2**53 - 1
strings = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
values = st.recursive(
    st.none() | st.booleans() | st.integers(-LARGEST, LARGEST) | strings,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(strings, inner, max_size=4),
    max_leaves=20,
)


class Refused(Exception):
    pass


def refuse(reason: str) -> NoReturn:
    raise Refused(reason)


@given(value=values)
def test_decode_after_encode_is_identity(value: canonical.JsonValue) -> None:
    assert canonical.decode(canonical.encode(value, refuse=refuse), refuse=refuse) == value


@given(value=values, place=st.integers(0), mask=st.integers(1, 255))
def test_decode_altered_byte_is_refused_or_another_value(
    value: canonical.JsonValue, place: int, mask: int
) -> None:
    data = bytearray(canonical.encode(value, refuse=refuse))
    data[place % len(data)] ^= mask

    try:
        decoded = canonical.decode(bytes(data), refuse=refuse)
    except Refused:
        return

    assert canonical.encode(decoded, refuse=refuse) != canonical.encode(
        value, refuse=refuse
    )


def test_encode_sorts_keys_and_spends_no_space() -> None:
    written = canonical.encode({"b": (1, True, None), "a": {"é": "\n"}}, refuse=refuse)

    assert written == '{"a":{"é":"\\n"},"b":[1,true,null]}'.encode()


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (1.0, "float came"),
        ({"a": [0.5]}, "float came"),
        (b"bytes", "bytes came"),
        ({1: 2}, "keys are strings"),
        (LARGEST + 1, "write it as a string"),
        (-LARGEST - 1, "write it as a string"),
        ("\ud800", "unpaired surrogate"),
        ({"\ud800": 1}, "unpaired surrogate"),
        ({1, 2}, "set came"),
    ],
)
def test_encode_of_such_a_value_is_refused(value: object, reason: str) -> None:
    with pytest.raises(Refused, match=reason):
        canonical.encode(value, refuse=refuse)  # type: ignore[arg-type]


@pytest.mark.parametrize("wrap", [lambda inner: [inner], lambda inner: {"a": inner}])
def test_encode_deeper_than_the_limit_is_refused(
    wrap: Callable[[canonical.JsonValue], canonical.JsonValue],
) -> None:
    deepest: canonical.JsonValue = 1
    for _ in range(canonical.MAX_DEPTH):
        deepest = wrap(deepest)

    assert (
        canonical.decode(canonical.encode(deepest, refuse=refuse), refuse=refuse) == deepest
    )
    with pytest.raises(Refused, match="at most 16 deep"):
        canonical.encode(wrap(deepest), refuse=refuse)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"{",
        b"\xff",
        b"\xef\xbb\xbf{}",
        b'{"a": 1}',
        b'{"b":1,"a":2}',
        b'{"a":1,"a":1}',
        b"1.0",
        b"1e3",
        b"NaN",
        b"-0",
        b"9" * 5000,
        b'"\\u0061"',
        b'"\\ud800"',
        b"[" * 60_000,
        b"{}\n",
    ],
)
def test_decode_of_another_form_is_refused(data: bytes) -> None:
    with pytest.raises(Refused, match=r"canonical JSON is expected|float|surrogate"):
        canonical.decode(data, refuse=refuse)


@given(data=st.binary(max_size=40))
def test_decode_bytes_after_encode_is_identity(data: bytes) -> None:
    assert canonical.decode_bytes(canonical.encode_bytes(data)) == data


@pytest.mark.parametrize(
    "text", ["A", "AB==", "AA", "A A=", "AA==\n", "-_==", "é", 1, None]
)
def test_decode_bytes_in_another_spelling_is_none(text: object) -> None:
    assert canonical.decode_bytes(text) is None

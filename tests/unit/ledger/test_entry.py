from __future__ import annotations

import json
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ledger.entry import (
    MAX_ENTRY_BYTES,
    Entry,
    decode_entry,
    encode_entry,
    salted_commitment,
)
from ledger.errors import EntryMalformed, EntryTooLarge
from tests.factories.ledger import make_entry
from tests.unit.ledger.test_canonical import strings, values

ENTRY = make_entry()


@given(subject=strings.filter(bool), payload=st.dictionaries(strings, values, max_size=4))
def test_decode_entry_after_encode_is_identity(
    subject: str, payload: dict[str, object]
) -> None:
    entry = make_entry(subject_id=subject, payload=payload)

    assert decode_entry(encode_entry(entry)) == entry


def test_encode_entry_is_canonical_json() -> None:
    """What stands here is on other people's disks: a change needs a new version."""
    entry = Entry(
        event_id="e",
        type="key:destroyed",
        at="2026-11-24T08:00:00.000000Z",
        actor=None,
        actor_name=None,
        organisation="ministry",
        subject_type="key",
        subject_id="1",
        case_id=None,
        payload={"b": [1], "a": "é"},
    )

    assert encode_entry(entry).decode() == (
        '{"actor":null,"actor_name":null,"at":"2026-11-24T08:00:00.000000Z","case_id":null,'
        '"event_id":"e","organisation":"ministry","payload":{"a":"é","b":[1]},'
        '"subject_id":"1","subject_type":"key","type":"key:destroyed","version":1}'
    )


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("event_id", ""),
        ("event_id", None),
        ("event_id", 1),
        ("type", "release"),
        ("type", "Release:held"),
        ("type", "release:held\n"),
        ("at", "2026-11-24T08:00:00Z"),
        ("at", "2026-11-24T08:00:00.000000+00:00"),
        ("actor", ""),
        ("actor_name", "Ada Lovelace"),
        ("organisation", ""),
        ("case_id", 7),
        ("subject_type", None),
        ("payload", []),
        ("payload", {"share": 0.5}),
        ("payload", {"rows": 2**53}),
    ],
)
def test_encode_entry_with_such_a_field_is_refused(field: str, value: object) -> None:
    with pytest.raises(EntryMalformed):
        encode_entry(make_entry(**{field: value}))


@pytest.mark.parametrize(
    "change",
    [
        {"version": 2},
        {"version": True},
        {"version": None},
        {"more": 1},
        {"actor": 1},
        {"payload": None},
        {"type": "x"},
    ],
)
def test_decode_entry_of_another_shape_is_refused(change: dict[str, object]) -> None:
    document = json.loads(encode_entry(ENTRY)) | change
    data = json.dumps(document, sort_keys=True, separators=(",", ":"), ensure_ascii=False)

    with pytest.raises(EntryMalformed):
        decode_entry(data.encode())


def test_decode_entry_without_a_field_names_it() -> None:
    document = json.loads(encode_entry(ENTRY))
    del document["case_id"]
    data = json.dumps(document, sort_keys=True, separators=(",", ":"), ensure_ascii=False)

    with pytest.raises(EntryMalformed, match="missing case_id, unknown 0"):
        decode_entry(data.encode())


def test_decode_entry_with_unknown_fields_counts_them() -> None:
    document = json.loads(encode_entry(ENTRY)) | {"more": 1, "most": 2}
    data = json.dumps(document, sort_keys=True, separators=(",", ":"), ensure_ascii=False)

    with pytest.raises(EntryMalformed, match="missing none, unknown 2"):
        decode_entry(data.encode())


def test_decode_entry_that_is_no_object_is_refused() -> None:
    with pytest.raises(EntryMalformed, match="list came"):
        decode_entry(b"[]")


def test_encode_entry_at_the_limit_is_kept_and_beyond_is_refused() -> None:
    empty = len(encode_entry(replace(ENTRY, payload={"note": ""})))
    fits = replace(ENTRY, payload={"note": "x" * (MAX_ENTRY_BYTES - empty)})
    beyond = replace(ENTRY, payload={"note": "x" * (MAX_ENTRY_BYTES - empty + 1)})

    assert decode_entry(encode_entry(fits)) == fits
    with pytest.raises(EntryTooLarge, match="at most 65535 bytes, 65536 came"):
        encode_entry(beyond)


def test_decode_entry_too_long_is_refused_before_it_is_read() -> None:
    with pytest.raises(EntryTooLarge):
        decode_entry(b"[" * 70_000)


def test_salted_commitment_is_a_known_answer() -> None:
    assert salted_commitment("Ada", bytes(32)) == (
        "8f1dc0ba3ca61056ff46b6f9c5bfd585a42384ef2b4268be06237a2d2dbebad1"
    )


@given(value=strings, salt=st.binary(min_size=16, max_size=255), data=st.data())
def test_salted_commitment_moves_with_value_and_salt(
    value: str, salt: bytes, data: st.DataObject
) -> None:
    commitment = salted_commitment(value, salt)

    assert salted_commitment(value + "x", salt) != commitment
    assert salted_commitment(value, salt[:-1] + bytes([salt[-1] ^ 1])) != commitment


def test_salted_commitment_no_byte_moves_between_salt_and_value() -> None:
    assert salted_commitment("abc", b"s" * 16) != salted_commitment("bc", b"s" * 16 + b"a")


def test_salted_commitment_to_no_unicode_is_refused() -> None:
    with pytest.raises(EntryMalformed, match="surrogate"):
        salted_commitment("\ud800", bytes(32))


@pytest.mark.parametrize("length", [16, 255])
def test_salted_commitment_with_the_shortest_and_longest_salt(length: int) -> None:
    assert len(salted_commitment("Ada", bytes(length))) == 64


@pytest.mark.parametrize("length", [0, 15, 256])
def test_salted_commitment_with_such_a_salt_is_refused(length: int) -> None:
    with pytest.raises(EntryMalformed, match=f"{length} came"):
        salted_commitment("Ada", bytes(length))

"""Signed notes. The first vector is the one of Go's golang.org/x/mod/sumdb/note."""

from __future__ import annotations

import base64

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ledger.errors import (
    KeyMalformed,
    LedgerError,
    NoteMalformed,
    SignatureInvalid,
    SignerUnknown,
)
from ledger.note import (
    SigningKey,
    VerifierKey,
    parse_note,
    parse_verifier_key,
    sign_note,
    verify_note,
)
from tests.factories.ledger import KEY, SIGNER, STRANGER, altered

PETER_KEY = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW"
PETER_SEED = base64.b64decode("AYEKFALVFGyNhPJEMzD1QIDr+Y7hfZx09iUvxdXHKDFz")[1:]
PETER_TEXT = (
    "If you think cryptography is the answer to your problem,\n"
    "then you don't know what your problem is.\n"
)
PETER_NOTE = (
    PETER_TEXT
    + "\n— PeterNeumann x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZ"
    "SNXgKvqfqdngotpRZb6KE6RyyBwJnAM=\n"
)
NOTE = sign_note("one\n\ntwo\n", [SIGNER])
texts = st.text(st.characters(exclude_categories=["Cs", "Cc"]) | st.just("\n")).map(
    lambda text: text + "\n"
)


def test_published_note_is_written_and_verified() -> None:
    signer = SigningKey("PeterNeumann", PETER_SEED)

    assert str(signer.verifier_key) == PETER_KEY
    assert sign_note(PETER_TEXT, [signer]) == PETER_NOTE
    assert verify_note(PETER_NOTE, parse_verifier_key(PETER_KEY)) == PETER_TEXT


@settings(deadline=None)
@given(text=texts, seed=st.binary(min_size=32, max_size=32))
def test_verify_note_after_sign_note_is_the_text(text: str, seed: bytes) -> None:
    signer = SigningKey("a.example", seed)

    assert verify_note(sign_note(text, [STRANGER, signer]), signer.verifier_key) == text


def test_verify_note_altered_in_any_byte_is_refused() -> None:
    for copy in altered(NOTE.encode()):
        with pytest.raises((LedgerError, UnicodeDecodeError)):
            verify_note(copy.decode(), KEY)


@pytest.mark.parametrize(
    "note",
    [
        "",
        "one\n",
        "one\n\n",
        NOTE[:-1],
        NOTE.replace("two\n\n", "two\n"),
        NOTE + "\n",
        NOTE + "— \n",
        NOTE + "— a+b AAAAAAAA\n",
        NOTE + "— a b AAAAAAAA\n",
        NOTE + "— a AAAAAA==\n",
        NOTE + "— a !\n",
        NOTE + "- a AAAAAAAA\n",
        NOTE + NOTE.splitlines(keepends=True)[-1],
        NOTE.replace("one", "one\r"),
        NOTE.replace("one", "one\ud800"),
        NOTE + "— a AAAAAAAA\n" * 100,
        "a" * 1_000_001 + "\n" + NOTE,
    ],
)
def test_verify_note_in_another_form_is_refused(note: str) -> None:
    with pytest.raises(NoteMalformed):
        verify_note(note, KEY)


def test_verify_note_signature_with_other_unused_bits_is_refused() -> None:
    """Base64 of 68 bytes leaves 4 bits unused: 16 spellings, of which one is written."""
    assert NOTE.endswith("=\n")
    place = len(NOTE) - 3
    spelt = NOTE[:place] + chr(ord(NOTE[place]) + 1) + NOTE[place + 1 :]

    assert base64.b64decode(spelt.split()[-1]) == base64.b64decode(NOTE.split()[-1])
    with pytest.raises(NoteMalformed):
        verify_note(spelt, KEY)


def test_verify_note_by_another_key_is_refused() -> None:
    impostor = SigningKey(KEY.name, bytes(32))

    with pytest.raises(SignerUnknown, match=KEY.key_id.hex()):
        verify_note(sign_note("one\n", [STRANGER]), KEY)
    with pytest.raises(SignerUnknown):
        verify_note(sign_note("one\n", [impostor]), KEY)


def test_verify_note_forged_under_the_right_key_id_is_refused() -> None:
    forged = SigningKey(KEY.name, bytes(32))
    line = parse_note(sign_note("one\n", [forged])).signatures[0]
    encoded = base64.b64encode(KEY.key_id + line.signature).decode()

    with pytest.raises(SignatureInvalid):
        verify_note(f"one\n\n— {KEY.name} {encoded}\n", KEY)


def test_verify_note_short_signature_is_refused() -> None:
    encoded = base64.b64encode(KEY.key_id + bytes(63)).decode()

    with pytest.raises(SignatureInvalid):
        verify_note(f"one\n\n— {KEY.name} {encoded}\n", KEY)


@pytest.mark.parametrize("text", ["", "one", "one\t\n", "one\udfff\n"])
def test_sign_note_of_such_a_text_is_refused(text: str) -> None:
    with pytest.raises(NoteMalformed):
        sign_note(text, [SIGNER])


def test_parse_verifier_key_reads_what_str_writes() -> None:
    assert parse_verifier_key(str(KEY)) == KEY


@pytest.mark.parametrize(
    "encoded",
    [
        "",
        "name",
        "name+00000000",
        "name+00000000+AQ==",
        "name+00000000+!",
        PETER_KEY.replace("c74f20a3", "c74f20a4"),
        PETER_KEY.replace("c74f20a3", "C74F20A3"),
        PETER_KEY.replace("Peter", "P ter"),
        PETER_KEY.replace("+AR", "+Ah"),
        PETER_KEY.replace("PeterNeumann", ""),
        PETER_KEY + "\n",
    ],
)
def test_parse_verifier_key_in_another_form_is_refused(encoded: str) -> None:
    with pytest.raises(KeyMalformed):
        parse_verifier_key(encoded)


@pytest.mark.parametrize("name", ["", "a b", "a+b", "a\n", "a\u3000b", "\ud800"])
def test_keys_with_such_a_name_are_refused(name: str) -> None:
    with pytest.raises(KeyMalformed):
        SigningKey(name, bytes(32))
    with pytest.raises(KeyMalformed):
        VerifierKey(name, bytes(32))


def test_keys_of_another_length_are_refused() -> None:
    with pytest.raises(KeyMalformed, match="32 bytes, 31 came"):
        SigningKey("a", bytes(31))
    with pytest.raises(KeyMalformed, match="32 bytes, 33 came"):
        VerifierKey("a", bytes(33))


def test_signing_key_is_not_shown() -> None:
    shown = repr(SIGNER) + str(SIGNER)

    assert "seed" not in shown
    assert repr(SIGNER.seed) not in shown
    assert SIGNER.seed.hex() not in shown

"""Signed notes: a short text and the signatures under it, as people can read and copy them.

    text, ending in a newline
                                              (one empty line)
    — name base64(key id, 4 bytes ‖ signature)

Source: C2SP signed-note, with Ed25519 keys (type 0x01). The em dash is U+2014. The private
key is 32 bytes; it is blank in every `repr`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import (
    Ed25519PrivateKey,
    Ed25519PublicKey,
)

from ledger.canonical import decode_bytes, encode_bytes
from ledger.errors import KeyMalformed, NoteMalformed, SignatureInvalid, SignerUnknown

ED25519 = b"\x01"
KEY_BYTES = 32
KEY_ID_BYTES = 4
SIGNATURE_BYTES = 64
MAX_NOTE_BYTES = 1_000_000
MAX_SIGNATURES = 100
_MARK = "— "


@dataclass(frozen=True, slots=True)
class VerifierKey:
    """Who is expected to have signed: a name and an Ed25519 public key."""

    name: str
    public_key: bytes

    def __post_init__(self) -> None:
        _check_name(self.name)
        if len(self.public_key) != KEY_BYTES:
            raise KeyMalformed(
                f"a public key has {KEY_BYTES} bytes, {len(self.public_key)} came"
            )

    @property
    def key_id(self) -> bytes:
        """The 4 bytes that name this key in a signature line."""
        named = self.name.encode() + b"\n" + ED25519 + self.public_key
        return hashlib.sha256(named).digest()[:KEY_ID_BYTES]

    def __str__(self) -> str:
        encoded = encode_bytes(ED25519 + self.public_key)
        return f"{self.name}+{self.key_id.hex()}+{encoded}"


@dataclass(frozen=True, slots=True)
class SigningKey:
    """The private half of a `VerifierKey`; `seed` is 32 secret bytes."""

    name: str
    seed: bytes = field(repr=False)

    def __post_init__(self) -> None:
        _check_name(self.name)
        if len(self.seed) != KEY_BYTES:
            raise KeyMalformed(
                f"a signing key has {KEY_BYTES} bytes, {len(self.seed)} came"
            )

    @property
    def verifier_key(self) -> VerifierKey:
        """The public half, to be published."""
        private = Ed25519PrivateKey.from_private_bytes(self.seed)
        return VerifierKey(self.name, private.public_key().public_bytes_raw())


@dataclass(frozen=True, slots=True)
class Signature:
    """One signature line: the claimed name, key id (4 bytes) and signature."""

    name: str
    key_id: bytes
    signature: bytes


@dataclass(frozen=True, slots=True)
class Note:
    """A note as parsed; nothing in it is proved before `verify_note`."""

    text: str
    signatures: tuple[Signature, ...]


def parse_verifier_key(encoded: str) -> VerifierKey:
    """Return the key written as NAME+KEYID+BASE64 (the form of `str(key)`).

    Raises `KeyMalformed` if it is in another form, not Ed25519, or the key id differs
    from the one that name and key have.
    """
    name, plus, rest = encoded.partition("+")
    key_id, plus_again, encoded_key = rest.partition("+")
    if not (plus and plus_again):
        raise KeyMalformed("a verifier key has three parts joined by +, fewer came")
    key = decode_bytes(encoded_key)
    if key is None or key[:1] != ED25519:
        raise KeyMalformed("an Ed25519 key in base64 is expected, something else came")
    parsed = VerifierKey(name, key[1:])
    if key_id != parsed.key_id.hex():
        raise KeyMalformed("the key id must fit name and key, another came")
    return parsed


def sign_note(text: str, keys: Sequence[SigningKey]) -> str:
    """Return the note of `text` with one signature line per key, in order.

    Requires a text that ends in a newline and has no control character but newlines,
    else `NoteMalformed`.
    """
    _check_text(text)
    lines = []
    for key in keys:
        signature = Ed25519PrivateKey.from_private_bytes(key.seed).sign(text.encode())
        encoded = encode_bytes(key.verifier_key.key_id + signature)
        lines.append(f"{_MARK}{key.name} {encoded}\n")
    return f"{text}\n{''.join(lines)}"


def parse_note(note: str) -> Note:
    """Return text and signatures of `note`, unproved. Raises `NoteMalformed`."""
    if len(note) > MAX_NOTE_BYTES:
        raise NoteMalformed(f"a note has at most {MAX_NOTE_BYTES} characters, more came")
    text, blank, tail = note.rpartition("\n\n")
    if not blank or not tail.endswith("\n"):
        raise NoteMalformed("a note is text, an empty line and signature lines, parts lack")
    text += "\n"
    _check_text(text)
    lines = tail[:-1].split("\n")
    if len(lines) > MAX_SIGNATURES:
        raise NoteMalformed(f"a note has at most {MAX_SIGNATURES} signatures, more came")
    return Note(text, tuple(_parse_signature(line) for line in lines))


def verify_note(note: str, key: VerifierKey) -> str:
    """Return the text of `note`, which `key` signed.

    Signatures of other keys are passed over: what they are worth, only their keys can say.
    Raises `NoteMalformed`, `SignerUnknown` when no line is by `key`, `SignatureInvalid`
    when the line does not fit the text.
    """
    parsed = parse_note(note)
    ours = [s for s in parsed.signatures if (s.name, s.key_id) == (key.name, key.key_id)]
    if not ours:
        raise SignerUnknown(
            f"a signature by {key.name}, key id {key.key_id.hex()}, is expected, none came"
        )
    if len(ours) > 1:
        raise NoteMalformed(f"one signature by {key.name} is expected, {len(ours)} came")
    public = Ed25519PublicKey.from_public_bytes(key.public_key)
    try:
        public.verify(ours[0].signature, parsed.text.encode())
    except InvalidSignature:
        raise SignatureInvalid(
            f"a signature by {key.name} over this text is expected, it fits another text"
        ) from None
    return parsed.text


def _parse_signature(line: str) -> Signature:
    mark, name, encoded = line[: len(_MARK)], *_pair(line[len(_MARK) :])
    signed = decode_bytes(encoded)
    if mark != _MARK or not _is_name(name) or signed is None or len(signed) <= KEY_ID_BYTES:
        raise NoteMalformed("a signature line reads '— name base64', another form came")
    return Signature(name, signed[:KEY_ID_BYTES], signed[KEY_ID_BYTES:])


def _pair(rest: str) -> tuple[str, str]:
    name, _, encoded = rest.partition(" ")
    return name, encoded


def _check_text(text: str) -> None:
    if not text.endswith("\n"):
        raise NoteMalformed("a note's text ends in a newline, this one does not")
    if any(c < " " and c != "\n" for c in text) or not _is_unicode(text):
        raise NoteMalformed("a note's text is UTF-8 without control characters, one came")


def _check_name(name: str) -> None:
    if not _is_name(name):
        raise KeyMalformed("a key's name is not empty and has no space or +, another came")


def _is_name(name: str) -> bool:
    return (
        bool(name) and _is_unicode(name) and not any(c.isspace() or c == "+" for c in name)
    )


def _is_unicode(text: str) -> bool:
    return not any("\ud800" <= c <= "\udfff" for c in text)

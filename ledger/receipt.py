"""`Receipt`: the evidence that leaves with a release, and its verification offline.

The file is one line of canonical JSON:

    {"checkpoint": signed note, "content_sha256": hex or null, "entry": canonical entry,
     "format": "bonded-receipt/1", "index": place, "proof": [base64, leaf's sibling first]}
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NoReturn

from ledger import canonical, merkle
from ledger.checkpoint import Checkpoint, verify_checkpoint
from ledger.entry import Entry, decode_entry
from ledger.errors import ReceiptMalformed, ResultMismatch
from ledger.note import VerifierKey

FORMAT = "bonded-receipt/1"
MAX_RECEIPT_BYTES = 1_048_576
RESULT_KEY = "result_sha256"  # the payload's name for the digest of what was released
_FIELDS = frozenset({"checkpoint", "content_sha256", "entry", "format", "index", "proof"})


@dataclass(frozen=True, slots=True)
class Receipt:
    """What is claimed: `entry` stands at `index` of the log that `checkpoint` signs.

    `entry` is the entry's canonical bytes, `proof` its inclusion proof, `checkpoint` the
    signed note, `content_sha256` the digest (hex) of the released content, None when the
    entry releases nothing.
    """

    entry: bytes
    index: int
    proof: tuple[bytes, ...]
    checkpoint: str
    content_sha256: str | None = None


@dataclass(frozen=True, slots=True)
class Verified:
    """What a receipt proved; `result_checked` says whether a result was compared too."""

    entry: Entry
    index: int
    checkpoint: Checkpoint
    result_checked: bool


def dump_receipt(receipt: Receipt) -> bytes:
    """Return the file of `receipt`, one line; `load_receipt` reads exactly this form.

    Raises `EntryMalformed` or `EntryTooLarge` when `receipt.entry` is no entry.
    """
    decode_entry(receipt.entry)
    document: dict[str, canonical.JsonValue] = {
        "checkpoint": receipt.checkpoint,
        "content_sha256": receipt.content_sha256,
        "entry": receipt.entry.decode(),
        "format": FORMAT,
        "index": receipt.index,
        "proof": [canonical.encode_bytes(sibling) for sibling in receipt.proof],
    }
    return canonical.encode(document, refuse=_refuse) + b"\n"


def load_receipt(data: bytes) -> Receipt:
    """Return the receipt whose file is `data`, unproved.

    Raises `ReceiptMalformed` for another format or version, a missing or additional
    field, and for any spelling that `dump_receipt` would not have written.
    """
    if len(data) > MAX_RECEIPT_BYTES:
        _refuse(f"at most {MAX_RECEIPT_BYTES} bytes are expected, more came")
    if not data.endswith(b"\n"):
        _refuse("one line with its newline is expected, the newline is missing")
    document = canonical.decode(data[:-1], refuse=_refuse)
    if not isinstance(document, dict) or document.get("format") != FORMAT:
        _refuse(f"format {FORMAT} is expected, another came")
    if document.keys() != _FIELDS:
        _refuse(f"{len(_FIELDS)} fields are expected, others came")
    match document:
        case {
            "entry": str(entry),
            "index": int(index),
            "proof": list(proof),
            "checkpoint": str(checkpoint),
            "content_sha256": str() | None as content_sha256,
        } if not isinstance(index, bool):
            siblings = tuple(_decode_proof(proof))
            return Receipt(entry.encode(), index, siblings, checkpoint, content_sha256)
    return _refuse("a field is of another type than the format says")


def verify_receipt(
    receipt: Receipt, key: VerifierKey, result_bytes: bytes | None = None
) -> Verified:
    """Return what `receipt` proves: the log that `key` signs holds its entry at its place.

    With `result_bytes` they are, moreover, exactly what the entry says was released.
    Raises `EntryMalformed` or `EntryTooLarge`; the errors of `verify_checkpoint`;
    `ProofMalformed` or `RootMismatch` when the entry is not in that log at that place;
    `ResultMismatch` when the receipt, the entry and the result name different digests.
    """
    entry = decode_entry(receipt.entry)
    checkpoint = verify_checkpoint(receipt.checkpoint, key)
    merkle.verify_inclusion(
        leaf_hash=merkle.hash_leaf(receipt.entry),
        index=receipt.index,
        size=checkpoint.size,
        proof=receipt.proof,
        root=checkpoint.root,
    )
    stated = entry.payload.get(RESULT_KEY)
    if receipt.content_sha256 != stated:
        raise ResultMismatch(
            "the receipt must name the digest its entry states, another came"
        )
    if result_bytes is not None:
        check_result(entry, hashlib.sha256(result_bytes).hexdigest())
    return Verified(entry, receipt.index, checkpoint, result_bytes is not None)


def check_result(entry: Entry, result_sha256: str) -> None:
    """Check that content of digest `result_sha256` (hex) is what `entry` releases.

    Raises `ResultMismatch` otherwise, also when the entry states no digest at all.
    """
    stated = entry.payload.get(RESULT_KEY)
    if stated is None:
        raise ResultMismatch(
            f"an entry that states a result is expected, {entry.type} states none",
            hint="Use the receipt of the release itself.",
        )
    if stated != result_sha256:
        raise ResultMismatch(
            f"content with SHA-256 {stated} is expected, {result_sha256} came"
        )


def _decode_proof(proof: list[canonical.JsonValue]) -> Iterator[bytes]:
    for sibling in proof:
        decoded = canonical.decode_bytes(sibling)
        if decoded is None:
            _refuse("a proof is a list of hashes in base64, something else came")
        yield decoded


def _refuse(reason: str) -> NoReturn:
    raise ReceiptMalformed(f"receipt: {reason}")

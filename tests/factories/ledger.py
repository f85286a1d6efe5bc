"""Small signed logs, built anew for each test."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from ledger import merkle
from ledger.checkpoint import Checkpoint, sign_checkpoint
from ledger.entry import Entry, encode_entry
from ledger.log import LogHeader, dump_log
from ledger.note import SigningKey
from ledger.receipt import Receipt

SIGNER = SigningKey("bonded.example/ministry", bytes(range(32)))
KEY = SIGNER.verifier_key
STRANGER = SigningKey("bonded.example/port", bytes(range(1, 33)))
RESULT = '{"columns":[],"rows":[[1,"值"]]}'.encode()
RESULT_SHA256 = hashlib.sha256(RESULT).hexdigest()


def make_entry(number: int = 0, /, **changes: object) -> Entry:
    fields: dict[str, object] = {
        "event_id": f"00000000-0000-4000-8000-{number:012d}",
        "type": "release:held",
        "at": f"2026-11-24T08:00:00.{number:06d}Z",
        "actor": "3f0c",
        "actor_name": "ab" * 32,
        "organisation": "ministry",
        "subject_type": "query",
        "subject_id": str(number),
        "case_id": "case-1",
        "payload": {"result_sha256": RESULT_SHA256, "rows": number, "purpose": "维护"},
    }
    return Entry(**{**fields, **changes})  # type: ignore[arg-type]


@dataclass
class SignedLog:
    """A log of `entries`, whole in memory."""

    entries: list[bytes]
    store: merkle.MemoryStore = field(default_factory=merkle.MemoryStore)

    def __post_init__(self) -> None:
        merkle.append(self.store, 0, map(merkle.hash_leaf, self.entries))

    def checkpoint(self, size: int | None = None) -> Checkpoint:
        size = len(self.entries) if size is None else size
        return Checkpoint(SIGNER.name, size, merkle.root(self.store, size))

    def note(self, size: int | None = None) -> str:
        return sign_checkpoint(self.checkpoint(size), SIGNER)

    def receipt(self, index: int, size: int | None = None, **changes: object) -> Receipt:
        size = len(self.entries) if size is None else size
        proof = merkle.prove_inclusion(self.store, index, size)
        fields: dict[str, object] = {
            "entry": self.entries[index],
            "index": index,
            "proof": proof,
            "checkpoint": self.note(size),
            "content_sha256": RESULT_SHA256,
        }
        return Receipt(**{**fields, **changes})  # type: ignore[arg-type]

    def export(self, start: int = 0, size: int | None = None) -> bytes:
        left = merkle.frontier(self.store, start).hashes
        header = LogHeader(self.note(size), start, left)
        return b"".join(dump_log(header, self.entries[start:size]))


def make_log(size: int, entry: Callable[[int], Entry] = make_entry) -> SignedLog:
    return SignedLog([encode_entry(entry(number)) for number in range(size)])


def altered(data: bytes, *, masks: tuple[int, ...] = (0x01, 0x20, 0x80)) -> Iterator[bytes]:
    """Every copy of `data` in which one byte differs by one of `masks`."""
    for place in range(len(data)):
        for mask in masks:
            yield data[:place] + bytes([data[place] ^ mask]) + data[place + 1 :]

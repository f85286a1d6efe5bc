"""A log's export, and its verification by hashing every entry again.

The file is JSON Lines: a header, then one canonical entry per line, in order.

    {"checkpoint": signed note, "format": "bonded-log/1", "left": [base64], "start": n}

`left` is the frontier of the `start` entries before the first line (none for a whole log):
an auditor who verified up to there needs only what came since, and the roots still meet.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import NoReturn

from ledger import canonical
from ledger.checkpoint import Checkpoint, verify_checkpoint
from ledger.errors import LogIncomplete, LogMalformed, RootMismatch
from ledger.merkle import Frontier, hash_leaf
from ledger.note import VerifierKey

FORMAT = "bonded-log/1"
MAX_LINE_BYTES = 1_048_576
_FIELDS = frozenset({"checkpoint", "format", "left", "start"})


@dataclass(frozen=True, slots=True)
class LogHeader:
    """What an export claims to hold: the entries from `start` to the checkpoint's size."""

    checkpoint: str
    start: int = 0
    left: tuple[bytes, ...] = ()


@dataclass(frozen=True, slots=True)
class VerifiedLog:
    """The entries from `start` to `checkpoint.size` are those that were signed for."""

    checkpoint: Checkpoint
    start: int


def dump_log(header: LogHeader, entries: Iterable[bytes]) -> Iterator[bytes]:
    """Yield the lines of an export, each with its newline: the header, then `entries`.

    `entries` are canonical bytes, those from `header.start` on, in order.
    """
    document: dict[str, canonical.JsonValue] = {
        "checkpoint": header.checkpoint,
        "format": FORMAT,
        "left": [canonical.encode_bytes(value) for value in header.left],
        "start": header.start,
    }
    yield canonical.encode(document, refuse=_refuse) + b"\n"
    for entry in entries:
        yield entry + b"\n"


def read_log(lines: Iterable[bytes]) -> tuple[LogHeader, Iterator[bytes]]:
    """Return the header of an export and an iterator over its entries, unproved.

    Requires `lines` split after b"\\n" only. Raises `LogMalformed` for another format, at
    once for the header and while iterating for an entry.
    """
    remaining = iter(lines)
    document = canonical.decode(_line(next(remaining, b"")), refuse=_refuse)
    if not isinstance(document, dict) or document.get("format") != FORMAT:
        _refuse(f"format {FORMAT} is expected, another came")
    if document.keys() != _FIELDS:
        _refuse(f"{len(_FIELDS)} header fields are expected, others came")
    match document:
        case {"checkpoint": str(note), "left": list(left), "start": int(start)} if (
            not isinstance(start, bool) and start >= 0
        ):
            header = LogHeader(note, start, tuple(_decode_hash(value) for value in left))
            return header, (_line(line) for line in remaining)
    return _refuse("a header field is of another type than the format says")


def verify_log(
    entries: Iterable[bytes],
    checkpoint: Checkpoint,
    *,
    start: int = 0,
    left: Sequence[bytes] = (),
    passed: Sequence[Checkpoint] = (),
) -> None:
    """Check that `entries`, hashed anew, are all those from `start` to `checkpoint.size`.

    Each of `passed` is a checkpoint that the log must have passed through on its way.
    Raises `ProofMalformed` when `left` is no frontier of `start`; `LogIncomplete` when
    entries lack or are too many, or a checkpoint lies outside `start` to
    `checkpoint.size`; `RootMismatch` when entries were altered, moved or taken out, or
    a checkpoint is of another history.
    """
    awaited = sorted((*passed, checkpoint), key=lambda each: each.size)
    for each in awaited:
        if not start <= each.size <= checkpoint.size:
            raise LogIncomplete(
                f"entries up to {each.size} are expected, {start} to {checkpoint.size} came"
            )
    edge = Frontier(start, left)
    for entry in entries:
        awaited = _pass(awaited, edge)
        if not awaited:
            raise LogIncomplete(
                f"entries {start} to {checkpoint.size - 1} are expected, more came"
            )
        edge.append(hash_leaf(entry))
    awaited = _pass(awaited, edge)
    if awaited:
        raise LogIncomplete(
            f"{checkpoint.size - start} entries are expected, {edge.size - start} came"
        )


def verify_log_export(
    lines: Iterable[bytes], key: VerifierKey, *, passed: Sequence[Checkpoint] = ()
) -> VerifiedLog:
    """Return what an export proves: it holds every entry that `key` signed for, unaltered.

    Raises the errors of `read_log`, `verify_checkpoint` and `verify_log`.
    """
    header, entries = read_log(lines)
    checkpoint = verify_checkpoint(header.checkpoint, key)
    verify_log(entries, checkpoint, start=header.start, left=header.left, passed=passed)
    return VerifiedLog(checkpoint, header.start)


def _pass(awaited: list[Checkpoint], edge: Frontier) -> list[Checkpoint]:
    """Compare the checkpoints of the size that is reached; return those still ahead."""
    while awaited and awaited[0].size == edge.size:
        if edge.root() != awaited[0].root:
            raise RootMismatch(
                expected=awaited[0].root,
                calculated=edge.root(),
                what=f"log of {edge.size} entries",
            )
        awaited = awaited[1:]
    return awaited


def _line(line: bytes) -> bytes:
    if not line.endswith(b"\n"):
        _refuse("every line ends in a newline, one does not")
    if len(line) > MAX_LINE_BYTES:
        _refuse(f"a line has at most {MAX_LINE_BYTES} bytes, more came")
    return line[:-1]


def _decode_hash(value: canonical.JsonValue) -> bytes:
    decoded = canonical.decode_bytes(value)
    if decoded is None:
        _refuse("a frontier is a list of hashes in base64, something else came")
    return decoded


def _refuse(reason: str) -> NoReturn:
    raise LogMalformed(f"log export: {reason}")

"""`Checkpoint`: what a log was at one moment, and its signed-note text.

    bonded.example/ministry         origin: the name of the log and of the key that signs
    1234                            entries
    mEKvw4lYBJDzTvrgXFOpoqGKWq...=  root

Source: C2SP tlog-checkpoint. Our logs write no extension lines; one that came would be a
statement nobody here understands, so it is refused.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from ledger import canonical, merkle
from ledger.errors import CheckpointMalformed, CheckpointRolledBack
from ledger.note import SigningKey, VerifierKey, sign_note, verify_note

MAX_SIZE = 2**63 - 1
_TEXT = re.compile(r"([^\s+]+)\n(0|[1-9][0-9]{0,18})\n([A-Za-z0-9+/]{43}=)\n")


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """The first `size` entries of the log `origin` have the root `root` (32 bytes)."""

    origin: str
    size: int
    root: bytes

    def __post_init__(self) -> None:
        # One strict reader: what could not be read back is not made either.
        read = _TEXT.fullmatch(checkpoint_text(self))
        if read is None or self.size > MAX_SIZE:
            raise CheckpointMalformed(
                "a checkpoint has an origin without spaces or +, a size from 0 to 2^63 - 1 "
                f"and a root of {merkle.HASH_BYTES} bytes, other values came"
            )
        if self.size == 0 and self.root != merkle.EMPTY_ROOT:
            raise CheckpointMalformed("the empty log has one root, another came")


def checkpoint_text(checkpoint: Checkpoint) -> str:
    """Return the three lines that are signed."""
    root = canonical.encode_bytes(checkpoint.root)
    return f"{checkpoint.origin}\n{checkpoint.size}\n{root}\n"


def parse_checkpoint(text: str) -> Checkpoint:
    """Return the checkpoint that `text` writes, unproved. Raises `CheckpointMalformed`."""
    read = _TEXT.fullmatch(text)
    if read is None:
        raise CheckpointMalformed(
            "a checkpoint is three lines: origin, size and root in base64; other text came"
        )
    origin, size, root = read.groups()
    decoded = canonical.decode_bytes(root)
    if decoded is None:
        raise CheckpointMalformed("a root is written in one way in base64, another came")
    return Checkpoint(origin, int(size), decoded)


def sign_checkpoint(checkpoint: Checkpoint, key: SigningKey) -> str:
    """Return the signed note of `checkpoint`.

    Requires that `key` carries the log's name, else `CheckpointMalformed`.
    """
    _check_origin(checkpoint, key.name)
    return sign_note(checkpoint_text(checkpoint), [key])


def verify_checkpoint(note: str, key: VerifierKey) -> Checkpoint:
    """Return the checkpoint in `note`, which `key` signed for the log of its own name.

    Raises the errors of `verify_note`, and `CheckpointMalformed` when the signed text is
    no checkpoint or is that of another log.
    """
    checkpoint = parse_checkpoint(verify_note(note, key))
    _check_origin(checkpoint, key.name)
    return checkpoint


def check_growth(earlier: Checkpoint, later: Checkpoint, proof: Sequence[bytes]) -> None:
    """Check that the log of `later` begins with that of `earlier`, by a consistency proof.

    Raises `CheckpointMalformed` when they are of two logs, `CheckpointRolledBack` when
    `later` is smaller, and the errors of `merkle.verify_consistency`. Two checkpoints of
    one size with two roots (`RootMismatch`) show that the log told two histories.
    """
    _check_origin(later, earlier.origin)
    if later.size < earlier.size:
        raise CheckpointRolledBack(
            f"at least {earlier.size} entries are expected, {later.size} came"
        )
    if earlier.size == 0 and not proof:
        return  # `Checkpoint` knows the empty log's root, and every log begins with it
    merkle.verify_consistency(
        old=earlier.size,
        new=later.size,
        old_root=earlier.root,
        new_root=later.root,
        proof=proof,
    )


def _check_origin(checkpoint: Checkpoint, name: str) -> None:
    if checkpoint.origin != name:
        raise CheckpointMalformed(
            f"a checkpoint of {name} is expected, one of {checkpoint.origin} came"
        )

"""What can be wrong with evidence.

LedgerError
├── OutOfRange             an index or size that the tree does not have
├── TreeIncomplete         the store lacks a node that the tree must have
├── NodeExists             the store already holds a node that would be written
├── ProofMalformed         a proof cannot belong to this index and size
├── RootMismatch           hashes do not lead to the signed root: something was altered
├── KeyMalformed           a verifier or signing key is not in its format
├── NoteMalformed          a text is no signed note
├── SignerUnknown          a note carries no signature by the key that was given
├── SignatureInvalid       a signature by that key does not fit the note's text
├── CheckpointMalformed    a signed text is no checkpoint, or not one of this log
├── CheckpointRolledBack   a later checkpoint is smaller than an earlier one
├── EntryMalformed         bytes are no canonical entry of a known version
├── EntryTooLarge          an entry is longer than a log entry may be
├── ReceiptMalformed       a file is no receipt of a known version
├── ResultMismatch         a result is not the one the entry states
├── LogMalformed           a file is no log export of a known version
└── LogIncomplete          an export holds fewer or more entries than it must
"""

from __future__ import annotations


class LedgerError(Exception):
    """Evidence does not hold. `code` is API; `hint` is the way forward."""

    code = "ledger_error"
    hint = "Keep the file as it is and ask the node's operator."

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        if hint:
            self.hint = hint


class OutOfRange(LedgerError):
    """An index or a size is asked for that the tree does not have."""

    code = "out_of_range"
    hint = "Ask for an entry or size that the latest checkpoint covers."


class TreeIncomplete(LedgerError):
    """The store lacks a node which a tree of this size has."""

    code = "tree_incomplete"
    hint = "Rebuild the tree's nodes from the stored entries, then check the log."


class NodeExists(LedgerError):
    """The store already holds a node that would be written: two writers met."""

    code = "node_exists"
    hint = "Read the tree's size again and append to that."


class ProofMalformed(LedgerError):
    """A proof cannot belong to the index and size it is given for."""

    code = "proof_malformed"
    hint = "Fetch the receipt again from the node that issued it."


class RootMismatch(LedgerError):
    """The hashes lead to another root than the one that was signed."""

    code = "root_mismatch"
    hint = (
        "The entry, its place, the proof or the log was altered. "
        "Keep this copy as evidence and fetch a fresh one from the node."
    )

    def __init__(self, *, expected: bytes, calculated: bytes, what: str) -> None:
        super().__init__(f"{what}: expected root {expected.hex()}, came {calculated.hex()}")
        self.expected = expected
        self.calculated = calculated


class KeyMalformed(LedgerError):
    """A key is not written as a key of a signed note is."""

    code = "key_malformed"
    hint = "A verifier key reads NAME+KEYID+BASE64; copy the node's whole line."


class NoteMalformed(LedgerError):
    """A text is no signed note."""

    code = "note_malformed"
    hint = "Fetch the checkpoint again from the node that signed it."


class SignerUnknown(LedgerError):
    """A note carries no signature by the key that was given."""

    code = "signer_unknown"
    hint = "Check that the verifier key is that of the node which issued this file."


class SignatureInvalid(LedgerError):
    """A signature names the given key and does not fit the note's text."""

    code = "signature_invalid"
    hint = "The checkpoint was altered after it was signed; fetch it again from the node."


class CheckpointMalformed(LedgerError):
    """A signed text is no checkpoint, or speaks of another log."""

    code = "checkpoint_malformed"
    hint = "Fetch the checkpoint again from the node that signed it."


class CheckpointRolledBack(LedgerError):
    """A later checkpoint covers fewer entries than an earlier one."""

    code = "checkpoint_rolled_back"
    hint = "Keep both checkpoints: together they show that entries were taken away."


class EntryMalformed(LedgerError):
    """Bytes are no canonical entry, or values cannot be written as one."""

    code = "entry_malformed"
    hint = "Write integers, strings, booleans, nulls, lists and objects only."


class EntryTooLarge(LedgerError):
    """An entry is longer than the 16-bit length of a log entry can say."""

    code = "entry_too_large"
    hint = "Record large values by their SHA-256 digest."


class ReceiptMalformed(LedgerError):
    """A file is no receipt of a version that is known here."""

    code = "receipt_malformed"
    hint = "Use the file exactly as the node delivered it, or fetch the receipt again."


class ResultMismatch(LedgerError):
    """A result is not the one that the entry states."""

    code = "result_mismatch"
    hint = "Download the result again; if it still differs, keep both as evidence."


class LogMalformed(LedgerError):
    """A file is no log export of a version that is known here."""

    code = "log_malformed"
    hint = "Use the export exactly as the node delivered it, or export the log again."


class LogIncomplete(LedgerError):
    """An export does not hold the entries which its checkpoint or receipt speaks of."""

    code = "log_incomplete"
    hint = "Export the log again, up to a checkpoint that covers what is asked."

"""The proof that a release stands in its node's log, checked on this machine.

The log's key is pinned at login. A node that shows another key later is not believed: a
receipt is worth something only if the one who may have erred cannot choose its judge.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass, field, replace
from pathlib import Path

from bonded.errors import BondedError
from ledger.errors import LedgerError
from ledger.note import parse_verifier_key
from ledger.receipt import Verified, check_result, load_receipt, verify_receipt


class VerificationFailed(BondedError):
    """The receipt does not prove what it claims; `code` is the failed check's own."""

    code = "verification_failed"

    def __init__(self, cause: LedgerError) -> None:
        super().__init__(f"the receipt does not hold: {cause.message}", hint=cause.hint)
        self.code = cause.code


@dataclass(frozen=True, slots=True)
class Receipt:
    """A release's committed record, its inclusion proof and the signed checkpoint."""

    data: bytes = field(repr=False)  # the `bonded-receipt/1` file, as the node sent it
    verifier_key: str
    content_sha256: str | None = None  # of the bytes at hand, in hex

    @property
    def document(self) -> dict[str, object]:
        """The receipt as JSON."""
        parsed = json.loads(self.data)
        return parsed if isinstance(parsed, dict) else {}

    def verify(self, *, verifier_key: str | None = None) -> Verified:
        """The release is proved to stand in the log; what exactly is in the answer.

        Checks the record, its inclusion, the checkpoint's signature and that the content
        at hand is what the record commits to. `verifier_key` replaces the pinned key.
        Raises VerificationFailed naming the check that fails.
        """
        try:
            key = parse_verifier_key(verifier_key or self.verifier_key)
            verified = verify_receipt(load_receipt(self.data), key)
            if self.content_sha256 is None:
                return verified
            check_result(verified.entry, self.content_sha256)
        except LedgerError as error:
            raise VerificationFailed(error) from error
        return replace(verified, result_checked=True)

    def save(self, path: str | os.PathLike[str]) -> Path:
        """The receipt is in the file, as `bonded verify` wants it."""
        target = Path(path)
        target.write_bytes(self.data)
        return target

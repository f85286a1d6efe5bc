"""`bonded verify`: check a receipt, a result and a log export offline, and say it in words.

The verifier key is the only thing believed. It is given by the reader (`--key`, or the
variable BONDED_VERIFIER_KEY) and never taken from the file that it is to judge.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from io import BufferedReader
from pathlib import Path
from typing import TextIO

from bonded.errors import ConfigInvalid
from ledger.errors import KeyMalformed, LedgerError
from ledger.log import MAX_LINE_BYTES, VerifiedLog, verify_log_export
from ledger.note import VerifierKey, parse_verifier_key
from ledger.receipt import (
    MAX_RECEIPT_BYTES,
    RESULT_KEY,
    Verified,
    check_result,
    load_receipt,
    verify_receipt,
)

KEY_VARIABLE = "BONDED_VERIFIER_KEY"
VERIFIED, REFUSED, USAGE = 0, 1, 2
_NO_WITNESS = (
    "That others were shown the same log: no witness's signature was checked. Compare the "
    "root above with what another holder or the regulator has."
)
_NOT_THE_TRUTH = (
    "That the entry tells the truth: the log shows what the node recorded, and in which "
    "order, not that a computation or a clock was right."
)


@dataclass(frozen=True, slots=True)
class Findings:
    """What was proved of which files; `log` and `result` are None when none was given."""

    verified: Verified
    result: Path | None = None
    log: VerifiedLog | None = None


def read_key(given: str) -> VerifierKey:
    """Return the verifier key that `given` writes, or that stands in the file it names.

    Raises `KeyMalformed` for another text, `ConfigInvalid` for a file that cannot be read.
    """
    try:
        return parse_verifier_key(given)
    except KeyMalformed:
        # Two + and no such file: a key was meant, and what is wrong with it is the news.
        if given.count("+") > 1 and not _exists(given):
            raise
    with _open(Path(given)) as file:
        text = file.read(MAX_LINE_BYTES)
    return parse_verifier_key(text.decode("utf-8", "replace").strip())


def verify_files(
    receipt: Path, key: VerifierKey, *, result: Path | None = None, log: Path | None = None
) -> Findings:
    """Return what the files prove together, under `key` alone.

    The log export must contain the receipt's checkpoint, so that both speak of one history.
    Raises the errors of `ledger.receipt` and `ledger.log`, `ConfigInvalid` for a file that
    cannot be read.
    """
    with _open(receipt) as file:
        data = file.read(MAX_RECEIPT_BYTES + 1)
    verified = verify_receipt(load_receipt(data), key)
    if result is not None:
        with _open(result) as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        check_result(verified.entry, digest)
    if log is None:
        return Findings(verified, result)
    with _open(log) as file:
        exported = verify_log_export(_lines(file), key, passed=[verified.checkpoint])
    return Findings(verified, result, exported)


def proved(findings: Findings) -> tuple[str, ...]:
    """Return, as sentences, what holds now that nothing was refused."""
    verified = findings.verified
    entry, checkpoint = verified.entry, verified.checkpoint
    on_behalf = f" for {entry.organisation}" if entry.organisation else ""
    case = f", case {entry.case_id}" if entry.case_id else ""
    signed = f"{checkpoint.origin} signed a log of {checkpoint.size} entries"
    who = f"by {entry.actor or 'the node itself'}{on_behalf}"
    what = f"about {entry.subject_type} {entry.subject_id}{case}"
    sentences = [
        f"{signed}, root {checkpoint.root.hex()}.",
        f"Entry {verified.index} of it, unaltered: {entry.type} {what}, {entry.at}, {who}.",
    ]
    if findings.result is not None:
        sentences.append(
            f"{findings.result.name} is byte for byte what that entry released, SHA-256 "
            f"{entry.payload[RESULT_KEY]}."
        )
    if findings.log is not None:
        sentences.append(
            f"The export holds every entry from {findings.log.start} to "
            f"{findings.log.checkpoint.size - 1}, unaltered and in order, and runs through "
            "the receipt's log: both tell one history."
        )
    return tuple(sentences)


def not_proved(findings: Findings) -> tuple[str, ...]:
    """Return, as sentences, what a reader might take for proved and what would show it."""
    sentences = [_NO_WITNESS, _NOT_THE_TRUTH]
    if findings.result is None and findings.verified.entry.payload.get(RESULT_KEY):
        sentences.append(
            "That a result you hold is the one that was released: give it with --result."
        )
    if findings.log is None:
        sentences.append(
            "Anything about the log's other entries: give an export of it with --log."
        )
    elif findings.log.start > 0:
        sentences.append(
            f"Anything about the first {findings.log.start} entries: the export lacks them."
        )
    return tuple(sentences)


def add_verify_command(
    subparsers: argparse._SubParsersAction[argparse.ArgumentParser],
) -> None:
    """Add `verify` to `subparsers`; `args.run(args)` then answers the exit code."""
    parser = subparsers.add_parser(
        "verify",
        help="check a receipt offline",
        description="Check offline that a node's signed log holds a release, that a result "
        "is the released one, and that a log export is whole. Exit code: 0 verified, "
        "1 refused, 2 not tried.",
    )
    parser.add_argument("receipt", type=Path, metavar="RECEIPT.json")
    parser.add_argument("--result", type=Path, metavar="FILE", help="the released content")
    parser.add_argument(
        "--log", type=Path, metavar="LOG.jsonl", help="an export of the log"
    )
    parser.add_argument(
        "--key",
        metavar="VKEY",
        help=f"the node's verifier key or a file with it (otherwise {KEY_VARIABLE})",
    )
    parser.set_defaults(run=run_verify)


def run_verify(args: argparse.Namespace) -> int:
    """Print what was proved and what was not; return 0, or 1 refused, 2 not tried."""
    try:
        key = read_key(_given_key(args.key))
        findings = verify_files(args.receipt, key, result=args.result, log=args.log)
    except (ConfigInvalid, KeyMalformed) as error:
        _write(sys.stderr, f"Not tried ({error.code}): {error.message}", f"→ {error.hint}")
        return USAGE
    except LedgerError as error:
        _write(sys.stderr, f"REFUSED ({error.code}): {error.message}", f"→ {error.hint}")
        return REFUSED
    _write(sys.stdout, "VERIFIED. Proved:", *(f"  + {s}" for s in proved(findings)))
    _write(sys.stdout, "Not proved:", *(f"  - {s}" for s in not_proved(findings)))
    return VERIFIED


def _given_key(argument: str | None) -> str:
    given = argument or os.environ.get(KEY_VARIABLE, "")
    if not given:
        raise ConfigInvalid(
            "a verifier key is expected, none came",
            hint=f"Give the node's published key with --key or in {KEY_VARIABLE}. Take it "
            "from the node's operator or the regulator, not from the receipt's sender.",
        )
    return given


def _exists(given: str) -> bool:
    try:
        return Path(given).exists()
    except OSError:  # longer than a file name may be
        return False


def _open(path: Path) -> BufferedReader:
    try:
        return path.open("rb")
    except OSError as error:
        raise ConfigInvalid(
            f"a file that can be read is expected at {path}, came: {error.strerror}",
            hint="Check the name, and that it is a file of yours.",
        ) from error


def _lines(file: BufferedReader) -> Iterator[bytes]:
    """Lines of bounded length: a longer one comes in pieces, which `read_log` refuses."""
    return iter(lambda: file.readline(MAX_LINE_BYTES + 1), b"")


def _write(out: TextIO, *lines: str) -> None:
    # What a node recorded is printed to somebody else's terminal: no control sequences.
    encoding = out.encoding or "utf-8"
    for line in lines:
        shown = "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in line)
        out.write(shown.encode(encoding, "backslashreplace").decode(encoding) + "\n")

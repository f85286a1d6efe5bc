from __future__ import annotations

import json
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ledger import canonical
from ledger.entry import decode_entry
from ledger.errors import (
    EntryMalformed,
    LedgerError,
    ProofMalformed,
    ReceiptMalformed,
    ResultMismatch,
    RootMismatch,
    SignatureInvalid,
    SignerUnknown,
)
from ledger.receipt import check_result, dump_receipt, load_receipt, verify_receipt
from tests.factories.ledger import (
    KEY,
    RESULT,
    RESULT_SHA256,
    STRANGER,
    altered,
    make_entry,
    make_log,
)


@settings(deadline=None)
@given(size=st.integers(1, 20), data=st.data())
def test_verify_receipt_of_any_entry_proves_it(size: int, data: st.DataObject) -> None:
    index = data.draw(st.integers(0, size - 1))
    log = make_log(size)

    receipt = load_receipt(dump_receipt(log.receipt(index)))
    verified = verify_receipt(receipt, KEY, RESULT)

    assert receipt == log.receipt(index)
    assert verified.entry == make_entry(index)
    assert verified.index == index
    assert verified.checkpoint == log.checkpoint()
    assert verified.result_checked


def test_verify_receipt_without_a_result_says_so() -> None:
    assert not verify_receipt(make_log(3).receipt(1), KEY).result_checked


@pytest.mark.parametrize(("index", "size"), [(0, 1), (5, 7), (6, 7)])
def test_verify_receipt_altered_in_any_byte_is_refused(index: int, size: int) -> None:
    for copy in altered(dump_receipt(make_log(size).receipt(index))):
        with pytest.raises(LedgerError):
            verify_receipt(load_receipt(copy), KEY)


@pytest.mark.long
def test_verify_receipt_altered_in_any_way_in_one_byte_is_refused() -> None:
    original = dump_receipt(make_log(7).receipt(5))
    for copy in altered(original, masks=tuple(range(1, 256))):
        with pytest.raises(LedgerError):
            verify_receipt(load_receipt(copy), KEY)


def test_verify_receipt_truncated_anywhere_is_refused() -> None:
    original = dump_receipt(make_log(7).receipt(5))
    for length in range(len(original)):
        with pytest.raises(LedgerError):
            verify_receipt(load_receipt(original[:length]), KEY)


def test_verify_receipt_result_altered_in_any_byte_is_refused() -> None:
    receipt = make_log(3).receipt(1)
    for copy in [*altered(RESULT), b"", RESULT + b"\n"]:
        with pytest.raises(ResultMismatch, match=RESULT_SHA256):
            verify_receipt(receipt, KEY, copy)


def test_verify_receipt_by_another_node_is_refused() -> None:
    with pytest.raises(SignerUnknown):
        verify_receipt(make_log(3).receipt(1), STRANGER.verifier_key)


def test_verify_receipt_of_an_entry_the_log_lacks_is_refused() -> None:
    log, other = make_log(5), make_log(5, lambda n: make_entry(n, organisation="port"))

    with pytest.raises(RootMismatch):
        verify_receipt(log.receipt(1, entry=other.entries[1]), KEY)


def test_verify_receipt_at_another_place_is_refused() -> None:
    log = make_log(5)

    with pytest.raises(RootMismatch):
        verify_receipt(replace(log.receipt(1), index=2), KEY)
    with pytest.raises(ProofMalformed, match="index 4 of 5 needs 1"):
        verify_receipt(replace(log.receipt(1), index=4), KEY)


def test_verify_receipt_with_a_checkpoint_of_another_size_is_refused() -> None:
    log = make_log(9)

    with pytest.raises((ProofMalformed, RootMismatch)):
        verify_receipt(log.receipt(1, size=5, checkpoint=log.note(9)), KEY)


def test_verify_receipt_with_an_enlarged_checkpoint_is_refused() -> None:
    log = make_log(5)

    with pytest.raises(SignatureInvalid):
        verify_receipt(log.receipt(1, checkpoint=log.note().replace("\n5\n", "\n6\n")), KEY)


@pytest.mark.parametrize("claimed", [None, "00" * 32])
def test_verify_receipt_naming_another_digest_than_its_entry_is_refused(
    claimed: str | None,
) -> None:
    with pytest.raises(ResultMismatch):
        verify_receipt(make_log(3).receipt(1, content_sha256=claimed), KEY)


def test_verify_receipt_of_an_act_without_result_holds_and_speaks_for_no_result() -> None:
    log = make_log(3, lambda n: make_entry(n, type="grant:issued", payload={}))
    receipt = log.receipt(1, content_sha256=None)

    assert verify_receipt(receipt, KEY).entry.type == "grant:issued"
    with pytest.raises(ResultMismatch, match="grant:issued states none"):
        verify_receipt(receipt, KEY, RESULT)


def test_check_result_compares_the_digest() -> None:
    check_result(make_entry(), RESULT_SHA256)

    with pytest.raises(ResultMismatch):
        check_result(make_entry(), RESULT_SHA256.upper())


@pytest.mark.parametrize(
    "change",
    [
        {"format": "bonded-receipt/2"},
        {"format": None},
        {"more": 1},
        {"index": True},
        {"index": "1"},
        {"entry": {}},
        {"checkpoint": 1},
        {"proof": "AA=="},
        {"proof": [1]},
        {"proof": ["AB=="]},
        {"content_sha256": 7},
    ],
)
def test_load_receipt_of_another_shape_is_refused(change: dict[str, object]) -> None:
    document = json.loads(dump_receipt(make_log(3).receipt(1))) | change
    data = json.dumps(document, sort_keys=True, separators=(",", ":"), ensure_ascii=False)

    with pytest.raises(ReceiptMalformed):
        load_receipt(data.encode() + b"\n")


def test_load_receipt_without_a_field_is_refused() -> None:
    document = json.loads(dump_receipt(make_log(3).receipt(1)))
    del document["content_sha256"]
    data = json.dumps(document, sort_keys=True, separators=(",", ":"), ensure_ascii=False)

    with pytest.raises(ReceiptMalformed, match="6 fields"):
        load_receipt(data.encode() + b"\n")


def test_load_receipt_too_long_is_refused_before_it_is_read() -> None:
    with pytest.raises(ReceiptMalformed, match="at most 1048576 bytes"):
        load_receipt(b" " * 1_048_577)
    with pytest.raises(ReceiptMalformed, match="newline"):
        load_receipt(b" " * 1_048_576)


@pytest.mark.parametrize("data", [b"", b"{}", b"{}\n", b"[]\n"])
def test_load_receipt_of_no_receipt_is_refused(data: bytes) -> None:
    with pytest.raises(ReceiptMalformed):
        load_receipt(data)


def test_load_receipt_written_for_people_is_refused() -> None:
    """Only one spelling is a receipt, or a byte could be altered without consequence."""
    document = json.loads(dump_receipt(make_log(3).receipt(1)))

    with pytest.raises(ReceiptMalformed, match="another form"):
        load_receipt(json.dumps(document, indent=2).encode() + b"\n")


def test_dump_receipt_is_canonical_json_and_shows_the_entry() -> None:
    """What stands here is on other people's disks: a change needs a new version."""
    log = make_log(3)

    document = json.loads(dump_receipt(log.receipt(1)))

    assert document == {
        "checkpoint": log.note(),
        "content_sha256": RESULT_SHA256,
        "entry": log.entries[1].decode(),
        "format": "bonded-receipt/1",
        "index": 1,
        "proof": [canonical.encode_bytes(h) for h in log.receipt(1).proof],
    }
    assert decode_entry(document["entry"].encode()) == make_entry(1)


def test_dump_receipt_of_no_entry_is_refused() -> None:
    with pytest.raises(EntryMalformed):
        dump_receipt(replace(make_log(3).receipt(1), entry=b"\xff"))

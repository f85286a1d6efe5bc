from __future__ import annotations

import base64

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ledger import merkle
from ledger.checkpoint import (
    Checkpoint,
    check_growth,
    checkpoint_text,
    parse_checkpoint,
    sign_checkpoint,
    verify_checkpoint,
)
from ledger.errors import (
    CheckpointMalformed,
    CheckpointRolledBack,
    ProofMalformed,
    RootMismatch,
)
from ledger.note import sign_note
from tests.factories.ledger import KEY, SIGNER, STRANGER, make_entry, make_log

ROOT = bytes(range(32))
ROOT_TEXT = base64.b64encode(ROOT).decode()
ORIGIN = SIGNER.name


@settings(deadline=None)
@given(size=st.integers(1, 2**63 - 1), root=st.binary(min_size=32, max_size=32))
def test_verify_checkpoint_after_sign_is_identity(size: int, root: bytes) -> None:
    checkpoint = Checkpoint(ORIGIN, size, root)

    assert parse_checkpoint(checkpoint_text(checkpoint)) == checkpoint
    assert verify_checkpoint(sign_checkpoint(checkpoint, SIGNER), KEY) == checkpoint


def test_checkpoint_of_the_largest_size_is_read() -> None:
    largest = Checkpoint(ORIGIN, 2**63 - 1, ROOT)

    assert parse_checkpoint(checkpoint_text(largest)) == largest


def test_checkpoint_text_is_three_lines() -> None:
    assert checkpoint_text(Checkpoint(ORIGIN, 7, ROOT)) == f"{ORIGIN}\n7\n{ROOT_TEXT}\n"


@pytest.mark.parametrize(
    "text",
    [
        "",
        f"{ORIGIN}\n7\n{ROOT_TEXT}",
        f"\n7\n{ROOT_TEXT}\n",
        f"a b\n7\n{ROOT_TEXT}\n",
        f"{ORIGIN}\n07\n{ROOT_TEXT}\n",
        f"{ORIGIN}\n-7\n{ROOT_TEXT}\n",
        f"{ORIGIN}\n+7\n{ROOT_TEXT}\n",
        f"{ORIGIN}\n٧\n{ROOT_TEXT}\n",
        f"{ORIGIN}\n{2**63}\n{ROOT_TEXT}\n",
        f"{ORIGIN}\n7\n{ROOT_TEXT[:-2]}9=\n",
        f"{ORIGIN}\n7\n{ROOT_TEXT[4:]}\n",
        f"{ORIGIN}\n7\n{ROOT_TEXT}\nextension\n",
        f"{ORIGIN}\n0\n{ROOT_TEXT}\n",
    ],
)
def test_parse_checkpoint_in_another_form_is_refused(text: str) -> None:
    with pytest.raises(CheckpointMalformed):
        parse_checkpoint(text)


@pytest.mark.parametrize(
    ("origin", "size", "root"),
    [
        ("", 1, ROOT),
        ("a b", 1, ROOT),
        (ORIGIN, -1, ROOT),
        (ORIGIN, 2**63, ROOT),
        (ORIGIN, 1, ROOT[:31]),
        (ORIGIN, 0, ROOT),
    ],
)
def test_checkpoint_of_such_values_is_refused(origin: str, size: int, root: bytes) -> None:
    with pytest.raises(CheckpointMalformed):
        Checkpoint(origin, size, root)


def test_sign_checkpoint_of_another_log_is_refused() -> None:
    with pytest.raises(CheckpointMalformed, match=STRANGER.name):
        sign_checkpoint(Checkpoint(ORIGIN, 7, ROOT), STRANGER)


def test_verify_checkpoint_signed_for_another_log_is_refused() -> None:
    """A key speaks for the log of its own name and for no other."""
    note = sign_note(checkpoint_text(Checkpoint(STRANGER.name, 7, ROOT)), [SIGNER])

    with pytest.raises(CheckpointMalformed, match=STRANGER.name):
        verify_checkpoint(note, KEY)


def test_verify_checkpoint_of_other_text_is_refused() -> None:
    with pytest.raises(CheckpointMalformed):
        verify_checkpoint(sign_note("hello\n", [SIGNER]), KEY)


@pytest.mark.parametrize(("old", "new"), [(0, 0), (0, 5), (3, 5), (4, 5), (5, 5)])
def test_check_growth_of_one_log_holds(old: int, new: int) -> None:
    log = make_log(5)
    proof = merkle.prove_consistency(log.store, old, new) if old else ()

    check_growth(log.checkpoint(old), log.checkpoint(new), proof)


def test_check_growth_from_the_empty_log_takes_no_proof() -> None:
    log = make_log(5)

    with pytest.raises(ProofMalformed):
        check_growth(log.checkpoint(0), log.checkpoint(5), [bytes(32)])


def test_check_growth_smaller_is_refused() -> None:
    log = make_log(5)

    with pytest.raises(
        CheckpointRolledBack, match="at least 5 entries are expected, 3 came"
    ):
        check_growth(log.checkpoint(5), log.checkpoint(3), [])


def test_check_growth_two_roots_of_one_size_is_refused() -> None:
    told_one, told_another = make_log(5), make_log(5, lambda n: make_entry(n + 1))

    with pytest.raises(RootMismatch) as refused:
        check_growth(told_one.checkpoint(), told_another.checkpoint(), [])

    assert refused.value.expected == told_one.checkpoint().root
    assert refused.value.calculated == told_another.checkpoint().root


def test_check_growth_of_two_logs_is_refused() -> None:
    later = Checkpoint(STRANGER.name, 7, ROOT)

    with pytest.raises(CheckpointMalformed):
        check_growth(make_log(5).checkpoint(), later, [])

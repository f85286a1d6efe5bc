from __future__ import annotations

import io
import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ledger.checkpoint import Checkpoint
from ledger.errors import (
    LedgerError,
    LogIncomplete,
    LogMalformed,
    ProofMalformed,
    RootMismatch,
    SignerUnknown,
)
from ledger.log import (
    MAX_LINE_BYTES,
    LogHeader,
    dump_log,
    read_log,
    verify_log,
    verify_log_export,
)
from tests.factories.ledger import KEY, STRANGER, altered, make_entry, make_log


def lines(export: bytes) -> list[bytes]:
    return io.BytesIO(export).readlines()


@settings(deadline=None)
@given(size=st.integers(0, 20), data=st.data())
def test_verify_log_export_of_any_part_to_the_end_proves_it(
    size: int, data: st.DataObject
) -> None:
    start = data.draw(st.integers(0, size))
    passed = data.draw(st.lists(st.integers(start, size), max_size=3))
    log = make_log(size)

    verified = verify_log_export(
        lines(log.export(start)), KEY, passed=[log.checkpoint(each) for each in passed]
    )

    assert verified.checkpoint == log.checkpoint()
    assert verified.start == start


@pytest.mark.parametrize(("start", "size"), [(0, 5), (3, 5)])
def test_verify_log_export_altered_in_any_byte_is_refused(start: int, size: int) -> None:
    for copy in altered(make_log(size).export(start)):
        with pytest.raises(LedgerError):
            verify_log_export(lines(copy), KEY)


@pytest.mark.long
def test_verify_log_export_altered_in_any_way_in_one_byte_is_refused() -> None:
    for copy in altered(make_log(3).export(), masks=tuple(range(1, 256))):
        with pytest.raises(LedgerError):
            verify_log_export(lines(copy), KEY)


def test_verify_log_export_truncated_anywhere_is_refused() -> None:
    export = make_log(3).export()
    for length in range(len(export)):
        with pytest.raises(LedgerError):
            verify_log_export(lines(export[:length]), KEY)


@settings(deadline=None)
@given(size=st.integers(2, 20), data=st.data())
def test_verify_log_with_an_entry_removed_added_or_moved_is_refused(
    size: int, data: st.DataObject
) -> None:
    log = make_log(size)
    first, second = data.draw(
        st.lists(st.integers(0, size - 1), min_size=2, max_size=2, unique=True)
    )
    moved = list(log.entries)
    moved[first], moved[second] = moved[second], moved[first]
    removed = log.entries[:first] + log.entries[first + 1 :]
    replaced = [*removed, log.entries[first - 1]]
    added = [*log.entries, log.entries[first]]

    for entries in (moved, replaced):
        if entries != log.entries:
            with pytest.raises(RootMismatch):
                verify_log(entries, log.checkpoint())
    for entries in (removed, added):
        with pytest.raises(LogIncomplete):
            verify_log(entries, log.checkpoint())


def test_verify_log_passing_through_another_history_is_refused() -> None:
    """The same last checkpoint cannot excuse an earlier one that told something else."""
    log, told_before = make_log(7), make_log(4, lambda n: make_entry(n + 1))

    with pytest.raises(RootMismatch, match="log of 4 entries"):
        verify_log(log.entries, log.checkpoint(), passed=[told_before.checkpoint()])


def test_verify_log_two_checkpoints_of_one_size_and_two_roots_is_refused() -> None:
    log = make_log(4)
    other = Checkpoint(KEY.name, 4, bytes(32))

    with pytest.raises(RootMismatch):
        verify_log(log.entries, log.checkpoint(), passed=[log.checkpoint(), other])


@pytest.mark.parametrize("passed", [2, 6])
def test_verify_log_checkpoint_outside_the_export_is_refused(passed: int) -> None:
    log = make_log(7)
    export = log.export(start=3, size=5)

    with pytest.raises(LogIncomplete, match=f"up to {passed} are expected, 3 to 5 came"):
        verify_log_export(lines(export), KEY, passed=[log.checkpoint(passed)])


def test_verify_log_starting_beyond_its_checkpoint_is_refused() -> None:
    log = make_log(7)

    with pytest.raises(LogIncomplete):
        verify_log([], log.checkpoint(2), start=3, left=[bytes(32), bytes(32)])


def test_verify_log_with_another_frontier_is_refused() -> None:
    log = make_log(7)

    with pytest.raises(RootMismatch):
        verify_log(log.entries[4:], log.checkpoint(), start=4, left=[bytes(32)])
    with pytest.raises(ProofMalformed):
        verify_log(log.entries[4:], log.checkpoint(), start=4, left=[])


def test_verify_log_export_by_another_node_is_refused() -> None:
    with pytest.raises(SignerUnknown):
        verify_log_export(lines(make_log(3).export()), STRANGER.verifier_key)


def test_read_log_yields_what_dump_log_wrote() -> None:
    log = make_log(5)

    header, entries = read_log(lines(log.export(3)))

    assert header.checkpoint == log.note()
    assert header.start == 3
    assert list(entries) == log.entries[3:]


def test_dump_log_of_a_whole_log_starts_at_the_first_entry() -> None:
    """What stands here is on other people's disks: a change needs a new version."""
    log = make_log(2)

    header, *entries = dump_log(LogHeader(log.note()), log.entries)

    assert json.loads(header) == {
        "checkpoint": log.note(),
        "format": "bonded-log/1",
        "left": [],
        "start": 0,
    }
    assert entries == [entry + b"\n" for entry in log.entries]


@pytest.mark.parametrize(
    "change",
    [
        {"format": "bonded-log/2"},
        {"more": 1},
        {"start": -1},
        {"start": True},
        {"start": "0"},
        {"left": "AA=="},
        {"left": [1]},
        {"checkpoint": None},
    ],
)
def test_read_log_header_of_another_shape_is_refused(change: dict[str, object]) -> None:
    document = json.loads(lines(make_log(1).export())[0]) | change
    data = json.dumps(document, sort_keys=True, separators=(",", ":"), ensure_ascii=False)

    with pytest.raises(LogMalformed):
        read_log([data.encode() + b"\n"])


@pytest.mark.parametrize("data", [[], [b""], [b"{}\n"], [b"[]\n"], [b"{}"]])
def test_read_log_of_no_export_is_refused(data: list[bytes]) -> None:
    with pytest.raises(LogMalformed):
        read_log(data)


def test_read_log_line_too_long_is_refused() -> None:
    header = lines(make_log(0).export())[0]
    _, entries = read_log([header, b"x" * MAX_LINE_BYTES + b"\n"])

    with pytest.raises(LogMalformed, match="at most 1048576 bytes"):
        list(entries)


def test_read_log_line_at_the_limit_is_read() -> None:
    header = lines(make_log(0).export())[0]
    longest = b"x" * (MAX_LINE_BYTES - 1)

    assert list(read_log([header, longest + b"\n"])[1]) == [longest]

import dataclasses
import gc
import json
import socket
from concurrent.futures import ThreadPoolExecutor
from typing import Any, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sandbox import codec, control, protocol
from sandbox.errors import ProtocolError

TABLE = protocol.EncryptedTable(
    "t", "v1", (protocol.StoredFile("a", "00", 3, 1),), bytes(32)
)
SCHEMA = protocol.TableSchema("t", (("a", "BIGINT"), ("é中", "DECIMAL(10,2)")))
SOURCE = protocol.SealedSource(TABLE.files[0], b"\x01" * 32)
MESSAGES: list[codec.Message] = [
    protocol.ProfileJob(
        "j", SOURCE, protocol.Format.CSV, protocol.CsvOptions(";"), "v", ("o",), b"k"
    ),
    protocol.PartitionJob("j", TABLE, ("id",), b"s", "v", ("o", "p"), b"k"),
    protocol.PartitionJob(
        *("j", TABLE, (), b"s"),
        groups=(protocol.GroupOutput("hidden", ("a",), ("q",), b"\x01" * 32),),
    ),
    protocol.AnalyseJob("j", "SELECT 1", "p", "{}", (SCHEMA,)),
    protocol.ExecuteJob("j", "SELECT 1", "p", "{}", (TABLE,), (SCHEMA,), "f", ("h",)),
    protocol.SubsetJob("j", "{}", 0, ("a",), TABLE, SCHEMA, 5, (("l", "x"),), "o", b"k"),
    protocol.RekeyJob("j", "v", "g", TABLE.files, b"k", ("o",), b"l"),
    protocol.RekeyOutcome(TABLE.files),
    protocol.ProfileOutcome(
        1, (protocol.ColumnProfile("a", "BIGINT", 0.0, 1),), TABLE.files
    ),
    protocol.PartitionOutcome(TABLE.files, 1, 1, SCHEMA),
    protocol.AnalyseOutcome("{}"),
    protocol.ExecuteOutcome(
        (("a", "BIGINT"),), ((1, 1.5, True, None, "x"),), ((3,),), 1, False, "f", "SELECT"
    ),
    protocol.SubsetOutcome(TABLE.files[0], "00", 1, 1, (("a", "BIGINT"),)),
    protocol.Refusal("upload_bad_row", "m", "h", 3, "c", (("a", "b", "c"),)),
    control.HealthQuestion(),
    control.Cancel("j"),
    control.Forget("v"),
    control.ProgressQuestion("j"),
    control.Progress(1, 2),
    control.KeyQuestion(),
    control.KeyOffer(b"k"),
    control.Done(2),
    control.HealthReport((control.Layer("landlock", True, True),), 1, 0, 0, 0, "2"),
    control.Exit("j", control.Ending.LOST, 9),
    control.Start("job", 1, 2, protocol.Limits()),
    control.Offered((("t", (1, 2)),), 3, (0, 32)),
    control.Wanted((("t", (1, 0)),)),
]


def payload(message: codec.Message) -> bytes:
    return codec.frame_payload(codec.encode(message))


def test_messages_above_are_all_there_are() -> None:
    kinds = set(get_args(protocol.Message) + get_args(control.Control))

    assert {type(message) for message in MESSAGES} == kinds


@pytest.mark.parametrize("message", MESSAGES, ids=lambda m: type(m).__name__)
def test_decode_after_encode_is_identity(message: codec.Message) -> None:
    again = codec.decode(payload(message))

    assert again == message
    assert codec.encode(again) == codec.encode(message)


@pytest.mark.parametrize("message", MESSAGES, ids=lambda m: type(m).__name__)
def test_decode_refuses_every_altered_document(message: codec.Message) -> None:
    for altered in alterations(json.loads(payload(message))):
        with pytest.raises(ProtocolError):
            codec.decode(json.dumps(altered).encode())


def alterations(document: dict[str, Any]) -> list[Any]:
    body = document["body"]
    bodies = [{**body, "more": 1}, [], "x", None, 5]
    for name, value in body.items():
        bodies.append({key: item for key, item in body.items() if key != name})
        if not isinstance(value, dict):
            bodies.append({**body, name: {"a": 1}})
        if isinstance(value, list):
            bodies.append({**body, name: [*value, {"a": [1.5]}]})
    return [
        *({**document, "body": changed} for changed in bodies),
        {**document, "version": 2},
        {**document, "version": True},
        {**document, "version": "1"},
        {**document, "type": "Job"},
        {**document, "type": []},
        {**document, "more": 1},
        [document],
    ]


@pytest.mark.parametrize("cell", ["NaN", "1e999", "-1e999", "[1]", '{"a":1}', '"x",[]'])
def test_decode_refuses_a_row_with_what_is_no_cell(cell: str) -> None:
    """Rows are taken whole where they fit: one that does not is looked at cell by cell."""
    outcome = next(m for m in MESSAGES if isinstance(m, protocol.ExecuteOutcome))
    plain = dataclasses.replace(outcome, rows=((1, "a", None, True, 2.5), (7,)))
    text = codec.frame_payload(codec.encode(plain)).decode()
    assert codec.decode(text.encode()) == plain

    with pytest.raises(ProtocolError):
        codec.decode(text.replace("[7]", f"[7,{cell}]").encode())


def test_decode_of_a_long_frame_leaves_the_collector_on() -> None:
    outcome = next(m for m in MESSAGES if isinstance(m, protocol.ExecuteOutcome))
    long = dataclasses.replace(outcome, rows=(("a",),) * 200_000, withheld=((),) * 200_000)
    frame = codec.frame_payload(codec.encode(long))
    assert len(frame) > codec._MANY_BYTES

    with ThreadPoolExecutor(4) as pool:
        assert all(one == long for one in pool.map(codec.decode, [frame] * 8))
    with pytest.raises(ProtocolError):
        codec.decode(frame[:-1])

    assert gc.isenabled()


def test_repr_of_jobs_shows_no_key() -> None:
    for message in MESSAGES:
        assert "\\x01\\x01" not in repr(message)
        assert "\\x00\\x00" not in repr(message)


def test_encode_refuses_what_json_cannot_hold() -> None:
    outcome = next(m for m in MESSAGES if isinstance(m, protocol.ExecuteOutcome))

    for value in (float("nan"), float("inf"), "\ud800", object()):
        with pytest.raises(ProtocolError):
            codec.encode(dataclasses.replace(outcome, rows=((value,),)))  # type: ignore[arg-type]


def test_encode_refuses_a_frame_that_is_too_long(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ProtocolError, match="at most"):
        codec.encode(protocol.AnalyseOutcome("x" * (protocol.MAX_FRAME_BYTES + 1)))


@given(junk=st.binary(max_size=200))
def test_decode_survives_junk(junk: bytes) -> None:
    with pytest.raises(ProtocolError):
        codec.decode(junk)


def test_receive_tells_the_end_from_a_cut_frame() -> None:
    frame = codec.encode(control.Cancel("j"))
    for cut in range(len(frame) + 1):
        left, right = socket.socketpair()
        with left, right:
            left.sendall(frame[:cut])
            left.close()
            if cut in (0, len(frame)):
                assert codec.receive(right) == (control.Cancel("j") if cut else None)
            else:
                with pytest.raises(ProtocolError):
                    codec.receive(right)


def test_receive_refuses_a_long_announcement_before_reading_it() -> None:
    left, right = socket.socketpair()
    with left, right:
        left.sendall(b"\xff\xff\xff\xff")
        with pytest.raises(ProtocolError, match="at most 10"):
            codec.receive(right, max_bytes=10)

"""Whatever comes in at the door: refused or ignored, and the daemon goes on."""

from __future__ import annotations

import json
import socket

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sandbox import codec, protocol
from sandbox.errors import ProtocolError
from sandbox.protocol import AnalyseJob, Limits
from tests.attacks.sandbox.served import Bypassed

pytestmark = pytest.mark.sandboxed

scalars = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20)
values = st.recursive(
    scalars,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.text(max_size=12), inner, max_size=4)
    ),
    max_leaves=12,
)
kinds = st.sampled_from([*codec._KINDS, "Nothing", ""])
bodies = st.builds(
    lambda kind, body, version: json.dumps(
        {"type": kind, "body": body, "version": version}
    ).encode(),
    kinds,
    values,
    st.sampled_from([protocol.VERSION, 0, "1", None, True, 1.0]),
)


@given(st.binary(max_size=300) | bodies)
def test_decode_takes_a_message_or_refuses(payload: bytes) -> None:
    try:
        message = codec.decode(payload)
    except ProtocolError:
        return

    assert codec.decode(codec.frame_payload(codec.encode(message))) == message


@given(st.data())
def test_decode_of_a_message_altered_in_one_place_is_a_message_or_refused(
    data: st.DataObject,
) -> None:
    job = AnalyseJob("a", "SELECT 1", "p", "{}", (), Limits())
    whole = bytearray(codec.frame_payload(codec.encode(job)))
    place = data.draw(st.integers(0, len(whole) - 1))
    whole[place] = data.draw(st.integers(0, 255))
    try:
        message = codec.decode(bytes(whole))
    except ProtocolError:
        return

    assert isinstance(message, AnalyseJob)


@pytest.mark.parametrize(
    "number", ["NaN", "Infinity", "-Infinity", "1e999", "1" + "0" * 400]
)
def test_limit_that_is_no_number_is_refused(number: str) -> None:
    """A deadline that is not finite would never come."""
    job = codec.frame_payload(codec.encode(AnalyseJob("a", "s", "p", "{}", ())))
    altered = job.replace(
        b'"deadline_seconds":60.0', f'"deadline_seconds":{number}'.encode()
    )
    assert altered != job

    with pytest.raises(ProtocolError):
        codec.decode(altered)


def speak(bypassed: Bypassed, data: bytes) -> bytes:
    """What the door answers to these bytes, after which the client says no more."""
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(10)
        client.connect(str(bypassed.socket))
        try:
            client.sendall(data)
            client.shutdown(socket.SHUT_WR)
            return client.recv(1 << 16)
        except (BrokenPipeError, ConnectionResetError):
            return b""


def framed(payload: bytes) -> bytes:
    return len(payload).to_bytes(4, "big") + payload


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.binary(max_size=200) | st.builds(framed, st.binary(max_size=200) | bodies))
def test_door_answers_garbage_by_a_refusal_or_not_at_all(
    bypassed: Bypassed, data: bytes
) -> None:
    said = speak(bypassed, data)

    if said:
        message = codec.decode(codec.frame_payload(said))
        assert isinstance(message, protocol.Refusal) or type(message).__name__ in {
            "HealthReport",
            "Done",
        }


def test_door_lives_after_all_of_it(bypassed: Bypassed) -> None:
    for data in (
        framed(b"[" * 1_000_000),
        framed(b'{"type":"AnalyseJob","version":1,"body":' + b"{}" + b"}"),
        b"\xff\xff\xff\xff",
        b"GET / HTTP/1.1\r\n\r\n",
        framed(codec.frame_payload(codec.encode(protocol.Refusal("a", "b")))),
    ):
        speak(bypassed, data)

    assert bypassed.run("SELECT 6 * 7").rows == (("42",),)
    assert bypassed.process.poll() is None

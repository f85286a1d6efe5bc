"""Messages with descriptors over a Unix stream socket, between the daemon's own processes.

A record is 4 bytes length, 4 bytes number of descriptors, the payload, then the
descriptors in messages of at most 250 (the kernel takes 253), one zero byte each.
"""

from __future__ import annotations

import os
import socket
import struct
from collections.abc import Sequence

from sandbox.errors import ProtocolError
from sandbox.protocol import MAX_FRAME_BYTES

_HEAD = struct.Struct(">II")
_MOST_PER_MESSAGE = 250
_MOST_DESCRIPTORS = 10_000
# Room for a frame within a frame: base64 and the wrapper around it.
_MOST_BYTES = 2 * MAX_FRAME_BYTES


def send(channel: socket.socket, payload: bytes, descriptors: Sequence[int] = ()) -> None:
    """Hand over `payload` and duplicates of `descriptors`; they stay open here."""
    channel.sendall(_HEAD.pack(len(payload), len(descriptors)) + payload)
    for start in range(0, len(descriptors), _MOST_PER_MESSAGE):
        part = list(descriptors[start : start + _MOST_PER_MESSAGE])
        socket.send_fds(channel, [b"\0"], part)


def receive(channel: socket.socket) -> tuple[bytes, list[int]] | None:
    """Return the next payload and its descriptors, which are the caller's to close.

    None when the peer closed. Raises ProtocolError on anything but a whole record.
    """
    head = _read(channel, _HEAD.size, may_end=True)
    if head is None:
        return None
    length, count = _HEAD.unpack(head)
    if length > _MOST_BYTES or count > _MOST_DESCRIPTORS:
        raise ProtocolError("a record is longer than any that this daemon writes")
    payload = _read(channel, length) or b""
    descriptors: list[int] = []
    try:
        while len(descriptors) < count:
            byte, received, _, _ = socket.recv_fds(channel, 1, _MOST_PER_MESSAGE)
            descriptors += received
            if not byte or not received or len(descriptors) > count:
                raise ProtocolError("the peer closed among the descriptors")  # noqa: TRY301 - the handler below closes what came
    except BaseException:
        close_all(descriptors)
        raise
    return payload, descriptors


def read(channel: socket.socket, count: int) -> bytes:
    """Return the next `count` bytes. Raises ProtocolError if the peer closed before."""
    return _read(channel, count) or b""


def close_all(descriptors: Sequence[int]) -> None:
    """Close each descriptor."""
    for descriptor in descriptors:
        os.close(descriptor)


def _read(channel: socket.socket, count: int, *, may_end: bool = False) -> bytes | None:
    buffer = bytearray()
    while len(buffer) < count:
        # Exactly as many bytes as are missing: more would drop descriptors that come after.
        # read, not recv: a worker's filter has no call that could name a socket's address.
        piece = os.read(channel.fileno(), count - len(buffer))
        if not piece:
            if may_end and not buffer:
                return None
            raise ProtocolError("the peer closed inside a record")
        buffer += piece
    return bytes(buffer)

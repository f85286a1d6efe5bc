"""A process that analyses one query after another: it has text and schemas, never a row.

It is confined as a worker is, holds no key and no image, and is killed at a deadline and
replaced after whatever did not end well, after many jobs, or when it has grown: a text that
harms the parser harms its own analysis only.
"""

from __future__ import annotations

import contextlib
import os
import resource
import socket
import struct

import duckdb

from sandbox import analyse, codec, protocol
from sandbox.engine import open_engine
from sandbox.errors import ProtocolError, SandboxError
from sandbox.processes import channel, lockdown
from sandbox.processes.answering import answer, cpu_seconds, write_all
from sandbox.refusal import to_refusal

# Its own, for all jobs of its life; a job's deadline is the fork server's to keep.
LIMITS = protocol.Limits(
    deadline_seconds=3600.0, memory_bytes=512 * 1024**2, output_bytes=2**25, threads=1
)
_MOST_JOBS = 1000
_MOST_GROWTH_BYTES = 256 * 1024**2

# After each job: whether this process may take another, its CPU seconds so far.
REPORT = struct.Struct(">?d")


def serve(control: socket.socket, parent: int) -> None:
    """Answer analyse jobs from `control` until it closes; never raises.

    A record holds one job's frame and the socket for its answer. For each one goes a
    `REPORT` back; after one that says no, this process ends.
    """
    with contextlib.suppress(OSError, SandboxError):
        footprint = lockdown.confine_waiting(parent=parent, keep=[control.fileno()])
        lockdown.confine_run(LIMITS, footprint)
        connection = open_engine({}, LIMITS)
        least = _resident_bytes()
        for count in range(1, _MOST_JOBS + 1):
            record = channel.receive(control)
            if record is None:
                return
            payload, (reply,) = record
            frame, is_well = _answer(payload, connection)
            is_well &= count < _MOST_JOBS
            is_well &= _resident_bytes() - least < _MOST_GROWTH_BYTES
            # Before the answer, so that whoever asks again finds this process waiting.
            write_all(control.fileno(), REPORT.pack(is_well, cpu_seconds()))
            with contextlib.suppress(OSError):  # nobody waits for it any more
                write_all(reply, frame)
            os.close(reply)
            if not is_well:
                return


def _answer(payload: bytes, connection: duckdb.DuckDBPyConnection) -> tuple[bytes, bool]:
    try:
        job = codec.decode(codec.frame_payload(payload))
        if not isinstance(job, protocol.AnalyseJob):
            raise ProtocolError("an analyser analyses")
        return answer(job.limits, lambda _: analyse.run(job, connection))
    except SandboxError as error:
        return codec.encode(to_refusal(error)), False


def _resident_bytes() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024

"""One job in a process of its own: locked down, waiting, run, one frame written, gone."""

from __future__ import annotations

import contextlib
import dataclasses
import socket

from sandbox import codec, protocol, subset
from sandbox.control import Start
from sandbox.errors import ProtocolError, SandboxError, SandboxUnavailable
from sandbox.intake import ingest
from sandbox.intake.partition import partition
from sandbox.job_keys import with_keys
from sandbox.processes import channel, lockdown
from sandbox.processes.answering import Scan, answer, write_all
from sandbox.processes.image_source import PulledImages
from sandbox.refusal import to_refusal

# Measured over 60,000 rows: one thread 62 ms of processor time, two 85 ms.
_BYTES_PER_MORE_THREAD = 1024**2


@dataclasses.dataclass(frozen=True, slots=True)
class Descriptors:
    """What a worker was given: its own socket, its image source, files to write."""

    reply: int
    source: int
    outputs: tuple[int, ...]
    scratch: tuple[int, ...] = ()  # empty files in memory


def wait_for_job(control: socket.socket, parent: int) -> None:
    """Be confined, wait for the one job of this process, answer it; never raises.

    Requires a freshly forked process with one thread. Returns when the job is answered, or
    when `control` closes without one.
    """
    problem: SandboxError | None = None
    footprint: lockdown.Footprint | None = None
    try:
        footprint = lockdown.confine_waiting(parent=parent, keep=[control.fileno()])
    except SandboxError as error:
        problem = error
    record = channel.receive(control)
    control.close()
    if record is None:
        return
    payload, descriptors = record
    frame = b""
    try:
        if footprint is None:
            raise problem or SandboxUnavailable("the worker is not confined")
        start, job, given = _unpack(payload, descriptors)
        is_filling = start.scratch > 0
        lockdown.confine_run(start.limits, footprint, fills_memory=is_filling)
        frame, _ = answer(start.limits, lambda scan: _run(job, given, scan))
    except SandboxError as error:
        frame = codec.encode(to_refusal(error))
    finally:
        with contextlib.suppress(OSError):
            write_all(descriptors[0], frame)


def _unpack(
    payload: bytes, descriptors: list[int]
) -> tuple[Start, protocol.Job, Descriptors]:
    start, job = map(codec.decode, codec.split_frames(payload))
    if not isinstance(start, Start) or not isinstance(job, protocol.Job):
        raise ProtocolError("a worker takes a Start and its job")
    reply, source, *files = descriptors
    if len(files) != start.outputs + start.scratch:
        raise ProtocolError(f"{len(files)} files came with a job that has another number")
    outputs, scratch = files[: start.outputs], files[start.outputs :]
    return start, job, Descriptors(reply, source, tuple(outputs), tuple(scratch))


def _run(job: protocol.Job, given: Descriptors, scan: Scan) -> protocol.Outcome:
    # By number and kind: what asks the kernel for them is not in the filter.
    family, kind = socket.AF_UNIX, socket.SOCK_STREAM
    with socket.socket(family, kind, 0, fileno=given.source) as source:
        images = PulledImages(source)
        try:
            return _dispatch(with_keys(job, images.keys), given, images)
        finally:
            scan.opened_bytes = images.opened_bytes


def _dispatch(
    job: protocol.Job, given: Descriptors, images: PulledImages
) -> protocol.Outcome:
    if isinstance(job, protocol.ProfileJob):
        return ingest.profile_upload(job, images, given.outputs, given.scratch)
    if isinstance(job, protocol.PartitionJob):
        return partition(job, images, given.outputs, given.scratch)
    if isinstance(job, protocol.SubsetJob):
        return subset.write_package(job, images, given.outputs[0])
    if isinstance(job, protocol.AnalyseJob):
        raise ProtocolError("analysis is not done by workers")
    if isinstance(job, protocol.RekeyJob):
        raise ProtocolError("a new key is given by the unsealer, not by a worker")
    from sandbox import execute

    job = dataclasses.replace(job, limits=_with_fit_threads(job.limits, images))
    return execute.run(job, images)


def _with_fit_threads(limits: protocol.Limits, images: PulledImages) -> protocol.Limits:
    """Take more threads only where there is work for them: over little they cost more."""
    content = sum(size for sizes in images.tables.values() for size in sizes)
    threads = 1 + content // _BYTES_PER_MORE_THREAD
    return dataclasses.replace(limits, threads=min(limits.threads, threads))

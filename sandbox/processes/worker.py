"""One job in a process of its own: locked down, run, one frame written, gone."""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import os
import resource
import socket
import time
import traceback
from pathlib import Path

import duckdb

from policies.errors import PolicyError
from sandbox import codec, protocol, subset
from sandbox.engine import open_engine
from sandbox.errors import EngineFailed, ResourceExceeded, SandboxError
from sandbox.intake import ingest
from sandbox.intake.partition import partition
from sandbox.processes import lockdown
from sandbox.processes.image_source import PulledImages, open_everything
from sandbox.refusal import to_refusal


@dataclasses.dataclass(frozen=True, slots=True)
class Descriptors:
    """What a worker was given: its own socket, its image source, files to write."""

    reply: int
    source: int
    outputs: tuple[int, ...]
    scratch: tuple[int, ...] = ()  # empty files in memory

    def all(self) -> list[int]:
        """Every descriptor that must stay open."""
        return [self.reply, self.source, *self.outputs, *self.scratch]


def main(job: protocol.Job, descriptors: Descriptors, parent: int) -> None:
    """Run `job` and write its outcome or refusal to the reply socket; never raises.

    Requires a freshly forked process with one thread.
    """
    try:
        lockdown.confine_worker(
            job.limits,
            parent=parent,
            keep=descriptors.all(),
            fills_memory=bool(descriptors.scratch),
        )
        message = run(job, descriptors)
        frame = _limited_frame(message, job.limits)
    except SandboxError as error:
        frame = codec.encode(to_refusal(error))
    except Exception as error:  # noqa: BLE001 - the last resort of a process; told below
        frame = codec.encode(to_refusal(_unexpected(error)))
    with contextlib.suppress(OSError):
        _write_all(descriptors.reply, frame)


def run(job: protocol.Job, descriptors: Descriptors) -> protocol.Outcome:
    """Dispatch by kind; errors of engine, policy and memory come out as ours."""
    started = time.monotonic()
    try:
        # By number and kind: what asks the kernel for them is not in the filter.
        with socket.socket(
            socket.AF_UNIX, socket.SOCK_STREAM, 0, fileno=descriptors.source
        ) as channel:
            images = PulledImages(channel)
            outcome = _dispatch(job, descriptors, images)
    except (MemoryError, duckdb.OutOfMemoryException) as error:
        raise _out_of_memory(job.limits) from error
    except duckdb.Error as error:
        # Its text quotes values ("Could not convert string '...'"): it stays here.
        raise EngineFailed(
            f"the engine refused the statement ({type(error).__name__})",
            hint="Simplify it, or report it with its fingerprint.",
        ) from error
    except OSError as error:
        if error.errno != errno.EFBIG:
            raise
        # Files in memory are memory too, and a file's size has the limit of the memory.
        raise _out_of_memory(job.limits) from error
    except PolicyError as error:
        raise SandboxError(error.message, hint=error.hint, code=error.code) from error
    used = resource.getrusage(resource.RUSAGE_SELF)
    metering = protocol.Metering(
        cpu_seconds=round(used.ru_utime + used.ru_stime, 4),
        peak_memory_bytes=used.ru_maxrss * 1024,
        bytes_scanned=images.opened_bytes,
        wall_seconds=round(time.monotonic() - started, 4),
    )
    return dataclasses.replace(outcome, metering=metering)


def _dispatch(
    job: protocol.Job, given: Descriptors, images: PulledImages
) -> protocol.Outcome:
    if isinstance(job, protocol.ProfileJob):
        return ingest.profile_upload(job, images, given.outputs[0], given.scratch)
    if isinstance(job, protocol.PartitionJob):
        return partition(job, open_everything(images), given.outputs)
    if isinstance(job, protocol.SubsetJob):
        return subset.write_package(job, open_everything(images), given.outputs[0])
    if isinstance(job, protocol.AnalyseJob):
        from sandbox import analyse

        return analyse.run(job)
    from sandbox import execute

    paths = open_everything(images)
    with contextlib.closing(open_engine(paths, job.limits)) as connection:
        return execute.run(job, connection)


def _limited_frame(outcome: protocol.Outcome, limits: protocol.Limits) -> bytes:
    frame = codec.encode(outcome)
    if len(frame) > limits.output_bytes:
        raise ResourceExceeded(
            f"the answer has {len(frame)} bytes, {limits.output_bytes} are allowed",
            hint="Ask for fewer rows or columns.",
        )
    return frame


def _out_of_memory(limits: protocol.Limits) -> ResourceExceeded:
    return ResourceExceeded(
        f"the job needs more than its {limits.memory_bytes} bytes of memory",
        hint="Ask for less at once, or have the node's operator raise the limit.",
    )


def _unexpected(error: Exception) -> SandboxError:
    """Where it happened and of which kind: no text, which may quote values."""
    frames = traceback.extract_tb(error.__traceback__)
    place = f"{Path(frames[-1].filename).name}:{frames[-1].lineno}" if frames else "?"
    return EngineFailed(
        f"the worker stopped at {place} ({type(error).__name__})",
        hint="Report this place to the maintainers; the data is unharmed.",
    )


def _write_all(descriptor: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]

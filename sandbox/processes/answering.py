"""From a job to the one frame that leaves its process: an outcome, metered, or a refusal.

What the engine, Arrow or Python say of an error may quote values: it becomes one of our
codes here, and its text goes no further.
"""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import os
import resource
import time
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path

import duckdb

from policies.errors import PolicyError
from sandbox import codec, protocol
from sandbox.errors import EngineFailed, ResourceExceeded, SandboxError
from sandbox.files.vault import NO_SPACE, no_space
from sandbox.refusal import to_refusal


@dataclasses.dataclass(slots=True)
class Scan:
    """The bytes of images that a run has opened so far, whatever it ends with."""

    opened_bytes: int = 0


Run = Callable[[Scan], protocol.Outcome]


def answer(limits: protocol.Limits, run: Run) -> tuple[bytes, bool]:
    """Return the frame of what `run` ended with, and whether that was an outcome."""
    started, before, scan = time.monotonic(), cpu_seconds(), Scan()
    try:
        with _errors_as_ours(limits):
            outcome = run(scan)
        metered = dataclasses.replace(outcome, metering=_metering(started, before, scan))
        return _limited_frame(metered, limits), True
    except Exception as error:  # noqa: BLE001 - the last resort of a process; told below
        ours = error if isinstance(error, SandboxError) else _unexpected(error)
        ours.metering = _metering(started, before, scan)
        return codec.encode(to_refusal(ours)), False


def _metering(started: float, cpu_before: float, scan: Scan) -> protocol.Metering:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return protocol.Metering(
        cpu_seconds=round(used.ru_utime + used.ru_stime - cpu_before, 4),
        peak_memory_bytes=used.ru_maxrss * 1024,
        bytes_scanned=scan.opened_bytes,
        wall_seconds=round(time.monotonic() - started, 4),
    )


def write_all(descriptor: int, data: bytes) -> None:
    """Write all of `data`."""
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]


def cpu_seconds() -> float:
    """Return what all threads of this process have used so far."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


@contextlib.contextmanager
def _errors_as_ours(limits: protocol.Limits) -> Iterator[None]:
    try:
        yield
    except (MemoryError, duckdb.OutOfMemoryException) as error:
        raise _out_of_memory(limits) from error
    except duckdb.Error as error:
        # Its text quotes values ("Could not convert string '...'"): it stays here.
        raise EngineFailed(
            f"the engine refused the statement ({type(error).__name__})",
            hint="Simplify it, or report it with its fingerprint.",
        ) from error
    except OSError as error:
        if error.errno in NO_SPACE:
            raise no_space() from error
        if error.errno != errno.EFBIG:
            raise
        # Files in memory are memory too, and a file's size has the limit of the memory.
        raise _out_of_memory(limits) from error
    except PolicyError as error:
        raise SandboxError(error.message, hint=error.hint, code=error.code) from error


def _limited_frame(outcome: protocol.Outcome, limits: protocol.Limits) -> bytes:
    rows = len(outcome.rows) if isinstance(outcome, protocol.ExecuteOutcome) else 0
    if rows > protocol.MAX_RESULT_ROWS:
        # Small ones by the million would hold up who passes them on, deadline or not.
        raise ResourceExceeded(
            f"the answer has {rows} rows, {protocol.MAX_RESULT_ROWS} are allowed",
            hint="Ask for fewer rows: by coarser groups, or with LIMIT.",
        )
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

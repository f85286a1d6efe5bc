"""A sandbox daemon whose workers run what a test hands them, the policy engine bypassed.

`python -m tests.attacks.sandbox.bypass --socket S --vault V` is the real daemon with the
real door, unsealer, fork server and lock-down. Only one thing differs, in the fork server
that it starts: an execute job's text is not analysed but run as it stands, as SQL on the
locked engine, or as a Python function of `acts` (`python NAME ARGUMENTS-AS-JSON`). Jobs of
ingest run such a function where their version's name says so, and answer by a refusal.
Nothing of this is reachable from `sandbox` itself.
"""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
from collections.abc import Callable
from typing import Any

from sandbox import __main__ as entry
from sandbox import execute, protocol
from sandbox.engine import open_engine
from sandbox.errors import UploadRejected
from sandbox.intake import ingest
from sandbox.processes import daemon, worker
from sandbox.processes.image_source import ImageSource, open_everything

PYTHON = "python "


def run_unchecked(job: protocol.ExecuteJob, images: ImageSource) -> Any:
    """Take the place of `sandbox.execute.run` in this test's fork server."""
    paths = open_everything(images)
    if job.sql.startswith(PYTHON):
        return _outcome([(_acted(job.sql),)])
    # A worker takes one thread for little content; bombs get all that may be had.
    limits = dataclasses.replace(job.limits, threads=2)
    engine = open_engine(paths, limits)
    return _outcome(engine.execute(job.sql).fetchall())


def instead_of(real: Callable[..., Any]) -> Callable[..., Any]:
    """Take the place of an ingest job's work where the job's version names an act."""

    def work(job: protocol.ProfileJob | protocol.PartitionJob, *given: Any) -> Any:
        if job.version_id.startswith(PYTHON):
            raise UploadRejected(_acted(job.version_id))
        return real(job, *given)

    return work


def _acted(text: str) -> str:
    from tests.attacks.sandbox import acts

    name, _, arguments = text.removeprefix(PYTHON).partition(" ")
    return json.dumps(getattr(acts, name)(*json.loads(arguments or "[]")), default=str)


def _outcome(rows: list[Any]) -> protocol.ExecuteOutcome:
    texts = tuple(tuple(str(value) for value in row) for row in rows)
    width = len(texts[0]) if texts else 0
    return protocol.ExecuteOutcome(
        columns=tuple((f"c{index}", "VARCHAR") for index in range(width)),
        rows=texts,
        withheld=((),) * len(texts),
        suppressed=0,
        partial=False,
        fingerprint="",
        executed_sql="",
    )


class _StartsBypassed(subprocess.Popen[bytes]):
    """Start the fork server of this module in place of the real one."""

    def __init__(self, command: list[str], **options: Any) -> None:
        if command[1:3] == ["-m", "sandbox"] and "forkserver" in command:
            command = [command[0], "-m", __spec__.name, *command[3:]]
        super().__init__(command, **options)


class _Processes:
    """What the daemon's module sees as `subprocess`."""

    Popen = _StartsBypassed
    DEVNULL = subprocess.DEVNULL
    TimeoutExpired = subprocess.TimeoutExpired


def main(arguments: list[str]) -> int:
    """Be the daemon, or its fork server."""
    if "forkserver" in arguments:
        from tests.attacks.sandbox import acts  # noqa: F401 - a worker can load no module

        execute.run = run_unchecked
        ingest.profile_upload = instead_of(ingest.profile_upload)
        real = getattr(worker, "partition")  # noqa: B009 - the module's own import
        setattr(worker, "partition", instead_of(real))  # noqa: B010
    else:
        setattr(daemon, "subprocess", _Processes)  # noqa: B010 - the module's own import
    return entry.main(arguments)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

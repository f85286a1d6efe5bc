"""The bypassed daemon as a fixture, and one statement run in it with its footprint."""

from __future__ import annotations

import contextlib
import itertools
import json
import re
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pyarrow as pa

from sandbox.errors import SandboxError, UploadRejected
from sandbox.files.pme import aad_prefix
from sandbox.files.sealing import SealWriter
from sandbox.launcher import Daemon
from sandbox.protocol import (
    CsvOptions,
    EncryptedTable,
    ExecuteJob,
    ExecuteOutcome,
    Format,
    Limits,
    PartitionJob,
    ProfileJob,
    SealedSource,
    StoredFile,
)
from tests.unit.sandbox.daemon_fixture import (
    POLICY,
    PURPOSE,
    descendants_of,
    wait_until_serving,
)
from tests.unit.sandbox.files.tables import write

LIMITS = Limits(deadline_seconds=4, memory_bytes=256 * 1024**2, threads=2)
RELEASED = "released"
_SAMPLE_SECONDS = 0.01
_serial = itertools.count(1)


@dataclass(frozen=True, slots=True)
class Ended:
    """How a statement ended: an error's code, or `released`; and what it took."""

    code: str
    seconds: float
    worker_bytes: int  # the highest resident set of any worker meanwhile
    daemon_bytes: int  # the same of door, unsealer and fork server together
    rows: tuple[tuple[Any, ...], ...] = ()
    message: str = ""


@dataclass(frozen=True, slots=True)
class IngestKeys:
    """What a job of ingest is sent: of what it reads, of what it writes, of the hash."""

    source: bytes
    output: bytes
    shards: bytes


_KEYS = IngestKeys(b"a" * 32, b"b" * 32, b"c" * 32)


@dataclass
class Bypassed:
    """The daemon, and its three processes by role."""

    client: Daemon
    process: subprocess.Popen[bytes]
    vault: Path
    socket: Path
    _roles: dict[str, int] = field(default_factory=dict)

    @property
    def roles(self) -> dict[str, int]:
        """Process number of `door`, `unsealer` and `forkserver`."""
        if not self._roles:
            self._roles["door"] = self.process.pid
            for pid in children_of(self.process.pid):
                line = Path(f"/proc/{pid}/cmdline").read_bytes().decode().split("\0")
                self._roles[line[line.index("--role") + 1]] = pid
        return self._roles

    def workers(self) -> list[int]:
        """Every process below the fork server."""
        return descendants_of(self.roles["forkserver"])

    def run(self, sql: str, limits: Limits = LIMITS) -> ExecuteOutcome:
        """What the worker gave for `sql`; raises as the door says."""
        name = f"attack-{next(_serial)}"
        job = ExecuteJob(name, sql, PURPOSE, POLICY, (), (), "", limits=limits)
        outcome = self.client.run(job)
        assert isinstance(outcome, ExecuteOutcome)
        return outcome

    def act(self, name: str, *arguments: object, limits: Limits = LIMITS) -> Any:
        """What the function `name` of `acts` gave inside a worker."""
        text = json.dumps(arguments)
        return json.loads(str(self.run(f"python {name} {text}", limits).rows[0][0]))

    def act_in_ingest(
        self, kind: str, name: str, *arguments: object, keys: IngestKeys = _KEYS
    ) -> Any:
        """What the function `name` of `acts` gave inside a worker of ingest.

        `kind` is `profile` or `partition`.
        """
        number, text = next(_serial), f"python {name} {json.dumps(arguments)}"
        job = (self._profile if kind == "profile" else self._partition)(number, text, keys)
        try:
            self.client.run(job)
        except UploadRejected as error:
            return json.loads(error.message)
        raise AssertionError("the worker of ingest did its work instead of the act")

    def _profile(self, number: int, text: str, keys: IngestKeys) -> ProfileJob:
        upload = f"upload-{number}"
        with (
            (self.vault / upload).open("wb") as file,
            SealWriter(file, keys.source, upload) as writer,
        ):
            writer.write(b"id\n1\n2\n3\n")
        stored = StoredFile(upload, writer.sealed_sha256, writer.sealed_size)
        return ProfileJob(
            f"attack-{number}",
            SealedSource(stored, keys.source),
            Format.CSV,
            CsvOptions(),
            text,
            (f"staged-{number}",),
            keys.output,
            replace(LIMITS, deadline_seconds=60),
        )

    def _partition(self, number: int, text: str, keys: IngestKeys) -> PartitionJob:
        content, place = pa.table({"id": [1, 2, 3]}), self.vault / f"table-{number}"
        stored = write(place, content, aad_prefix("v", 0), key=keys.source)
        return PartitionJob(
            f"attack-{number}",
            EncryptedTable("t", "v", (stored,), keys.source),
            ("id",),
            keys.shards,
            text,
            (f"part-{number}",),
            keys.output,
            replace(LIMITS, deadline_seconds=60),
        )

    def watch(self, sql: str, limits: Limits = LIMITS) -> Ended:
        """Run `sql` and say how it ended; never raises a SandboxError."""
        with _Watch(self) as watch:
            started = time.monotonic()
            code, message = RELEASED, ""
            rows: tuple[tuple[Any, ...], ...] = ()
            try:
                rows = self.run(sql, limits).rows
            except SandboxError as error:
                code, message = error.code, error.message
            seconds = time.monotonic() - started
        return Ended(code, seconds, watch.worker_bytes, watch.daemon_bytes, rows, message)


class _Watch:
    """Reads resident sets of all processes, many times a second."""

    def __init__(self, served: Bypassed) -> None:
        self._served = served
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._look_again)
        self.worker_bytes = 0
        self.daemon_bytes = 0

    def __enter__(self) -> _Watch:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _look_again(self) -> None:
        roles = list(self._served.roles.values())
        while not self._stop.wait(_SAMPLE_SECONDS):
            for pid in self._served.workers():
                self.worker_bytes = max(self.worker_bytes, figure(pid, "VmHWM"))
            now = sum(figure(pid, "VmRSS") for pid in roles)
            self.daemon_bytes = max(self.daemon_bytes, now)


def figure(pid: int, name: str) -> int:
    """A line of /proc/PID/status in bytes (`VmRSS`), or as it is (`Threads`); 0 if gone."""
    try:
        text = Path(f"/proc/{pid}/status").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return 0
    found = re.search(rf"^{name}:\s+(\d+)( kB)?", text, re.M)
    if found is None:
        return 0
    return int(found[1]) * (1024 if found[2] else 1)


def children_of(pid: int) -> list[int]:
    """Process numbers of the children of `pid`."""
    text = Path(f"/proc/{pid}/task/{pid}/children").read_text()
    return [int(child) for child in text.split()]


@contextlib.contextmanager
def serving_bypassed(directory: Path, *, workers: int = 2) -> Iterator[Bypassed]:
    """A daemon whose workers run what they are handed."""
    vault, path = directory / "vault", directory / "run" / "sandbox.sock"
    vault.mkdir(parents=True, exist_ok=True)
    process = subprocess.Popen(
        [
            *(sys.executable, "-m", "tests.attacks.sandbox.bypass", "--socket", str(path)),
            *("--vault", str(vault), "--workers", str(workers), "--cache-mb", "64"),
        ],
        stderr=subprocess.DEVNULL,
    )
    client = Daemon(path)
    try:
        wait_until_serving(client, process)
        yield Bypassed(client, process, vault, path)
    finally:
        process.terminate()
        process.wait(20)

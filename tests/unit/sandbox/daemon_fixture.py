"""A real sandbox daemon over a vault in a temporary directory."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from sandbox.errors import SandboxUnavailable
from sandbox.files.sealing import SealWriter
from sandbox.launcher import Daemon
from sandbox.protocol import (
    CsvOptions,
    EncryptedTable,
    Format,
    Limits,
    PartitionJob,
    PartitionOutcome,
    ProfileJob,
    ProfileOutcome,
    SealedSource,
    StoredFile,
)

UPLOAD_KEY, STAGED_KEY, DATA_KEY = b"u" * 32, b"g" * 32, b"d" * 32
PURPOSE = "predictive-maintenance"
LIMITS = Limits()
POLICY = """
version: 1
tables:
  mill:
    units: [{domain: machine, column: id}]
    columns:
      id: {role: unit_key}
      type: {role: dimension, values: public}
      torque: {role: measure, grid: 5}
      fail: {role: label}
      secret: {role: hidden}
rules:
  - kind: aggregate
    mode: safe
    min_units: 10
    aggregates: [count, sum]
    purposes: [predictive-maintenance]
    approval: automatic
  - kind: subset
    columns: [id, type, torque, fail]
    label: fail
    row_filter: "type = 'L'"
    max_rows: 100
    licence: CDLA-Permissive-2.0
    pseudonymise: [id]
    approval: {reviewers: 1}
"""


def mill_csv(rows: int = 3000) -> bytes:
    lines = [
        f"{i},{'LMH'[i % 3]},{i % 50}.{i % 10},2020-01-{i % 28 + 1:02d},{i % 7 == 0:d},s{i}"
        for i in range(rows)
    ]
    return ("id,type,torque,day,fail,secret\n" + "\n".join(lines) + "\n").encode()


@dataclass
class Served:
    """The daemon as a client and as a process."""

    client: Daemon
    process: subprocess.Popen[bytes]
    vault: Path
    socket: Path

    def upload(self, content: bytes, name: str) -> SealedSource:
        with (
            (self.vault / name).open("wb") as file,
            SealWriter(file, UPLOAD_KEY, name) as writer,
        ):
            writer.write(content)
        stored = StoredFile(name, writer.sealed_sha256, writer.sealed_size)
        return SealedSource(stored, UPLOAD_KEY)

    def profile(
        self,
        content: bytes,
        name: str,
        *,
        form: Format = Format.CSV,
        limits: Limits = LIMITS,
    ) -> ProfileOutcome:
        job = ProfileJob(
            name,
            self.upload(content, f"{name}.sealed"),
            form,
            CsvOptions(),
            f"{name}-staged",
            (f"{name}/staged", f"{name}/staged-too"),
            STAGED_KEY,
            limits,
        )
        outcome = self.client.run(job)
        assert isinstance(outcome, ProfileOutcome)
        return outcome

    def publish(
        self,
        content: bytes,
        name: str,
        *,
        units: tuple[str, ...] = ("id",),
        shards: int = 2,
    ) -> tuple[EncryptedTable, PartitionOutcome]:
        staged = self.profile(content, name).staged
        source = EncryptedTable("mill", f"{name}-staged", staged, STAGED_KEY)
        outputs = tuple(f"{name}/shard-{index}" for index in range(shards))
        job = PartitionJob(
            name, source, units, b"s" * 32, name, outputs, DATA_KEY, Limits()
        )
        outcome = self.client.run(job)
        assert isinstance(outcome, PartitionOutcome)
        return EncryptedTable("mill", name, outcome.files, DATA_KEY), outcome

    def direct_children(self) -> list[int]:
        """The unsealer and the fork server."""
        pid = self.process.pid
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text()
        return [int(child) for child in children.split()]

    def descendants(self) -> list[int]:
        """Every process below the daemon's."""
        return descendants_of(self.process.pid)


def descendants_of(pid: int) -> list[int]:
    found = []
    children = Path(f"/proc/{pid}/task/{pid}/children")
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):
        for child in map(int, children.read_text().split()):
            found += [child, *descendants_of(child)]
    return found


def is_alive(pid: int) -> bool:
    try:
        return " Z " not in Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False


@contextlib.contextmanager
def serving(
    directory: Path, *, workers: int = 2, more: tuple[str, ...] = ()
) -> Iterator[Served]:
    vault, path = directory / "vault", directory / "run" / "sandbox.sock"
    vault.mkdir(exist_ok=True)
    process = subprocess.Popen(
        [
            *(sys.executable, "-m", "sandbox", "--socket", str(path)),
            *("--vault", str(vault), "--workers", str(workers), "--cache-mb", "64"),
            *more,
        ],
        env={**os.environ, "BONDED_TEST_SECRET": "must-not-be-seen"},
        stderr=subprocess.DEVNULL,
    )
    client = Daemon(path)
    try:
        wait_until_serving(client, process)
        yield Served(client, process, vault, path)
    finally:
        process.terminate()
        process.wait(20)


def wait_until_serving(client: Daemon, process: subprocess.Popen[bytes]) -> None:
    stop = time.monotonic() + 30
    while time.monotonic() < stop and process.poll() is None:
        with contextlib.suppress(SandboxUnavailable):
            client.health()
            return
        time.sleep(0.05)
    raise AssertionError("the sandbox daemon does not serve")

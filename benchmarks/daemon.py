"""The product's sandbox daemon over a vault, for as long as a benchmark needs it."""

from __future__ import annotations

import contextlib
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from sandbox.errors import SandboxUnavailable
from sandbox.launcher import Daemon

_READY_SECONDS = 60


@contextlib.contextmanager
def serving(vault: Path, *, cache_mb: int = 4096, workers: int = 2) -> Iterator[Daemon]:
    """Start the daemon, wait until it answers, and stop it afterwards."""
    with tempfile.TemporaryDirectory(prefix="bonded-benchmark-") as folder:
        address = Path(folder) / "sandbox.sock"
        process = subprocess.Popen(
            [
                sys.executable, "-m", "sandbox", "--socket", str(address),
                "--vault", str(vault), "--workers", str(workers),
                "--cache-mb", str(cache_mb),
            ],
            cwd=Path(__file__).resolve().parent.parent,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )  # fmt: skip
        try:
            yield _ready(Daemon(address), process)
        finally:
            process.terminate()
            process.wait(20)


def _ready(daemon: Daemon, process: subprocess.Popen[bytes]) -> Daemon:
    stop = time.monotonic() + _READY_SECONDS
    while time.monotonic() < stop and process.poll() is None:
        with contextlib.suppress(SandboxUnavailable):
            daemon.health()
            return daemon
        time.sleep(0.05)
    raise SystemExit("the sandbox daemon of the benchmark did not start")

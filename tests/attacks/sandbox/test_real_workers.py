"""What no worker may do, tried inside each kind of worker that a running daemon starts."""

from __future__ import annotations

import contextlib
import os
import secrets
import signal
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from sandbox.errors import WorkerLost
from sandbox.processes import forbidden
from tests.attacks.sandbox.served import Bypassed, IngestKeys
from tests.unit.sandbox import key_search

pytestmark = pytest.mark.sandboxed
KINDS = ("query", "profile", "partition")
NAMES = sorted({attack.__name__ for attack in forbidden.WORKER_ATTACKS})
STOPPED = {"PermissionError", "OSError", "MemoryError", "ValueError"}


def act(bypassed: Bypassed, kind: str, name: str, *arguments: object) -> Any:
    if kind == "query":
        return bypassed.act(name, *arguments)
    return bypassed.act_in_ingest(kind, name, *arguments)


@pytest.mark.parametrize("kind", KINDS)
def test_act_runs_in_the_worker_of_that_kind(kind: str, bypassed: Bypassed) -> None:
    told = act(bypassed, kind, "identity")
    open_files = [
        item["path"] for item in act(bypassed, kind, "descriptors", ["id\n1"], "")
    ]

    assert told["parent"] == bypassed.roles["forkserver"]
    assert told["environment"] == {}
    # Files in memory that it fills tell one that ingests from one that answers queries.
    scratch = [path for path in open_files if path.startswith("/memfd:scratch")]
    assert len(scratch) == {"query": 0, "profile": 6, "partition": 3}[kind]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", NAMES)
def test_forbidden_act_is_stopped_in_every_worker(
    name: str, kind: str, bypassed: Bypassed
) -> None:
    assert act(bypassed, kind, "attempt", name) in STOPPED


@pytest.mark.parametrize("kind", ["profile", "partition"])
def test_worker_of_ingest_has_the_keys_it_writes_with_and_nobody_else(
    kind: str, bypassed: Bypassed
) -> None:
    """As docs/threats.md says it; what they read comes to them in clear, without a key."""
    source, output, shards = (secrets.token_bytes(32) for _ in range(3))
    keys = IngestKeys(source, output, shards)

    def ingest() -> None:
        with contextlib.suppress(WorkerLost):
            bypassed.act_in_ingest(kind, "sleep", 60, keys=keys)

    thread = threading.Thread(target=ingest)
    thread.start()
    worker = _filling(bypassed)
    try:
        written = [output] if kind == "profile" else [output, shards]
        held = {key: key_search.in_process(worker, [key]) for key in written}
        read = key_search.in_process(worker, [source])
        unsealer = key_search.in_process(bypassed.roles["unsealer"], [source])
        others = {
            pid: key_search.in_process(pid, [source, *written])
            for pid in (bypassed.roles["door"], *bypassed.workers())
            if pid != worker
        }
    except PermissionError:
        pytest.skip("this user may not read the memory of other processes")
    finally:
        os.kill(worker, signal.SIGKILL)
        thread.join(20)

    assert all(held.values())
    assert read == 0
    assert unsealer > 0  # the search finds what is there
    assert not any(others.values())
    assert key_search.in_process(bypassed.roles["forkserver"], [source, *written]) == 0
    assert key_search.in_process(bypassed.roles["unsealer"], [source, *written]) == 0


def _filling(bypassed: Bypassed) -> int:
    """The worker that was given files in memory to fill."""
    stop = time.monotonic() + 20
    while time.monotonic() < stop:
        for pid in bypassed.workers():
            with contextlib.suppress(FileNotFoundError, ProcessLookupError):
                links = [str(item.readlink()) for item in Path(f"/proc/{pid}/fd").iterdir()]
                if any(link.startswith("/memfd:scratch") for link in links):
                    return pid
    raise AssertionError("no worker ingests")

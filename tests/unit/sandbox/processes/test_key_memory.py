"""Where a job's keys are while it runs and afterwards: searched in every process's memory.

`pytest -s` shows the table; docs/threats.md holds it.
"""

from __future__ import annotations

import os
import secrets
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pytest

from sandbox.files.pme import aad_prefix
from sandbox.files.sealing import SealWriter
from sandbox.processes import memory
from sandbox.protocol import (
    AnalyseJob,
    ColumnGroup,
    CsvOptions,
    EncryptedTable,
    ExecuteJob,
    ExecuteOutcome,
    Format,
    Limits,
    PartitionJob,
    ProfileJob,
    ProfileOutcome,
    SealedSource,
    StoredFile,
    TableSchema,
)
from tests.unit.sandbox import key_search
from tests.unit.sandbox.daemon_fixture import (
    POLICY,
    PURPOSE,
    Served,
    descendants_of,
    mill_csv,
    serving,
)
from tests.unit.sandbox.files.tables import write

pytestmark = pytest.mark.sandboxed
ROWS = 240_000
SQL = "SELECT type, count(*) AS n, sum(torque) AS t FROM mill GROUP BY type"
SCHEMA = TableSchema(
    "mill",
    (("id", "BIGINT"), ("type", "VARCHAR"), ("torque", "DOUBLE"), ("secret", "VARCHAR")),
)
# Numbers from here on are images: the worker has them from the unsealer.
FIRST_IMAGE = 100


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with serving(tmp_path_factory.mktemp("keys")) as running:
        try:
            Path(f"/proc/{running.process.pid}/mem").open("rb").close()
            key_search.in_process(running.direct_children()[0], [])
        except PermissionError:
            pytest.skip("this user may not read the memory of other processes")
        yield running


def table_in(vault: Path, key: bytes, hidden_key: bytes) -> EncryptedTable:
    columns = pa.table(
        {
            "id": pa.array(range(ROWS), pa.int64()),
            "type": ["LMH"[i % 3] for i in range(ROWS)],
            "torque": [float(i % 50) for i in range(ROWS)],
        }
    )
    own = write(vault / "own", columns, aad_prefix("v", 0), key=key, batch=50_000)
    names = pa.table({"secret": [f"s{i}" for i in range(ROWS)]})
    prefix = aad_prefix("v", 0, "hidden")
    hidden = write(vault / "hidden", names, prefix, key=hidden_key, batch=50_000)
    group = ColumnGroup("hidden", ("secret",), (hidden,), hidden_key)
    return EncryptedTable("mill", "v", (own,), key, (group,))


def worker_with_images(served: Served, stop_at: float) -> int:
    """The pid of a worker that has its job's images, halted."""
    while time.monotonic() < stop_at:
        for pid in served.descendants():
            if Path(f"/proc/{pid}/fd/{FIRST_IMAGE}").exists():
                os.kill(pid, signal.SIGSTOP)
                return pid
    raise AssertionError("no worker got an image")


def search(served: Served, keys: list[bytes], worker: int = 0) -> dict[str, int]:
    """By part of the daemon, how often the keys stand in its memory."""
    found = {"door": key_search.in_process(served.process.pid, keys)}
    for pid in descendants_of(served.process.pid):
        role = key_search.role_of(pid)
        if role == "forkserver" and pid not in served.direct_children():
            role = "worker" if pid == worker else "waiting workers"
        found[role] = found.get(role, 0) + key_search.in_process(pid, keys)
    return found


def show(title: str, found: dict[str, int]) -> None:
    print(f"{title}: " + ", ".join(f"{role} {n}" for role, n in sorted(found.items())))  # noqa: T201 - the table is for people


def test_keys_of_a_query_are_in_the_unsealer_only(served: Served) -> None:
    key, hidden_key = secrets.token_bytes(32), secrets.token_bytes(32)
    table = table_in(served.vault, key, hidden_key)
    analysed = served.client.run(AnalyseJob("a", SQL, PURPOSE, POLICY, (SCHEMA,)))
    fingerprint = analysed.shape.split('"fingerprint":"')[1].split('"')[0]  # type: ignore[union-attr]
    job = ExecuteJob("e", SQL, PURPOSE, POLICY, (table,), (SCHEMA,), fingerprint)
    outcomes: list[object] = []
    thread = threading.Thread(target=lambda: outcomes.append(served.client.run(job)))
    thread.start()

    worker = worker_with_images(served, time.monotonic() + 60)
    try:
        during = search(served, [key, hidden_key], worker)
    finally:
        os.kill(worker, signal.SIGCONT)
    thread.join(60)
    after = search(served, [key, hidden_key])

    show("a query, while it runs", during)
    show("a query, afterwards", after)
    assert isinstance(outcomes[0], ExecuteOutcome)
    assert during.pop("unsealer") > 0  # the search finds what is there
    assert set(during) >= {"door", "forkserver", "worker"}
    assert not any(during.values())
    assert not any(after.values())
    assert key_search.in_files(served.vault.parent, [key, hidden_key]) == []


def test_keys_of_an_upload_are_in_no_process_afterwards(served: Served) -> None:
    upload, staged, shards, output = (secrets.token_bytes(32) for _ in range(4))
    keys = [upload, staged, shards, output]
    with (
        (served.vault / "up").open("wb") as file,
        SealWriter(file, upload, "up") as writer,
    ):
        writer.write(mill_csv(5000))
    source = SealedSource(
        StoredFile("up", writer.sealed_sha256, writer.sealed_size), upload
    )
    job = ProfileJob("p", source, Format.CSV, CsvOptions(), "s", ("staged",), staged)

    profiled = served.client.run(job)
    assert isinstance(profiled, ProfileOutcome)
    table = EncryptedTable("mill", "s", profiled.staged, staged)
    served.client.run(
        PartitionJob("q", table, ("id",), shards, "w", ("part",), output, Limits())
    )

    after = search(served, keys)
    show("an upload, afterwards", after)
    assert not any(after.values())
    assert key_search.in_files(served.vault.parent, keys) == []


def test_no_process_of_the_daemon_leaves_a_core_file(served: Served) -> None:
    for pid in served.descendants():
        limits = Path(f"/proc/{pid}/limits").read_text()
        line = next(x for x in limits.splitlines() if x.startswith("Max core file size"))
        assert line.split()[4:6] == ["0", "0"]


def test_wipe_clears_the_bytes_of_a_key() -> None:
    key = secrets.token_bytes(32)
    address, copy = id(key), bytearray(key)

    memory.wipe(key)

    assert key == bytes(32)
    assert id(key) == address
    assert copy != bytearray(32)


@pytest.mark.parametrize("shift", range(3))
def test_key_search_finds_every_form(shift: int) -> None:
    import base64

    key = secrets.token_bytes(32)
    for text in (
        key,
        key.hex().encode(),
        base64.b64encode(os.urandom(shift) + key + b"rest"),
        base64.urlsafe_b64encode(key),
    ):
        assert key_search.count_in(b"x" * 100 + text + b"y", [key]) == 1
    assert key_search.count_in(os.urandom(10_000), [key]) == 0

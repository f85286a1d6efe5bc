"""Attacks on the lock-down, run inside a worker with analysis and policy bypassed.

Each attack is tried without the lock-down too: one that fails there as well shows nothing.
"""

from __future__ import annotations

import json
import os
import signal
import struct
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from sandbox.engine import open_engine
from sandbox.errors import SandboxUnavailable
from sandbox.processes import daemon, forbidden, lockdown, selfcheck, syscalls
from sandbox.protocol import Limits

pytestmark = pytest.mark.sandboxed
LIMITS = Limits(deadline_seconds=20, memory_bytes=256 * 1024**2)
# One instruction: whatever comes, allow it.
ALLOW_ALL = struct.pack("=HBBI", 6, 0, 0, 0x7FFF0000)
ATTACKS = selfcheck._ATTACKS["worker"]


def in_fork(run: Callable[[], object], *, locked: bool) -> object:
    """What `run` returned, or the name of its error, in a child; its fate if it died."""
    reading, writing = os.pipe()
    parent = os.getpid()
    pid = os.fork()
    if pid == 0:
        try:
            signal.alarm(60)
            if locked:
                lockdown.confine_worker(LIMITS, parent=parent, keep=[writing])
            try:
                said: object = run()
            except BaseException as error:  # noqa: BLE001
                said = type(error).__name__
            os.write(writing, json.dumps(said, default=str).encode())
        finally:
            os._exit(0)
    os.close(writing)
    with os.fdopen(reading, "rb") as pipe:
        said = pipe.read()
    _, status = os.waitpid(pid, 0)
    return json.loads(said) if said else f"status {status}"


def beside_a_bystander(attack: Callable[[], None]) -> object:
    """As `in_fork` unlocked, the parent attacked being a process nobody needs."""
    reading, writing = os.pipe()
    bystander = os.fork()
    if bystander == 0:
        os.close(reading)
        os.write(writing, json.dumps(in_fork(attack, locked=False)).encode())
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading, "rb") as pipe:
        if attack is forbidden._trace_parent:
            # The tracer stops its parent for good: that is the success.
            time.sleep(1)
            stopped = "(stopped)" in Path(f"/proc/{bystander}/status").read_text() or (
                "tracing stop" in Path(f"/proc/{bystander}/status").read_text()
            )
            os.kill(bystander, signal.SIGKILL)
            os.waitpid(bystander, 0)
            return None if stopped else "not traced"
        said = pipe.read()
    os.waitpid(bystander, 0)
    return json.loads(said)


@pytest.mark.parametrize("attack", ATTACKS, ids=lambda a: a.__name__.strip("_"))
def test_attack_is_blocked_in_a_worker(attack: Callable[[], None]) -> None:
    said = in_fork(attack, locked=True)

    assert said in ("PermissionError", "OSError", "MemoryError", "ValueError")


@pytest.mark.parametrize("attack", ATTACKS, ids=lambda a: a.__name__.strip("_"))
def test_attack_succeeds_without_the_lock_down(attack: Callable[[], None]) -> None:
    switch = Path("/proc/sys/kernel/io_uring_disabled")
    if attack is forbidden._io_uring and switch.exists() and switch.read_text() != "0\n":
        pytest.skip("this kernel has io_uring switched off")

    said = beside_a_bystander(attack)

    # /bin/true replaced the child, which then says nothing; the memory hog may be held.
    assert said is None or (attack is forbidden._execute and said == "status 0")


ENGINE_ATTACKS = [
    "SELECT * FROM read_text('/etc/passwd')",
    "SELECT * FROM read_text('/proc/self/environ')",
    "SELECT * FROM read_csv('/proc/{parent}/environ', columns={{'a': 'VARCHAR'}})",
    "SELECT * FROM read_parquet('http://127.0.0.1:1/x.parquet')",
    "COPY (SELECT 1) TO '/tmp/bonded-out.csv'",
    "COPY (SELECT 1) TO '/proc/self/fd/1'",
    "ATTACH '/tmp/bonded-out.db' AS o",
    "INSTALL httpfs",
    "LOAD '/tmp/evil.duckdb_extension'",
    "EXPORT DATABASE '/tmp/bonded-export'",
]


@pytest.mark.parametrize("sql", ENGINE_ATTACKS)
def test_unlocked_engine_gets_nowhere_in_a_worker(sql: str) -> None:
    """As if every engine setting had been got round: the process still holds."""
    parent = os.getpid()

    def attack() -> object:
        import duckdb

        connection = duckdb.connect(":memory:")
        return connection.execute(sql.format(parent=parent)).fetchall()

    said = in_fork(attack, locked=True)

    assert isinstance(said, str)
    assert said.endswith(("Exception", "Error"))
    assert not Path("/tmp/bonded-out.csv").exists()  # noqa: S108


def test_locked_engine_works_in_a_worker() -> None:
    def work() -> object:
        connection = open_engine({}, LIMITS)
        return connection.execute("SELECT sum(i) FROM range(1000000) r(i)").fetchall()[0][0]

    assert in_fork(work, locked=True) == str(499999500000) or in_fork(
        work, locked=True
    ) == (499999500000)


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT length(repeat('x', 2000000000))",
        "SELECT len(list_aggregate(range(400000000), 'sum')::VARCHAR)",
        "SELECT count(*) FROM (SELECT DISTINCT md5(i::VARCHAR) FROM range(30000000) r(i))",
    ],
)
def test_memory_of_the_engine_is_held_by_the_process(sql: str) -> None:
    def work() -> object:
        connection = open_engine({}, LIMITS)
        result = connection.execute(sql).fetchall()
        peak = int(Path("/proc/self/statm").read_text().split()[1])
        return [str(result), peak]

    said = in_fork(work, locked=True)

    # Refused, dead by its limit, or done within it: never beyond.
    assert isinstance(said, str)


def test_environment_of_a_worker_is_empty() -> None:
    assert in_fork(lambda: dict(os.environ), locked=True) == {}


def test_only_given_descriptors_are_open_in_a_worker() -> None:
    secret = os.open("/etc/passwd", os.O_RDONLY)

    def look() -> object:
        return os.read(secret, 10).decode()

    try:
        assert in_fork(look, locked=True) == "OSError"
        assert in_fork(look, locked=False) != "OSError"
    finally:
        os.close(secret)


def test_worker_with_threads_refuses_to_lock_itself_down() -> None:
    def lock() -> object:
        import threading

        threading.Thread(target=time.sleep, args=(5,), daemon=True).start()
        lockdown.confine_worker(LIMITS, parent=os.getppid(), keep=[])
        return "locked"

    assert in_fork(lock, locked=False) == "SandboxUnavailable"


@pytest.mark.parametrize(
    ("step", "layer"),
    [
        ("confine_files", "landlock"),
        ("confine_calls", "seccomp"),
        ("set_limits", "limits"),
        ("confine_worker", "worker"),
    ],
)
def test_check_lockdown_refuses_when_a_layer_is_missing(
    step: str, layer: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lockdown, step, lambda *_, **__: None)

    with pytest.raises(SandboxUnavailable, match=f"{layer}: (got through|the check died)"):
        selfcheck.check_lockdown()


def test_check_lockdown_refuses_without_landlock(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(syscalls, "landlock_version", lambda: 0)

    with pytest.raises(SandboxUnavailable, match="Landlock"):
        selfcheck.check_lockdown()


def _open_to_all(readable: tuple[str, ...] = ()) -> None:
    """A Landlock rule set that forgot to forbid reading."""
    real_restrict(("/", *readable))


real_restrict = syscalls.landlock_restrict


@pytest.mark.parametrize(
    ("module", "step", "hole", "found"),
    [
        (syscalls, "landlock_restrict", _open_to_all, "landlock: got through: read_file"),
        (lockdown, "clear_environment", lambda: None, "worker: got through: see_environm"),
        (selfcheck, "seal", lambda _: None, "worker: got through: write_sealed_file"),
        (lockdown, "worker_filter", lambda *_, **__: ALLOW_ALL, "seccomp: the check died"),
    ],
)
def test_check_lockdown_names_the_hole(
    module: object,
    step: str,
    hole: Callable[..., object],
    found: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A layer that is put on but lets something through is found by what that is."""
    monkeypatch.setattr(module, step, hole)

    with pytest.raises(SandboxUnavailable, match=found):
        selfcheck.check_lockdown()


def test_daemon_does_not_serve_without_a_required_layer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "vault").mkdir()
    monkeypatch.setattr(lockdown, "confine_files", lambda: None)
    where = daemon.Configuration(socket=tmp_path / "s.sock", vault=tmp_path / "vault")

    with pytest.raises(SandboxUnavailable, match="the lock-down is incomplete: landlock"):
        daemon.run(where)

    assert not where.socket.exists()

"""kill −9 of a real worker, where it hurts: every act happens exactly once."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from django.db import connection, transaction

from exchange.audit.models import AuditEvent
from exchange.operations import services
from exchange.operations.models import Operation, OperationState

pytestmark = pytest.mark.django_db(transaction=True)
PATIENCE_SECONDS = 60.0
APP = "tests.unit.exchange.operations.worker_app"


class Worker:
    """A Celery worker with beat, in a session of its own, as the supervisor starts it."""

    def __init__(self, home: Path) -> None:
        self._home = home
        self._log = (home / "worker.log").open("ab")
        self._process: subprocess.Popen[bytes] | None = None
        self.deaths = 0

    def start(self) -> None:
        (self._home / "beat").unlink(missing_ok=True)
        self._process = subprocess.Popen(
            [
                *(sys.executable, "-m", "celery", "-A", APP, "worker", "-B"),
                *("--schedule", str(self._home / "beat"), "--concurrency", "1"),
                *("--queues", "default,sandbox", "--loglevel", "INFO"),
                *("--without-gossip", "--without-mingle", "--without-heartbeat"),
            ],
            stdout=self._log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            env={**os.environ, **self.environment()},
        )

    def environment(self) -> dict[str, str]:
        return {
            "DATABASE_URL": _database_url(),
            "BONDED_BROKER_URL": _broker_url(),
            "BONDED_BROKER_DIR": str(self._home / "broker"),
            "BONDED_SWEEP_SECONDS": "0.3",
            "PYTHONPATH": str(Path(__file__).parents[4]),
        }

    def keep_alive_until(self, reached: Callable[[], bool]) -> None:
        until = time.monotonic() + PATIENCE_SECONDS
        while not reached():
            assert time.monotonic() < until, self._tail()
            if self._process is None:
                self.start()
            elif self._process.poll() is not None:
                assert self._process.returncode == -signal.SIGKILL, self._tail()
                self.deaths += 1
                self.start()
            time.sleep(0.1)

    def _tail(self) -> str:
        return (self._home / "worker.log").read_text()[-3000:]

    def stop(self) -> None:
        if self._process is not None:
            with suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
        self._log.close()


@pytest.fixture
def worker(tmp_path: Path) -> Iterator[Worker]:
    for folder in ("queue", "control"):
        (tmp_path / "broker" / folder).mkdir(parents=True)
    made = Worker(tmp_path)
    yield made
    made.stop()


def _broker_url() -> str:
    given = os.environ["BONDED_BROKER_URL"]
    return "filesystem://" if given == "memory://" else given


def _database_url() -> str:
    values = connection.settings_dict
    if connection.vendor == "sqlite":
        return f"sqlite:///{values['NAME']}"
    login = f"{values['USER']}:{values['PASSWORD']}@{values['HOST']}:{values['PORT']}"
    return f"postgres://{login}/{values['NAME']}"


def state_of(target: str) -> str:
    return Operation.objects.values_list("state", flat=True).get(target_id=target)


def acts_of(target: str) -> list[int]:
    """The attempts in which the act happened."""
    events = AuditEvent.objects.filter(type="log:checked", subject_id=target)
    return [event.payload["size"] for event in events]


@pytest.mark.parametrize(
    ("kind", "attempt"),
    [("die_after_pickup", 2), ("die_before_commit", 2), ("die_after_commit", 1)],
)
def test_kill_of_the_worker_leaves_one_act(worker: Worker, kind: str, attempt: int) -> None:
    with transaction.atomic():
        services.enqueue(f"test.{kind}", kind)
        services.enqueue("test.plain", "bystander")

    worker.keep_alive_until(
        lambda: (
            state_of(kind) == state_of("bystander") == OperationState.DONE
            and worker.deaths >= 1
        )
    )

    time.sleep(1)  # long enough for a second ring to do harm
    assert acts_of(kind) == [attempt]
    assert acts_of("bystander") == [1]


def test_kill_after_commit_before_the_ring_is_found_by_the_sweep(worker: Worker) -> None:
    script = (
        "import django, os, signal\n"
        "django.setup()\n"
        "from django.db import transaction\n"
        "from exchange.operations import services\n"
        "services.ring = lambda public_id: os.kill(os.getpid(), signal.SIGKILL)\n"
        "with transaction.atomic():\n"
        "    services.enqueue('test.plain', 'orphan')\n"
    )
    died = subprocess.run(
        [sys.executable, "-c", script],
        env={**os.environ, **worker.environment()},
        check=False,
    )
    assert died.returncode == -signal.SIGKILL
    assert state_of("orphan") == OperationState.PENDING

    worker.keep_alive_until(lambda: state_of("orphan") == OperationState.DONE)

    assert acts_of("orphan") == [1]


def test_kill_at_every_attempt_ends_in_a_named_failure(worker: Worker) -> None:
    with transaction.atomic():
        services.enqueue("test.die_always", "cursed")

    worker.keep_alive_until(lambda: state_of("cursed") == OperationState.FAILED)

    operation = Operation.objects.get()
    assert (operation.error_code, operation.attempt) == ("operation_abandoned", 3)
    assert AuditEvent.objects.filter(type="version:failed").count() == 1
    assert worker.deaths == 0

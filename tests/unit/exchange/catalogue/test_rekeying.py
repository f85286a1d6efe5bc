"""A version's files under a new key: swapped at once, whatever dies when."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from exchange.audit.actors import NODE
from exchange.audit.models import AuditEvent
from exchange.catalogue import forgetting, rekeying
from exchange.catalogue.datakeys import opened
from exchange.catalogue.ingest import vault_file
from exchange.catalogue.models import DatasetVersion, Rekeying
from exchange.catalogue.rekeying import REKEY, rekey_version
from exchange.catalogue.services import withdraw
from exchange.errors import Conflict, Forbidden
from exchange.keys.models import DataKey, KeyPurpose, KeyState
from exchange.operations.models import Operation
from exchange.operations.services import cancel, restart
from exchange.operations.work import perform
from sandbox.errors import SandboxUnavailable, WorkerLost
from sandbox.protocol import ExecuteJob, Job, RekeyJob, SubsetJob
from tests.factories.sandbox import FakeDaemon
from tests.factories.walk import House, answered, granted, perform_all, profiled, registered


def content_of(daemon: FakeDaemon, version: DatasetVersion) -> list[bytes]:
    version.refresh_from_db()
    key = opened(version.data_key)
    return [daemon._read(vault_file(f), key) for f in version.files.order_by("index")]


def in_the_vault(daemon: FakeDaemon, version: DatasetVersion) -> set[str]:
    folder = daemon.vault / "versions" / str(version.pk)
    return {f"versions/{version.pk}/{path.name}" for path in folder.iterdir()}


@pytest.fixture
def version(house: House) -> DatasetVersion:
    return granted(house).version


def test_rekey_keeps_the_rows_under_another_key_and_destroys_the_old_one(
    house: House, daemon: FakeDaemon, version: DatasetVersion
) -> None:
    old_key, rows = version.data_key, content_of(daemon, version)
    old_files = in_the_vault(daemon, version)
    old_digests = [file.sha256 for file in version.files.order_by("index")]
    assert old_key is not None
    old_clear = opened(old_key)

    rekey_version(version=version, by=house.steward)
    perform_all()

    assert content_of(daemon, version) == rows
    assert version.data_key != old_key
    assert opened(version.data_key) != old_clear
    with pytest.raises(Conflict, match="destroyed"):
        opened(old_key)
    assert in_the_vault(daemon, version).isdisjoint(old_files)
    assert len(in_the_vault(daemon, version)) == len(old_files)
    assert daemon.forgotten == [str(version.pk)]
    event = AuditEvent.objects.get(type="key:rekeyed")
    assert event.payload["replaced"] == old_digests
    files = version.files.order_by("index")
    assert event.payload["files"] == [f.sha256 for f in files]
    assert event.payload["footers"] == [f.footer_sha256 for f in files]
    assert not Rekeying.objects.exists()


def test_query_after_a_rekey_gets_the_same_answer(house: House, daemon: FakeDaemon) -> None:
    grant = granted(house)
    rekey_version(version=grant.version, by=house.steward)
    perform_all()

    query = answered(house, grant)

    assert query.state == "held"


@pytest.mark.parametrize("step", ["job", "swap", "after"])
def test_rekey_killed_at_any_step_is_done_by_the_next_attempt(
    house: House,
    daemon: FakeDaemon,
    version: DatasetVersion,
    monkeypatch: pytest.MonkeyPatch,
    step: str,
) -> None:
    class Killed(BaseException):
        pass

    def die(*_args: Any, **_kwargs: Any) -> None:
        raise Killed

    rows = content_of(daemon, version)
    rekey_version(version=version, by=house.steward)
    operation = Operation.objects.get(kind=REKEY)
    place: tuple[Any, str] = {
        "job": (rekeying, "_swap"),
        "swap": (rekeying, "record"),
        "after": (rekeying, "forget_soon"),
    }[step]
    with monkeypatch.context() as dying:
        dying.setattr(*place, die)
        with pytest.raises(Killed):
            perform(operation.public_id)
    assert content_of(daemon, version) == rows

    # Its lease runs out; another worker takes it over.
    Operation.objects.filter(pk=operation.pk).update(lease_until="2020-01-01T00:00Z")
    perform(operation.public_id)
    perform_all()

    assert content_of(daemon, version) == rows
    operation.refresh_from_db()
    assert operation.state == "done"
    live = DataKey.objects.filter(
        subject_id=str(version.pk), purpose=KeyPurpose.VERSION, state=KeyState.ACTIVE
    )
    assert list(live) == [version.data_key]
    stored = set(version.files.values_list("name", flat=True))
    assert in_the_vault(daemon, version) == stored


def test_rekey_that_lost_its_lease_swaps_nothing(
    house: House, daemon: FakeDaemon, version: DatasetVersion
) -> None:
    key, rows = version.data_key, content_of(daemon, version)
    rekey_version(version=version, by=house.steward)
    operation = Operation.objects.get(kind=REKEY)

    def cancelling(job: Job) -> None:
        cancel(Operation.objects.get(pk=operation.pk), by=NODE)

    daemon.meanwhile = cancelling
    perform(operation.public_id)

    assert content_of(daemon, version) == rows
    assert version.data_key == key


def test_rekey_whose_sandbox_fails_says_so_and_restarts(
    house: House, daemon: FakeDaemon, version: DatasetVersion
) -> None:
    rows = content_of(daemon, version)
    rekey_version(version=version, by=house.steward)
    daemon.errors = [WorkerLost("gone")]
    perform_all()
    operation = Operation.objects.get(kind=REKEY)
    assert operation.error_code == "worker_lost"
    assert content_of(daemon, version) == rows

    restart(operation)
    perform_all()

    operation.refresh_from_db()
    assert operation.state == "done"
    assert len({job.output_key for job in daemon.jobs if isinstance(job, RekeyJob)}) == 1


@pytest.mark.parametrize("kind", ["aggregate", "subset"])
def test_query_whose_files_were_swapped_meanwhile_runs_over_the_new_ones(
    house: House, daemon: FakeDaemon, kind: str
) -> None:
    grant = granted(house, kind=kind)
    swapped: list[str] = []
    run = daemon.run

    def swapping(job: Any) -> Any:
        if isinstance(job, ExecuteJob | SubsetJob) and not swapped:
            swapped.append(job.job_id)
            rekey_version(version=grant.version, by=house.steward)
            perform(Operation.objects.get(kind=REKEY).public_id)
        return run(job)

    daemon.run = swapping  # type: ignore[method-assign]

    fields = {"columns": ["type", "failure"]} if kind == "subset" else {}
    query = answered(house, grant, **fields)

    assert swapped
    assert query.state == "held"


def test_rekey_is_for_the_steward_and_for_rows_that_stand(
    house: House, version: DatasetVersion
) -> None:
    with pytest.raises(Forbidden) as forbidden:
        rekey_version(version=version, by=house.builder)
    assert forbidden.value.code == "may_not_manage_keys"

    rekey_version(version=version, by=house.steward)
    with pytest.raises(Conflict) as under_way:
        rekey_version(version=version, by=house.steward)
    assert under_way.value.code == "operation_unfinished"


def test_rekey_of_a_version_without_rows_is_refused(house: House) -> None:
    version = profiled(house, registered(house))

    with pytest.raises(Conflict) as caught:
        rekey_version(version=version, by=house.steward)

    assert caught.value.code == "version_not_ready"


# --- the sandbox forgets --------------------------------------------------------------


def gone() -> SandboxUnavailable:
    error = SandboxUnavailable("no sandbox daemon answers at its socket")
    error.__cause__ = ConnectionRefusedError()
    return error


def test_daemon_that_is_gone_has_forgotten(
    house: House, daemon: FakeDaemon, version: DatasetVersion
) -> None:
    daemon.deaf = [gone()]

    withdraw(version=version, by=house.steward)
    perform_all()

    assert Operation.objects.get(kind=forgetting.FORGET).state == "done"
    assert daemon.forgotten == []


def test_daemon_that_fails_is_told_again(
    house: House,
    daemon: FakeDaemon,
    version: DatasetVersion,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(forgetting, "PAUSES_SECONDS", (0.0, 0.0))
    daemon.deaf = [WorkerLost("no answer"), SandboxUnavailable("the queue is full")]

    withdraw(version=version, by=house.steward)
    perform_all()

    assert daemon.forgotten == [str(version.pk)]


def test_daemon_that_keeps_failing_leaves_work_that_says_so(
    house: House,
    daemon: FakeDaemon,
    version: DatasetVersion,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(forgetting, "PAUSES_SECONDS", (0.0,))
    daemon.deaf = [WorkerLost("no answer")] * 2

    withdraw(version=version, by=house.steward)
    perform_all()

    operation = Operation.objects.get(kind=forgetting.FORGET)
    assert (operation.state, operation.error_code) == ("failed", "worker_lost")
    restart(operation)
    perform_all()
    assert daemon.forgotten == [str(version.pk)]


def test_vault_of_a_test_is_its_own(daemon: FakeDaemon, tmp_path: Path) -> None:
    assert daemon.vault.parent == tmp_path

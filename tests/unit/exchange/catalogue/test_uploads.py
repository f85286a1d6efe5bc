from __future__ import annotations

import datetime as dt
import errno
import hashlib
import os
import resource
import subprocess
import uuid
from collections.abc import Iterator
from typing import Any

import pytest
from django.utils import timezone

from exchange.audit.models import AuditEvent
from exchange.catalogue import ingest, vault
from exchange.catalogue.models import DatasetVersion, StoredFile
from exchange.catalogue.services import accept_upload, partition_version, retry_version
from exchange.catalogue.services import withdraw as withdraw_version
from exchange.catalogue.uploads import give_up_stale
from exchange.errors import Conflict, ExchangeError, Forbidden, Invalid, Unavailable
from exchange.keys import services as keys
from exchange.keys.models import KeyState
from exchange.operations.models import Operation
from exchange.operations.services import LeaseLost, claim
from sandbox.control import Progress
from sandbox.errors import SandboxUnavailable, WorkerLost
from sandbox.intake.staging import ONE_SHARD_ROWS
from sandbox.protocol import CsvOptions, Job, PartitionJob, ProfileJob
from tests.factories.sandbox import FakeDaemon
from tests.factories.walk import (
    RUNS,
    House,
    perform_all,
    profiled,
    ready,
    registered,
    uploaded,
    with_policy,
)


def files_in(daemon: FakeDaemon) -> list[str]:
    return sorted(p.name for p in daemon.vault.rglob("*") if p.is_file())


def test_accept_upload_leaves_no_clear_byte_on_disk(
    house: House, daemon: FakeDaemon
) -> None:
    version = uploaded(house, registered(house))

    (name,) = files_in(daemon)
    stored = (vault.path_of(version.files.get().name)).read_bytes()
    assert name.startswith("source-")
    assert b"torque" not in stored
    assert version.content_sha256 == hashlib.sha256(RUNS.encode()).hexdigest()
    assert version.state == "profiling"


def test_accept_upload_takes_chunks_and_reads_them_once(house: House) -> None:
    def chunks() -> Iterator[bytes]:
        yield b"id,type\n"
        yield b"1,L\n"

    version = accept_upload(
        dataset=registered(house), stream=chunks(), filename="a.csv", by=house.steward
    )

    assert version.content_bytes == 12


def test_accept_upload_of_the_same_bytes_names_the_earlier_version(
    house: House, daemon: FakeDaemon
) -> None:
    dataset = registered(house)
    profiled(house, dataset)
    before = files_in(daemon)

    with pytest.raises(Conflict, match="are version 1") as caught:
        uploaded(house, dataset)

    assert caught.value.code == "duplicate_upload"
    second = dataset.versions.get(number=2)
    assert (second.state, second.error_code) == ("failed", "duplicate_upload")
    assert second.source_key is not None
    assert second.source_key.state == KeyState.DESTROYED
    assert files_in(daemon) == before


def test_accept_upload_after_withdrawal_takes_the_same_bytes_again(house: House) -> None:
    version, _ = ready(house)
    withdraw_version(version=version, by=house.steward)

    again = uploaded(house, version.dataset)

    assert (again.number, again.state) == (2, "profiling")


@pytest.mark.parametrize(
    ("content", "filename", "code"),
    [
        (b"", "a.csv", "upload_empty"),
        (b"x" * 2000, "a.csv", "upload_too_large"),
        (b"a\n1\n", "a.xlsx", "upload_format_unknown"),
    ],
)
def test_accept_upload_refuses_by_name(
    content: bytes,
    filename: str,
    code: str,
    house: House,
    daemon: FakeDaemon,
    settings: Any,
) -> None:
    settings.BONDED_UPLOAD_BYTES = 1000
    dataset = registered(house)

    with pytest.raises(Invalid) as caught:
        accept_upload(
            dataset=dataset, stream=[content], filename=filename, by=house.steward
        )

    assert caught.value.code == code
    assert caught.value.hint
    assert files_in(daemon) == []
    assert not Operation.objects.exists()


def test_accept_upload_that_breaks_off_leaves_a_failed_version_and_no_file(
    house: House, daemon: FakeDaemon
) -> None:
    def broken() -> Iterator[bytes]:
        yield b"id,type\n"
        raise ConnectionResetError("peer went away")

    dataset = registered(house)

    with pytest.raises(Invalid) as caught:
        accept_upload(dataset=dataset, stream=broken(), filename="a.csv", by=house.steward)

    version = dataset.versions.get()
    assert caught.value.code == version.error_code == "upload_interrupted"
    assert version.state == "failed"
    assert files_in(daemon) == []


def test_accept_upload_that_finds_no_room_leaves_nothing_and_says_so(
    house: House, daemon: FakeDaemon
) -> None:
    """A limit on the size of files is met as a full disk is: in the middle of a write."""
    dataset = registered(house)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1024**2, before[1]))
    try:
        with pytest.raises(Unavailable, match="was full after") as caught:
            accept_upload(
                dataset=dataset,
                stream=[b"id\n" * 100_000] * 20,
                filename="a.csv",
                by=house.steward,
            )
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)

    version = dataset.versions.get()
    assert caught.value.code == version.error_code == "upload_no_space"
    assert version.state == "failed"
    assert version.error_hint
    assert version.source_key is not None
    assert version.source_key.state == KeyState.DESTROYED
    assert files_in(daemon) == []


@pytest.mark.skipif(os.geteuid() != 0, reason="only root mounts a small file system")
def test_accept_upload_on_a_small_disk_leaves_nothing_and_says_so(
    house: House, daemon: FakeDaemon
) -> None:
    daemon.vault.mkdir(exist_ok=True)
    small = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(daemon.vault)]
    if subprocess.run(small, check=False, capture_output=True).returncode != 0:
        pytest.skip("no file system may be mounted here")
    try:
        dataset = registered(house)
        pieces = [b"id\n" * 100_000] * 20

        with pytest.raises(Unavailable, match="was full after"):
            accept_upload(
                dataset=dataset, stream=pieces, filename="a.csv", by=house.steward
            )

        assert dataset.versions.get().error_code == "upload_no_space"
        assert files_in(daemon) == []
        uploaded(house, dataset)
    finally:
        subprocess.run(["umount", str(daemon.vault)], check=True)


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_accept_upload_on_a_full_disk_or_quota_says_so(
    house: House, daemon: FakeDaemon, number: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_: int) -> None:
        raise OSError(number, "full")

    dataset = registered(house)
    monkeypatch.setattr("exchange.catalogue.vault.os.fsync", full)

    with pytest.raises(Unavailable):
        uploaded(house, dataset)

    assert dataset.versions.get().error_code == "upload_no_space"
    assert files_in(daemon) == []


def test_accept_upload_by_another_house_is_forbidden(house: House) -> None:
    dataset = registered(house)

    with pytest.raises(Forbidden):
        accept_upload(
            dataset=dataset, stream=[b"a\n1\n"], filename="a.csv", by=house.builder
        )

    assert not dataset.versions.exists()


def test_accept_upload_filename_keeps_no_directory(house: House) -> None:
    version = uploaded(house, registered(house), filename="..\\..\\etc/runs.csv")

    assert version.filename == "runs.csv"


def test_profile_says_what_is_known_of_each_column(
    house: House, daemon: FakeDaemon
) -> None:
    version = profiled(house, registered(house))

    assert (version.state, version.rows) == ("profiled", 200)
    assert [c.name for c in version.columns.all()] == ["id", "type", "torque", "failure"]
    assert version.columns.get(name="torque").proposed_roles == ["measure"]
    assert AuditEvent.objects.filter(type="version:profiled").count() == 1
    job = daemon.jobs[0]
    assert isinstance(job, ProfileJob)
    assert job.source.key != job.output_key


def test_profile_of_a_bad_row_names_line_and_column(
    house: House, daemon: FakeDaemon
) -> None:
    version = profiled(house, registered(house), "id,type\n1,L\n2,BAD\n")

    assert version.state == "failed"
    assert (version.error_code, version.error_line) == ("upload_bad_row", 3)
    assert version.error_column == "type"
    assert not version.columns.exists()
    assert version.files.get().part == StoredFile.Part.SOURCE
    assert Operation.objects.get().state == "failed"


def test_profile_twice_is_done_once(house: House, daemon: FakeDaemon) -> None:
    """A worker that comes back after its work was done finds nothing to do."""
    from exchange.catalogue import ingest

    profiled(house, registered(house))
    operation = Operation.objects.get()

    ingest.profile(operation)

    assert len(daemon.jobs) == 1


def test_profile_waits_for_a_daemon_that_is_being_restarted(
    house: House, daemon: FakeDaemon, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("exchange.catalogue.sandbox.WAIT_SECONDS", 5.0)
    daemon.errors = [SandboxUnavailable("away")]

    version = profiled(house, registered(house))

    assert version.state == "profiled"


def test_profile_without_a_daemon_fails_and_can_be_retried(
    house: House, daemon: FakeDaemon
) -> None:
    daemon.errors = [SandboxUnavailable("away", hint="Start the node.")]
    version = profiled(house, registered(house))
    assert (version.state, version.error_code) == ("failed", "sandbox_unavailable")

    retry_version(version=version, by=house.steward)
    perform_all()

    version.refresh_from_db()
    assert (version.state, version.error_code) == ("profiled", "")


def test_retry_version_may_change_how_the_csv_is_read(
    house: House, daemon: FakeDaemon
) -> None:
    daemon.errors = [WorkerLost("the worker died")]
    version = profiled(house, registered(house))

    options = CsvOptions(delimiter=";", encoding="gb18030", header=False)
    retry_version(version=version, csv=options, by=house.steward)
    perform_all()

    job = daemon.jobs[-1]
    assert isinstance(job, ProfileJob)
    assert job.csv == options


def test_retry_version_of_a_partition_needs_no_new_profile(
    house: House, daemon: FakeDaemon
) -> None:
    dataset = registered(house)
    version = profiled(house, dataset)
    policy = with_policy(house, dataset)
    daemon.errors = [WorkerLost("the worker died")]
    partition_version(version=version, policy_version=policy, by=house.steward)
    perform_all()
    version.refresh_from_db()
    assert (version.state, version.failed_stage) == ("failed", "partitioning")
    first_key = version.data_key

    retry_version(version=version, by=house.steward)
    perform_all()

    version.refresh_from_db()
    assert version.state == "ready"
    assert version.data_key != first_key
    assert [type(job) for job in daemon.jobs].count(ProfileJob) == 1


def test_retry_version_that_did_not_fail_conflicts(house: House) -> None:
    version = profiled(house, registered(house))

    with pytest.raises(Conflict) as caught:
        retry_version(version=version, by=house.steward)

    assert caught.value.code == "version_not_failed"


def test_retry_version_of_an_upload_that_never_came_conflicts(house: House) -> None:
    dataset = registered(house)
    with pytest.raises(Invalid):
        accept_upload(dataset=dataset, stream=[b""], filename="a.csv", by=house.steward)

    with pytest.raises(Conflict) as caught:
        retry_version(version=dataset.versions.get(), by=house.steward)

    assert caught.value.code == "upload_gone"


def test_partition_destroys_the_upload_and_its_keys(
    house: House, daemon: FakeDaemon, django_capture_on_commit_callbacks: Any
) -> None:
    version, _ = ready(house)

    assert version.unit_columns == ["id"]
    assert (version.rows, version.unit_count) == (200, 200)
    assert [f.part for f in version.files.all()] == ["shard"]
    assert all(name.startswith("shard-0") for name in files_in(daemon))
    for key in (version.source_key, version.staged_key):
        assert key is not None
        assert key.state == KeyState.DESTROYED
        with pytest.raises(Conflict):
            keys.unwrap(key)


def test_partition_of_many_rows_has_several_shards(
    house: House, daemon: FakeDaemon, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("exchange.catalogue.ingest.ROWS_PER_SHARD", 50)

    version, _ = ready(house)

    assert [f.index for f in version.files.all()] == [0, 1, 2, 3]
    assert sum(f.rows for f in version.files.all()) == 200


@pytest.mark.parametrize("size_bytes", [0, 3 * 1024**3])
def test_the_deadline_grows_with_the_upload(
    house: House, daemon: FakeDaemon, size_bytes: int
) -> None:
    version = uploaded(house, registered(house))
    version.files.update(size_bytes=size_bytes)

    perform_all()

    (job,) = daemon.jobs
    assert isinstance(job, ProfileJob)
    assert job.limits.deadline_seconds == 900 + size_bytes / 1024**2


def test_a_running_job_keeps_its_lease_and_tells_how_far_it_is(
    house: House, daemon: FakeDaemon
) -> None:
    version = uploaded(house, registered(house))
    daemon.read = Progress(370, 1000)
    seen: list[tuple[str, bool]] = []

    def look(job: Job) -> None:
        work = Operation.objects.get(target_id=str(version.pk))
        assert work.lease_until is not None
        seen.append((work.progress, work.lease_until > timezone.now()))

    daemon.meanwhile = look
    perform_all()

    assert seen == [("37 %", True)]


def test_a_job_whose_lease_was_taken_is_given_up(
    house: House, daemon: FakeDaemon, monkeypatch: pytest.MonkeyPatch
) -> None:
    version = uploaded(house, registered(house))

    def taken(_: str) -> Progress:
        Operation.objects.filter(target_id=str(version.pk)).update(lease=uuid.uuid4())
        return Progress()

    daemon.read = Progress()
    monkeypatch.setattr(daemon, "progress", taken)
    work = Operation.objects.get(target_id=str(version.pk))
    claimed = claim(work)
    assert claimed is not None

    with pytest.raises(LeaseLost):
        ingest.profile(claimed)

    version.refresh_from_db()
    assert version.state == "profiling"


def test_what_is_staged_for_one_shard_becomes_one_shard() -> None:
    assert ingest._shard_count(ONE_SHARD_ROWS - 1, ("id",)) == 1
    assert ingest._shard_count(ONE_SHARD_ROWS, ("id",)) == 2


def test_partition_uses_one_shard_key_for_all_of_an_organisations_tables(
    house: House, daemon: FakeDaemon
) -> None:
    ready(house)
    other = registered(house, title="Other", table_name="other")
    version = profiled(house, other)
    policy = with_policy_of(house, version)
    partition_version(version=version, policy_version=policy, by=house.steward)
    perform_all()

    shard_keys = {job.shard_key for job in daemon.jobs if isinstance(job, PartitionJob)}

    assert len(shard_keys) == 1


def with_policy_of(house: House, version: DatasetVersion) -> Any:
    from exchange.catalogue.services import set_policy
    from tests.factories.walk import policy_text

    text = policy_text().replace("runs:", f"{version.dataset.table_name}:")
    return set_policy(dataset=version.dataset, text=text, by=house.steward)


def test_partition_version_before_its_profile_conflicts(house: House) -> None:
    dataset = registered(house)
    profiled(house, dataset)
    policy = with_policy(house, dataset)
    second = uploaded(house, dataset, RUNS + "900,L,1,0\n")

    with pytest.raises(Conflict) as caught:
        partition_version(version=second, policy_version=policy, by=house.steward)

    assert caught.value.code == "illegal_move"


def test_give_up_stale_fails_uploads_whose_process_is_gone(
    house: House, daemon: FakeDaemon, monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed() -> Iterator[bytes]:
        yield b"id\n"
        raise SystemExit

    dataset = registered(house)
    with pytest.raises(SystemExit):
        accept_upload(dataset=dataset, stream=killed(), filename="a.csv", by=house.steward)
    assert dataset.versions.get().state == "uploading"

    count = give_up_stale(before=timezone.now() + dt.timedelta(seconds=1))

    assert count == 1
    assert dataset.versions.get().error_code == "upload_interrupted"


@pytest.mark.parametrize("name", ["../x", "versions/../x", "a/b", "/etc/passwd", ""])
def test_vault_path_of_a_foreign_name_is_refused(name: str) -> None:
    with pytest.raises(ExchangeError):
        vault.path_of(name)

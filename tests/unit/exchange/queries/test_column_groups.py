"""Columns that no query may reach: their key goes with no query's job."""

from __future__ import annotations

import pytest
from django.db import IntegrityError, transaction

from exchange.catalogue.ingest import encrypted_table
from exchange.catalogue.models import ColumnGroup
from exchange.catalogue.services import (
    partition_version,
    retry_version,
    set_policy,
)
from exchange.keys.models import DataKey, KeyState
from exchange.keys.services import unwrap
from sandbox.errors import WorkerLost
from sandbox.protocol import ExecuteJob, Job, PartitionJob, SubsetJob
from tests.factories.cut import CUT, NAMED, cut_version, grant_on
from tests.factories.sandbox import FakeDaemon
from tests.factories.walk import (
    COUNT_BY_TYPE,
    House,
    answered,
    policy_text,
    profiled,
    registered,
    work_done,
)

OPEN = policy_text().replace(
    "failure: {role: label}\nrules",
    "failure: {role: label}\n      name: {role: dimension, values: public}\nrules",
)


def last(daemon: FakeDaemon, kind: type[Job]) -> Job:
    return [job for job in daemon.jobs if isinstance(job, kind)][-1]


def keys_in(job: Job) -> str:
    tables = job.tables if isinstance(job, ExecuteJob) else (job.table,)  # type: ignore[union-attr]
    held = [table.key for table in tables]
    held += [group.key for table in tables for group in table.groups]
    return " ".join(key.hex() for key in held)


def test_partition_gives_hidden_and_filtering_columns_keys_of_their_own(
    house: House, daemon: FakeDaemon
) -> None:
    version = cut_version(house)

    groups = {group.name: group.columns for group in version.column_groups.all()}
    assert groups == {"hidden": ["name"], "subset": ["torque"]}
    job = last(daemon, PartitionJob)
    assert isinstance(job, PartitionJob)
    keys = {job.output_key, *(group.key for group in job.groups)}
    assert len(keys) == 3
    assert version.files.count() == 3 * len(job.outputs)


def test_a_query_gets_no_key_of_columns_it_may_not_reach(
    house: House, daemon: FakeDaemon
) -> None:
    version = cut_version(house)
    grant = grant_on(house, version, kind="aggregate")

    query = answered(house, grant)

    assert query.state == "held"
    job = last(daemon, ExecuteJob)
    for group in version.column_groups.all():
        assert unwrap(group.data_key).hex() not in keys_in(job)


def test_a_subset_gets_the_key_of_what_it_delivers_only(
    house: House, daemon: FakeDaemon
) -> None:
    version = cut_version(house)
    grant = grant_on(house, version, kind="subset")

    query = answered(house, grant, columns=["type", "failure"])

    assert query.state == "held"
    job = last(daemon, SubsetJob)
    assert isinstance(job, SubsetJob)
    assert [group.name for group in job.table.groups] == ["subset"]


def test_a_later_policy_that_opens_a_column_finds_its_group(
    house: House, daemon: FakeDaemon
) -> None:
    version = cut_version(house)
    grant = grant_on(house, version, text=OPEN, kind="aggregate")
    by_name = COUNT_BY_TYPE.replace("type", "name")

    answered(house, grant, sql=by_name)
    job = last(daemon, ExecuteJob)
    assert isinstance(job, ExecuteJob)
    assert [group.name for group in job.tables[0].groups] == ["hidden"]
    answered(house, grant)
    job = last(daemon, ExecuteJob)
    assert isinstance(job, ExecuteJob)
    assert job.tables[0].groups == ()


def test_a_failed_partition_destroys_the_groups_keys_and_a_retry_issues_others(
    house: House, daemon: FakeDaemon
) -> None:
    version = profiled(house, registered(house), NAMED)
    policy = set_policy(dataset=version.dataset, text=CUT, by=house.steward)
    daemon.errors += [WorkerLost("gone")] * 10
    partition_version(version=version, policy_version=policy, by=house.steward)
    work_done(version)
    version.refresh_from_db()
    assert version.state == "failed"
    first = {group.data_key_id for group in version.column_groups.all()}
    assert len(first) == 2
    assert not DataKey.objects.filter(pk__in=first, state=KeyState.ACTIVE).exists()
    daemon.errors.clear()

    retry_version(version=version, by=house.steward)
    work_done(version)

    version.refresh_from_db()
    assert version.state == "ready"
    assert not first & {group.data_key_id for group in version.column_groups.all()}


def test_encrypted_table_names_groups_by_their_columns(house: House) -> None:
    version = cut_version(house)

    for columns, names in (
        ({"id"}, []),
        ({"torque", "id"}, ["subset"]),
        ({"name", "torque"}, ["hidden", "subset"]),
        (set(), []),
    ):
        table = encrypted_table(version, table="runs", columns=columns)
        assert [group.name for group in table.groups] == names


def test_a_group_has_a_name_that_is_its_versions_only_one(house: House) -> None:
    version = cut_version(house)
    key = version.data_key

    for name in ("", "hidden"):
        with pytest.raises(IntegrityError), transaction.atomic():
            ColumnGroup.objects.create(version=version, name=name, columns=[], data_key=key)

"""Destroyed keys: nothing of the version opens, what stood on it ends and says why."""

from __future__ import annotations

from typing import Any

import pytest

from exchange.audit.actors import NODE
from exchange.audit.models import AuditEvent
from exchange.audit.services import seal_all
from exchange.catalogue.models import DatasetVersion
from exchange.catalogue.rekeying import rekey_version
from exchange.catalogue.services import withdraw
from exchange.errors import Conflict, Forbidden, Invalid, Refused
from exchange.keys.models import DataKey, KeyState
from exchange.keys.services import unwrap
from exchange.operations.models import Operation
from exchange.operations.work import perform
from exchange.parties.models import Role
from exchange.queries import releases
from exchange.queries.models import Query, Release
from exchange.queries.services import retry_query, submit
from exchange.queries.shredding import (
    SHRED,
    keys_of,
    shred_organisation,
    shred_version,
    words_for_version,
)
from sandbox.protocol import ExecuteJob, Job
from tests.factories.parties import member
from tests.factories.sandbox import FakeDaemon
from tests.factories.walk import (
    COUNT_BY_TYPE,
    House,
    answered,
    asked,
    granted,
    log_holds,
    offered,
    perform_all,
    uploaded,
)


def shredded(house: House, version: DatasetVersion) -> None:
    shred_version(
        version=version, confirmation=words_for_version(version), by=house.steward
    )


def test_shred_version_leaves_nothing_to_read_and_a_log_that_verifies(
    house: House, daemon: FakeDaemon
) -> None:
    grant = granted(house)
    version = grant.version
    before = log_holds()

    shredded(house, version)
    perform_all()

    version.refresh_from_db()
    assert version.state == "withdrawn"
    assert set(keys_of(version).values_list("state", flat=True)) == {KeyState.DESTROYED}
    for key in keys_of(version):
        with pytest.raises(Conflict):
            unwrap(key)
    assert list((daemon.vault / "versions" / str(version.pk)).iterdir()) == []
    assert daemon.forgotten == [str(version.pk)]
    assert not grant.offer.__class__.objects.filter(closed_at=None).exists()
    withdrawn = AuditEvent.objects.get(type="version:withdrawn")
    assert withdrawn.payload["because"] == "key_destroyed"
    assert log_holds() > before


def test_query_after_a_shred_is_refused_by_a_code_that_names_it(house: House) -> None:
    grant = granted(house)
    answered(house, grant)
    shredded(house, grant.version)

    for sql in (COUNT_BY_TYPE, "SELECT failure, count(*) FROM runs GROUP BY failure"):
        with pytest.raises(Refused) as caught:
            submit(grant=grant, sql=sql, by=house.builder)
        assert caught.value.code == "version_key_destroyed"


def test_shred_cancels_the_job_that_runs_over_it(house: House, daemon: FakeDaemon) -> None:
    grant = granted(house)

    def shredding(job: Job) -> None:
        if isinstance(job, ExecuteJob):
            daemon.meanwhile = None
            shredded(house, grant.version)

    daemon.meanwhile = shredding
    query = answered(house, grant)

    (job,) = [job for job in daemon.jobs if isinstance(job, ExecuteJob)]
    assert (query.state, query.error_code) == ("failed", "version_key_destroyed")
    assert not Release.objects.exists()
    # Once by the operation, once because the run broke off after it.
    assert daemon.forgotten.count(str(grant.version_id)) >= 1
    assert query.result_key is not None
    assert query.result_key.state == KeyState.DESTROYED
    with pytest.raises(Refused) as caught:
        retry_query(query=query, by=house.builder)
    assert caught.value.code == "version_key_destroyed"
    assert job.job_id


@pytest.mark.django_db(transaction=True)
def test_shred_kills_the_jobs_once_it_is_committed(
    transactional_db: None, daemon: FakeDaemon
) -> None:
    from tests.factories.walk import make_house

    house = make_house()
    grant = granted(house)
    running: list[str] = []

    def shredding(job: Job) -> None:
        if isinstance(job, ExecuteJob):
            daemon.meanwhile = None
            running.append(job.job_id)
            shredded(house, grant.version)

    daemon.meanwhile = shredding
    answered(house, grant)

    assert daemon.cancelled == running


def test_shred_ends_what_waits_for_its_turn(house: House) -> None:
    grant = granted(house)
    query = submit(grant=grant, sql=COUNT_BY_TYPE, by=house.builder)

    shredded(house, grant.version)
    perform_all()

    query.refresh_from_db()
    assert (query.state, query.error_code) == ("failed", "version_key_destroyed")


def test_release_made_before_stays_until_its_own_end(house: House) -> None:
    """It lies under a key of its own: what was released is the recipient's."""
    grant = granted(house)
    query = answered(house, grant)
    shredded(house, grant.version)
    seal_all()
    releases.open_covered()

    release = Release.objects.get(query=query)
    content = releases.release_content(release=release, by=house.builder)

    assert b"".join(content)
    releases.shred_release(release=release, by=house.builder)
    with pytest.raises(Conflict):
        unwrap(release.data_key)


def test_version_that_was_withdrawn_before_can_still_be_shredded(
    house: House, daemon: FakeDaemon
) -> None:
    version = offered(house).version
    withdraw(version=version, by=house.steward)
    perform_all()

    shredded(house, version)
    perform_all()

    assert not keys_of(version).filter(state=KeyState.ACTIVE).exists()
    assert list((daemon.vault / "versions" / str(version.pk)).iterdir()) == []
    with pytest.raises(Conflict) as caught:
        shredded(house, version)
    assert caught.value.code == "key_destroyed"


def test_shred_during_a_rekey_takes_the_new_key_too(
    house: House, daemon: FakeDaemon
) -> None:
    version = offered(house).version
    rekey_version(version=version, by=house.steward)
    operation = Operation.objects.get(kind="catalogue.rekey")

    def shredding(job: Job) -> None:
        daemon.meanwhile = None
        shredded(house, version)

    daemon.meanwhile = shredding
    perform(operation.public_id)
    perform_all()

    operation.refresh_from_db()
    assert operation.state == "cancelled"
    assert not keys_of(version).filter(state=KeyState.ACTIVE).exists()
    assert list((daemon.vault / "versions" / str(version.pk)).iterdir()) == []


def test_shred_while_an_upload_is_worked_on_is_refused(house: House) -> None:
    from tests.factories.walk import registered

    version = uploaded(house, registered(house))

    with pytest.raises(Conflict) as caught:
        shredded(house, version)

    assert caught.value.code == "illegal_move"
    assert keys_of(version).filter(state=KeyState.ACTIVE).exists()


@pytest.mark.parametrize("said", ["", "milling-runs", "milling-runs 2", "MILLING-RUNS 1"])
def test_shred_without_the_words_destroys_nothing(house: House, said: str) -> None:
    version = offered(house).version

    with pytest.raises(Invalid) as caught:
        shred_version(version=version, confirmation=said, by=house.steward)

    assert caught.value.code == "confirmation_differs"
    assert keys_of(version).filter(state=KeyState.ACTIVE).exists()


def test_shred_is_for_the_providers_steward(house: House) -> None:
    version = offered(house).version

    for person in (house.builder, house.reviewer):
        with pytest.raises(Forbidden):
            shred_version(
                version=version, confirmation=words_for_version(version), by=person
            )


def test_shred_whose_record_cannot_be_written_did_not_happen(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    from exchange.keys import services

    version = offered(house).version

    def broken(**_kwargs: Any) -> None:
        raise RuntimeError("the log cannot be written")

    monkeypatch.setattr(services, "record", broken)
    with pytest.raises(RuntimeError):
        shredded(house, version)

    version.refresh_from_db()
    assert version.state == "published"
    assert keys_of(version).filter(state=KeyState.ACTIVE).exists()


# --- an organisation's own key --------------------------------------------------------


def test_shred_organisation_ends_everything_under_its_key(
    house: House, daemon: FakeDaemon
) -> None:
    grant = granted(house)
    done = answered(house, grant)
    waiting = submit(
        grant=asked(house, grant.offer, kind="subset").grant,
        columns=["type", "failure"],
        by=house.builder,
    )
    admin = member(house.provider, Role.ADMIN)

    shred_organisation(
        organisation=house.provider, confirmation=house.provider.slug, by=admin
    )
    assert not DataKey.objects.filter(state=KeyState.ACTIVE).exists()
    perform_all()

    release = Release.objects.get(query=done)
    assert release.state == "shredded"
    states = dict(Query.objects.values_list("pk", "state"))
    assert states == {done.pk: "shredded", waiting.pk: "refused"}
    waiting.refresh_from_db()
    assert [reason["code"] for reason in waiting.reasons] == ["version_key_destroyed"]
    grant.version.refresh_from_db()
    assert grant.version.state == "withdrawn"
    assert Operation.objects.get(kind=SHRED).state == "done"
    assert list((daemon.vault / "versions" / str(grant.version_id)).iterdir()) == []
    assert log_holds() > 10


def test_organisation_that_was_shredded_takes_nothing_in_any_more(house: House) -> None:
    from tests.factories.walk import registered

    offered(house)
    shred_organisation(organisation=house.provider, confirmation="mill", by=NODE)
    perform_all()

    with pytest.raises(Conflict) as caught:
        uploaded(house, registered(house, title="Another", table_name="another"))

    assert caught.value.code == "organisation_keys_destroyed"


def test_shred_organisation_is_for_an_administrator_who_types_its_name(
    house: House,
) -> None:
    offered(house)

    with pytest.raises(Forbidden):
        shred_organisation(
            organisation=house.provider, confirmation="mill", by=house.steward
        )
    with pytest.raises(Invalid):
        shred_organisation(
            organisation=house.provider,
            confirmation="Mill",
            by=member(house.provider, Role.ADMIN),
        )
    assert DataKey.objects.filter(state=KeyState.ACTIVE).exists()

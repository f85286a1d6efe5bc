"""If the record of an act cannot be written, the act did not happen: every service here."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from django.apps import apps
from django.db import DatabaseError
from django.utils import timezone

from exchange.agreements import services as agreements
from exchange.agreements.models import AccessRequest
from exchange.audit import news
from exchange.audit.events import EventType
from exchange.audit.models import AuditEvent
from exchange.audit.services import seal_all
from exchange.catalogue import ingest
from exchange.catalogue import services as catalogue
from exchange.catalogue.models import DatasetVersion
from exchange.operations import services as operations
from exchange.operations.models import Operation
from exchange.queries import releases, runs
from exchange.queries import services as queries
from exchange.queries.models import Query, Release
from sandbox.errors import WorkerLost
from tests.factories import walk
from tests.factories.sandbox import FakeDaemon
from tests.factories.walk import House

Act = Callable[[], Any]
APPS = ("catalogue", "agreements", "queries", "keys", "operations")
E = EventType


def rows() -> dict[str, list[dict[str, Any]]]:
    """Every row of every stage; an organisation's root key is an act of its own."""
    found = {
        model.__name__: sorted(model.objects.values(), key=lambda row: str(row))
        for name in APPS
        for model in apps.get_app_config(name).get_models()
    }
    found["DataKey"] = [row for row in found["DataKey"] if row["purpose"] != "derivation"]
    return found


@contextmanager
def broken_log(monkeypatch: pytest.MonkeyPatch, type_: EventType) -> Iterator[None]:
    """Events of that type cannot be inserted."""
    save = AuditEvent.save

    def refuse(self: AuditEvent, *args: Any, **kwargs: Any) -> None:
        if self.type == type_:
            raise DatabaseError("the log's table is full")
        save(self, *args, **kwargs)

    with monkeypatch.context() as patch:
        patch.setattr(AuditEvent, "save", refuse)
        yield


def claimed() -> Operation:
    waiting = Operation.objects.filter(state="pending").get()
    operation = operations.claim(waiting.public_id)
    assert operation is not None
    return operation


def register(house: House) -> Act:
    return lambda: walk.registered(house)


def set_policy(house: House) -> Act:
    dataset = walk.registered(house)
    walk.profiled(house, dataset)
    return lambda: walk.with_policy(house, dataset)


def partition(house: House) -> Act:
    dataset = walk.registered(house)
    version = walk.profiled(house, dataset)
    policy = walk.with_policy(house, dataset)
    return lambda: catalogue.partition_version(
        version=version, policy_version=policy, by=house.steward
    )


def retry_version(house: House) -> Act:
    version = walk.profiled(house, walk.registered(house), "id,type\n1,BAD\n")
    return lambda: catalogue.retry_version(version=version, by=house.steward)


def publish(house: House) -> Act:
    version, policy = walk.ready(house)
    return lambda: catalogue.publish(
        version=version, policy_version=policy, licence="CC-BY-4.0", by=house.steward
    )


def withdraw(house: House) -> Act:
    offer = walk.offered(house)
    return lambda: catalogue.withdraw(version=offer.version, by=house.steward)


def begin_upload(house: House) -> Act:
    dataset = walk.registered(house)
    return lambda: walk.uploaded(house, dataset)


def profile(house: House) -> Act:
    walk.uploaded(house, walk.registered(house))
    operation = claimed()
    return lambda: ingest.profile(operation)


def fail_profile(house: House) -> Act:
    walk.uploaded(house, walk.registered(house))
    operation = claimed()
    return lambda: operations.fail(operation, WorkerLost("the worker died"))


def finish_partition(house: House) -> Act:
    dataset = walk.registered(house)
    version = walk.profiled(house, dataset)
    policy = walk.with_policy(house, dataset)
    catalogue.partition_version(version=version, policy_version=policy, by=house.steward)
    operation = claimed()
    return lambda: ingest.partition(operation)


def request(house: House) -> Act:
    offer = walk.offered(house)
    return lambda: walk.asked(house, offer)


def waiting_request(house: House) -> AccessRequest:
    return walk.asked(house, walk.offered(house, aggregate=1))


def decide(house: House) -> Act:
    asked = waiting_request(house)
    return lambda: agreements.decide_request(request=asked, approve=True, by=house.reviewer)


def reject(house: House) -> Act:
    asked = waiting_request(house)
    by = house.reviewer
    return lambda: agreements.decide_request(request=asked, approve=False, by=by)


def withdraw_request(house: House) -> Act:
    asked = waiting_request(house)
    return lambda: agreements.withdraw_request(request=asked, by=house.builder)


def overdue(house: House) -> Act:
    waiting_request(house)
    later = timezone.now() + timezone.timedelta(days=60)
    return lambda: agreements.terminate_overdue(now=later)


def revoke(house: House) -> Act:
    grant = walk.granted(house)
    return lambda: agreements.revoke_grant(grant=grant, note="enough", by=house.steward)


def submit(house: House) -> Act:
    grant = walk.granted(house)
    return lambda: queries.submit(grant=grant, sql=walk.COUNT_BY_TYPE, by=house.builder)


def analyse(house: House, sql: str = walk.COUNT_BY_TYPE) -> Act:
    queries.submit(grant=walk.granted(house), sql=sql, by=house.builder)
    operation = claimed()
    return lambda: runs.analyse(operation)


def analyse_refused(house: House) -> Act:
    return analyse(house, "SELECT * FROM runs")


def review(house: House) -> Act:
    asked = waiting_request(house)
    asked = agreements.decide_request(request=asked, approve=True, by=house.reviewer)
    query = walk.answered(house, asked.grant)
    assert query.state == "in_review"
    return lambda: queries.review_query(query=query, approve=True, by=house.reviewer)


def approved_run(house: House) -> Operation:
    queries.submit(grant=walk.granted(house), sql=walk.COUNT_BY_TYPE, by=house.builder)
    runs.analyse(claimed())
    return claimed()


def run(house: House) -> Act:
    operation = approved_run(house)
    return lambda: runs.run(operation)


def hold(house: House) -> Act:
    """The run has started; what breaks is its end."""
    operation = approved_run(house)
    runs._start(Query.objects.get(), operation)
    return lambda: runs.run(operation)


def fail_run(house: House) -> Act:
    operation = approved_run(house)
    return lambda: operations.fail(operation, WorkerLost("the worker died"))


def retry_query(house: House) -> Act:
    operation = approved_run(house)
    operations.fail(operation, WorkerLost("the worker died"))
    query = Query.objects.get()
    return lambda: queries.retry_query(query=query, by=house.builder)


def cancel_query(house: House) -> Act:
    approved_run(house)
    query = Query.objects.get()
    return lambda: queries.cancel_query(query=query, by=house.builder)


def held(house: House) -> Release:
    release = walk.answered(house, walk.granted(house)).release
    seal_all()
    return release


def open_release(house: House) -> Act:
    walk.answered(house, walk.granted(house))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(news, "announce", lambda _: None)  # its news came to nobody
        seal_all()
    release = Release.objects.get()
    return lambda: releases.open_release(release=release)


def download(house: House) -> Act:
    release = held(house)
    return lambda: releases.release_content(release=release, by=house.builder)


def shred(house: House) -> Act:
    release = held(house)
    return lambda: releases.shred_release(release=release, by=house.builder)


ACTS = [
    (register, E.DATASET_REGISTERED),
    (begin_upload, E.KEY_ISSUED),
    (profile, E.VERSION_PROFILED),
    (fail_profile, E.VERSION_FAILED),
    (retry_version, E.KEY_ISSUED),
    (set_policy, E.POLICY_PUBLISHED),
    (partition, E.KEY_ISSUED),
    (finish_partition, E.KEY_DESTROYED),
    (publish, E.VERSION_PUBLISHED),
    (withdraw, E.VERSION_WITHDRAWN),
    (request, E.REQUEST_SUBMITTED),
    (request, E.REQUEST_DECIDED),
    (request, E.GRANT_ISSUED),
    (decide, E.REQUEST_DECIDED),
    (decide, E.GRANT_ISSUED),
    (reject, E.REQUEST_DECIDED),
    (withdraw_request, E.REQUEST_DECIDED),
    (overdue, E.REQUEST_DECIDED),
    (revoke, E.GRANT_REVOKED),
    (submit, E.QUERY_SUBMITTED),
    (analyse, E.QUERY_ANALYSED),
    (analyse_refused, E.QUERY_REFUSED),
    (review, E.QUERY_REVIEWED),
    (run, E.RUN_STARTED),
    (hold, E.RUN_FINISHED),
    (hold, E.RELEASE_HELD),
    (fail_run, E.RUN_FAILED),
    (retry_query, E.QUERY_SUBMITTED),
    (cancel_query, E.RUN_FAILED),
    (open_release, E.RELEASE_AVAILABLE),
    (download, E.RELEASE_DOWNLOADED),
    (shred, E.RELEASE_SHREDDED),
    (shred, E.KEY_DESTROYED),
]


@pytest.mark.parametrize(
    ("arrange", "type_"), ACTS, ids=[f"{act.__name__}-{type_}" for act, type_ in ACTS]
)
def test_act_without_its_record_did_not_happen(
    arrange: Callable[[House], Act],
    type_: EventType,
    house: House,
    daemon: FakeDaemon,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    act = arrange(house)
    before, files = rows(), sorted(p for p in daemon.vault.rglob("*") if p.is_file())
    recorded = AuditEvent.objects.filter(type=type_).count()

    with broken_log(monkeypatch, type_), pytest.raises(DatabaseError):
        act()

    assert rows() == before
    assert AuditEvent.objects.filter(type=type_).count() == recorded
    if arrange not in (profile, finish_partition):  # swept when the work is done again
        assert sorted(p for p in daemon.vault.rglob("*") if p.is_file()) == files


@pytest.mark.parametrize(
    ("arrange", "type_"), ACTS, ids=[f"{act.__name__}-{type_}" for act, type_ in ACTS]
)
def test_act_writes_its_record(
    arrange: Callable[[House], Act], type_: EventType, house: House
) -> None:
    act = arrange(house)
    before, recorded = rows(), AuditEvent.objects.filter(type=type_).count()

    act()

    assert AuditEvent.objects.filter(type=type_).count() > recorded
    if arrange is not download:
        assert rows() != before


def test_upload_whose_acceptance_cannot_be_recorded_is_not_accepted(
    house: House, daemon: FakeDaemon, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its first half was recorded by its keys; what stays is an upload that never ended."""
    dataset, stream = walk.registered(house), io.BytesIO(b"a\n1\n")

    with broken_log(monkeypatch, E.UPLOAD_ACCEPTED), pytest.raises(DatabaseError):
        catalogue.accept_upload(
            dataset=dataset, stream=stream, filename="a.csv", by=house.steward
        )

    version = DatasetVersion.objects.get()
    assert version.state == "uploading"
    assert not version.files.exists()
    assert not Operation.objects.exists()
    assert [p for p in daemon.vault.rglob("*") if p.is_file()] == []

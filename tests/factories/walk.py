"""The walk of a dataset up to any point, by the services themselves.

Each step is a function, so that a test takes the walk as far as its situation needs.
"""

from __future__ import annotations

import io
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from django.db import connection

from exchange.agreements.models import AccessRequest, Grant
from exchange.agreements.services import request_access
from exchange.audit.selectors import export_log
from exchange.audit.services import seal_all
from exchange.audit.signing import verifier_key
from exchange.catalogue.models import Dataset, DatasetVersion, Offer, PolicyVersion
from exchange.catalogue.services import (
    accept_upload,
    partition_version,
    publish,
    register_dataset,
    set_policy,
)
from exchange.operations import work
from exchange.operations.models import Operation, OperationState
from exchange.parties.models import Kind, Organisation, Role, User
from exchange.queries.models import Query
from exchange.queries.services import submit
from ledger.log import verify_log_export
from tests.factories.parties import OrganisationFactory, member

COUNT_BY_TYPE = "SELECT type, count(*) FROM runs GROUP BY type"

# Three types: L and M are large, H is rarer than any threshold here.
RUNS = "id,type,torque,failure\n" + "".join(
    f"{n},{'H' if n < 3 else 'LM'[n % 2]},{n % 60},{int(n % 30 == 0)}\n" for n in range(200)
)

POLICY = """\
version: 1
tables:
  runs:
    units: [{{domain: run, column: id}}]
    columns:
      id: {{role: unit_key}}
      type: {{role: dimension, values: public}}
      torque: {{role: measure, grid: 5}}
      failure: {{role: label}}
rules:
  - kind: aggregate
    min_units: 10
    aggregates: [count, avg]
    purposes: [predictive-maintenance]
    approval: {aggregate}
    max_queries_per_day: {cap}
  - kind: subset
    columns: [type, torque, failure]
    label: failure
    licence: CDLA-Permissive-2.0
    max_rows: 50
    approval: {subset}
"""


def policy_text(
    *, aggregate: Any = "automatic", subset: Any = "automatic", cap: int = 5
) -> str:
    """The policy of the runs; an approval is `automatic` or a number of reviewers."""

    def approval(value: Any) -> str:
        return f"{{reviewers: {value}}}" if isinstance(value, int) else value

    return POLICY.format(aggregate=approval(aggregate), subset=approval(subset), cap=cap)


@dataclass
class House:
    """A provider and a consumer, with one person in each role that the walk needs."""

    provider: Organisation
    consumer: Organisation
    steward: User
    reviewer: User
    second_reviewer: User
    builder: User


def make_house() -> House:
    provider = OrganisationFactory(slug="mill", name="Mill")
    consumer = OrganisationFactory(slug="maker", name="Maker", kind=Kind.CONSUMER)
    return House(
        provider=provider,
        consumer=consumer,
        steward=member(provider, Role.STEWARD),
        reviewer=member(provider, Role.REVIEWER),
        second_reviewer=member(provider, Role.REVIEWER),
        builder=member(consumer, Role.BUILDER),
    )


def perform_all() -> None:
    """Do all work that waits, as Celery would, until none is left."""
    while True:
        waiting = Operation.objects.filter(state=OperationState.PENDING).first()
        if waiting is None:
            return
        work.perform(waiting.public_id)


def work_done(version: DatasetVersion) -> None:
    """Do what waits, and let another thread finish what it holds of a version's work."""
    until = time.monotonic() + 30
    perform_all()
    while Operation.objects.filter(
        target_id=str(version.pk), state=OperationState.LEASED
    ).exists():
        if time.monotonic() > until:
            raise AssertionError("work on the version is still under way after 30 s")
        time.sleep(0.05)


def registered(house: House, **fields: Any) -> Dataset:
    values = {"title": "Milling runs", "table_name": "runs", **fields}
    return register_dataset(organisation=house.provider, by=house.steward, **values)


def uploaded(
    house: House, dataset: Dataset, text: str = RUNS, *, filename: str = "runs.csv"
) -> DatasetVersion:
    return accept_upload(
        dataset=dataset,
        stream=io.BytesIO(text.encode()),
        filename=filename,
        by=house.steward,
    )


def profiled(house: House, dataset: Dataset, text: str = RUNS) -> DatasetVersion:
    version = uploaded(house, dataset, text)
    work_done(version)
    version.refresh_from_db()
    return version


def with_policy(house: House, dataset: Dataset, **fields: Any) -> PolicyVersion:
    return set_policy(dataset=dataset, text=policy_text(**fields), by=house.steward)


def ready(house: House, **fields: Any) -> tuple[DatasetVersion, PolicyVersion]:
    dataset = registered(house)
    version = profiled(house, dataset)
    policy = with_policy(house, dataset, **fields)
    partition_version(version=version, policy_version=policy, by=house.steward)
    work_done(version)
    version.refresh_from_db()
    return version, policy


def offered(house: House, **fields: Any) -> Offer:
    version, policy = ready(house, **fields)
    return publish(
        version=version, policy_version=policy, licence="CC-BY-4.0", by=house.steward
    )


def asked(house: House, offer: Offer, **fields: Any) -> AccessRequest:
    kind = fields.setdefault("kind", "aggregate")
    values = {
        "purpose": "predictive-maintenance",
        "legal_basis": "not-personal",
        "justification": "To plan the upkeep of mills.",
        "duration_days": 30,
        "accepted_licence": "CC-BY-4.0" if kind == "aggregate" else "CDLA-Permissive-2.0",
        "consumer": house.consumer,
        "by": house.builder,
        **fields,
    }
    return request_access(offer=offer, **values)


def granted(house: House, *, kind: str = "aggregate", **fields: Any) -> Grant:
    return asked(house, offered(house, **fields), kind=kind).grant


def answered(house: House, grant: Grant, **fields: Any) -> Query:
    """A query that was submitted and worked on until it waits or is held."""
    if grant.kind == "aggregate":
        fields.setdefault("sql", COUNT_BY_TYPE)
    query = submit(grant=grant, by=house.builder, **fields)
    perform_all()
    query.refresh_from_db()
    return query


def log_holds() -> int:
    """The whole log, hashed anew as `bonded verify` and an auditor do it."""
    seal_all()
    lines = io.BytesIO(b"".join(export_log()))
    return verify_log_export(lines, verifier_key()).checkpoint.size


@contextmanager
def node_at_work() -> Iterator[None]:
    """Another thread does the work and seals, as the node's processes would."""
    over = threading.Event()

    def work() -> None:
        while not over.is_set():
            perform_all()
            seal_all()
            time.sleep(0.02)
        connection.close()

    thread = threading.Thread(target=work)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()

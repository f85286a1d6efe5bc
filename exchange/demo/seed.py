"""Two published datasets and six exchanges, made by the services that people use.

Each step looks for what it would make, so that an interrupted run is taken up again.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import dataclass

from django.conf import settings

from exchange.agreements.models import AccessRequest, Grant
from exchange.agreements.services import decide_request, request_access
from exchange.catalogue.models import Dataset, DatasetVersion, Offer
from exchange.catalogue.services import (
    accept_upload,
    partition_version,
    publish,
    register_dataset,
    retry_version,
    set_policy,
)
from exchange.catalogue.states import VersionState as V
from exchange.demo import policies
from exchange.demo.machining import machining_csv
from exchange.demo.people import ensure_people, person
from exchange.demo.port_calls import port_calls_csv
from exchange.demo.waiting import wait_until
from exchange.errors import Refused
from exchange.parties.models import Organisation, User
from exchange.queries import releases
from exchange.queries.models import Query
from exchange.queries.services import review_query, submit
from exchange.queries.states import QueryState as Q
from exchange.queries.states import ReleaseState

LICENCE = "CC-BY-4.0"
ANSWERED = (
    "SELECT product_type, count(*) AS runs, avg(torque_nm) AS torque "
    "FROM machining GROUP BY product_type ORDER BY runs DESC"
)
PARTLY_WITHHELD = (
    "SELECT material, count(*) AS runs FROM machining GROUP BY material ORDER BY runs DESC"
)
REFUSED = "SELECT * FROM machining"
REVIEWED = (
    "SELECT port, count(*) AS calls, avg(waiting_hours) AS waiting "
    "FROM port_calls GROUP BY port ORDER BY calls DESC"
)


@dataclass(frozen=True, slots=True)
class Source:
    """A dataset of the demo before anybody has published it."""

    organisation: str
    steward: str
    table: str
    title: str
    description: str
    policy: str
    content: Callable[[], bytes]


MACHINING = Source(
    "machine-tools", "sam", "machining", "Machining runs with failures",
    "Generated: runs of 400 machine tools in a year; which of them failed.",
    policies.MACHINING, machining_csv,
)  # fmt: skip
PORT_CALLS = Source(
    "port-authority", "paul", "port_calls", "Port calls with delays",
    "Generated: calls of 1,500 ships at eight ports in a year; which were delayed.",
    policies.PORT_CALLS, port_calls_csv,
)  # fmt: skip


def seed(say: Callable[[str], None]) -> None:
    """The people, both offers and the six exchanges stand; `say` is told of each step.

    Needs a running node. Refused `not_a_demo` unless the node's mode is demo: the
    passwords are public. NotDone when the node does not do its part.
    """
    if settings.BONDED_MODE != "demo":
        raise Refused(
            f"demo data goes into a node of the mode demo only; this one's is "
            f"{settings.BONDED_MODE}",
            code="not_a_demo",
            hint="Run ./bonded demo with BONDED_HOME at a directory of its own.",
        )
    ensure_people()
    if _find_request("ai-lab", PORT_CALLS, "aggregate") is not None:
        return  # the last step: what people did since is theirs
    versions = {source: _profiled_soon(source) for source in (MACHINING, PORT_CALLS)}
    offers = {}
    for source, version in versions.items():
        say(f"publishing: {source.title}")
        offers[source] = _offered(source, version)
    _exchange(offers, say)


def _exchange(offers: dict[Source, Offer], say: Callable[[str], None]) -> None:
    bo, uma = person("bo"), person("uma")
    aggregates = _granted(offers[MACHINING], MACHINING, "aggregate", by=bo)
    say("1 an aggregate, answered")
    first = _submitted(aggregates, "demo-answered", by=bo, sql=ANSWERED)
    say("2 an aggregate with withheld cells")
    second = _submitted(aggregates, "demo-withheld", by=bo, sql=PARTLY_WITHHELD)
    say("3 a labelled subset, delivered after a reviewer approved")
    rows = _granted(offers[MACHINING], MACHINING, "subset", by=bo, reviewer=person("rita"))
    third = _submitted(rows, "demo-subset", by=bo)
    say("4 SELECT *, refused")
    fourth = _submitted(aggregates, "demo-refused", by=bo, sql=REFUSED)
    wait_until(fourth, {Q.REFUSED}, what="the query that is to be refused")
    for query in (first, second, third):
        _delivered(query, by=bo)
    say("5 a query, reviewed and released")
    vera = person("vera")
    calls = _granted(offers[PORT_CALLS], PORT_CALLS, "aggregate", by=uma, reviewer=vera)
    fifth = _submitted(calls, "demo-reviewed", by=uma, sql=REVIEWED)
    after_review = {Q.APPROVED, Q.RUNNING, Q.HELD, Q.RELEASED}
    wait_until(fifth, {Q.IN_REVIEW, *after_review}, what="the analysis of a query")
    if fifth.state == Q.IN_REVIEW:
        review_query(query=fifth, approve=True, note="Ports, not ships.", by=vera)
    _delivered(fifth, by=uma)
    say("6 a request that waits for the Port Authority")
    _requested(offers[PORT_CALLS], PORT_CALLS, "aggregate", by=bo)


# --- datasets -------------------------------------------------------------------------


def _profiled_soon(source: Source) -> DatasetVersion:
    """A version with the generated rows, which the node profiles meanwhile."""
    steward = person(source.steward)
    dataset = Dataset.objects.filter(
        organisation__slug=source.organisation, table_name=source.table
    ).first() or register_dataset(
        organisation=Organisation.objects.get(slug=source.organisation),
        title=source.title,
        table_name=source.table,
        description=source.description,
        keywords=["demo"],
        by=steward,
    )
    version = dataset.versions.exclude(state=V.UPLOADING).order_by("-number").first()
    if version is None:
        return accept_upload(
            dataset=dataset,
            stream=io.BytesIO(source.content()),
            filename=f"{source.table}.csv",
            by=steward,
        )
    if version.state == V.FAILED:
        retry_version(version=version, by=steward)
    return version


def _offered(source: Source, version: DatasetVersion) -> Offer:
    steward = person(source.steward)
    later = {V.PARTITIONING, V.READY, V.PUBLISHED}
    wait_until(version, {V.PROFILED, *later}, what=f"the profile of {source.table}")
    policy = set_policy(dataset=version.dataset, text=source.policy, by=steward)
    if version.state == V.PROFILED:
        partition_version(version=version, policy_version=policy, by=steward)
    wait_until(version, {V.READY, V.PUBLISHED}, what=f"the encryption of {source.table}")
    standing = Offer.objects.filter(version=version, closed_at=None).first()
    return standing or publish(
        version=version, policy_version=policy, licence=LICENCE, by=steward
    )


# --- exchanges ------------------------------------------------------------------------


def _find_request(consumer: str, source: Source, kind: str) -> AccessRequest | None:
    return AccessRequest.objects.filter(
        consumer__slug=consumer,
        offer__dataset__table_name=source.table,
        offer__dataset__organisation__slug=source.organisation,
        kind=kind,
    ).first()


def _requested(offer: Offer, source: Source, kind: str, *, by: User) -> AccessRequest:
    consumer = Organisation.objects.get(memberships__user=by)
    is_machining = source is MACHINING
    return _find_request(consumer.slug, source, kind) or request_access(
        offer=offer,
        consumer=consumer,
        kind=kind,
        purpose="predictive-maintenance" if is_machining else "logistics-planning",
        legal_basis="not-personal",
        justification="To learn when a machine needs care."
        if is_machining
        else "To plan arrivals so that ships wait less.",
        duration_days=365,
        accepted_licence=LICENCE if kind == "aggregate" else "CDLA-Permissive-2.0",
        by=by,
    )


def _granted(
    offer: Offer, source: Source, kind: str, *, by: User, reviewer: User | None = None
) -> Grant:
    request = _requested(offer, source, kind, by=by)
    if request.is_waiting and reviewer is not None:
        decide_request(request=request, approve=True, note="As agreed.", by=reviewer)
    return Grant.objects.get(request=request)


def _submitted(grant: Grant, key: str, *, by: User, sql: str = "") -> Query:
    return submit(grant=grant, sql=sql, idempotency_key=key, by=by)


def _delivered(query: Query, *, by: User) -> None:
    """The release is open and its consumer has downloaded it once."""
    wait_until(query, {Q.HELD, Q.RELEASED}, what="the run of a query")
    release = query.release
    wait_until(release, {ReleaseState.AVAILABLE}, what="the checkpoint over a release")
    for _ in releases.release_content(release=release, by=by):
        pass

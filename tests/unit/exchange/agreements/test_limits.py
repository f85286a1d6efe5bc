"""Limits of runs: the node's, a grant's own, what holds, who may say so, what is kept."""

from __future__ import annotations

from typing import Any

import pytest
from django.test import Client
from django.urls import reverse

from exchange.agreements.limits import limits_of, set_limits
from exchange.agreements.models import Grant
from exchange.agreements.services import decide_request, revoke_grant
from exchange.audit.models import AuditEvent
from exchange.audit.services import seal_all
from exchange.errors import Conflict, Forbidden, Invalid
from exchange.queries.models import Query
from exchange.queries.selectors import used_under
from exchange.queries.services import cancel_query, retry_query
from sandbox.errors import Cancelled, DeadlineExceeded, SandboxError
from sandbox.protocol import ExecuteJob, Metering
from tests.factories import walk
from tests.factories.parties import bearer
from tests.factories.sandbox import FakeDaemon
from tests.factories.walk import House

pytestmark = pytest.mark.django_db(transaction=True)
API = "/api/v1"


def executed(daemon: FakeDaemon) -> ExecuteJob:
    return [job for job in daemon.jobs if isinstance(job, ExecuteJob)][-1]


def test_grant_without_a_word_has_the_nodes_defaults(
    house: House, daemon: FakeDaemon
) -> None:
    walk.answered(house, walk.granted(house))

    limits = executed(daemon).limits
    assert limits.deadline_seconds == 120
    assert limits.memory_bytes == 2048 * 1024**2
    assert limits.output_bytes == 32 * 1024**2


def test_limits_of_the_grant_reach_the_job_and_the_record(
    house: House, daemon: FakeDaemon
) -> None:
    grant = walk.granted(house)
    set_limits(grant=grant, limits={"seconds": 7, "memory_mb": 4096}, by=house.steward)

    query = walk.answered(house, grant)

    limits = executed(daemon).limits
    assert (limits.deadline_seconds, limits.memory_bytes) == (7, 4096 * 1024**2)
    said = {"seconds": 7, "memory_mb": 4096, "output_mb": 32}
    run = AuditEvent.objects.about("query", str(query.pk)).get(type="run:started")
    assert run.payload["limits"] == said
    events = AuditEvent.objects.about("grant", str(grant.pk))
    assert events.get(type="grant:limited").payload["limits"] == said
    issued = events.get(type="grant:issued").payload["limits"]
    assert issued == {"seconds": 120, "memory_mb": 2048, "output_mb": 32}


@pytest.mark.parametrize(
    ("limits", "code"),
    [
        ({"seconds": 901}, "limit_out_of_range"),
        ({"seconds": 0}, "limit_out_of_range"),
        ({"memory_mb": 255}, "limit_out_of_range"),
        ({"output_mb": 49}, "limit_out_of_range"),
        ({"threads": 64}, "limit_unknown"),
    ],
)
def test_limit_outside_the_nodes_range_is_refused(
    house: House, limits: dict[str, int], code: str
) -> None:
    grant = walk.granted(house)

    with pytest.raises(Invalid) as refused:
        set_limits(grant=grant, limits=limits, by=house.steward)

    assert refused.value.code == code
    assert Grant.objects.get().limits == {}


def test_lowered_maximum_holds_for_grants_that_have_more(
    house: House, settings: Any
) -> None:
    grant = walk.granted(house)
    set_limits(grant=grant, limits={"seconds": 600}, by=house.steward)

    settings.BONDED_RUN_SECONDS_MAX = 60

    assert limits_of(grant).seconds == 60


def test_consumer_sets_no_limits(house: House) -> None:
    grant = walk.granted(house)

    with pytest.raises(Forbidden):
        set_limits(grant=grant, limits={"seconds": 600}, by=house.builder)


def test_revoked_grant_has_its_last_limits(house: House) -> None:
    grant = walk.granted(house)
    revoke_grant(grant=grant, note="Over.", by=house.reviewer)

    with pytest.raises(Conflict) as refused:
        set_limits(grant=grant, limits={"seconds": 5}, by=house.steward)

    assert refused.value.code == "grant_revoked"


def test_strictest_of_the_reviewers_limits_is_the_grants(house: House) -> None:
    request = walk.asked(house, walk.offered(house, aggregate=2))
    first, second = {"seconds": 30, "memory_mb": 512}, {"seconds": 60, "output_mb": 2}
    decide_request(request=request, approve=True, limits=first, by=house.reviewer)
    decide_request(request=request, approve=True, limits=second, by=house.second_reviewer)

    limits = Grant.objects.get().limits
    assert limits == {"seconds": 30, "memory_mb": 512, "output_mb": 2}


def test_run_that_exceeds_its_limits_names_them_and_the_way_forward(
    house: House, daemon: FakeDaemon
) -> None:
    grant = walk.granted(house)
    set_limits(grant=grant, limits={"seconds": 7}, by=house.steward)

    def too_long(job: Any) -> None:
        if isinstance(job, ExecuteJob):
            raise DeadlineExceeded("the job met its deadline and was killed")

    daemon.meanwhile = too_long
    query = walk.answered(house, grant)

    assert (query.state, query.error_code) == ("failed", "deadline_exceeded")
    assert "7 seconds" in query.error_hint
    assert "ask the provider" in query.error_hint
    assert not Query.objects.filter(release__isnull=False).exists()


def test_used_is_what_the_runs_took_together(house: House) -> None:
    query = walk.answered(house, walk.granted(house))
    release = query.release
    release.metering = {
        "cpu_seconds": 1.25,
        "peak_memory_bytes": 7_000_000_000,
        "bytes_scanned": 5,
        "wall_seconds": 2.0,
    }
    release.save()

    used = used_under(query.grant)

    assert (used.runs, used.failed_runs, used.cpu_seconds) == (1, 0, 1.25)
    assert (used.peak_memory_bytes, used.bytes_scanned) == (7_000_000_000, 5)


def test_used_counts_runs_that_failed_and_runs_that_were_cancelled(
    house: House, daemon: FakeDaemon
) -> None:
    grant = walk.granted(house)

    def stopped(job: Any) -> None:
        if not isinstance(job, ExecuteJob):
            return
        query = Query.objects.get()
        if not query.failed_runs.exists():
            error: SandboxError = DeadlineExceeded("the job met its deadline")
        else:
            cancel_query(query=query, by=house.builder)
            error = Cancelled("the job was cancelled")
        error.metering = Metering(cpu_seconds=2.0, peak_memory_bytes=50, bytes_scanned=7)
        raise error

    daemon.meanwhile = stopped
    query = walk.answered(house, grant)
    retry_query(query=query, by=house.builder)
    walk.perform_all()

    codes = query.failed_runs.values_list("error_code", flat=True)
    assert list(codes) == ["deadline_exceeded", "cancelled"]
    used = used_under(grant)
    assert (used.runs, used.failed_runs, used.cpu_seconds) == (0, 2, 4.0)
    assert (used.peak_memory_bytes, used.bytes_scanned) == (50, 14)
    page = Client()
    page.force_login(house.steward)
    shown = page.get(reverse("agreements:grant", args=[grant.pk])).content.decode()
    assert '<dt class="small">Runs failed</dt><dd>2</dd>' in shown


def test_api_shows_and_sets_limits_and_tells_the_provider_what_was_used(
    house: House,
) -> None:
    query = walk.answered(house, walk.granted(house))
    seal_all()
    where = f"{API}/grants/{query.grant_id}"
    steward = Client(headers=bearer(house.steward))
    builder = Client(headers=bearer(house.builder))

    answer = steward.post(f"{where}/limits", {"seconds": 5}, "application/json")
    seen = builder.get(where).json()
    refused = steward.post(f"{where}/limits", {"seconds": 5000}, "application/json")
    denied = builder.post(f"{where}/limits", {"seconds": 5}, "application/json")
    release = f"{API}/releases/{query.release.pk}"

    assert answer.status_code == 200, answer.content
    assert answer.json()["limits_set"] == {"seconds": 5}
    assert answer.json()["used"]["runs"] == 1
    assert seen["limits"] == {"seconds": 5, "memory_mb": 2048, "output_mb": 32}
    assert seen["used"] is None
    assert (refused.status_code, refused.json()["code"]) == (400, "limit_out_of_range")
    assert denied.status_code == 403
    assert "cpu_seconds" in steward.get(release).json()["metering"]
    assert builder.get(release).json()["metering"] is None


def test_pages_show_limits_and_let_the_provider_alone_change_them(house: House) -> None:
    grant = walk.granted(house)
    page, form = (
        reverse(f"agreements:{name}", args=[grant.pk]) for name in ("grant", "limits")
    )
    steward, builder = Client(), Client()
    steward.force_login(house.steward)
    builder.force_login(house.builder)

    assert form in steward.get(page).content.decode()
    assert form not in builder.get(page).content.decode()
    assert "120 seconds" in builder.get(page).content.decode()
    wrong = steward.post(form, {"seconds": "901"})
    assert "from 1 to 900" in wrong.content.decode()
    assert steward.post(form, {"seconds": "9", "memory_mb": ""}).status_code == 302
    builder.post(form, {"seconds": "900"})

    grant.refresh_from_db()
    assert grant.limits == {"seconds": 9}
    assert "9 seconds" in builder.get(page).content.decode()

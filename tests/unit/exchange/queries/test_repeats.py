"""A question that has a released answer is answered from it at once; nothing else is."""

from __future__ import annotations

from typing import Any

import pytest

from exchange.agreements.models import Grant
from exchange.agreements.services import revoke_grant
from exchange.audit.models import AuditEvent
from exchange.audit.services import seal_all
from exchange.errors import LimitReached, Refused, Unavailable
from exchange.operations.models import Operation
from exchange.queries import analysis, repeats
from exchange.queries.models import Query
from exchange.queries.releases import shred_release
from exchange.queries.selectors import answer_of
from exchange.queries.services import cancel_query, submit
from exchange.queries.states import QueryState, Verdict
from tests.factories import walk
from tests.factories.sandbox import FakeDaemon
from tests.factories.walk import COUNT_BY_TYPE, House

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def first(house: House) -> Query:
    """A query whose answer is released."""
    query = walk.answered(house, walk.granted(house))
    seal_all()
    query.refresh_from_db()
    assert query.state == QueryState.RELEASED
    return query


def again(house: House, query: Query, sql: str = COUNT_BY_TYPE) -> Query:
    return submit(grant=query.grant, sql=sql, by=house.builder)


def test_repeat_is_answered_without_sandbox_and_without_work(
    house: House, first: Query, daemon: FakeDaemon
) -> None:
    jobs, work = len(daemon.jobs), Operation.objects.count()

    repeat = again(house, first)

    assert (repeat.state, repeat.verdict) == (QueryState.RELEASED, Verdict.ALLOW)
    assert repeat.same_as == first
    assert repeat.finished_at is not None
    assert answer_of(repeat) == first.release
    assert (len(daemon.jobs), Operation.objects.count()) == (jobs, work)


def test_repeat_is_recorded_as_any_other(house: House, first: Query) -> None:
    repeat = again(house, first)

    events = AuditEvent.objects.about("query", str(repeat.pk))
    assert [event.type for event in events] == ["query:submitted", "query:analysed"]
    analysed = events[1].payload
    assert analysed["same_as"] == str(first.pk)
    assert analysed["fingerprint"] == first.fingerprint
    slow = AuditEvent.objects.about("query", str(first.pk)).get(type="query:analysed")
    assert analysed.keys() - {"same_as"} == slow.payload.keys()


def test_what_is_answered_at_once_is_what_an_analysis_finds(
    house: House, first: Query, monkeypatch: pytest.MonkeyPatch
) -> None:
    quick = again(house, first)
    monkeypatch.setattr(repeats, "answered", lambda *_: None)
    slow = again(house, first)
    walk.perform_all()
    slow.refresh_from_db()

    fields = ("state", "verdict", "reasons", "shape", "executed_sql", "fingerprint")
    assert [getattr(quick, name) for name in fields] == [
        getattr(slow, name) for name in fields
    ]
    assert quick.same_as == slow.same_as == first


def test_repeat_of_a_repeat_leads_to_the_first(house: House, first: Query) -> None:
    other = again(house, first, f"{COUNT_BY_TYPE};")
    assert other.state == QueryState.ANALYSING  # another text is analysed
    walk.perform_all()

    assert again(house, first, f"{COUNT_BY_TYPE};").same_as == first


@pytest.mark.parametrize("code", ["other code", "same code"])
def test_what_other_code_found_is_not_taken_over(
    house: House, first: Query, monkeypatch: pytest.MonkeyPatch, code: str
) -> None:
    if code == "other code":
        monkeypatch.setattr(repeats, "code_revision", lambda: code)

    at_once = again(house, first).state == QueryState.RELEASED

    assert at_once == (code == "same code")


def test_revoked_grant_answers_no_repeat(house: House, first: Query) -> None:
    revoke_grant(grant=first.grant, note="Over.", by=house.reviewer)

    with pytest.raises(Refused) as refused:
        again(house, first)

    assert refused.value.code == "grant_revoked"


def test_shredded_answer_is_no_answer(house: House, first: Query) -> None:
    shred_release(release=first.release, by=house.builder)

    repeat = again(house, first)

    assert (repeat.state, repeat.same_as) == (QueryState.ANALYSING, None)


def test_held_answer_is_waited_for(house: House) -> None:
    held = walk.answered(house, walk.granted(house))
    assert held.state == QueryState.HELD

    repeat = again(house, held)
    assert repeat.state == QueryState.ANALYSING
    walk.perform_all()
    seal_all()

    repeat.refresh_from_db()
    assert (repeat.state, repeat.same_as) == (QueryState.RELEASED, held)


def test_full_queue_says_so_and_takes_repeats_still(
    house: House, first: Query, settings: Any
) -> None:
    settings.BONDED_QUEUE, settings.BONDED_QUEUE_PER_CONSUMER = 1, 1
    other = "SELECT type, count(*) AS n FROM runs GROUP BY type"
    again(house, first, f"{other} ")

    with pytest.raises(LimitReached) as limited:
        again(house, first, other)
    settings.BONDED_QUEUE_PER_CONSUMER = 2
    with pytest.raises(Unavailable) as full:
        again(house, first, other)

    assert (limited.value.code, full.value.code) == ("too_many_queries", "queue_full")
    assert again(house, first).state == QueryState.RELEASED
    walk.perform_all()
    assert again(house, first, other).state == QueryState.ANALYSING


def test_query_analysed_at_once_runs_elsewhere(house: House, daemon: FakeDaemon) -> None:
    grant = walk.granted(house)

    query = submit(grant=grant, sql=COUNT_BY_TYPE, at_once=True, by=house.builder)

    assert query.state == QueryState.APPROVED
    assert Operation.objects.unfinished().get().kind == "queries.run"
    refused = submit(grant=grant, sql="SELECT * FROM runs", at_once=True, by=house.builder)
    assert refused.state == QueryState.REFUSED
    assert refused.reasons


def test_query_cancelled_during_its_analysis_is_shown_as_it_stands(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    judge = analysis.judge

    def judged_and_cancelled(grant: Grant, **what: Any) -> analysis.Judgement:
        query = Query.objects.get(state=QueryState.ANALYSING)
        cancel_query(query=query, by=house.builder)
        return judge(grant, **what)

    monkeypatch.setattr(analysis, "judge", judged_and_cancelled)
    grant = walk.granted(house)

    query = submit(grant=grant, sql=COUNT_BY_TYPE, at_once=True, by=house.builder)

    assert (query.state, query.error_code) == (QueryState.FAILED, "cancelled")
    assert (query.verdict, query.fingerprint) == ("", "")

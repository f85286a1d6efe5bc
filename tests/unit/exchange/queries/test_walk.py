"""The walk of a query: submit, analyse, decide, run, hold, open, download, shred."""

from __future__ import annotations

import datetime as dt
import hashlib
import json
from typing import Any

import pytest
from django.db import IntegrityError, transaction
from django.utils import timezone

from exchange.agreements.services import decide_request, revoke_grant
from exchange.audit.models import AuditEvent
from exchange.audit.selectors import timeline
from exchange.audit.services import seal_all
from exchange.audit.signing import verifier_key
from exchange.catalogue.services import withdraw
from exchange.errors import Conflict, Forbidden, Invalid, NotFound, Refused
from exchange.keys.models import KeyState
from exchange.operations.models import Operation
from exchange.parties.models import Kind, Role
from exchange.queries import releases, selectors
from exchange.queries.models import HistoryEntry, Query, QueryReview, Release
from exchange.queries.services import (
    cancel_query,
    dry_run,
    retry_query,
    review_query,
    submit,
)
from ledger.errors import LedgerError
from ledger.receipt import verify_receipt
from sandbox.errors import (
    DeadlineExceeded,
    DistributionCorrupt,
    QueryRejected,
    WorkerLost,
)
from sandbox.protocol import AnalyseJob, ExecuteJob, Job, SubsetJob
from tests.factories.parties import OrganisationFactory, join, member
from tests.factories.sandbox import FakeDaemon
from tests.factories.walk import (
    COUNT_BY_TYPE,
    House,
    answered,
    asked,
    granted,
    offered,
    perform_all,
)

BY_FAILURE = "SELECT failure, count(*) FROM runs GROUP BY failure"


def opened(query: Query) -> Release:
    seal_all()
    releases.open_covered()
    return Release.objects.get(query=query)


def jobs(daemon: FakeDaemon, kind: type) -> list[Job]:
    return [job for job in daemon.jobs if isinstance(job, kind)]


# --- submit, analyse, decide ----------------------------------------------------------


def test_submit_runs_to_a_held_result_and_tells_its_whole_story(house: House) -> None:
    grant = granted(house)

    query = answered(house, grant)

    assert query.state == "held"
    assert (query.verdict, query.reasons) == ("allow", [])
    types = [event.type for event in timeline(grant.case_id)]
    assert types == [
        "request:submitted",
        "request:decided",
        "grant:issued",
        "query:submitted",
        "query:analysed",
        "run:started",
        "run:finished",
        "release:held",
    ]


def test_submit_of_row_output_is_refused_with_every_reason_and_a_hint(
    house: House, daemon: FakeDaemon
) -> None:
    query = answered(house, granted(house), sql="SELECT * FROM runs")

    assert query.state == "refused"
    assert len(query.reasons) >= 4  # each column
    assert all(reason["code"] and reason["hint"] for reason in query.reasons)
    assert not jobs(daemon, ExecuteJob)
    assert AuditEvent.objects.filter(type="query:refused").count() == 1


@pytest.mark.parametrize("sql", ["SELEKT 1", "SELECT 1; SELECT 2;", "DROP TABLE runs"])
def test_submit_of_what_is_no_select_is_refused_as_a_value(sql: str, house: House) -> None:
    query = answered(house, granted(house), sql=sql)

    assert (query.state, query.reasons[0]["code"]) == ("refused", "sql_syntax")


@pytest.mark.parametrize(
    ("fields", "code"),
    [
        ({"sql": "  "}, "sql_missing"),
        ({"sql": "SELECT " + "x" * 30_000}, "sql_too_long"),
        ({"purpose": "general-research"}, "purpose_not_granted"),
        ({"idempotency_key": "k" * 201}, "key_too_long"),
    ],
)
def test_submit_refuses_by_name(fields: dict[str, Any], code: str, house: House) -> None:
    grant = granted(house)

    with pytest.raises((Refused, Invalid)) as caught:
        submit(grant=grant, by=house.builder, **{"sql": COUNT_BY_TYPE, **fields})

    assert caught.value.code == code
    assert not Query.objects.exists()


def test_submit_is_for_builders_of_the_consumer(house: House) -> None:
    grant = granted(house)
    stranger = member(OrganisationFactory(), Role.BUILDER)

    for person in (house.steward, house.reviewer, stranger):
        with pytest.raises(Forbidden):
            submit(grant=grant, sql=COUNT_BY_TYPE, by=person)


def test_submit_with_a_colleagues_key_is_an_own_query(house: House) -> None:
    grant = granted(house)
    colleague, third = (member(house.consumer, Role.BUILDER) for _ in range(2))

    first = submit(grant=grant, sql=COUNT_BY_TYPE, idempotency_key="k1", by=house.builder)
    own = submit(grant=grant, sql=COUNT_BY_TYPE, idempotency_key="k1", by=colleague)
    other = submit(grant=grant, sql=BY_FAILURE, idempotency_key="k1", by=third)

    assert len({first.pk, own.pk, other.pk}) == 3
    assert own.submitted_by == colleague


def test_submit_with_the_same_key_is_the_same_query(house: House) -> None:
    grant = granted(house)

    first = submit(grant=grant, sql=COUNT_BY_TYPE, idempotency_key="k1", by=house.builder)
    again = submit(grant=grant, sql=COUNT_BY_TYPE, idempotency_key="k1", by=house.builder)

    assert again == first
    assert Operation.objects.filter(kind="queries.analyse").count() == 1
    with pytest.raises(Conflict) as caught:
        submit(grant=grant, sql=BY_FAILURE, idempotency_key="k1", by=house.builder)
    assert caught.value.code == "idempotency_key_reused"


def expire(grant: Any, house: House) -> None:
    now = timezone.now()
    type(grant).objects.filter(pk=grant.pk).update(
        starts_at=now - dt.timedelta(days=9), ends_at=now - dt.timedelta(days=1)
    )


def postpone(grant: Any, house: House) -> None:
    type(grant).objects.filter(pk=grant.pk).update(
        starts_at=timezone.now() + dt.timedelta(days=1)
    )


def revoke(grant: Any, house: House) -> None:
    revoke_grant(grant=grant, note="", by=house.steward)


def take_back(grant: Any, house: House) -> None:
    withdraw(version=type(grant.version).objects.get(pk=grant.version_id), by=house.steward)


UNUSABLE = [
    (expire, "grant_expired"),
    (postpone, "grant_not_started"),
    (revoke, "grant_revoked"),
    (take_back, "version_withdrawn"),
]


@pytest.mark.parametrize(("spoil", "code"), UNUSABLE)
def test_submit_under_a_grant_that_does_not_hold_is_refused(
    spoil: Any, code: str, house: House
) -> None:
    grant = granted(house)
    spoil(grant, house)

    with pytest.raises(Refused) as caught:
        submit(grant=grant, sql=COUNT_BY_TYPE, by=house.builder)

    assert caught.value.code == code
    with pytest.raises(Refused):
        dry_run(grant=grant, sql=COUNT_BY_TYPE, by=house.builder)


@pytest.mark.parametrize(("spoil", "code"), UNUSABLE)
@pytest.mark.parametrize("stage", [AnalyseJob, ExecuteJob])
def test_grant_that_ends_during_the_work_stops_what_it_made(
    stage: type, spoil: Any, code: str, house: House, daemon: FakeDaemon
) -> None:
    """Revoked while the sandbox computes: the result must not be released."""
    grant = granted(house)
    daemon.meanwhile = lambda job: spoil(grant, house) if isinstance(job, stage) else None

    query = answered(house, grant)

    assert query.state == "refused"
    assert query.reasons[0]["code"] == code
    assert not Release.objects.exists()
    assert [p.name for p in daemon.vault.glob("results/*/*")] == []


def test_dry_run_decides_as_submit_does_and_leaves_nothing(
    house: House, daemon: FakeDaemon
) -> None:
    grant = granted(house)
    events = AuditEvent.objects.count()

    good = dry_run(grant=grant, sql=COUNT_BY_TYPE, by=house.builder)
    bad = dry_run(grant=grant, sql="SELECT * FROM runs", by=house.builder)

    assert (good.verdict, good.outputs) == ("allow", ("type", "n"))
    assert bad.verdict == "refuse"
    assert bad.reasons == tuple(answered(house, grant, sql="SELECT * FROM runs").reasons)
    assert Query.objects.count() == 1
    assert AuditEvent.objects.filter(type="query:analysed").count() == 1
    assert events < AuditEvent.objects.count()


def test_daily_cap_counts_runs_and_not_refusals_or_repeats(house: House) -> None:
    grant = granted(house, cap=1)
    answered(house, grant, sql="SELECT * FROM runs")
    assert selectors.runs_left_today(grant) == 1

    first = answered(house, grant)
    repeat = answered(house, grant)
    over = answered(house, grant, sql=BY_FAILURE)

    assert (first.state, repeat.state, over.state) == ("held", "held", "refused")
    assert over.reasons[0]["code"] == "daily_cap_reached"
    assert selectors.runs_left_today(grant) == 0
    assert dry_run(grant=grant, sql=BY_FAILURE, by=house.builder).verdict == "refuse"
    assert dry_run(grant=grant, sql=COUNT_BY_TYPE, by=house.builder).verdict == "allow"


def test_daily_cap_is_one_for_all_the_consumers_grants_on_the_dataset(house: House) -> None:
    offer = offered(house, cap=1)
    answered(house, asked(house, offer).grant)

    second = answered(house, asked(house, offer).grant, sql=BY_FAILURE)

    assert second.state == "refused"


def test_daily_cap_is_not_used_up_by_repeats(house: House) -> None:
    grant = granted(house, cap=2)
    answered(house, grant)
    answered(house, grant)

    assert answered(house, grant, sql=BY_FAILURE).state == "held"


def test_daily_cap_is_free_again_after_a_day(house: House) -> None:
    grant = granted(house, cap=1)
    answered(house, grant)
    Query.objects.update(analysed_at=timezone.now() - dt.timedelta(hours=25))

    assert answered(house, grant, sql=BY_FAILURE).state == "held"


# --- review ---------------------------------------------------------------------------


def in_review(house: House, reviewers: int = 2) -> Query:
    request = asked(house, offered(house, aggregate=reviewers))
    for reviewer in (house.reviewer, house.second_reviewer)[:reviewers]:
        request = decide_request(request=request, approve=True, by=reviewer)
    return answered(house, request.grant)


def test_review_query_needs_as_many_words_as_the_policy_says(house: House) -> None:
    query = in_review(house)
    assert query.state == "in_review"
    assert list(selectors.queries_to_review(house.reviewer)) == [query]

    query = review_query(query=query, approve=True, by=house.reviewer)
    assert query.state == "in_review"
    assert not selectors.queries_to_review(house.reviewer)
    review_query(query=query, approve=True, by=house.second_reviewer)
    perform_all()

    query.refresh_from_db()
    assert query.state == "held"
    held = AuditEvent.objects.get(type="release:held").payload
    assert sorted(held["reviewers"]) == sorted(
        str(user.public_id) for user in (house.reviewer, house.second_reviewer)
    )


def test_review_query_one_rejection_refuses_it(house: House) -> None:
    query = review_query(
        query=in_review(house), approve=False, note="no", by=house.reviewer
    )

    assert (query.state, query.reasons[0]["code"]) == ("refused", "rejected_by_reviewer")
    with pytest.raises(Conflict) as caught:
        review_query(query=query, approve=True, by=house.second_reviewer)
    assert caught.value.code == "query_not_in_review"


def test_review_query_twice_by_one_reviewer_counts_once(house: House) -> None:
    query = in_review(house)
    review_query(query=query, approve=True, by=house.reviewer)

    with pytest.raises(Conflict) as caught:
        review_query(query=query, approve=True, by=house.reviewer)

    assert caught.value.code == "already_decided"


def test_review_query_by_a_member_of_both_houses_is_forbidden(house: House) -> None:
    query = in_review(house)
    both = member(house.provider, Role.REVIEWER)
    join(both, house.consumer, Role.BUILDER)

    with pytest.raises(Forbidden) as caught:
        review_query(query=query, approve=True, by=both)

    assert caught.value.code == "four_eyes"


def test_query_review_holds_four_eyes_by_constraint(house: House) -> None:
    query = in_review(house)

    with pytest.raises(IntegrityError), transaction.atomic():
        QueryReview.objects.create(
            query=query,
            reviewer=house.builder,
            reviewer_organisation=house.provider,
            submitter=house.builder,
            consumer=house.consumer,
            approves=True,
            fingerprint=query.fingerprint,
        )


# --- run ------------------------------------------------------------------------------


def test_same_question_under_the_same_grant_has_one_run_and_one_answer(
    house: House, daemon: FakeDaemon
) -> None:
    grant = granted(house)
    first = answered(house, grant)

    repeat = answered(house, grant, sql=COUNT_BY_TYPE.lower().replace("select", "SELECT"))

    assert repeat.same_as == first
    assert selectors.answer_of(repeat) == first.release
    assert len(jobs(daemon, ExecuteJob)) == 1
    opened(first)
    repeat.refresh_from_db()
    assert repeat.state == "released"


def test_repeats_follow_the_query_that_they_repeat(house: House) -> None:
    query = in_review(house)
    repeat = answered(house, query.grant)
    assert (repeat.state, repeat.same_as) == ("in_review", query)
    assert list(selectors.queries_to_review(house.reviewer)) == [query]

    review_query(query=query, approve=False, by=house.reviewer)

    repeat.refresh_from_db()
    assert repeat.state == "refused"
    assert repeat.reasons[0]["code"] == "rejected_by_reviewer"


def test_two_live_queries_of_one_fingerprint_are_no_rows(house: House) -> None:
    grant = granted(house)
    query = answered(house, grant)
    other = submit(grant=grant, sql=BY_FAILURE, by=house.builder)

    with pytest.raises(IntegrityError), transaction.atomic():
        Query.objects.filter(pk=other.pk).update(
            fingerprint=query.fingerprint, state="approved"
        )


def test_run_hands_each_job_the_history_of_its_dataset(
    house: House, daemon: FakeDaemon
) -> None:
    grant = granted(house)
    other = member(OrganisationFactory(kind=Kind.CONSUMER), Role.BUILDER)
    answered(house, grant)

    second = asked(house, grant.offer, consumer=other.organisation, by=other).grant
    query = submit(grant=second, sql=BY_FAILURE, by=other)
    perform_all()

    query.refresh_from_db()
    first_job, second_job = jobs(daemon, ExecuteJob)
    assert isinstance(first_job, ExecuteJob)
    assert isinstance(second_job, ExecuteJob)
    assert first_job.history == ()
    assert len(second_job.history) == 1
    assert second_job.history[0].endswith("after 0")
    assert b"after 0" not in bytes(HistoryEntry.objects.get(number=0).sealed)
    assert query.state == "held"


def test_run_that_another_overtook_is_controlled_again(
    house: House, daemon: FakeDaemon, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two runs that saw the same history: the later must see the earlier first."""
    # Here one process does both: none would come out of its turn by waiting.
    monkeypatch.setattr("exchange.queries.runs._TURN_SECONDS", 0.0)
    grant = granted(house)
    rival = asked(house, grant.offer).grant
    racing = submit(grant=rival, sql=BY_FAILURE, by=house.builder)
    raced: list[bool] = []

    def overtake(job: Job) -> None:
        if isinstance(job, ExecuteJob) and not raced:
            raced.append(True)
            perform_all()

    daemon.meanwhile = overtake

    query = answered(house, grant)

    assert query.state == "held"
    racing.refresh_from_db()
    assert racing.state == "held"
    histories = [len(job.history) for job in jobs(daemon, ExecuteJob)]
    assert histories == [0, 0, 1]
    (lost,) = racing.failed_runs.all()
    assert lost.error_code == "history_moved"
    assert list(HistoryEntry.objects.values_list("number", flat=True)) == [0, 1]
    assert len(list(daemon.vault.glob("results/*/*"))) == 2


def test_run_gives_the_worker_only_the_tables_that_are_used(
    house: House, daemon: FakeDaemon
) -> None:
    answered(house, granted(house))

    (job,) = jobs(daemon, ExecuteJob)

    assert isinstance(job, ExecuteJob)
    assert [table.table for table in job.tables] == ["runs"]
    assert "key" not in repr(job.tables[0])


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (WorkerLost("the worker died"), "worker_lost"),
        (DeadlineExceeded("time ran out"), "deadline_exceeded"),
        (DistributionCorrupt("a digest failed"), "distribution_corrupt"),
    ],
)
def test_run_that_fails_says_why_and_can_be_tried_again(
    error: Any, code: str, house: House, daemon: FakeDaemon
) -> None:
    grant = granted(house)
    daemon.meanwhile = lambda job: (
        daemon.errors.append(error) if isinstance(job, AnalyseJob) else None
    )
    query = answered(house, grant)
    assert (query.state, query.error_code) == ("failed", code)
    assert query.result_key is not None
    assert query.result_key.state == KeyState.DESTROYED
    daemon.meanwhile = None

    retry_query(query=query, by=house.builder)
    perform_all()

    query.refresh_from_db()
    assert (query.state, query.error_code) == ("held", "")
    assert Release.objects.count() == 1


def test_run_that_the_worker_refuses_is_refused_not_failed(
    house: House, daemon: FakeDaemon
) -> None:
    grant = granted(house)
    rejected = QueryRejected("the plan is another", hint="Submit it anew.")
    daemon.meanwhile = lambda job: (
        daemon.errors.append(rejected) if isinstance(job, AnalyseJob) else None
    )

    query = answered(house, grant)

    assert (query.state, query.reasons[0]["code"]) == ("refused", "query_rejected")


def test_run_twice_after_its_end_changes_nothing(house: House, daemon: FakeDaemon) -> None:
    from exchange.queries import runs

    answered(house, granted(house))
    operation = Operation.objects.get(kind="queries.run")

    runs.run(operation)

    assert Release.objects.count() == 1
    assert len(jobs(daemon, ExecuteJob)) == 1


def test_run_whose_worker_was_killed_is_done_once_by_the_next(
    house: House, daemon: FakeDaemon
) -> None:
    """Killed between outcome and commit: the next attempt holds the one release."""
    grant = granted(house)

    def die(job: Job) -> None:
        if isinstance(job, ExecuteJob) and len(jobs(daemon, ExecuteJob)) == 1:
            raise SystemExit

    daemon.meanwhile = die
    submit(grant=grant, sql=COUNT_BY_TYPE, by=house.builder)
    with pytest.raises(SystemExit):
        perform_all()
    query = Query.objects.get()
    assert query.state == "running"
    Operation.objects.filter(kind="queries.run").update(
        lease_until=timezone.now() - dt.timedelta(seconds=1)
    )
    from exchange.operations import work

    work.perform(Operation.objects.get(kind="queries.run").public_id)

    query.refresh_from_db()
    assert query.state == "held"
    assert Release.objects.count() == 1
    attempts = [e.payload["attempt"] for e in AuditEvent.objects.filter(type="run:started")]
    assert attempts == [1, 2]


def test_cancel_query_kills_its_job_and_it_can_be_tried_again(
    house: House, daemon: FakeDaemon, django_capture_on_commit_callbacks: Any
) -> None:
    query = submit(grant=granted(house), sql=COUNT_BY_TYPE, by=house.builder)

    with django_capture_on_commit_callbacks(execute=True):
        cancel_query(query=query, by=house.builder)
    perform_all()

    query.refresh_from_db()
    assert (query.state, query.error_code) == ("failed", "cancelled")
    assert len(daemon.cancelled) == 1
    retry_query(query=query, by=house.builder)
    perform_all()
    query.refresh_from_db()
    assert query.state == "held"


def test_cancel_query_with_a_held_result_conflicts(house: House) -> None:
    query = answered(house, granted(house))

    with pytest.raises(Conflict) as caught:
        cancel_query(query=query, by=house.builder)

    assert caught.value.code == "illegal_move"


# --- subsets --------------------------------------------------------------------------


def test_subset_is_delivered_with_its_licence_and_the_granted_columns(
    house: House, daemon: FakeDaemon
) -> None:
    grant = granted(house, kind="subset")

    query = answered(house, grant, columns=["failure", "torque"])

    assert query.state == "held", (query.error_code, query.reasons)
    release = opened(query)
    content = json.loads(
        b"".join(releases.release_content(release=release, by=house.builder))
    )
    assert list(content["rows"][0]) == ["torque", "failure"]
    assert len(content["rows"]) == 50
    assert content["metadata"]["bonded.licence"] == "CDLA-Permissive-2.0"
    assert content["metadata"]["bonded.recipient"] == "maker"
    assert release.media_type == "application/vnd.apache.parquet"


def test_subset_takes_no_sql_and_no_other_column(house: House) -> None:
    grant = granted(house, kind="subset")

    with pytest.raises(Invalid) as caught:
        submit(grant=grant, sql=COUNT_BY_TYPE, by=house.builder)
    assert caught.value.code == "sql_not_taken"
    with pytest.raises(Refused) as refused:
        submit(grant=grant, columns=["id"], by=house.builder)
    assert refused.value.code == "column_not_granted"
    with pytest.raises(Invalid):
        dry_run(grant=grant, sql=COUNT_BY_TYPE, by=house.builder)


def test_subset_pseudonyms_differ_between_recipients(
    house: House, daemon: FakeDaemon
) -> None:
    grant = granted(house, kind="subset")
    other = member(OrganisationFactory(kind=Kind.CONSUMER), Role.BUILDER)
    second = asked(
        house, grant.offer, kind="subset", consumer=other.organisation, by=other
    ).grant
    answered(house, grant)
    submit(grant=second, by=other)
    perform_all()

    first_job, second_job = jobs(daemon, SubsetJob)

    assert isinstance(first_job, SubsetJob)
    assert isinstance(second_job, SubsetJob)
    assert first_job.pseudonym_key != second_job.pseudonym_key


# --- release --------------------------------------------------------------------------


def test_release_content_is_what_its_record_says(house: House) -> None:
    query = answered(house, granted(house))
    release = opened(query)

    content = releases.release_content(release=release, by=house.builder)

    data = b"".join(content)
    assert len(data) == content.size_bytes
    assert hashlib.sha256(data).hexdigest() == content.sha256 == release.content_sha256
    assert content.read_range(2, 9) == data[2:9]
    result = json.loads(data)
    assert [row[0] for row in result["rows"]] == ["L", "M", None]
    assert result["withheld"] == [[2, 0], [2, 1]]
    assert result["partial"] is True
    assert result["policy_digest"] == query.grant.policy_version.digest
    assert b"key" not in repr(content).encode()
    held = AuditEvent.objects.get(event_id=release.event_id)
    assert held.payload["result_sha256"] == content.sha256
    assert AuditEvent.objects.filter(type="release:downloaded").count() == 1


def test_release_is_held_until_a_checkpoint_covers_its_record(house: House) -> None:
    query = answered(house, granted(house))
    release = query.release
    assert selectors.receipt_of(release) is None

    assert releases.open_covered() == 0
    with pytest.raises(Conflict) as caught:
        releases.release_content(release=release, by=house.builder)
    assert caught.value.code == "release_held"
    assert not AuditEvent.objects.filter(type="release:downloaded").exists()

    seal_all()
    releases.release_content(release=release, by=house.builder)
    query.refresh_from_db()
    assert query.state == "released"


def test_release_opens_by_the_sequencers_news(house: House) -> None:
    query = answered(house, granted(house))

    seal_all()

    query.refresh_from_db()
    assert (query.state, query.release.state) == ("released", "available")


def test_receipt_of_a_release_proves_its_bytes_and_no_others(house: House) -> None:
    release = opened(answered(house, granted(house)))
    data = b"".join(releases.release_content(release=release, by=house.builder))

    receipt = selectors.receipt_of(release)

    assert receipt is not None
    assert verify_receipt(receipt, verifier_key(), data).result_checked
    with pytest.raises(LedgerError):
        verify_receipt(receipt, verifier_key(), data + b" ")


def test_release_content_is_for_builders_of_the_consumer(house: House) -> None:
    release = opened(answered(house, granted(house)))

    for person in (house.steward, house.reviewer):
        with pytest.raises(Forbidden):
            releases.release_content(release=release, by=person)


def test_release_whose_file_was_altered_is_no_download(
    house: House, daemon: FakeDaemon
) -> None:
    release = opened(answered(house, granted(house)))
    path = daemon.vault / release.stored_name
    path.write_bytes(path.read_bytes()[:-1] + b"\x00")

    with pytest.raises(DistributionCorrupt):
        releases.release_content(release=release, by=house.builder)

    assert not AuditEvent.objects.filter(type="release:downloaded").exists()


def test_release_whose_file_is_gone_says_so(house: House, daemon: FakeDaemon) -> None:
    release = opened(answered(house, granted(house)))
    (daemon.vault / release.stored_name).unlink()

    with pytest.raises(NotFound) as caught:
        releases.release_content(release=release, by=house.builder)

    assert caught.value.code == "vault_file_missing"


def test_shred_expired_destroys_key_and_file_and_leaves_the_record(
    house: House, daemon: FakeDaemon, django_capture_on_commit_callbacks: Any
) -> None:
    query = answered(house, granted(house))
    release = opened(query)
    assert releases.shred_expired(now=timezone.now()) == 0

    with django_capture_on_commit_callbacks(execute=True):
        assert releases.shred_expired(now=timezone.now() + dt.timedelta(days=31)) == 1

    release.refresh_from_db()
    query.refresh_from_db()
    assert (release.state, query.state) == ("shredded", "shredded")
    assert release.data_key.state == KeyState.DESTROYED
    assert [p for p in daemon.vault.glob("results/*/*") if p.is_file()] == []
    assert selectors.receipt_of(release) is not None
    with pytest.raises(NotFound) as caught:
        releases.release_content(release=release, by=house.builder)
    assert caught.value.code == "release_shredded"


def test_shredded_answer_can_be_asked_for_again(house: House) -> None:
    grant = granted(house)
    first = answered(house, grant)
    releases.shred_release(release=opened(first), by=house.builder)

    again = answered(house, grant)

    assert (again.state, again.same_as) == ("held", None)
    assert again.fingerprint == first.fingerprint


def test_queries_and_releases_are_seen_by_both_sides_and_a_regulator(house: House) -> None:
    query = answered(house, granted(house))
    stranger = member(OrganisationFactory(), Role.BUILDER)
    regulator = member(OrganisationFactory(kind=Kind.REGULATOR), Role.REGULATOR)

    for reader in (house.builder, house.steward, regulator):
        assert selectors.query_visible_to(reader, query.pk) == query
        assert selectors.release_visible_to(reader, query.release.pk) == query.release
    with pytest.raises(NotFound):
        selectors.query_visible_to(stranger, query.pk)
    with pytest.raises(NotFound):
        selectors.release_visible_to(stranger, query.release.pk)

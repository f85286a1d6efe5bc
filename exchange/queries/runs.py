"""The work behind a query: have it analysed and decided; have it run, and hold what came.

Handlers are safe to run twice: only the attempt that holds the operation's lease moves the
query (`completing`), and the result, its history, its record and its state are one
transaction. No sandbox call is made inside one.
"""

from __future__ import annotations

import dataclasses
from datetime import timedelta
from typing import Any

from django.conf import settings
from django.db import transaction
from django.utils import timezone

from exchange.agreements.limits import limits_of
from exchange.agreements.models import Grant
from exchange.agreements.states import RuleKind
from exchange.audit.events import EventType
from exchange.audit.services import record
from exchange.catalogue import vault
from exchange.catalogue.datakeys import destroy_keys
from exchange.catalogue.forgetting import forget_withdrawn
from exchange.errors import ExchangeError, Refused
from exchange.keys import services as keys
from exchange.keys.models import KeyPurpose
from exchange.nudges import SEAL, nudge
from exchange.operations.models import Operation
from exchange.operations.registry import Failure
from exchange.operations.services import completing, enqueue
from exchange.queries import analysis, delivery
from exchange.queries.delivery import Delivered
from exchange.queries.history import HistoryMoved, append_history
from exchange.queries.models import FailedRun, Query, Release
from exchange.queries.moves import move, record_analysed, record_of
from exchange.queries.services import RUN, refuse
from exchange.queries.states import QueryState, Verdict
from exchange.queries.subjects import check_usable, versions_of
from exchange.queries.turns import turn_over
from sandbox.errors import DeadlineExceeded, QueryRejected, ResourceExceeded, SandboxError
from sandbox.protocol import Metering

LEASE_SECONDS = settings.BONDED_RUN_SECONDS_MAX + 120.0
# A run that met another's release is controlled again, against the longer history.
ROUNDS = 5
# Within the slack of the lease, so that who waits for its turn is not taken for lost.
_TURN_SECONDS = 60.0
_MAX_SQL_IN_RECORD = 24 * 1024


def analyse(operation: Operation) -> Operation | None:
    """The operation's query is refused, in review, approved, or an earlier one's repeat.

    Returns its run, where the policy lets it begin at once.
    """
    query = _query(operation)
    if query.state != QueryState.ANALYSING:
        return None
    grant = query.grant
    check_usable(grant, timezone.now())
    if grant.kind == RuleKind.SUBSET:
        found = analysis.judge_subset(grant, query.columns)
    else:
        found = analysis.judge(
            grant, sql=query.sql, purpose=query.purpose, job_id=_job_id(operation)
        )
    with completing(operation):
        _lock_cap(grant)
        return _settle(query, found)


def _lock_cap(grant: Grant) -> None:
    # The cap is counted and used up under one lock, over all that it counts: were only this
    # grant locked, two grants of one consumer would each find the day's last run free.
    # Always in one order, so that no two wait for each other.
    sharing = Grant.objects.filter(
        consumer=grant.consumer_id, offer__dataset=grant.offer.dataset_id, kind=grant.kind
    )
    list(sharing.order_by("pk").select_for_update(of=("self",)))


def _settle(query: Query, found: analysis.Judgement) -> Operation | None:
    earlier = None
    if found.verdict != Verdict.REFUSE:
        earlier = (
            Query.objects.live()
            .filter(grant=query.grant, fingerprint=found.fingerprint, same_as=None)
            .exclude(pk=query.pk)
            # Held until this one is its repeat, or it could move on without it.
            .select_for_update(of=("self",))
            .order_by("pk")
            .first()
        )
        if earlier is None and analysis.runs_left(query.grant) == 0:
            found = found.refused(analysis.cap_reached(query.grant))
    facts: dict[str, Any] = {
        "verdict": found.verdict,
        "reasons": list(found.reasons),
        "shape": found.shape_json,
        "executed_sql": found.executed_sql,
        "fingerprint": found.fingerprint,
        "analysed_at": timezone.now(),
        "same_as": earlier,
    }
    if earlier is not None and earlier.state == QueryState.RELEASED:
        facts["finished_at"] = facts["analysed_at"]
    by = query.submitted_by
    for name, value in facts.items():
        setattr(query, name, value)
    record_analysed(query)
    if found.verdict == Verdict.REFUSE:
        refuse(query, found.reasons, by=by, changes=facts)
        return None
    to = QueryState.APPROVED
    if earlier is not None:
        to = QueryState(earlier.state)
    elif found.verdict == Verdict.REVIEW:
        to = QueryState.IN_REVIEW
    move(query, to=to, by=by, changes=facts)
    if earlier is not None or found.verdict == Verdict.REVIEW:
        return None
    return enqueue(RUN, query.pk, rings=False)


def run(operation: Operation) -> None:
    """The operation's query has an answer, held with its record; or nothing changed."""
    query = _query(operation)
    if query.state not in (QueryState.APPROVED, QueryState.RUNNING):
        return
    check_usable(query.grant, timezone.now())
    _start(query, operation)
    try:
        with turn_over(delivery.datasets_of(query), wait_seconds=_TURN_SECONDS):
            _deliver_and_hold(query, operation)
    except BaseException as error:
        # Withdrawn or shredded meanwhile: its job may have come after the wipe.
        forget_withdrawn(list(versions_of(query.grant).values()))
        # Here, for who cancels a run has used the machine as well, and `failed` is not
        # told of a run whose operation was cancelled.
        if isinstance(error, SandboxError) and error.metering is not None:
            _meter(query, error.code, error.metering)
        raise


def _deliver_and_hold(query: Query, operation: Operation) -> None:
    for round_left in reversed(range(ROUNDS)):
        delivered = delivery.deliver(query, job_id=_job_id(operation))
        try:
            with completing(operation):
                # A revocation or withdrawal during the run stops what it made.
                check_usable(query.grant, timezone.now())
                _hold(query, delivered)
        except BaseException as error:
            vault.remove(delivered.stored_name)
            if isinstance(error, ExchangeError):
                _meter(query, error.code, delivered.metering)
            if isinstance(error, HistoryMoved) and round_left:
                continue
            raise
        return


def _start(query: Query, operation: Operation) -> None:
    with transaction.atomic():
        if query.state == QueryState.APPROVED:
            package = query.grant.kind == RuleKind.SUBSET
            key = keys.issue_data_key(
                organisation=query.grant.provider,
                purpose=KeyPurpose.PACKAGE if package else KeyPurpose.RESULT,
                subject=query,
                by=query.submitted_by,
            )
            move(
                query,
                to=QueryState.RUNNING,
                by=query.submitted_by,
                changes={"result_key": key, "run_started_at": timezone.now()},
            )
        record_of(
            query,
            type=EventType.RUN_STARTED,
            by=query.submitted_by,
            fingerprint=query.fingerprint,
            dataset_version=str(query.grant.version_id),
            policy_digest=query.grant.policy_version.digest,
            attempt=operation.attempt,
            limits=limits_of(query.grant).words(),
        )


def _hold(query: Query, delivered: Delivered) -> None:
    grant, now = query.grant, timezone.now()
    release = Release(
        query=query,
        media_type=delivered.media_type,
        filename=delivered.filename,
        content_sha256=delivered.content_sha256,
        content_bytes=delivered.content_bytes,
        stored_name=delivered.stored_name,
        data_key=query.result_key,
        rows=delivered.rows,
        columns=[list(column) for column in delivered.columns],
        suppressed=delivered.suppressed,
        partial=delivered.partial,
        report=[list(line) for line in delivered.report],
        metering=dataclasses.asdict(delivered.metering),
        shred_after=now + timedelta(days=settings.BONDED_RETENTION_DAYS),
    )
    record_of(
        query,
        type=EventType.RUN_FINISHED,
        by=query.submitted_by,
        fingerprint=query.fingerprint,
        rows=delivered.rows,
        suppressed=delivered.suppressed,
        **_executed(delivered.executed_sql),
    )
    event = record(
        type=EventType.RELEASE_HELD,
        actor=query.submitted_by,
        subject=release,
        case_id=query.case_id,
        organisation=grant.provider.slug,
        result_sha256=delivered.content_sha256,
        bytes=delivered.content_bytes,
        rows=delivered.rows,
        suppressed=delivered.suppressed,
        partial=delivered.partial,
        query=str(query.pk),
        grant=str(grant.pk),
        purpose=query.purpose,
        legal_basis=grant.request.legal_basis,
        consumer=grant.consumer.slug,
        dataset_version=str(grant.version_id),
        policy_digest=grant.policy_version.digest,
        licence=grant.request.accepted_licence,
        fingerprint=query.fingerprint,
        reviewers=_approved_by(query),
    )
    release.event_id = event.event_id
    release.save(force_insert=True)
    if delivered.history is not None:
        append_history(delivered.history, release, delivered.history_text)
    move(query, to=QueryState.HELD, by=query.submitted_by, changes={"finished_at": now})
    # Somebody waits for the checkpoint that lets it out.
    nudge(SEAL)


def _approved_by(query: Query) -> list[str]:
    """Who approved this, its request first: what a regulator asks of every release."""
    of_request = query.grant.request.decisions.select_related("reviewer")
    people = [word.reviewer for word in of_request.filter(approves=True)]
    if query.verdict != Verdict.ALLOW:  # that one is in nobody's review
        of_query = query.reviews.select_related("reviewer")
        people += [word.reviewer for word in of_query.filter(approves=True)]
    return list(dict.fromkeys(str(person.public_id) for person in people))


def failed(operation: Operation, error: Failure) -> None:
    """The operation's query is refused or failed, saying why; its key is destroyed."""
    query = _query(operation)
    under_way = (QueryState.ANALYSING, QueryState.APPROVED, QueryState.RUNNING)
    if query.state not in under_way:
        return
    with transaction.atomic():
        if isinstance(error, QueryRejected):
            refuse(query, analysis.reasons_of(error), by=query.submitted_by)
        elif isinstance(error, Refused):
            reason = analysis.make_reason(error.code, error.message, error.hint)
            refuse(query, (reason,), by=query.submitted_by)
        else:
            move(
                query,
                to=QueryState.FAILED,
                by=query.submitted_by,
                event=EventType.RUN_FAILED,
                changes={
                    "error_code": error.code,
                    "error_message": error.message,
                    "error_hint": _way_forward(query, error),
                    "finished_at": timezone.now(),
                },
                code=error.code,
                stage=operation.kind,
            )
        destroy_keys(query.result_key, by=query.submitted_by)
        transaction.on_commit(lambda: vault.remove_others("results", query.pk, ()))


def _meter(query: Query, code: str, metering: Metering) -> None:
    FailedRun.objects.create(
        query=query, error_code=code, metering=dataclasses.asdict(metering)
    )


def _way_forward(query: Query, error: Failure) -> str:
    if not isinstance(error, (DeadlineExceeded, ResourceExceeded)):
        return error.hint
    limits = limits_of(query.grant)
    return (
        f"A run under this grant may take {limits.seconds} seconds, {limits.memory_mb} MB "
        f"of memory and {limits.output_mb} MB of result. Ask for less at once, or ask the "
        "provider to raise the grant's limits."
    )


def _query(operation: Operation) -> Query:
    if isinstance(operation.loaded, Query):
        return operation.loaded
    return Query.objects.select_related(
        "grant__offer__dataset__organisation",
        "grant__policy_version",
        "grant__provider",
        "grant__consumer",
        "grant__request",
        "submitted_by",
        "result_key",
    ).get(pk=operation.target_id)


def _job_id(operation: Operation) -> str:
    return f"{operation.public_id}-{operation.attempt}"


def _executed(sql: str) -> dict[str, Any]:
    # An entry has at most 65,535 bytes; a longer text goes in as its digest.
    if len(sql.encode()) <= _MAX_SQL_IN_RECORD:
        return {"executed_sql": sql}
    return {"executed_sql_sha256": delivery.digest_of(sql.encode())}

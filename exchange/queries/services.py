"""Writes on queries: submit, review, retry, cancel; and the dry run, which writes none."""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from django.db import IntegrityError, transaction
from django.utils import timezone

from exchange.agreements.models import Grant
from exchange.agreements.reviewing import check_may_decide
from exchange.agreements.rules import rule_at
from exchange.agreements.states import RuleKind
from exchange.audit.actors import Private
from exchange.audit.events import EventType
from exchange.catalogue import sandbox
from exchange.errors import Conflict, Invalid, Refused
from exchange.operations import work
from exchange.operations.models import Operation, OperationState
from exchange.operations.services import cancel, enqueue
from exchange.parties.models import User
from exchange.parties.permissions import check_can_submit_queries
from exchange.queries import analysis, repeats
from exchange.queries.models import Query, QueryReview
from exchange.queries.moves import move, record_analysed, record_of
from exchange.queries.queueing import check_has_room
from exchange.queries.states import QueryState, Verdict
from exchange.queries.subjects import check_usable
from sandbox.errors import SandboxError

ANALYSE = "queries.analyse"
RUN = "queries.run"
# An audit entry has at most 65,535 bytes, and the text stands in it.
MAX_SQL_BYTES = 24 * 1024
# What an analysis sets; what else was loaded with a query stays as it is.
_FOUND = (
    *("state", "verdict", "reasons", "shape", "executed_sql", "fingerprint"),
    *("analysed_at", "same_as", "finished_at"),
    *("error_code", "error_message", "error_hint"),
)


@dataclass(frozen=True, slots=True)
class DryRun:
    """What a submission would meet; nothing was run, stored or charged."""

    verdict: str  # allow, review or refuse
    # {"code", "message", "hint", "line", "column", "offset", "policy_path"}, every ground.
    reasons: tuple[dict[str, Any], ...]
    outputs: tuple[str, ...]
    executed_sql: str
    fingerprint: str


def dry_run(*, grant: Grant, sql: str, purpose: str = "", by: User) -> DryRun:
    """Say what `submit` would decide. `purpose` empty: the grant's.

    Raises what `submit` raises, and SandboxError where the analysis gave no shape (daemon
    away, deadline).
    """
    check_can_submit_queries(by, grant.consumer)
    purpose = _checked_purpose(grant, purpose)
    if grant.kind != RuleKind.AGGREGATE:
        raise _not_sql()
    _check_sql(sql)
    check_usable(grant, timezone.now())
    found = analysis.judge(grant, sql=sql, purpose=purpose)
    known = Query.objects.live().filter(grant=grant, fingerprint=found.fingerprint).exists()
    if found.verdict != Verdict.REFUSE and not known and analysis.runs_left(grant) == 0:
        found = found.refused(analysis.cap_reached(grant))
    return DryRun(
        verdict=str(found.verdict),
        reasons=found.reasons,
        outputs=found.shape.outputs,
        executed_sql=found.executed_sql,
        fingerprint=found.fingerprint,
    )


def submit(
    *,
    grant: Grant,
    sql: str = "",
    columns: Sequence[str] = (),
    purpose: str = "",
    idempotency_key: str = "",
    at_once: bool = False,
    by: User,
) -> Query:
    """A query stands in state analysing, recorded, its analysis enqueued; or released at
    once, where the very same question has a released answer under this grant.

    `at_once`: it is analysed here and now, while the caller waits: what repeats an earlier
    one is answered then, a refused one refused, and what may run is on its way.

    Aggregate grants take `sql`, subset grants `columns` (none: all granted). The same key
    of the same person under the same grant gives the same query back if the content is the
    same, else Conflict `idempotency_key_reused`. Refused `grant_revoked`, `grant_expired`,
    `version_withdrawn`, `purpose_not_granted`, `column_not_granted`; Invalid `sql_missing`,
    `sql_too_long`, `sql_not_taken`.
    """
    check_can_submit_queries(by, grant.consumer)
    purpose = _checked_purpose(grant, purpose)
    if grant.kind == RuleKind.AGGREGATE:
        _check_sql(sql)
        chosen: list[str] = []
    else:
        if sql.strip():
            raise _not_sql()
        chosen = _checked_columns(grant, columns)
    content: dict[str, Any] = {"sql": sql, "purpose": purpose, "columns": chosen}
    key = _own_key(by, idempotency_key)
    earlier = _same_key(grant, key, content)
    if earlier is not None:
        return earlier
    check_usable(grant, timezone.now())
    question = repeats.question_of(grant, sql=sql, columns=chosen, purpose=purpose)
    operation = None
    try:
        with transaction.atomic():
            answered = repeats.answered(grant, question)
            if answered is None:
                check_has_room(grant)
            facts = repeats.facts_of_repeat(answered) if answered is not None else {}
            query = Query.objects.create(
                grant=grant,
                idempotency_key=key or uuid.uuid4().hex,
                submitted_by=by,
                question=question,
                **{"state": QueryState.ANALYSING, **content, **facts},
            )
            record_of(
                query,
                type=EventType.QUERY_SUBMITTED,
                by=by,
                purpose=purpose,
                sql=sql,
                columns=chosen,
                grant=str(grant.pk),
                dataset_version=str(grant.version_id),
                policy_digest=grant.policy_version.digest,
            )
            if answered is not None:
                record_analysed(query)
            else:
                operation = enqueue(ANALYSE, query.pk, begins=at_once)
    except IntegrityError:
        # Two submissions with one key at the same moment: the first one stands.
        earlier = _same_key(grant, key, content)
        if earlier is None:
            raise
        return earlier
    if at_once and operation is not None:
        operation.loaded = query
        work.perform(operation, goes_on=False)
        if operation.state != OperationState.DONE:
            # What did not commit may stand in the object: somebody cancelled meanwhile.
            query.refresh_from_db(fields=_FOUND)
    return query


def review_query(*, query: Query, approve: bool, note: str = "", by: User) -> Query:
    """The reviewer's word on a query in review is recorded; the last one needed decides.

    One rejection refuses it. Forbidden `four_eyes` for the submitter and every member of
    the consumer. Conflict `query_not_in_review`, `already_decided`.
    """
    grant = query.grant
    check_may_decide(
        by, provider=grant.provider, consumer=grant.consumer, asker=query.submitted_by_id
    )
    rule = rule_at(grant.policy_version.policy, grant.kind, grant.rule_index)
    try:
        with transaction.atomic():
            query = Query.objects.select_for_update().get(pk=query.pk)
            if query.state != QueryState.IN_REVIEW:
                raise Conflict(
                    f"the query is {query.state}; only one in review waits for a word",
                    code="query_not_in_review",
                    hint="Load it again: somebody has decided it meanwhile.",
                )
            QueryReview.objects.create(
                query=query,
                reviewer=by,
                reviewer_organisation=grant.provider,
                submitter=query.submitted_by,
                consumer=grant.consumer,
                approves=approve,
                note=note.strip(),
                fingerprint=query.fingerprint,
            )
            record_of(
                query,
                type=EventType.QUERY_REVIEWED,
                by=by,
                decision="approve" if approve else "reject",
                fingerprint=query.fingerprint,
                note=Private(note.strip()),
            )
            if not approve:
                refuse(query, (_rejected(note),), by=by)
            elif query.reviews.filter(approves=True).count() >= rule.reviewers:
                move(query, to=QueryState.APPROVED, by=by)
                enqueue(RUN, query.pk)
    except IntegrityError as error:
        raise Conflict(
            "you have given your word on this query already",
            code="already_decided",
            hint="The word of another reviewer is needed.",
        ) from error
    return query


def retry_query(*, query: Query, by: User) -> Query:
    """A failed query is analysed again, recorded. Conflict `query_not_failed`."""
    check_can_submit_queries(by, query.grant.consumer)
    if query.state != QueryState.FAILED:
        raise Conflict(
            f"the query is {query.state}; only a failed one is tried again",
            code="query_not_failed",
        )
    check_usable(query.grant, timezone.now())
    cleared = dict.fromkeys(("error_code", "error_message", "error_hint"), "")
    with transaction.atomic():
        move(
            query,
            to=QueryState.ANALYSING,
            by=by,
            event=EventType.QUERY_SUBMITTED,
            changes={**cleared, "same_as": None, "finished_at": None, "verdict": ""},
            purpose=query.purpose,
            sql=query.sql,
            retry=True,
        )
        Query.objects.filter(same_as=query).update(state=QueryState.FAILED)
        enqueue(ANALYSE, query.pk)
    return query


def cancel_query(*, query: Query, by: User) -> Query:
    """A query under way is ended, recorded; its job in the sandbox is killed.

    Conflict `illegal_move` once a result is held: that is a release already.
    """
    check_can_submit_queries(by, query.grant.consumer)
    with transaction.atomic():
        operations = list(
            Operation.objects.unfinished().filter(
                kind__in=(ANALYSE, RUN), target_id=str(query.pk)
            )
        )
        for operation in operations:
            cancel(operation, by=by)
        move(
            query,
            to=QueryState.FAILED,
            by=by,
            event=EventType.RUN_FAILED,
            changes={
                "error_code": "cancelled",
                "error_message": "the query was cancelled",
                "error_hint": "Try it again when you like.",
                "finished_at": timezone.now(),
            },
            code="cancelled",
        )
        jobs = [f"{o.public_id}-{o.attempt}" for o in operations]
        transaction.on_commit(lambda: kill(jobs))
    return query


def refuse(
    query: Query,
    reasons: Sequence[dict[str, Any]],
    *,
    by: User,
    changes: Mapping[str, Any] | None = None,
) -> Query:
    """The query is refused for these grounds, recorded, in the caller's transaction."""
    return move(
        query,
        to=QueryState.REFUSED,
        by=by,
        event=EventType.QUERY_REFUSED,
        changes={
            **(changes or {}),
            "reasons": list(reasons),
            "finished_at": timezone.now(),
        },
        reasons=sorted({str(reason["code"]) for reason in reasons}),
        purpose=query.purpose,
        policy_digest=query.grant.policy_version.digest,
    )


def kill(jobs: list[str]) -> None:
    # A daemon that is away runs no job either.
    with suppress(SandboxError):
        for job_id in jobs:
            sandbox.daemon().cancel(job_id)


def _rejected(note: str) -> dict[str, Any]:
    return analysis.make_reason(
        "rejected_by_reviewer",
        "a reviewer of the provider rejected the query",
        note.strip() or "Ask the provider what would be acceptable.",
    )


def _checked_purpose(grant: Grant, purpose: str) -> str:
    if purpose and purpose != grant.purpose:
        raise Refused(
            f"the grant is for the purpose {grant.purpose}; another was named",
            code="purpose_not_granted",
            hint="Request access for that purpose.",
        )
    return grant.purpose


def _check_sql(sql: str) -> None:
    if not sql.strip():
        raise Invalid(
            "no SQL came",
            code="sql_missing",
            hint="For example: SELECT column, count(*) FROM table GROUP BY column.",
        )
    size = len(sql.encode())
    if size > MAX_SQL_BYTES:
        raise Invalid(
            f"the SQL has {size} bytes, at most {MAX_SQL_BYTES} are taken",
            code="sql_too_long",
            hint="Ask in several queries.",
        )


def _not_sql() -> Invalid:
    return Invalid(
        "this grant delivers a labelled subset; it takes columns, not SQL",
        code="sql_not_taken",
        hint="Name the columns, or request a grant for aggregates.",
    )


def _checked_columns(grant: Grant, columns: Sequence[str]) -> list[str]:
    unknown = [name for name in columns if name not in grant.columns]
    if unknown:
        raise Refused(
            f"not granted: {', '.join(f'`{name[:63]}`' for name in unknown[:20])}",
            code="column_not_granted",
            hint=f"Columns granted: {', '.join(grant.columns)}.",
        )
    return [name for name in grant.columns if name in columns or not columns]


def _own_key(by: User, key: str) -> str:
    # Two people may choose one key: a colleague's query is not the answer to an own one,
    # which would then stand in no record.
    if len(key) > 200:
        raise Invalid("an idempotency key has at most 200 characters", code="key_too_long")
    return hashlib.sha256(f"{by.pk}\n{key}".encode()).hexdigest() if key else ""


def _same_key(grant: Grant, key: str, content: dict[str, Any]) -> Query | None:
    if not key:
        return None
    earlier = Query.objects.filter(grant=grant, idempotency_key=key).order_by()
    found = next(iter(earlier[:1]), None)
    if found is None:
        return None
    if any(getattr(found, name) != value for name, value in content.items()):
        raise Conflict(
            "this idempotency key was used for another query under this grant",
            code="idempotency_key_reused",
            hint="Use a fresh key for a fresh query.",
        )
    return found

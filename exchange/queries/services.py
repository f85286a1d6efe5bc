"""Writes on queries: submit, review, retry, cancel; and the dry run, which writes nothing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from exchange.agreements.models import Grant
    from exchange.parties.models import User
    from exchange.queries.models import Query


@dataclass(frozen=True, slots=True)
class DryRun:
    """What a submission would meet; nothing was run, stored or charged."""

    verdict: str  # allow, review or refuse
    # {"code", "message", "hint", "line", "column", "policy_path"} each, every ground.
    reasons: tuple[dict[str, Any], ...]
    outputs: tuple[str, ...]
    executed_sql: str
    fingerprint: str


def dry_run(*, grant: Grant, sql: str, purpose: str = "", by: User) -> DryRun:
    """Say what `submit` would decide. `purpose` empty: the grant's.

    Raises SandboxError where the analysis gave no shape (daemon away, deadline).
    """
    raise NotImplementedError


def submit(
    *,
    grant: Grant,
    sql: str = "",
    columns: Sequence[str] = (),
    purpose: str = "",
    idempotency_key: str = "",
    by: User,
) -> Query:
    """A query stands in state analysing, recorded, its analysis enqueued.

    Aggregate grants take `sql`, subset grants `columns` ([] = all granted). The same key
    under the same grant gives the same query back if the content is the same, else Conflict
    `idempotency_key_reused`. Refused `grant_not_active`, `purpose_not_granted`,
    `column_not_granted`, `sql_missing`, `sql_too_long`, `version_withdrawn`.
    """
    raise NotImplementedError


def review_query(*, query: Query, approve: bool, note: str = "", by: User) -> Query:
    """The reviewer's word on a query in review is recorded; the last one needed decides.

    Forbidden for the submitter and every member of the consumer (`four_eyes`). Conflict
    `query_not_in_review`, `already_decided`.
    """
    raise NotImplementedError


def retry_query(*, query: Query, by: User) -> Query:
    """A failed query is analysed again. Conflict `query_not_failed`."""
    raise NotImplementedError

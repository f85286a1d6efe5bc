"""A question that was answered under a grant is answered again at once, from its record.

Analysis has no clock and no chance and sees no row: it is a function of the text, the
purpose, the policy, the tables' schemas and its own code. A grant pins policy and versions.
So where all of these are those of an earlier query, its analysis is this one's, and no
process has to be asked.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from typing import Any

from django.db.models.functions import Coalesce
from django.utils import timezone

from exchange.agreements.models import Grant
from exchange.queries.models import Query
from exchange.queries.states import QueryState
from sandbox.revision import code_revision


def question_of(grant: Grant, *, sql: str, columns: Sequence[str], purpose: str) -> str:
    """A digest of all that the analysis of a submission depends on."""
    parts = [
        code_revision(),
        grant.policy_version.digest,
        str(grant.offer_id),  # pins the tables' versions, hence their schemas
        grant.kind,
        grant.rule_index,
        purpose,
        sql,
        list(columns),
    ]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


def answered(grant: Grant, question: str) -> Query | None:
    """The query whose released answer is the question's, locked so that it stays so.

    In the transaction of the submission.
    """
    asked = Query.objects.filter(grant=grant, question=question, state=QueryState.RELEASED)
    originals = asked.annotate(original=Coalesce("same_as_id", "pk")).values("original")
    found = (
        Query.objects.select_for_update(of=("self",))
        .select_related("release")
        .filter(pk__in=originals.order_by(), state=QueryState.RELEASED)
        .order_by()
    )
    return next(iter(found[:1]), None)


def facts_of_repeat(earlier: Query) -> dict[str, Any]:
    """The fields of a query that `earlier` has answered."""
    now = timezone.now()
    return {
        "state": QueryState.RELEASED,
        "verdict": earlier.verdict,
        "reasons": earlier.reasons,
        "shape": earlier.shape,
        "executed_sql": earlier.executed_sql,
        "fingerprint": earlier.fingerprint,
        "analysed_at": now,
        "finished_at": now,
        "same_as": earlier,
    }

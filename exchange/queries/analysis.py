"""From a query's text to a decision: the sandbox derives the shape, the policy judges it.

Nothing here touches rows. A refusal is a value with every ground and a way forward; what is
raised is what gave no shape at all.
"""

from __future__ import annotations

import hashlib
import json
import uuid
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Any

from django.utils import timezone

from exchange.agreements.models import Grant
from exchange.agreements.rules import rule_at
from exchange.catalogue import sandbox
from exchange.queries.models import Query
from exchange.queries.states import Verdict
from exchange.queries.subjects import schemas_of
from policies.decision import Request, decide
from policies.reasons import Reason
from policies.shape import QueryShape
from policies.shape_codec import shape_from_json
from sandbox.errors import QueryRejected
from sandbox.protocol import AnalyseJob, AnalyseOutcome, Limits

LIMITS = Limits(deadline_seconds=20.0)


@dataclass(frozen=True, slots=True)
class Judgement:
    """What the policy says of a query, and the facts that it saw."""

    verdict: Verdict
    reasons: tuple[dict[str, Any], ...]
    shape: QueryShape = field(default_factory=QueryShape)
    shape_json: str = ""
    executed_sql: str = ""
    fingerprint: str = ""

    def refused(self, reason: dict[str, Any]) -> Judgement:
        """The same facts, refused for one more reason."""
        return replace(self, verdict=Verdict.REFUSE, reasons=(*self.reasons, reason))


def judge(grant: Grant, *, sql: str, purpose: str, job_id: str = "") -> Judgement:
    """Have the query analysed and say what the grant's policy decides."""
    job = AnalyseJob(
        job_id=job_id or f"analyse-{uuid.uuid4()}",
        sql=sql,
        purpose=purpose,
        policy=grant.policy_version.canonical,
        schemas=schemas_of(grant),
        limits=LIMITS,
    )
    try:
        outcome = sandbox.run(job, AnalyseOutcome)
    except QueryRejected as error:
        return Judgement(Verdict.REFUSE, reasons_of(error))
    shape = shape_from_json(outcome.shape)
    decision = decide(grant.policy_version.policy, Request(purpose=purpose), shape)
    return Judgement(
        verdict=Verdict(str(decision.verdict)),
        reasons=tuple(_reason(item) for item in decision.reasons),
        shape=shape,
        shape_json=outcome.shape,
        executed_sql=outcome.executed_sql,
        fingerprint=shape.fingerprint,
    )


def judge_subset(grant: Grant, columns: list[str]) -> Judgement:
    """A subset was decided on with its request: rule and columns are its whole question."""
    question = {"subset": grant.rule_index, "columns": columns}
    text = json.dumps(question, sort_keys=True, separators=(",", ":"))
    digest = hashlib.sha256(text.encode()).hexdigest()
    return Judgement(Verdict.ALLOW, (), fingerprint=digest)


def runs_left(grant: Grant) -> int | None:
    """Runs that the rule's daily cap still allows the consumer on this dataset, or None.

    Counted over the last 24 hours and over all the consumer's grants on the dataset: two
    grants for one purpose are one curiosity.
    """
    rule = rule_at(grant.policy_version.policy, grant.kind, grant.rule_index)
    if rule.max_queries_per_day is None:
        return None
    counted = Query.objects.filter(
        grant__consumer=grant.consumer_id,
        grant__offer__dataset=grant.offer.dataset_id,
        grant__kind=grant.kind,
        analysed_at__gte=timezone.now() - timedelta(days=1),
        verdict__in=(Verdict.ALLOW, Verdict.REVIEW),
        same_as=None,
    ).count()
    return max(0, rule.max_queries_per_day - counted)


def cap_reached(grant: Grant) -> dict[str, Any]:
    """The reason that the day's cap is used up."""
    rule = rule_at(grant.policy_version.policy, grant.kind, grant.rule_index)
    return make_reason(
        "daily_cap_reached",
        f"the policy allows {rule.max_queries_per_day} queries in 24 hours, all are used",
        "Wait until the oldest of them is a day old; a question asked before is answered "
        "again at once and counts nothing.",
    )


def make_reason(code: str, message: str, hint: str = "") -> dict[str, Any]:
    """One ground for a verdict, in the form that `Query.reasons` keeps."""
    return _reason(Reason(code, message, hint))


def reasons_of(error: QueryRejected) -> tuple[dict[str, Any], ...]:
    """The grounds that the worker's own analysis gave."""
    listed = getattr(error, "reasons", ())
    if not listed:
        listed = ((error.code, error.message, error.hint),)
    return tuple(make_reason(*item) for item in listed)


def _reason(reason: Reason) -> dict[str, Any]:
    place = reason.place
    return {
        "code": reason.code,
        "message": reason.message,
        "hint": reason.hint,
        "line": place.line if place is not None else None,
        "column": place.column if place is not None else None,
        "offset": place.offset if place is not None else None,
        "policy_path": reason.policy_path,
    }

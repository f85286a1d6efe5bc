"""Writes on agreements: request, decide, revoke; four eyes where the policy asks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from datetime import datetime, timedelta

from django.db import IntegrityError, transaction
from django.utils import timezone

from exchange.agreements.limits import checked, limits_of, strictest
from exchange.agreements.models import AccessRequest, Grant, RequestDecision
from exchange.agreements.reviewing import check_may_decide
from exchange.agreements.rules import OfferedRule, check_columns, find_rule, rule_at
from exchange.agreements.states import LegalBasis, NegotiationState
from exchange.audit.actors import NODE, Actor, Private
from exchange.audit.events import EventType
from exchange.audit.services import record
from exchange.catalogue.models import Offer
from exchange.catalogue.states import VersionState
from exchange.errors import Conflict, Invalid, Refused
from exchange.parties.models import Organisation, User
from exchange.parties.permissions import (
    can_manage_datasets,
    check_can_manage_datasets,
    check_can_request_access,
)
from exchange.transitions import advance

DUE_DAYS = 14  # reviewers decide within, or the request ends
MAX_DAYS = 3660


def request_access(
    *,
    offer: Offer,
    consumer: Organisation,
    kind: str,
    purpose: str,
    legal_basis: str,
    justification: str,
    duration_days: int,
    accepted_licence: str,
    columns: Sequence[str] = (),
    by: User,
) -> AccessRequest:
    """A request stands, recorded; where the policy decides alone, its grant stands too.

    `kind` is aggregate or subset. `accepted_licence` must be the offer's (aggregate) or the
    rule's (subset). `columns` empty: all that the rule offers. Raises Refused
    `purpose_not_offered`, `licence_not_accepted`, `column_not_offered`, `own_dataset`,
    Conflict `offer_closed`, `request_already_open`, Invalid for fields that are not what
    they should be.
    """
    check_can_request_access(by, consumer)
    basis = _checked_basis(legal_basis, justification, duration_days)
    provider = offer.dataset.organisation
    if provider.pk == consumer.pk:
        raise Refused(
            f"{consumer} is the provider of this dataset",
            code="own_dataset",
            hint="Ask for access on behalf of another organisation.",
        )
    rule = find_rule(offer, kind=kind, purpose=purpose)
    if accepted_licence.strip() != rule.licence:
        raise Refused(
            f"the licence is {rule.licence}; it must be accepted by that name",
            code="licence_not_accepted",
            hint=f"Read it, and accept {rule.licence}.",
        )
    chosen = check_columns(rule, columns)
    try:
        with transaction.atomic():
            _check_offer_open(offer)
            request = AccessRequest.objects.create(
                offer=offer,
                kind=rule.kind,
                rule_index=rule.index,
                consumer=consumer,
                requested_by=by,
                purpose=purpose,
                legal_basis=basis,
                justification=justification.strip(),
                columns=chosen,
                duration_days=duration_days,
                accepted_licence=rule.licence,
                reviewers_needed=rule.reviewers,
                due_at=timezone.now() + timedelta(days=DUE_DAYS)
                if rule.reviewers
                else None,
            )
            record(
                type=EventType.REQUEST_SUBMITTED,
                actor=by,
                subject=request,
                case_id=str(request.pk),
                organisation=consumer.slug,
                purpose=purpose,
                legal_basis=str(basis),
                dataset_version=str(offer.version_id),
                kind=rule.kind,
                columns=chosen,
                duration_days=duration_days,
                licence=rule.licence,
                provider=provider.slug,
                justification=Private(justification.strip()),
            )
            if not rule.reviewers:
                _issue(request, by=NODE)
    except IntegrityError as error:
        raise Conflict(
            f"{consumer} has a request of this kind and purpose open on this offer already",
            code="request_already_open",
            hint="Wait for its decision, or withdraw it.",
        ) from error
    return request


def decide_request(
    *,
    request: AccessRequest,
    approve: bool,
    note: str = "",
    limits: Mapping[str, int | None] | None = None,
    by: User,
) -> AccessRequest:
    """The reviewer's word is recorded; the last one needed issues the grant or ends it.

    `limits` of a run under the grant: of several reviewers' the strictest hold.

    One rejection ends the request. Forbidden `four_eyes` for the requester and for every
    member of the consumer. Conflict `request_not_waiting`, `already_decided`,
    `offer_closed` for an approval of what is no longer on offer.
    """
    offer = request.offer
    provider = offer.dataset.organisation
    check_may_decide(
        by, provider=provider, consumer=request.consumer, asker=request.requested_by_id
    )
    said = checked(limits) if approve else {}
    try:
        with transaction.atomic():
            request = AccessRequest.objects.select_for_update().get(pk=request.pk)
            if not request.is_waiting:
                raise _not_waiting(request)
            if approve:
                _check_offer_open(offer)
            RequestDecision.objects.create(
                request=request,
                reviewer=by,
                reviewer_organisation=provider,
                requester=request.requested_by,
                consumer=request.consumer,
                approves=approve,
                note=note.strip(),
                limits=said,
            )
            record(
                type=EventType.REQUEST_DECIDED,
                actor=by,
                subject=request,
                case_id=str(request.pk),
                organisation=provider.slug,
                decision="approve" if approve else "reject",
                policy_digest=offer.policy_version.digest,
                note=Private(note.strip()),
            )
            if not approve:
                _terminate(request, code="rejected", note=note, by=by)
            elif request.approvals >= request.reviewers_needed:
                _issue(request, by=by)
    except IntegrityError as error:
        raise Conflict(
            "you have decided on this request already",
            code="already_decided",
            hint="The word of another reviewer is needed.",
        ) from error
    return request


def withdraw_request(*, request: AccessRequest, by: User) -> AccessRequest:
    """A waiting request is terminated by its own side, and recorded."""
    check_can_request_access(by, request.consumer)
    if not request.is_waiting:
        raise _not_waiting(request)
    with transaction.atomic():
        _terminate(request, code="withdrawn", note="", by=by)
        _record_end(request, decision="withdrawn", by=by)
    return request


def terminate_overdue(*, now: datetime) -> int:
    """Requests past their due time are terminated, each recorded; how many comes back."""
    overdue = AccessRequest.objects.filter(state=NegotiationState.REQUESTED, due_at__lt=now)
    ended = 0
    for request in overdue:
        # Somebody may decide it at this very moment.
        with suppress(Conflict), transaction.atomic():
            _terminate(request, code="overdue", note="", by=NODE)
            _record_end(request, decision="overdue", by=NODE)
            ended += 1
    return ended


def revoke_grant(*, grant: Grant, note: str, by: User) -> Grant:
    """Nothing can be run under the grant any more; what was released stays released.

    For the provider's stewards and reviewers. Conflict `grant_revoked` the second time.
    """
    if not can_manage_datasets(by, grant.provider):
        check_may_decide(by, provider=grant.provider, consumer=grant.consumer, asker=None)
    else:
        check_can_manage_datasets(by, grant.provider)
    now = timezone.now()
    with transaction.atomic():
        revoked = Grant.objects.filter(pk=grant.pk, revoked_at=None).update(
            revoked_at=now, revoked_by=by, revocation_note=note.strip()
        )
        if revoked != 1:
            raise Conflict("the grant is revoked already", code="grant_revoked")
        record(
            type=EventType.GRANT_REVOKED,
            actor=by,
            subject=grant,
            case_id=grant.case_id,
            organisation=grant.provider.slug,
            reason=Private(note.strip()),
        )
    grant.revoked_at, grant.revoked_by, grant.revocation_note = now, by, note.strip()
    return grant


def _checked_basis(legal_basis: str, justification: str, duration_days: int) -> LegalBasis:
    if legal_basis not in LegalBasis.values:
        raise Invalid(
            "the legal basis is none that this node knows",
            code="legal_basis_unknown",
            hint=f"Choose one of {', '.join(LegalBasis.values)}.",
        )
    if not justification.strip():
        raise Invalid(
            "the request gives no justification",
            code="justification_missing",
            hint="Say in a sentence or two what the answers are for.",
        )
    if not 1 <= duration_days <= MAX_DAYS:
        raise Invalid(
            f"access lasts 1 to {MAX_DAYS} days; {duration_days} were asked for",
            code="duration_out_of_range",
        )
    return LegalBasis(legal_basis)


def _check_offer_open(offer: Offer) -> None:
    current = Offer.objects.select_related("version").get(pk=offer.pk)
    if not current.is_open or current.version.state != VersionState.PUBLISHED:
        raise Conflict(
            "this offer is closed: the dataset has a newer one, or was withdrawn",
            code="offer_closed",
            hint="Look the dataset up again and ask for what is on offer now.",
        )


def _not_waiting(request: AccessRequest) -> Conflict:
    return Conflict(
        f"the request is {request.state}; only one in state REQUESTED waits for a word",
        code="request_not_waiting",
        hint="Load it again: somebody has decided it meanwhile.",
    )


def _issue(request: AccessRequest, *, by: Actor) -> Grant:
    offer = request.offer
    now = timezone.now()
    rule = rule_at(offer.policy_version.policy, request.kind, request.rule_index)
    ends_at = now + timedelta(days=_days(request, rule))
    advance(request, to=NegotiationState.FINALIZED, by=by, changes={"decided_at": now})
    provider = offer.dataset.organisation
    if not request.reviewers_needed:
        _record_end(request, decision="automatic", by=by)
    grant = Grant.objects.create(
        request=request,
        offer=offer,
        version=offer.version,
        policy_version=offer.policy_version,
        kind=request.kind,
        rule_index=request.rule_index,
        provider=provider,
        consumer=request.consumer,
        purpose=request.purpose,
        columns=request.columns,
        limits=strictest(word.limits for word in request.decisions.filter(approves=True)),
        starts_at=now,
        ends_at=ends_at,
    )
    record(
        type=EventType.GRANT_ISSUED,
        actor=by,
        subject=grant,
        case_id=grant.case_id,
        organisation=provider.slug,
        purpose=grant.purpose,
        dataset_version=str(grant.version_id),
        policy_digest=offer.policy_version.digest,
        ends_at=ends_at.isoformat(),
        kind=grant.kind,
        consumer=request.consumer.slug,
        columns=grant.columns,
        limits=limits_of(grant).words(),
    )
    return grant


def _days(request: AccessRequest, rule: OfferedRule) -> int:
    if rule.expires_after_days is None:
        return request.duration_days
    return min(request.duration_days, rule.expires_after_days)


def _terminate(request: AccessRequest, *, code: str, note: str, by: Actor) -> None:
    advance(
        request,
        to=NegotiationState.TERMINATED,
        by=by,
        changes={
            "decided_at": timezone.now(),
            "refusal_code": code,
            "refusal_note": note.strip(),
        },
    )


def _record_end(request: AccessRequest, *, decision: str, by: Actor) -> None:
    record(
        type=EventType.REQUEST_DECIDED,
        actor=by,
        subject=request,
        case_id=str(request.pk),
        organisation=request.offer.dataset.organisation.slug,
        decision=decision,
        policy_digest=request.offer.policy_version.digest,
    )

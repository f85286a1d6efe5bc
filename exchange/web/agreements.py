"""Requests: the list, the inbox, and the page on which a request is decided."""

from __future__ import annotations

from typing import Any

from django.contrib import messages
from django.core.paginator import Paginator
from django.http import HttpResponse
from django.shortcuts import redirect
from django.utils import timezone
from django.utils.translation import gettext as _
from django.views.decorators.http import require_POST

from exchange.agreements import selectors, services
from exchange.agreements.models import AccessRequest
from exchange.agreements.states import NegotiationState
from exchange.errors import ExchangeError
from exchange.parties.permissions import can_review
from exchange.queries.selectors import queries_to_review
from exchange.web.access import UserRequest, signed_in
from exchange.web.decisions import DecisionForm
from exchange.web.filters import kept
from exchange.web.forms import sent
from exchange.web.limits import LimitsForm
from exchange.web.page import Problem, crumb, problem_of, problems_of, render_page
from exchange.web.rules import (
    purpose_words,
    rule_card_of,
)
from exchange.web.standing import standing_of
from exchange.web.statuses import grant_status, request_status

PAGE_SIZE = 20


def _related(requests: Any) -> Any:
    return requests.select_related(
        "offer__dataset__organisation", "offer__version", "consumer", "requested_by"
    )


@signed_in
def listing(request: UserRequest) -> HttpResponse:
    page = Paginator(
        _related(selectors.requests_visible_to(request.user)).select_related(
            "grant__version"
        ),
        PAGE_SIZE,
    ).get_page(request.GET.get("page"))
    now = timezone.now()
    return render_page(
        request,
        "agreements/list.html",
        here="agreements:list",
        page=page,
        keep=kept(request),
        rows=[
            {
                "request": access,
                "purpose": purpose_words(access.purpose),
                "status": request_status(access),
                "grant": getattr(access, "grant", None),
                "grant_status": grant_status(access.grant, now)
                if hasattr(access, "grant")
                else None,
            }
            for access in page
        ],
    )


@signed_in
def inbox(request: UserRequest) -> HttpResponse:
    """What waits for this person's word, oldest first."""
    return render_page(
        request,
        "agreements/inbox.html",
        here="agreements:inbox",
        requests=_related(selectors.requests_to_decide(request.user)).order_by(
            "created_at"
        ),
        queries=queries_to_review(request.user)
        .select_related("grant__offer__dataset", "grant__consumer", "submitted_by")
        .order_by("submitted_at"),
        may_review=standing_of(request.user).may("review"),
    )


def why_not_decide(request: UserRequest, access: AccessRequest) -> str:
    """In words, why this person has no say here, or "" where they have one."""
    user, provider = request.user, access.offer.dataset.organisation
    if access.state != NegotiationState.REQUESTED:
        return ""
    if access.requested_by_id == user.pk:
        return _(
            "Four eyes: you made this request, so it is decided by others. "
            "Reviewers of %(provider)s have been asked."
        ) % {"provider": provider}
    if access.consumer in standing_of(user).organisations:
        return _(
            "Four eyes: nobody of %(consumer)s may decide what %(consumer)s receives. "
            "Reviewers of %(provider)s have been asked."
        ) % {"consumer": access.consumer, "provider": provider}
    if not can_review(user, provider):
        return _("Reviewers of %(provider)s decide this request.") % {"provider": provider}
    if any(decision.reviewer_id == user.pk for decision in access.decisions.all()):
        return _("You have decided already; another reviewer's word is still missing.")
    return ""


@signed_in
def detail(request: UserRequest, request_id: str) -> HttpResponse:
    """A request, the words given on it, and the form for who may give one."""
    access = selectors.request_visible_to(request.user, request_id)
    form = DecisionForm(sent(request))
    limits = LimitsForm(sent(request), prefix="limits")
    problems: list[Problem] = []
    if request.method == "POST":
        if form.is_valid() and limits.is_valid():
            approve = form.cleaned_data["decision"] == "approve"
            try:
                services.decide_request(
                    request=access,
                    approve=approve,
                    note=form.cleaned_data["note"],
                    limits=limits.cleaned_data,
                    by=request.user,
                )
                messages.success(
                    request,
                    _("Your approval is recorded.")
                    if approve
                    else _("Your rejection is recorded."),
                    extra_tags="ok",
                )
                return redirect("agreements:detail", access.pk)
            except ExchangeError as error:
                problems.append(problem_of(error))
        problems += [*problems_of(form), *problems_of(limits)]
    waiting = access.state == NegotiationState.REQUESTED
    obstacle = why_not_decide(request, access)
    return render_page(
        request,
        "agreements/detail.html",
        here="agreements:inbox" if waiting and not obstacle else "agreements:list",
        crumbs=[crumb(_("Requests and grants"), "agreements:list")],
        problems=problems,
        form=form,
        limits=limits,
        access=access,
        purpose=purpose_words(access.purpose),
        status=request_status(access),
        rule=rule_card_of(access, request.user),
        decisions=access.decisions.select_related("reviewer", "reviewer_organisation"),
        missing=max(0, access.reviewers_needed - access.approvals),
        obstacle=obstacle,
        may_decide=waiting and not obstacle,
        may_withdraw=waiting
        and access.consumer in standing_of(request.user).where("request_access"),
        grant=getattr(access, "grant", None),
    )


@require_POST
@signed_in
def withdraw(request: UserRequest, request_id: str) -> HttpResponse:
    access = selectors.request_visible_to(request.user, request_id)
    services.withdraw_request(request=access, by=request.user)
    messages.success(request, _("The request is withdrawn."), extra_tags="ok")
    return redirect("agreements:detail", access.pk)

"""A grant: its terms, what was run under it, and its end."""

from __future__ import annotations

from django.contrib import messages
from django.http import HttpResponse
from django.shortcuts import redirect
from django.utils import timezone
from django.utils.translation import gettext as _
from django.views.decorators.http import require_POST

from exchange.agreements import selectors, services
from exchange.agreements.effective import effective_words
from exchange.agreements.limits import limits_of, set_limits
from exchange.agreements.models import Grant
from exchange.agreements.reviewing import may_decide
from exchange.agreements.states import RuleKind
from exchange.catalogue.states import VersionState
from exchange.keys.models import KeyState
from exchange.parties.permissions import can_manage_datasets, can_review
from exchange.queries.selectors import queries_visible_to, used_under
from exchange.web.access import UserRequest, signed_in
from exchange.web.forms import sent
from exchange.web.limits import LimitsForm
from exchange.web.page import crumb, problems_of, render_page
from exchange.web.rules import (
    purpose_words,
    rule_card_of,
)
from exchange.web.standing import standing_of
from exchange.web.statuses import grant_status, query_status


@signed_in
def grant(request: UserRequest, grant_id: str) -> HttpResponse:
    """A grant: its terms, what was run under it, and the way on."""
    found = selectors.grant_visible_to(request.user, grant_id)
    standing = standing_of(request.user)
    now = timezone.now()
    is_withdrawn = found.version.state == VersionState.WITHDRAWN
    queries = (
        queries_visible_to(request.user)
        .filter(grant=found)
        .select_related("submitted_by")
        .order_by("-submitted_at")[:20]
    )
    return render_page(
        request,
        "agreements/grant.html",
        here="agreements:list",
        crumbs=[crumb(_("Requests and grants"), "agreements:list")],
        grant=found,
        purpose=purpose_words(found.purpose),
        status=grant_status(found, now),
        is_active=found.is_active(now) and not is_withdrawn,
        is_withdrawn=is_withdrawn,
        is_shredded=is_withdrawn
        and found.version.data_key is not None
        and found.version.data_key.state == KeyState.DESTROYED,
        is_subset=found.kind == RuleKind.SUBSET,
        effective=effective_words(request.user, found),
        rule=rule_card_of(found.request, request.user),
        queries=[{"query": query, "status": query_status(query)} for query in queries],
        limits=limits_of(found),
        used=used_under(found)
        if can_manage_datasets(request.user, found.provider)
        else None,
        may_limit=_may_limit(request, found),
        may_query=found.is_active(now)
        and not is_withdrawn
        and found.consumer in standing.where("submit_queries"),
        may_revoke=found.revoked_at is None
        and found.ends_at > now
        and can_review(request.user, found.provider),
    )


@signed_in
def limits(request: UserRequest, grant_id: str) -> HttpResponse:
    """What one run may use: for the provider to lower or raise."""
    found = selectors.grant_visible_to(request.user, grant_id)
    if not _may_limit(request, found):
        return redirect("agreements:grant", found.pk)
    form = LimitsForm(sent(request), initial=found.limits)
    if request.method == "POST" and form.is_valid():
        set_limits(grant=found, limits=form.cleaned_data, by=request.user)
        messages.success(
            request,
            _("Saved. Runs that begin from now on may use this."),
            extra_tags="ok",
        )
        return redirect("agreements:grant", found.pk)
    return render_page(
        request,
        "agreements/limits.html",
        here="agreements:list",
        crumbs=[
            crumb(_("Requests and grants"), "agreements:list"),
            crumb(found.version.dataset.title, "agreements:grant", found.pk),
        ],
        grant=found,
        form=form,
        problems=problems_of(form) if request.method == "POST" else [],
    )


def _may_limit(request: UserRequest, found: Grant) -> bool:
    return (
        found.revoked_at is None
        and found.ends_at > timezone.now()
        and (
            can_manage_datasets(request.user, found.provider)
            or may_decide(
                request.user, provider=found.provider, consumer=found.consumer, asker=None
            )
        )
    )


@require_POST
@signed_in
def revoke(request: UserRequest, grant_id: str) -> HttpResponse:
    found = selectors.grant_visible_to(request.user, grant_id)
    services.revoke_grant(grant=found, note=request.POST.get("note", ""), by=request.user)
    messages.success(
        request, _("The grant is revoked. Nothing runs under it any more."), extra_tags="ok"
    )
    return redirect("agreements:grant", found.pk)

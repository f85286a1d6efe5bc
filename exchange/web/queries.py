"""Queries: the list, and the page of one from submission to release."""

from __future__ import annotations

from typing import Any

from django.contrib import messages
from django.core.paginator import Paginator
from django.http import HttpResponse
from django.shortcuts import redirect
from django.urls import reverse
from django.utils import timezone
from django.utils.translation import gettext as _
from django.views.decorators.http import require_POST

from exchange.agreements.states import RuleKind
from exchange.catalogue.policy_views import policy_view, with_lines
from exchange.errors import ExchangeError
from exchange.parties.permissions import can_review
from exchange.queries import selectors, services
from exchange.queries.models import Query, Release
from exchange.queries.states import QUERY_MOVES, QueryState, ReleaseState
from exchange.web.access import UserRequest, signed_in
from exchange.web.crumbs import grant_crumbs
from exchange.web.decisions import DecisionForm
from exchange.web.filters import kept
from exchange.web.forms import sent
from exchange.web.page import Problem, problem_of, problems_of, render_fragment, render_page
from exchange.web.rules import purpose_words
from exchange.web.standing import standing_of
from exchange.web.statuses import query_status, release_status
from policies.query_words import explain_query
from policies.shape_codec import shape_from_json

PAGE_SIZE = 20
CANCELLABLE = frozenset(
    state for state, after in QUERY_MOVES.items() if QueryState.FAILED in after
)


def _release_of(query: Query) -> Release | None:
    return selectors.answer_of(query)


def _situation(request: UserRequest, query: Query) -> dict[str, Any]:
    """What the query's page and its polled fragment both show."""
    release = _release_of(query)
    standing = standing_of(request.user)
    is_consumer = query.grant.consumer in standing.where("submit_queries")
    return {
        "query": query,
        "grant": query.grant,
        "status": query_status(query),
        "release": release,
        "release_status": release_status(release) if release else None,
        "is_working": not query_status(query).is_final,
        "is_available": release is not None and release.state == ReleaseState.AVAILABLE,
        "is_subset": query.grant.kind == RuleKind.SUBSET,
        "may_receive": is_consumer,
        "may_cancel": is_consumer and query.state in CANCELLABLE,
        "may_rewrite": is_consumer and query.grant.is_active(timezone.now()),
        "is_provider": query.grant.provider in standing.organisations,
        "purpose": purpose_words(query.purpose),
        "reasons": with_lines(request.user, query.grant.policy_version, query.reasons),
        "snippet": _snippet(request, release) if release else "",
        "verify_command": _verify_command(release) if release else "",
    }


def _snippet(request: UserRequest, release: Release) -> str:
    place = request.build_absolute_uri(reverse("api:release-content", args=[release.pk]))
    return (
        "import os\nimport pandas as pd\n\n"
        f'url = "{place}"\n'
        'token = os.environ["BONDED_TOKEN"]\n'
        'frame = pd.read_parquet(url, storage_options={"Authorization": f"Bearer {token}"})'
    )


def _verify_command(release: Release) -> str:
    return (
        f"bonded verify receipt-{release.pk}.json --result {release.filename} "
        "--key verifier.key"
    )


def _why_not_review(request: UserRequest, query: Query) -> str:
    user, grant = request.user, query.grant
    if query.submitted_by_id == user.pk:
        return _("Four eyes: you submitted this query, so others review it.")
    if grant.consumer in standing_of(user).organisations:
        return _("Four eyes: nobody of %(consumer)s may review what it asked.") % {
            "consumer": grant.consumer
        }
    if not can_review(user, grant.provider):
        return _("Reviewers of %(provider)s look at this query.") % {
            "provider": grant.provider
        }
    if any(review.reviewer_id == user.pk for review in query.reviews.all()):
        return _("You have given your word; another reviewer's is still missing.")
    return ""


def _asks(request: UserRequest, query: Query) -> tuple[str, ...]:
    """The query in words, for those who decide on it; none before it was analysed."""
    if not query.shape:
        return ()
    policy = policy_view(request.user, query.grant.policy_version).policy
    return explain_query(policy, shape_from_json(query.shape))


@signed_in
def detail(request: UserRequest, query_id: str) -> HttpResponse:
    """One query from submission to release; reviewers give their word here."""
    query = selectors.query_visible_to(request.user, query_id)
    form = DecisionForm(sent(request))
    problems: list[Problem] = []
    if request.method == "POST":
        if form.is_valid():
            try:
                services.review_query(
                    query=query,
                    approve=form.cleaned_data["decision"] == "approve",
                    note=form.cleaned_data["note"],
                    by=request.user,
                )
                messages.success(request, _("Your word is recorded."), extra_tags="ok")
                return redirect("queries:detail", query.pk)
            except ExchangeError as error:
                problems.append(problem_of(error))
        problems += problems_of(form)
    in_review = query.state == QueryState.IN_REVIEW
    obstacle = _why_not_review(request, query) if in_review else ""
    return render_page(
        request,
        "queries/detail.html",
        here="agreements:inbox" if in_review and not obstacle else "queries:list",
        crumbs=grant_crumbs(query.grant),
        problems=problems,
        form=form,
        in_review=in_review,
        obstacle=obstacle,
        asks=_asks(request, query) if in_review else (),
        reviews=query.reviews.select_related("reviewer", "reviewer_organisation"),
        **_situation(request, query),
    )


@signed_in
def progress(request: UserRequest, query_id: str) -> HttpResponse:
    """Polled while the query works; once it has ended, the page loads anew."""
    query = selectors.query_visible_to(request.user, query_id)
    situation = _situation(request, query)
    if not situation["is_working"]:
        return HttpResponse(headers={"HX-Refresh": "true"})
    return render_fragment(request, "queries/_progress.html", **situation)


@require_POST
@signed_in
def retry(request: UserRequest, query_id: str) -> HttpResponse:
    query = selectors.query_visible_to(request.user, query_id)
    services.retry_query(query=query, by=request.user)
    return redirect("queries:detail", query.pk)


@require_POST
@signed_in
def cancel(request: UserRequest, query_id: str) -> HttpResponse:
    query = selectors.query_visible_to(request.user, query_id)
    services.cancel_query(query=query, by=request.user)
    return redirect("queries:detail", query.pk)


@signed_in
def listing(request: UserRequest) -> HttpResponse:
    found = selectors.queries_visible_to(request.user).select_related(
        "grant__offer__dataset", "grant__consumer", "submitted_by"
    )
    page = Paginator(found.order_by("-submitted_at", "id"), PAGE_SIZE).get_page(
        request.GET.get("page")
    )
    return render_page(
        request,
        "queries/list.html",
        here="queries:list",
        page=page,
        keep=kept(request),
        rows=[{"query": query, "status": query_status(query)} for query in page],
    )

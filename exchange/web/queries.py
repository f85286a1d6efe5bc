"""Ask: write, check, run, follow, read and download."""

from __future__ import annotations

import json
import uuid
from typing import Any

from django import forms
from django.contrib import messages
from django.core.paginator import Paginator
from django.http import HttpResponse, StreamingHttpResponse
from django.shortcuts import redirect
from django.utils import timezone
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy
from django.views.decorators.http import require_POST

from exchange.agreements.models import Grant
from exchange.agreements.selectors import grant_visible_to, rule_of
from exchange.agreements.states import RuleKind
from exchange.catalogue.selectors import ColumnCard, columns_for
from exchange.errors import ExchangeError
from exchange.parties.permissions import can_review
from exchange.queries import selectors, services
from exchange.queries.models import Query, Release
from exchange.queries.releases import release_content
from exchange.queries.states import QueryState, ReleaseState
from exchange.web.access import UserRequest, signed_in
from exchange.web.agreements import DecisionForm
from exchange.web.examples import example_query
from exchange.web.filters import kept
from exchange.web.forms import EditorInput, Form
from exchange.web.page import ERRORS, Problem, crumb, problem_of, problems_of, render_page
from exchange.web.results import Table, read_result
from exchange.web.rules import policy_words, purpose_words
from exchange.web.standing import standing_of
from exchange.web.statuses import query_status, release_status
from ledger.receipt import dump_receipt
from policies.document import SubsetRule
from policies.vocabulary import find_licence

PAGE_SIZE = 20
ROLE_WORDS = {
    "dimension": gettext_lazy("group"),
    "measure": gettext_lazy("aggregate"),
    "label": gettext_lazy("label"),
    "unit_key": gettext_lazy("count and join"),
    "row_key": gettext_lazy("join"),
}


class QueryForm(Form):
    sql = forms.CharField(
        label=gettext_lazy("SQL"),
        max_length=100_000,
        strip=False,
        widget=EditorInput(attrs={"rows": 12}),
        error_messages={"required": gettext_lazy("Write a query first")},
    )
    key = forms.CharField(widget=forms.HiddenInput, required=False, max_length=200)


@signed_in
def write(request: UserRequest, grant_id: str) -> HttpResponse:
    """The editor under one grant. A subset grant has its own page."""
    grant = grant_visible_to(request.user, grant_id)
    if grant.kind == RuleKind.SUBSET:
        return redirect("queries:subset", grant.pk)
    columns = columns_for(request.user, grant.version, grant.policy_version)
    policy = grant.policy_version.policy
    table = grant.version.dataset.table_name
    initial = {"sql": example_query(policy, table), "key": uuid.uuid4().hex}
    if again := request.GET.get("again"):
        initial["sql"] = selectors.query_visible_to(request.user, again).sql
    form = QueryForm(request.POST or None, initial=initial)
    problems: list[Problem] = []
    if request.method == "POST":
        if form.is_valid():
            try:
                query = services.submit(
                    grant=grant,
                    sql=form.cleaned_data["sql"],
                    idempotency_key=form.cleaned_data["key"],
                    by=request.user,
                )
                return redirect("queries:detail", query.pk)
            except ERRORS as error:
                problems.append(problem_of(error))
        problems += problems_of(form)
    return render_page(
        request,
        "queries/write.html",
        here="queries:list",
        crumbs=_crumbs(grant),
        problems=problems,
        form=form,
        grant=grant,
        table=table,
        purpose=purpose_words(grant.purpose),
        columns=[_listed(card) for card in columns],
        words=policy_words(policy, table),
        left=selectors.runs_left_today(grant),
        is_active=grant.is_active(timezone.now()),
        may_query=grant.consumer in standing_of(request.user).where("submit_queries"),
    )


def _listed(card: ColumnCard) -> dict[str, Any]:
    """A column in the editor's list: its roles in a word each, and its limit."""
    limit = ""
    if card.grid:
        limit = _("in steps of %(grid)s") % {"grid": card.grid}
    elif card.grain:
        limit = _("by %(grain)s") % {"grain": card.grain}
    return {
        "name": card.name,
        "type": card.type,
        "role_words": [ROLE_WORDS.get(role, role) for role in card.roles],
        "limit": limit,
    }


def _crumbs(grant: Grant) -> list[Any]:
    return [
        crumb(_("Requests and grants"), "agreements:list"),
        crumb(grant.version.dataset.title, "agreements:grant", grant.pk),
    ]


@require_POST
@signed_in
def check(request: UserRequest, grant_id: str) -> HttpResponse:
    """The dry run, as a fragment: every reason with its place and the way forward."""
    grant = grant_visible_to(request.user, grant_id)
    problem = dry = None
    try:
        dry = services.dry_run(
            grant=grant, sql=request.POST.get("sql", ""), by=request.user
        )
    except ERRORS as error:
        problem = problem_of(error)
    return render_page(
        request,
        "queries/_check.html"
        if request.headers.get("HX-Request")
        else "queries/check.html",
        here="queries:list",
        crumbs=_crumbs(grant),
        grant=grant,
        dry=dry,
        problem=problem,
        sql=request.POST.get("sql", ""),
    )


class SubsetForm(Form):
    columns = forms.MultipleChoiceField(
        label=gettext_lazy("Columns"),
        widget=forms.CheckboxSelectMultiple,
        help_text=gettext_lazy("In the package they stand in this order."),
        error_messages={"required": gettext_lazy("Choose at least one column")},
    )
    accept = forms.BooleanField(
        label=gettext_lazy("Licence"),
        error_messages={
            "required": gettext_lazy("Accept the licence to receive rows under it")
        },
    )
    key = forms.CharField(widget=forms.HiddenInput, required=False, max_length=200)


@signed_in
def subset(request: UserRequest, grant_id: str) -> HttpResponse:
    """Choose columns, accept the licence, have the package made."""
    grant = grant_visible_to(request.user, grant_id)
    rule = rule_of(grant)
    if not isinstance(rule, SubsetRule):
        return redirect("queries:write", grant.pk)
    granted = list(grant.columns or rule.columns)
    form = SubsetForm(
        request.POST or None, initial={"columns": granted, "key": uuid.uuid4().hex}
    )
    field: Any = form.fields["columns"]
    field.choices = [
        (name, _("%(column)s (label)") % {"column": name} if name == rule.label else name)
        for name in granted
    ]
    problems: list[Problem] = []
    if request.method == "POST":
        if form.is_valid():
            try:
                query = services.submit(
                    grant=grant,
                    columns=form.cleaned_data["columns"],
                    idempotency_key=form.cleaned_data["key"],
                    by=request.user,
                )
                return redirect("queries:detail", query.pk)
            except ERRORS as error:
                problems.append(problem_of(error))
        problems += problems_of(form)
    return render_page(
        request,
        "queries/subset.html",
        here="queries:list",
        crumbs=_crumbs(grant),
        problems=problems,
        form=form,
        grant=grant,
        rule=rule,
        licence=find_licence(rule.licence),
        is_active=grant.is_active(timezone.now()),
        may_query=grant.consumer in standing_of(request.user).where("submit_queries"),
    )


def _release_of(query: Query) -> Release | None:
    return selectors.answer_of(query)


def _situation(request: UserRequest, query: Query) -> dict[str, Any]:
    """What the query's page and its polled fragment both show."""
    release = _release_of(query)
    is_consumer = query.grant.consumer in standing_of(request.user).organisations
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
        "may_rewrite": is_consumer and query.grant.is_active(timezone.now()),
        "is_provider": query.grant.provider in standing_of(request.user).organisations,
        "purpose": purpose_words(query.purpose),
        "snippet": _snippet(request, release) if release else "",
        "verify_command": _verify_command(release) if release else "",
    }


def _snippet(request: UserRequest, release: Release) -> str:
    place = request.build_absolute_uri(f"/api/v1/releases/{release.pk}/content")
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


@signed_in
def detail(request: UserRequest, query_id: str) -> HttpResponse:
    """One query from submission to release; reviewers give their word here."""
    query = selectors.query_visible_to(request.user, query_id)
    form = DecisionForm(request.POST or None)
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
        crumbs=_crumbs(query.grant),
        problems=problems,
        form=form,
        in_review=in_review,
        obstacle=obstacle,
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
    return render_page(request, "queries/_progress.html", **situation)


@require_POST
@signed_in
def retry(request: UserRequest, query_id: str) -> HttpResponse:
    query = selectors.query_visible_to(request.user, query_id)
    services.retry_query(query=query, by=request.user)
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


@signed_in
def releases(request: UserRequest) -> HttpResponse:
    found = selectors.releases_visible_to(request.user).select_related(
        "query__grant__offer__dataset", "query__grant__consumer"
    )
    page = Paginator(found.order_by("-held_at", "id"), PAGE_SIZE).get_page(
        request.GET.get("page")
    )
    organisations = standing_of(request.user).organisations
    return render_page(
        request,
        "queries/releases.html",
        here="queries:releases",
        page=page,
        keep=kept(request),
        rows=[
            {
                "release": release,
                "status": release_status(release),
                "may_receive": release.state == ReleaseState.AVAILABLE
                and release.query.grant.consumer in organisations,
            }
            for release in page
        ],
    )


@require_POST
@signed_in
def show(request: UserRequest, release_id: str) -> HttpResponse:
    """The result as a table. Reading it here is receiving it, and is recorded as such."""
    release = selectors.release_visible_to(request.user, release_id)
    content = release_content(release=release, by=request.user)
    table: Table = read_result(json.loads(b"".join(content)))
    return render_page(
        request,
        "queries/_result.html"
        if request.headers.get("HX-Request")
        else "queries/result.html",
        here="queries:releases",
        crumbs=_crumbs(release.query.grant),
        table=table,
        release=release,
        query=release.query,
    )


@require_POST
@signed_in
def download(request: UserRequest, release_id: str) -> HttpResponse | StreamingHttpResponse:
    release = selectors.release_visible_to(request.user, release_id)
    content = release_content(release=release, by=request.user)
    response = StreamingHttpResponse(iter(content), content_type=content.media_type)
    response["Content-Disposition"] = f'attachment; filename="{content.filename}"'
    response["Content-Length"] = str(content.size_bytes)
    response["Digest"] = f"sha-256={content.sha256}"
    return response


@signed_in
def receipt(request: UserRequest, release_id: str) -> HttpResponse:
    release = selectors.release_visible_to(request.user, release_id)
    found = selectors.receipt_of(release)
    if found is None:
        messages.info(
            request,
            _(
                "The receipt is being made: a signed checkpoint has yet to cover the record."
            ),
            extra_tags="wait",
        )
        return redirect("queries:detail", release.query_id)
    response = HttpResponse(dump_receipt(found), content_type="application/json")
    response["Content-Disposition"] = f'attachment; filename="receipt-{release.pk}.json"'
    return response

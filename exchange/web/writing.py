"""The editor of a query, and its check."""

from __future__ import annotations

import uuid
from typing import Any

from django import forms
from django.http import HttpResponse
from django.shortcuts import redirect
from django.utils import timezone
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy
from django.views.decorators.http import require_POST

from exchange.agreements.selectors import grant_visible_to
from exchange.agreements.states import RuleKind
from exchange.catalogue.policy_views import policy_view, with_lines
from exchange.catalogue.selectors import ColumnCard, columns_for
from exchange.queries import selectors, services
from exchange.web.access import UserRequest, signed_in
from exchange.web.crumbs import grant_crumbs
from exchange.web.examples import example_query
from exchange.web.forms import EditorInput, Form, sent
from exchange.web.page import (
    ERRORS,
    problem_of,
    render_fragment,
    render_page,
)
from exchange.web.rules import policy_words, purpose_words
from exchange.web.standing import standing_of
from exchange.web.submitting import submitted

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
    initial = {
        "sql": example_query(policy, table, [column.name for column in columns]),
        "key": uuid.uuid4().hex,
    }
    if again := request.GET.get("again"):
        initial["sql"] = selectors.query_visible_to(request.user, again).sql
    form = QueryForm(sent(request), initial=initial)
    outcome = submitted(
        request,
        form,
        lambda data: services.submit(
            grant=grant,
            sql=data["sql"],
            idempotency_key=data["key"],
            by=request.user,
        ),
    )
    if isinstance(outcome, HttpResponse):
        return outcome
    return render_page(
        request,
        "queries/write.html",
        here="queries:list",
        crumbs=grant_crumbs(grant),
        problems=outcome,
        form=form,
        grant=grant,
        table=table,
        purpose=purpose_words(grant.purpose),
        columns=[_listed(card) for card in columns],
        words=policy_words(policy_view(request.user, grant.policy_version).policy, table),
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


@require_POST
@signed_in
def check(request: UserRequest, grant_id: str) -> HttpResponse:
    """The dry run, as a fragment: every reason with its place and the way forward."""
    grant = grant_visible_to(request.user, grant_id)
    problem = dry = None
    reasons: list[dict[str, Any]] = []
    try:
        dry = services.dry_run(
            grant=grant, sql=request.POST.get("sql", ""), by=request.user
        )
        reasons = with_lines(request.user, grant.policy_version, dry.reasons)
    except ERRORS as error:
        problem = problem_of(error)
    shown: dict[str, Any] = {
        "dry": dry,
        "problem": problem,
        "reasons": reasons,
        "grant": grant,
    }
    if request.headers.get("HX-Request"):
        return render_fragment(request, "queries/_check.html", **shown)
    return render_page(
        request,
        "queries/check.html",
        here="queries:list",
        crumbs=grant_crumbs(grant),
        **shown,
        sql=request.POST.get("sql", ""),
    )

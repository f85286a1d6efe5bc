"""Labelled rows: choose columns, accept the licence, have the package made."""

from __future__ import annotations

import uuid
from typing import Any

from django import forms
from django.http import HttpResponse
from django.shortcuts import redirect
from django.utils import timezone
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from exchange.agreements.models import Grant
from exchange.agreements.selectors import grant_visible_to, rule_of
from exchange.catalogue.policy_views import policy_view
from exchange.queries import services
from exchange.web.access import UserRequest, signed_in
from exchange.web.crumbs import grant_crumbs
from exchange.web.forms import Form, sent
from exchange.web.page import render_page
from exchange.web.rules import condition_words
from exchange.web.standing import standing_of
from exchange.web.submitting import submitted
from policies.document import SubsetRule
from policies.vocabulary import find_licence


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


def _condition(request: UserRequest, grant: Grant) -> str:
    shown = policy_view(request.user, grant.policy_version).policy
    return condition_words(shown.subset_rules[grant.rule_index])


@signed_in
def subset(request: UserRequest, grant_id: str) -> HttpResponse:
    """Choose columns, accept the licence, have the package made."""
    grant = grant_visible_to(request.user, grant_id)
    rule = rule_of(grant)
    if not isinstance(rule, SubsetRule):
        return redirect("queries:write", grant.pk)
    granted = list(grant.columns or rule.columns)
    form = SubsetForm(sent(request), initial={"columns": granted, "key": uuid.uuid4().hex})
    field: Any = form.fields["columns"]
    field.choices = [
        (name, _("%(column)s (label)") % {"column": name} if name == rule.label else name)
        for name in granted
    ]
    outcome = submitted(
        request,
        form,
        lambda data: services.submit(
            grant=grant,
            columns=data["columns"],
            idempotency_key=data["key"],
            by=request.user,
        ),
    )
    if isinstance(outcome, HttpResponse):
        return outcome
    return render_page(
        request,
        "queries/subset.html",
        here="queries:list",
        crumbs=grant_crumbs(grant),
        problems=outcome,
        form=form,
        grant=grant,
        rule=rule,
        condition=_condition(request, grant),
        licence=find_licence(rule.licence),
        is_active=grant.is_active(timezone.now()),
        may_query=grant.consumer in standing_of(request.user).where("submit_queries"),
    )

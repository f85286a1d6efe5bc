"""The policy step of publishing: a template, its sentences, its text."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from django.http import HttpResponse
from django.shortcuts import redirect
from django.views.decorators.http import require_POST

from exchange.catalogue import selectors, services
from exchange.catalogue.models import DatasetVersion
from exchange.catalogue.policy_views import read_policy
from exchange.catalogue.states import VersionState
from exchange.web.access import UserRequest, signed_in
from exchange.web.drafts import starting_texts
from exchange.web.forms import sent
from exchange.web.page import ERRORS, Problem, problem_of, problems_of, render_fragment
from exchange.web.publishing_forms import (
    PolicyForm,
)
from exchange.web.rules import policy_words
from exchange.web.wizard import (
    draft_of,
    keep_draft,
    own_version,
    step_page,
)
from policies.errors import PolicyError
from policies.templates import TEMPLATES


def _templates(request: UserRequest, version: DatasetVersion) -> Mapping[str, str]:
    return starting_texts(version, draft_of(request, version).get("roles") or {})


@signed_in
def policy(request: UserRequest, version_id: str) -> HttpResponse:
    """A template, its sentences, its text; what is wrong with it by line."""
    version = own_version(request, version_id)
    if not version.columns.exists():
        return redirect("publishing:columns", version.pk)
    texts = _templates(request, version)
    draft = draft_of(request, version)
    current = selectors.newest_policy(version.dataset)
    name = request.GET.get("template", "")
    text = (
        texts.get(name)
        or draft.get("text")
        or (current.source if current is not None else None)
        or next(iter(texts.values()), "")
    )
    form = PolicyForm(sent(request), initial={"text": text})
    problems: list[Problem] = []
    if request.method == "POST" and form.is_valid():
        text = form.cleaned_data["text"]
        keep_draft(request, version, text=text)
        try:
            found = services.set_policy(dataset=version.dataset, text=text, by=request.user)
            if version.state == VersionState.PROFILED:
                services.partition_version(
                    version=version, policy_version=found, by=request.user
                )
            return redirect("publishing:licence", version.pk)
        except ERRORS as error:
            problems.append(
                problem_of(error, area="id_text" if isinstance(error, PolicyError) else "")
            )
    problems += problems_of(form)
    return step_page(
        request,
        version,
        2,
        "publishing/policy.html",
        form=form,
        problems=problems,
        fault_line=next((p.line for p in problems if p.line), None),
        templates=_template_cards(texts, chosen=text),
        words=_words(text, version.dataset.table_name),
        current=current,
    )


def _template_cards(texts: Mapping[str, str], *, chosen: str) -> list[dict[str, Any]]:
    return [
        {
            "name": card.template,
            "title": card.title,
            "text": card.sentence,
            "is_chosen": texts[card.template] == chosen,
        }
        for card in TEMPLATES
        if card.template in texts
    ]


def _words(text: str, table_name: str) -> Any:
    try:
        found = read_policy(text)
        return policy_words(found, table_name) if found.table(table_name) else None
    except PolicyError:
        return None


@require_POST
@signed_in
def policy_words_now(request: UserRequest, version_id: str) -> HttpResponse:
    """The text as typed so far in sentences, or what is wrong with it; nothing is kept."""
    version = own_version(request, version_id)
    text = request.POST.get("text", "")
    problem = words = None
    try:
        found = read_policy(text)
        if found.table(version.dataset.table_name) is not None:
            words = policy_words(found, version.dataset.table_name)
    except PolicyError as error:
        problem = problem_of(error, area="id_text")
    return render_fragment(
        request, "publishing/_words.html", words=words, problem=problem, version=version
    )

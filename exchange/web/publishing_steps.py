"""The other steps of publishing: columns, licence, review."""

from __future__ import annotations

from typing import Any

from django.contrib import messages
from django.http import HttpResponse
from django.shortcuts import redirect
from django.utils.translation import gettext as _
from django.views.decorators.http import require_POST

from exchange.catalogue import selectors, services
from exchange.catalogue.models import DatasetVersion, Offer, PolicyVersion
from exchange.catalogue.states import VersionState
from exchange.parties.permissions import can_manage_datasets
from exchange.web.access import UserRequest, signed_in
from exchange.web.forms import sent
from exchange.web.page import ERRORS, Problem, problem_of, problems_of, render_fragment
from exchange.web.policies import change_row
from exchange.web.publishing_forms import (
    LicenceForm,
    RolesForm,
)
from exchange.web.rules import policy_words, rule_cards
from exchange.web.statuses import version_status
from exchange.web.wizard import (
    draft_of,
    has_failed,
    keep_draft,
    own_version,
    step_page,
)
from policies.difference import differences
from policies.vocabulary import find_licence


@signed_in
def columns(request: UserRequest, version_id: str) -> HttpResponse:
    """The profile, and the role of each column; while the file is read, its progress."""
    version = own_version(request, version_id)
    profiled = list(version.columns.order_by("position"))
    if not profiled:
        return step_page(
            request, version, 1, "publishing/reading.html", is_failed=has_failed(version)
        )
    form = RolesForm(
        sent(request),
        columns=profiled,
        chosen=draft_of(request, version).get("roles"),
    )
    if request.method == "POST" and form.is_valid():
        keep_draft(request, version, roles=form.roles(), text=None)
        return redirect("publishing:policy", version.pk)
    return step_page(
        request,
        version,
        1,
        "publishing/columns.html",
        form=form,
        rows=form.rows(),
        problems=problems_of(form),
    )


@signed_in
def progress(request: UserRequest, version_id: str) -> HttpResponse:
    """The fragment that the waiting page asks for again and again; then the page itself."""
    version = own_version(request, version_id)
    if version_status(version).is_final:
        return HttpResponse(headers={"HX-Refresh": "true"})
    return render_fragment(
        request,
        "publishing/_progress.html",
        version=version,
        status=version_status(version),
        read=selectors.progress_of(version),
    )


@require_POST
@signed_in
def retry(request: UserRequest, version_id: str) -> HttpResponse:
    version = own_version(request, version_id)
    services.retry_version(version=version, by=request.user)
    return redirect(
        "publishing:columns" if not version.columns.exists() else "publishing:review",
        version.pk,
    )


def _terms_so_far(version: DatasetVersion) -> dict[str, str]:
    """The terms of the offer that this version would replace, or a fresh start."""
    offer = selectors.open_offer(version.dataset)
    if offer is None:
        return {"attribution": str(version.dataset.organisation)}
    is_known = find_licence(offer.licence) is not None
    return {
        "licence": offer.licence if is_known else "other",
        "other": "" if is_known else offer.licence,
        "attribution": offer.attribution,
        "terms": offer.terms,
    }


@signed_in
def licence(request: UserRequest, version_id: str) -> HttpResponse:
    version = own_version(request, version_id)
    draft = draft_of(request, version)
    initial = draft.get("licence") or _terms_so_far(version)
    form = LicenceForm(sent(request), initial=initial)
    if request.method == "POST" and form.is_valid():
        keep_draft(request, version, licence=form.cleaned_data)
        return redirect("publishing:review", version.pk)
    return step_page(
        request,
        version,
        3,
        "publishing/licence.html",
        form=form,
        problems=problems_of(form),
    )


def _changes(previous: Offer | None, current: PolicyVersion) -> list[dict[str, Any]]:
    """What the new policy changes against the one on offer, with what it loosens."""
    if previous is None:
        return []
    found = differences(previous.policy_version.policy, current.policy)
    return [change_row(change) for change in found]


@signed_in
def review(request: UserRequest, version_id: str) -> HttpResponse:
    """Everything once more before it is on offer; nothing is public until this is sent."""
    version = own_version(request, version_id)
    current = selectors.newest_policy(version.dataset)
    terms = draft_of(request, version).get("licence")
    if current is None or terms is None:
        return redirect(
            "publishing:policy" if current is None else "publishing:licence", version.pk
        )
    problems: list[Problem] = []
    previous = selectors.open_offer(version.dataset)
    if request.method == "POST":
        try:
            services.publish(
                version=version,
                policy_version=current,
                licence=LicenceForm.identifier(terms),
                terms=terms.get("terms", ""),
                attribution=terms.get("attribution", ""),
                by=request.user,
            )
            request.session.pop(f"draft:{version.pk}", None)
            messages.success(
                request, _("Published. It is in the catalogue now."), extra_tags="ok"
            )
            return redirect("catalogue:detail", version.dataset_id)
        except ERRORS as error:
            problems.append(problem_of(error))
    return step_page(
        request,
        version,
        4,
        "publishing/review.html",
        problems=problems,
        policy_version=current,
        words=policy_words(current.policy, version.dataset.table_name),
        rules=rule_cards(current.policy, licence=LicenceForm.identifier(terms)),
        licence=LicenceForm.identifier(terms),
        terms=terms,
        is_ready=version.state in (VersionState.READY, VersionState.PUBLISHED),
        is_failed=has_failed(version),
        previous=previous,
        changes=_changes(previous, current),
        can_publish=can_manage_datasets(request.user, version.dataset.organisation),
    )

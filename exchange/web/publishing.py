"""The way to a published dataset: file, columns, policy, licence, review.

What the provider has chosen but not yet set lives in the session; each step's act is a
service call, so that leaving half-way leaves a visible draft and nothing on offer.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from django.contrib import messages
from django.http import HttpResponse
from django.shortcuts import redirect
from django.urls import reverse
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy
from django.views.decorators.csrf import csrf_exempt, csrf_protect
from django.views.decorators.http import require_POST

from exchange.catalogue import selectors, services
from exchange.catalogue.models import Dataset, DatasetVersion
from exchange.catalogue.states import VersionState
from exchange.errors import ExchangeError, Forbidden
from exchange.parties.permissions import can_manage_datasets, check_can_manage_datasets
from exchange.web.access import UserRequest, signed_in
from exchange.web.drafts import starting_texts
from exchange.web.page import ERRORS, Problem, crumb, problem_of, problems_of, render_page
from exchange.web.publishing_forms import (
    DatasetForm,
    FileForm,
    LicenceForm,
    PolicyForm,
    RolesForm,
)
from exchange.web.rules import policy_words, rule_cards
from exchange.web.standing import standing_of
from exchange.web.statuses import version_status
from exchange.web.uploads import SealedUploadHandler
from policies.codec import load_policy
from policies.errors import PolicyError
from policies.templates import TEMPLATES
from sandbox.protocol import CsvOptions, Format

STEPS = (
    gettext_lazy("File"),
    gettext_lazy("Columns"),
    gettext_lazy("Policy"),
    gettext_lazy("Licence"),
    gettext_lazy("Review"),
)
CRUMB = (gettext_lazy("My datasets"), "catalogue:mine")


def _steps(now: int) -> list[dict[str, Any]]:
    return [
        {"label": label, "state": "done" if at < now else "now" if at == now else ""}
        for at, label in enumerate(STEPS)
    ]


def _draft(request: UserRequest, version: DatasetVersion) -> dict[str, Any]:
    draft: dict[str, Any] = request.session.setdefault(f"draft:{version.pk}", {})
    return draft


def _keep(request: UserRequest, version: DatasetVersion, **values: Any) -> None:
    request.session[f"draft:{version.pk}"] = {**_draft(request, version), **values}


def _own_version(request: UserRequest, version_id: str) -> DatasetVersion:
    version = selectors.version_visible_to(request.user, version_id)
    check_can_manage_datasets(request.user, version.dataset.organisation)
    return version


def _accept(request: UserRequest, dataset: Dataset, form: FileForm) -> DatasetVersion:
    upload = form.cleaned_data["file"]
    chosen = form.cleaned_data.get("format") or None
    return services.accept_upload(
        dataset=dataset,
        stream=iter(upload),
        filename=upload.name,
        format=Format(chosen) if chosen else None,
        csv=CsvOptions(
            delimiter=form.cleaned_data.get("delimiter") or None,
            encoding=form.cleaned_data.get("encoding") or None,
            header=not form.cleaned_data.get("no_header"),
        ),
        by=request.user,
    )


def _arrived(request: UserRequest, version: DatasetVersion) -> HttpResponse:
    """201 for the script that shows progress, a redirect for everybody else."""
    place = reverse("publishing:columns", args=[version.pk])
    if request.headers.get("X-Requested-With") == "XMLHttpRequest":
        return HttpResponse(status=201, headers={"Location": place})
    return redirect(place)


def _too_large(request: UserRequest) -> list[Problem]:
    if not request.META.get("bonded.upload_too_large"):
        return []
    return [
        Problem(
            text=_("The file is larger than this node takes."),
            href="#id_file",
            code="upload_too_large",
            hint=_("Send it as Parquet, which is smaller, or ask the operator for more."),
        )
    ]


# The handler has to be set before anything reads the form, the CSRF check included.
@csrf_exempt
def start(request: UserRequest) -> HttpResponse:
    request.upload_handlers = [SealedUploadHandler(request)]  # type: ignore[assignment]
    return _start(request)


@csrf_exempt
def upload(request: UserRequest, dataset_id: str) -> HttpResponse:
    request.upload_handlers = [SealedUploadHandler(request)]  # type: ignore[assignment]
    return _upload(request, dataset_id)


@csrf_protect
@signed_in
def _start(request: UserRequest) -> HttpResponse:
    where = standing_of(request.user).where("manage_datasets")
    if not where:
        raise Forbidden(
            _("Your roles do not include publishing datasets."),
            hint=_(
                "Ask an administrator of your organisation for the role of data steward."
            ),
        )
    about = DatasetForm(request.POST or None, organisations=where)
    file = FileForm(request.POST or None, request.FILES or None)
    problems: list[Problem] = []
    if request.method == "POST":
        ready = [about.is_valid(), file.is_valid()]
        if all(ready):
            try:
                dataset = services.register_dataset(by=request.user, **about.cleaned_data)
            except ExchangeError as error:
                problems.append(problem_of(error))
            else:
                return _first_upload(request, dataset, file)
        problems += _too_large(request) or problems_of(about, file)
    return render_page(
        request,
        "publishing/start.html",
        here="publishing:start",
        steps=_steps(0),
        about=about,
        file=file,
        problems=problems,
    )


def _first_upload(request: UserRequest, dataset: Dataset, file: FileForm) -> HttpResponse:
    try:
        return _arrived(request, _accept(request, dataset, file))
    except ERRORS as error:
        # The dataset stands; only its file is missing. The page that asks for one says why.
        return _upload_page(request, dataset, file, [problem_of(error)])


@csrf_protect
@signed_in
def _upload(request: UserRequest, dataset_id: str) -> HttpResponse:
    dataset = selectors.dataset_visible_to(request.user, dataset_id)
    check_can_manage_datasets(request.user, dataset.organisation)
    file = FileForm(request.POST or None, request.FILES or None)
    problems: list[Problem] = []
    if request.method == "POST":
        if file.is_valid():
            try:
                return _arrived(request, _accept(request, dataset, file))
            except ERRORS as error:
                problems.append(problem_of(error))
        problems += _too_large(request) or problems_of(file)
    return _upload_page(request, dataset, file, problems)


def _upload_page(
    request: UserRequest, dataset: Dataset, file: FileForm, problems: list[Problem]
) -> HttpResponse:
    return render_page(
        request,
        "publishing/upload.html",
        here="catalogue:mine",
        crumbs=[crumb(*CRUMB), crumb(dataset.title, "catalogue:detail", dataset.pk)],
        steps=_steps(0),
        dataset=dataset,
        file=file,
        problems=problems,
    )


def _page(
    request: UserRequest, version: DatasetVersion, step: int, template: str, **context: Any
) -> HttpResponse:
    dataset = version.dataset
    return render_page(
        request,
        template,
        here="catalogue:mine",
        crumbs=[crumb(*CRUMB), crumb(dataset.title, "catalogue:detail", dataset.pk)],
        steps=_steps(step),
        dataset=dataset,
        version=version,
        status=version_status(version),
        **context,
    )


@signed_in
def columns(request: UserRequest, version_id: str) -> HttpResponse:
    """The profile, and the role of each column; while the file is read, its progress."""
    version = _own_version(request, version_id)
    profiled = list(version.columns.order_by("position"))
    if not profiled:
        return _page(
            request, version, 1, "publishing/reading.html", is_failed=_failed(version)
        )
    form = RolesForm(
        request.POST or None, columns=profiled, chosen=_draft(request, version).get("roles")
    )
    if request.method == "POST" and form.is_valid():
        _keep(request, version, roles=form.roles(), text=None)
        return redirect("publishing:policy", version.pk)
    return _page(
        request,
        version,
        1,
        "publishing/columns.html",
        form=form,
        rows=form.rows(),
        problems=problems_of(form),
    )


def _failed(version: DatasetVersion) -> bool:
    return version.state == VersionState.FAILED


@signed_in
def progress(request: UserRequest, version_id: str) -> HttpResponse:
    """The fragment that the waiting page asks for again and again; then the page itself."""
    version = _own_version(request, version_id)
    if version_status(version).is_final:
        return HttpResponse(headers={"HX-Refresh": "true"})
    return render_page(
        request,
        "publishing/_progress.html",
        version=version,
        status=version_status(version),
    )


@require_POST
@signed_in
def retry(request: UserRequest, version_id: str) -> HttpResponse:
    version = _own_version(request, version_id)
    services.retry_version(version=version, by=request.user)
    return redirect(
        "publishing:columns" if not version.columns.exists() else "publishing:review",
        version.pk,
    )


def _templates(request: UserRequest, version: DatasetVersion) -> Mapping[str, str]:
    return starting_texts(version, _draft(request, version).get("roles") or {})


@signed_in
def policy(request: UserRequest, version_id: str) -> HttpResponse:
    """A template, its sentences, its text; what is wrong with it by line."""
    version = _own_version(request, version_id)
    if not version.columns.exists():
        return redirect("publishing:columns", version.pk)
    texts = _templates(request, version)
    draft = _draft(request, version)
    current = selectors.newest_policy(version.dataset)
    name = request.GET.get("template", "")
    text = (
        texts.get(name)
        or draft.get("text")
        or (current.source if current is not None else None)
        or next(iter(texts.values()), "")
    )
    form = PolicyForm(request.POST or None, initial={"text": text})
    problems: list[Problem] = []
    if request.method == "POST" and form.is_valid():
        text = form.cleaned_data["text"]
        _keep(request, version, text=text)
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
    return _page(
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
        found = load_policy(text)
        return policy_words(found, table_name) if found.table(table_name) else None
    except PolicyError:
        return None


@require_POST
@signed_in
def policy_words_now(request: UserRequest, version_id: str) -> HttpResponse:
    """The text as typed so far, in sentences, or what is wrong with it; nothing is stored."""
    version = _own_version(request, version_id)
    text = request.POST.get("text", "")
    problem = words = None
    try:
        found = load_policy(text)
        if found.table(version.dataset.table_name) is not None:
            words = policy_words(found, version.dataset.table_name)
    except PolicyError as error:
        problem = problem_of(error, area="id_text")
    return render_page(
        request, "publishing/_words.html", words=words, problem=problem, version=version
    )


@signed_in
def licence(request: UserRequest, version_id: str) -> HttpResponse:
    version = _own_version(request, version_id)
    draft = _draft(request, version)
    initial = draft.get("licence") or {"attribution": str(version.dataset.organisation)}
    form = LicenceForm(request.POST or None, initial=initial)
    if request.method == "POST" and form.is_valid():
        _keep(request, version, licence=form.cleaned_data)
        return redirect("publishing:review", version.pk)
    return _page(
        request,
        version,
        3,
        "publishing/licence.html",
        form=form,
        problems=problems_of(form),
    )


@signed_in
def review(request: UserRequest, version_id: str) -> HttpResponse:
    """Everything once more before it is on offer; nothing is public until this is sent."""
    version = _own_version(request, version_id)
    current = selectors.newest_policy(version.dataset)
    terms = _draft(request, version).get("licence")
    if current is None or terms is None:
        return redirect(
            "publishing:policy" if current is None else "publishing:licence", version.pk
        )
    problems: list[Problem] = []
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
    return _page(
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
        is_failed=_failed(version),
        previous=selectors.open_offer(version.dataset),
        can_publish=can_manage_datasets(request.user, version.dataset.organisation),
    )

"""The first step of publishing: a dataset and its file.

What the provider has chosen but not yet set lives in the session; each step's act is a
service call, so that leaving half-way leaves a visible draft and nothing on offer.
"""

from __future__ import annotations

from django.http import HttpResponse
from django.shortcuts import redirect
from django.urls import reverse
from django.utils.translation import gettext as _
from django.views.decorators.csrf import csrf_exempt, csrf_protect

from exchange.catalogue import selectors, services
from exchange.catalogue.models import Dataset, DatasetVersion
from exchange.errors import ExchangeError, Forbidden
from exchange.parties.permissions import check_can_manage_datasets
from exchange.web.access import Answer, UserRequest, signed_in
from exchange.web.forms import sent
from exchange.web.page import ERRORS, Problem, crumb, problem_of, problems_of, render_page
from exchange.web.publishing_forms import (
    DatasetForm,
    FileForm,
)
from exchange.web.standing import standing_of
from exchange.web.uploads import SealedUploadHandler
from exchange.web.wizard import (
    CRUMB,
    steps_at,
)
from sandbox.protocol import CsvOptions, Format


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
def start(request: UserRequest) -> Answer:
    request.upload_handlers = [SealedUploadHandler(request)]
    return _start(request)


@csrf_exempt
def upload(request: UserRequest, dataset_id: str) -> Answer:
    request.upload_handlers = [SealedUploadHandler(request)]
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
    about = DatasetForm(sent(request), organisations=where)
    file = FileForm(sent(request), request.FILES if request.method == "POST" else None)
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
        steps=steps_at(0),
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
    file = FileForm(sent(request), request.FILES if request.method == "POST" else None)
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
        steps=steps_at(0),
        dataset=dataset,
        file=file,
        problems=problems,
    )

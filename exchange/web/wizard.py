"""What the steps of publishing share: the draft in the session, the frame of a step."""

from __future__ import annotations

from typing import Any

from django.http import HttpResponse
from django.utils.translation import gettext_lazy

from exchange.catalogue import selectors
from exchange.catalogue.models import DatasetVersion
from exchange.catalogue.states import VersionState
from exchange.parties.permissions import check_can_manage_datasets
from exchange.web.access import UserRequest
from exchange.web.page import crumb, render_page
from exchange.web.statuses import version_status

STEPS = (
    gettext_lazy("File"),
    gettext_lazy("Columns"),
    gettext_lazy("Policy"),
    gettext_lazy("Licence"),
    gettext_lazy("Review"),
)
CRUMB = (gettext_lazy("My datasets"), "catalogue:mine")


def steps_at(now: int) -> list[dict[str, Any]]:
    return [
        {"label": label, "state": "done" if at < now else "now" if at == now else ""}
        for at, label in enumerate(STEPS)
    ]


def draft_of(request: UserRequest, version: DatasetVersion) -> dict[str, Any]:
    draft: dict[str, Any] = request.session.setdefault(f"draft:{version.pk}", {})
    return draft


def keep_draft(request: UserRequest, version: DatasetVersion, **values: Any) -> None:
    request.session[f"draft:{version.pk}"] = {**draft_of(request, version), **values}


def own_version(request: UserRequest, version_id: str) -> DatasetVersion:
    version = selectors.version_visible_to(request.user, version_id)
    check_can_manage_datasets(request.user, version.dataset.organisation)
    return version


def step_page(
    request: UserRequest, version: DatasetVersion, step: int, template: str, **context: Any
) -> HttpResponse:
    dataset = version.dataset
    return render_page(
        request,
        template,
        here="catalogue:mine",
        crumbs=[crumb(*CRUMB), crumb(dataset.title, "catalogue:detail", dataset.pk)],
        steps=steps_at(step),
        dataset=dataset,
        version=version,
        status=version_status(version),
        **context,
    )


def has_failed(version: DatasetVersion) -> bool:
    return version.state == VersionState.FAILED

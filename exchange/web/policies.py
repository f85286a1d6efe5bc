"""A dataset's policy: in words, column by column, its versions and what changed."""

from __future__ import annotations

from typing import Any

from django.http import HttpResponse
from django.shortcuts import redirect
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from exchange.catalogue.models import Dataset, PolicyVersion
from exchange.catalogue.policy_views import (
    PolicyView,
    policies_visible_to,
    policy_view,
)
from exchange.catalogue.selectors import dataset_visible_to, newest_policy, open_offer
from exchange.errors import NotFound
from exchange.parties.permissions import can_manage_datasets
from exchange.web.access import UserRequest, signed_in
from exchange.web.page import Crumb, crumb, render_page
from policies.difference import Difference, Effect, differences
from policies.explain import explain_column
from policies.odrl.writing import to_odrl
from policies.reasons import line_of

CRUMB = (gettext_lazy("Catalogue"), "catalogue:list")
EFFECTS = {
    Effect.LOOSENS: (gettext_lazy("Loosens"), "wait"),
    Effect.TIGHTENS: (gettext_lazy("Tightens"), "ok"),
    Effect.NEUTRAL: (gettext_lazy("Neutral"), "info"),
}


@signed_in
def document(
    request: UserRequest, dataset_id: str, number: int | None = None
) -> HttpResponse:
    """One version, the one on offer where none is named, with what it lets be learned."""
    dataset = dataset_visible_to(request.user, dataset_id)
    found = _chosen(request, dataset, number)
    if found is None:
        return redirect("catalogue:detail", dataset_id)
    view = policy_view(request.user, found)
    versions = list(policies_visible_to(request.user, dataset))
    return render_page(
        request,
        "catalogue/policy.html",
        here="catalogue:list",
        crumbs=_crumbs(dataset),
        dataset=dataset,
        policy_version=found,
        is_own=can_manage_datasets(request.user, dataset.organisation),
        text_lines=view.text.splitlines(),
        sentences=_general(view, dataset.table_name),
        columns=_columns(view, dataset.table_name),
        versions=_version_rows(versions),
        comparable=versions if len(versions) > 1 else [],
    )


@signed_in
def compare(request: UserRequest, dataset_id: str) -> HttpResponse:
    """What changed between two versions, in words, with what it loosens."""
    dataset = dataset_visible_to(request.user, dataset_id)
    versions = list(policies_visible_to(request.user, dataset))
    old = _numbered(versions, request.GET.get("old", ""))
    new = _numbered(versions, request.GET.get("new", ""))
    before, after = (policy_view(request.user, found) for found in (old, new))
    changes = differences(before.policy, after.policy)
    return render_page(
        request,
        "catalogue/policy_compare.html",
        here="catalogue:list",
        crumbs=[*_crumbs(dataset), crumb(_("Policy"), "catalogue:policy", dataset.pk)],
        dataset=dataset,
        old=old,
        new=new,
        versions=versions,
        changes=[change_row(change, after) for change in changes],
        loosening=sum(change.effect is Effect.LOOSENS for change in changes),
    )


@signed_in
def odrl(request: UserRequest, dataset_id: str, number: int) -> HttpResponse:
    """The version as ODRL 2.2 in JSON-LD, a file to keep or to send on."""
    dataset = dataset_visible_to(request.user, dataset_id)
    found = _numbered(list(policies_visible_to(request.user, dataset)), str(number))
    text = to_odrl(policy_view(request.user, found).policy)
    name = f"{dataset.slug}-policy-{found.number}.jsonld"
    return HttpResponse(
        text,
        content_type="application/ld+json",
        headers={"Content-Disposition": f'attachment; filename="{name}"'},
    )


def _chosen(
    request: UserRequest, dataset: Dataset, number: int | None
) -> PolicyVersion | None:
    if number is not None:
        return _numbered(list(policies_visible_to(request.user, dataset)), str(number))
    offer = open_offer(dataset)
    if offer is not None:
        return offer.policy_version
    is_own = can_manage_datasets(request.user, dataset.organisation)
    return newest_policy(dataset) if is_own else None


def _numbered(versions: list[PolicyVersion], number: str) -> PolicyVersion:
    found = next((v for v in versions if str(v.number) == number), None)
    if found is None:
        raise NotFound(
            _("There is no such version of this policy, or it was never on offer."),
            code="policy_unknown",
            hint=_("The policy's page lists the versions that you may see."),
        )
    return found


def _crumbs(dataset: Dataset) -> list[Crumb]:
    return [crumb(*CRUMB), crumb(dataset.title, "catalogue:detail", dataset.pk)]


def _general(view: PolicyView, table: str) -> list[str]:
    """The sentences about no single column: those stand in a list of their own."""
    found = view.policy.table(table)
    names = [f"`{column.name}`" for column in found.columns] if found else []
    return [s for s in view.sentences(table) if not s.startswith(tuple(names) or "\0")]


def _columns(view: PolicyView, table: str) -> list[dict[str, Any]]:
    found = view.policy.table(table)
    return [
        {
            "name": column.name,
            "line": line_of(f"tables.{table}.columns.{column.name}", view.lines),
            "audiences": explain_column(view.policy, table, column.name),
        }
        for column in (found.columns if found else ())
    ]


def _version_rows(versions: list[PolicyVersion]) -> list[dict[str, Any]]:
    """Newest first, each with the version before it, to which it is compared."""
    return [
        {"version": version, "before": before}
        for version, before in zip(versions, [*versions[1:], None], strict=True)
    ]


def change_row(change: Difference, after: PolicyView | None = None) -> dict[str, Any]:
    """A change with words and tone of its effect; its line where a text is shown."""
    label, tone = EFFECTS[change.effect]
    return {
        "sentence": change.sentence,
        "label": label,
        "tone": tone,
        "path": change.path,
        "line": None if after is None else line_of(change.path, after.lines),
    }

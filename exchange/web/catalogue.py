"""The catalogue and the page of a dataset."""

from __future__ import annotations

import json
from typing import Any

from django.core.paginator import Paginator
from django.db.models import Exists, OuterRef, Prefetch, QuerySet
from django.http import HttpResponse
from django.shortcuts import redirect
from django.utils import timezone
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy
from django.views.decorators.http import require_POST

from exchange.agreements.selectors import grants_visible_to, requests_visible_to
from exchange.agreements.states import NegotiationState
from exchange.catalogue import selectors, services
from exchange.catalogue.models import Dataset, DatasetVersion, Offer, PolicyVersion
from exchange.catalogue.policy_views import policy_view
from exchange.parties.permissions import can_manage_datasets
from exchange.web.access import UserRequest, signed_in
from exchange.web.filters import CatalogueFilter, kept
from exchange.web.page import crumb, render_page
from exchange.web.rules import PolicyWords, policy_words, rule_cards
from exchange.web.standing import standing_of
from exchange.web.statuses import version_status

PAGE_SIZE = 20
_ON_OFFER = Exists(Offer.objects.filter(dataset=OuterRef("pk"), closed_at=None))
CRUMB = (gettext_lazy("Catalogue"), "catalogue:list")


def _with_offers(datasets: QuerySet[Dataset]) -> QuerySet[Dataset]:
    offers = Offer.objects.filter(closed_at=None).select_related(
        "version", "policy_version"
    )
    return datasets.select_related("organisation").prefetch_related(
        Prefetch("offers", queryset=offers, to_attr="open_offers")
    )


def _card(dataset: Any) -> dict[str, Any]:
    offer = dataset.open_offers[0] if dataset.open_offers else None
    rules = json.loads(offer.policy_version.canonical).get("rules", []) if offer else []
    kinds = {rule["kind"] for rule in rules}
    return {
        "dataset": dataset,
        "offer": offer,
        "gives": [
            label
            for kind, label in (
                ("aggregate", _("Aggregates")),
                ("subset", _("Labelled rows")),
            )
            if kind in kinds
        ],
    }


@signed_in
def catalogue(request: UserRequest) -> HttpResponse:
    form = CatalogueFilter(request.GET)
    form.is_valid()
    chosen = form.cleaned_data
    found = _with_offers(
        selectors.datasets_visible_to(
            request.user, text=chosen.get("q", ""), keyword=chosen.get("keyword", "")
        ).filter(_ON_OFFER)
    )
    form.offer_providers(Dataset.objects.filter(_ON_OFFER))
    if chosen.get("provider"):
        found = found.filter(organisation__slug=chosen["provider"])
    page = Paginator(found.order_by("title", "id"), PAGE_SIZE).get_page(
        request.GET.get("page")
    )
    return render_page(
        request,
        "catalogue/list.html",
        here="catalogue:list",
        form=form,
        page=page,
        cards=[_card(dataset) for dataset in page],
        keep=kept(request),
        is_filtered=any(chosen.values()),
        may_publish=standing_of(request.user).may("manage_datasets"),
    )


@signed_in
def mine(request: UserRequest) -> HttpResponse:
    where = standing_of(request.user).where("manage_datasets")
    datasets = Dataset.objects.filter(organisation__in=where).select_related("organisation")
    page = Paginator(
        datasets.prefetch_related("versions").order_by("-created_at", "id"), PAGE_SIZE
    ).get_page(request.GET.get("page"))
    rows = []
    for dataset in page:
        newest = max(dataset.versions.all(), key=lambda v: v.number, default=None)
        rows.append(
            {
                "dataset": dataset,
                "newest": newest,
                "status": version_status(newest) if newest else None,
                "versions": len(dataset.versions.all()),
            }
        )
    return render_page(
        request, "catalogue/mine.html", here="catalogue:mine", page=page, rows=rows, keep=""
    )


def _version_rows(request: UserRequest, dataset: Dataset) -> list[dict[str, Any]]:
    return [
        {"version": version, "status": version_status(version)}
        for version in selectors.versions_visible_to(request.user, dataset).order_by(
            "-number"
        )
    ]


def _use(name: str, sentence: str | None) -> str:
    """The sentence on a column without its name: the table's row has it already."""
    rest = (sentence or "").removeprefix(f"`{name}`").lstrip(": ")
    return rest[:1].upper() + rest[1:]


def _columns(
    request: UserRequest,
    version: DatasetVersion,
    policy_version: PolicyVersion | None,
    words: PolicyWords,
) -> list[dict[str, Any]]:
    cards = selectors.columns_for(request.user, version, policy_version)
    return [
        {
            "name": card.name,
            "type": card.type,
            "description": card.description,
            "use": _use(card.name, words.columns.get(card.name))
            or card.reason
            or _("Hidden"),
            "null_percent": None if card.null_share is None else card.null_share * 100,
            "distinct": card.distinct,
        }
        for card in cards
    ]


@signed_in
def detail(request: UserRequest, dataset_id: str) -> HttpResponse:
    dataset = selectors.dataset_visible_to(request.user, dataset_id)
    offer = selectors.open_offer(dataset)
    is_ours = can_manage_datasets(request.user, dataset.organisation)
    versions = _version_rows(request, dataset)
    version = offer.version if offer else (versions[0]["version"] if versions else None)
    policy_version = offer.policy_version if offer else selectors.newest_policy(dataset)
    words = PolicyWords((), {})
    rules: list[dict[str, Any]] = []
    if policy_version is not None:
        policy = policy_view(request.user, policy_version).policy
        words = policy_words(policy, dataset.table_name)
        rules = rule_cards(policy, licence=offer.licence if offer else "")
    grants = grants_visible_to(request.user).filter(offer__dataset=dataset, revoked_at=None)
    held = list(grants.filter(ends_at__gt=timezone.now()).select_related("consumer"))
    return render_page(
        request,
        "catalogue/detail.html",
        here="catalogue:mine" if is_ours else "catalogue:list",
        crumbs=[crumb(*CRUMB)],
        dataset=dataset,
        offer=offer,
        version=version,
        versions=versions,
        is_ours=is_ours,
        columns=_columns(request, version, policy_version, words) if version else [],
        sentences=words.general,
        rules=rules,
        policy_version=policy_version,
        may_request=bool(standing_of(request.user).where("request_access")) and not is_ours,
        grants=held,
        held={grant.kind for grant in held if not is_ours},
        waiting=requests_visible_to(request.user).filter(
            offer__dataset=dataset, state=NegotiationState.REQUESTED
        ),
    )


@require_POST
@signed_in
def withdraw(request: UserRequest, version_id: str) -> HttpResponse:
    version: DatasetVersion = selectors.version_visible_to(request.user, version_id)
    services.withdraw(version=version, note=request.POST.get("note", ""), by=request.user)
    return redirect("catalogue:detail", version.dataset_id)

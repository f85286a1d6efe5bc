"""What a reader may see of the catalogue.

Whatever is on offer is there for everyone who may log in; drafts, failures and the
profile's figures are for the provider. What may not be seen looks like what is not there.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeVar
from uuid import UUID

from django.core.exceptions import ValidationError
from django.db import models
from django.db.models import Exists, OuterRef, Q, QuerySet

from exchange.catalogue.models import (
    Column,
    Dataset,
    DatasetVersion,
    Offer,
    PolicyVersion,
)
from exchange.catalogue.states import VersionState
from exchange.errors import NotFound
from exchange.operations.models import Operation
from exchange.parties.models import Organisation, User
from exchange.parties.permissions import sees_all_evidence
from policies import templates
from policies.document import Role, Table
from sandbox.protocol import ColumnProfile

M = TypeVar("M", bound=models.Model)


@dataclass(frozen=True, slots=True)
class ColumnCard:
    """One column as a reader may know it; ranges and shares for the provider only."""

    name: str
    type: str
    roles: tuple[str, ...]  # of the policy; proposed ones where there is no policy yet
    description: str
    grid: str
    grain: str
    values_public: bool
    null_share: float | None = None
    distinct: int | None = None
    minimum: str = ""
    maximum: str = ""
    reason: str = ""


def one_of(queryset: QuerySet[M], pk: UUID | str) -> M:
    """The row with that id, or NotFound, also for an id that is none."""
    try:
        # In no order: to find the place of each loaded column takes longer than the row.
        found = next(iter(queryset.filter(pk=pk).order_by()[:1]), None)
    except (ValidationError, ValueError):
        found = None
    if found is None:
        name = queryset.model._meta.verbose_name
        raise NotFound(
            f"no such {name} is here for you",
            hint="Check the address; it may have been withdrawn, or be another party's.",
        )
    return found


def is_provider(user: User, organisation: Organisation | int) -> bool:
    """Whether the reader belongs to the organisation."""
    pk = organisation if isinstance(organisation, int) else organisation.pk
    return user.memberships.filter(organisation=pk).exists()


def datasets_visible_to(
    user: User, *, text: str = "", keyword: str = ""
) -> QuerySet[Dataset]:
    """Datasets on offer to everyone, and all of the reader's own organisations'."""
    on_offer = Exists(Offer.objects.filter(dataset=OuterRef("pk"), closed_at=None))
    found = Dataset.objects.select_related("organisation")
    if not sees_all_evidence(user):
        found = found.filter(on_offer | Q(organisation__in=_organisations(user)))
    if text:
        found = found.filter(
            Q(title__icontains=text)
            | Q(description__icontains=text)
            | Q(slug__icontains=text)
            | Q(organisation__name__icontains=text)
        )
    if keyword:
        # JSON lists of text: the quotes keep `port` from finding `airport`.
        found = found.filter(keywords__icontains=f'"{keyword}"')
    return found


def dataset_visible_to(user: User, dataset_id: UUID | str) -> Dataset:
    """That dataset, or NotFound."""
    return one_of(datasets_visible_to(user), dataset_id)


def versions_visible_to(
    user: User, dataset: Dataset | None = None
) -> QuerySet[DatasetVersion]:
    """Published versions; all of them for members of the provider."""
    found = DatasetVersion.objects.select_related("dataset__organisation", "created_by")
    if dataset is not None:
        found = found.filter(dataset=dataset)
    if sees_all_evidence(user):
        return found
    return found.filter(
        Q(state=VersionState.PUBLISHED) | Q(dataset__organisation__in=_organisations(user))
    )


def version_visible_to(user: User, version_id: UUID | str) -> DatasetVersion:
    """That version, or NotFound."""
    return one_of(versions_visible_to(user), version_id)


def progress_of(version: DatasetVersion) -> str:
    """How far the work on it is, while there is any that tells."""
    work = Operation.objects.unfinished().filter(target_id=str(version.pk))
    return work.values_list("progress", flat=True).first() or ""


def open_offer(dataset: Dataset) -> Offer | None:
    """The one offer that is open to requests, or None."""
    return (
        dataset.offers.filter(closed_at=None)
        .select_related("version", "policy_version")
        .first()
    )


def offers_visible_to(user: User) -> QuerySet[Offer]:
    """Open offers, the reader's own organisations', and those it holds a grant on."""
    found = Offer.objects.select_related(
        "dataset__organisation", "version", "policy_version"
    )
    if sees_all_evidence(user):
        return found
    mine = _organisations(user)
    return found.filter(
        Q(closed_at=None)
        | Q(dataset__organisation__in=mine)
        # Through the reverse relation: the catalogue imports no later stage.
        | Q(requests__consumer__in=mine)
    ).distinct()


def offer_visible_to(user: User, offer_id: UUID | str) -> Offer:
    """That offer, or NotFound."""
    return one_of(offers_visible_to(user), offer_id)


def newest_policy(dataset: Dataset) -> PolicyVersion | None:
    """The policy version with the highest number, or None."""
    return dataset.policies.order_by("-number").first()


def schema_of(version: DatasetVersion) -> dict[str, str]:
    """Column names and engine types, in file order."""
    return dict(version.columns.order_by("position").values_list("name", "type"))


def schemas_of_organisation(organisation: Organisation) -> dict[str, dict[str, str]]:
    """By table name, the columns of each dataset's newest profiled version."""
    found: dict[str, dict[str, str]] = {}
    versions = (
        DatasetVersion.objects.filter(dataset__organisation=organisation)
        .filter(Exists(Column.objects.filter(version=OuterRef("pk"))))
        .exclude(state__in=(VersionState.FAILED, VersionState.WITHDRAWN))
        .select_related("dataset")
        .order_by("dataset", "-number")
    )
    for version in versions:
        if version.dataset.table_name not in found:
            found[version.dataset.table_name] = schema_of(version)
    return found


def columns_for(
    user: User, version: DatasetVersion, policy_version: PolicyVersion | None
) -> tuple[ColumnCard, ...]:
    """The columns in file order; hidden and unnamed ones only for the provider."""
    inside = is_provider(user, version.dataset.organisation_id)
    table = (
        policy_version.policy.table(version.dataset.table_name)
        if policy_version is not None
        else None
    )
    if table is None and not inside:
        return ()
    cards = []
    for column in version.columns.order_by("position"):
        roles = _roles(column, table)
        if inside or (roles and str(Role.HIDDEN) not in roles):
            cards.append(_card(column, table, roles, inside=inside))
    return tuple(cards)


def starting_policies(version: DatasetVersion) -> dict[str, str]:
    """Policy texts to start from, by template name, made from the version's profile."""
    columns = tuple(
        ColumnProfile(
            name=column.name,
            type=column.type,
            null_share=column.null_share,
            distinct=column.distinct,
            minimum=column.minimum or None,
            maximum=column.maximum or None,
            proposed_roles=tuple(column.proposed_roles),
            proposed_grid=column.proposed_grid or None,
            reason=column.reason,
        )
        for column in version.columns.order_by("position")
    )
    return templates.starting_policies(table=version.dataset.table_name, columns=columns)


def _organisations(user: User) -> QuerySet[Organisation]:
    return Organisation.objects.filter(memberships__user=user).order_by()


def _roles(column: Column, table: Table | None) -> tuple[str, ...]:
    if table is None:
        return tuple(column.proposed_roles)
    if table.public:
        return (str(Role.DIMENSION),)
    named = table.column(column.name)
    return tuple(sorted(str(role) for role in named.roles)) if named is not None else ()


def _card(
    column: Column, table: Table | None, roles: tuple[str, ...], *, inside: bool
) -> ColumnCard:
    named = table.column(column.name) if table is not None else None
    grid = (
        named.grid if named is not None else column.proposed_grid if table is None else None
    )
    card = ColumnCard(
        name=column.name,
        type=column.type,
        roles=roles,
        description=column.description,
        grid=str(grid) if grid else "",
        grain=str(named.grain) if named is not None and named.grain else "",
        values_public=bool(
            (table is not None and table.public)
            or (named is not None and named.values_public)
        ),
    )
    if not inside:
        return card
    return ColumnCard(
        **{name: getattr(card, name) for name in _PUBLIC_FIELDS},
        null_share=column.null_share,
        distinct=column.distinct,
        minimum=column.minimum,
        maximum=column.maximum,
        reason=column.reason,
    )


_PUBLIC_FIELDS = ("name", "type", "roles", "description", "grid", "grain", "values_public")

"""What a reader may see of the catalogue."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING
from uuid import UUID

if TYPE_CHECKING:
    from django.db.models import QuerySet

    from exchange.catalogue.models import Dataset, DatasetVersion, Offer, PolicyVersion
    from exchange.parties.models import User


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


def datasets_visible_to(
    user: User, *, text: str = "", keyword: str = ""
) -> QuerySet[Dataset]:
    """Datasets on offer to everyone, and all of the reader's own organisations'."""
    raise NotImplementedError


def dataset_visible_to(user: User, dataset_id: UUID | str) -> Dataset:
    """That dataset, or NotFound: what may not be seen looks like what is not there."""
    raise NotImplementedError


def versions_visible_to(user: User, dataset: Dataset) -> QuerySet[DatasetVersion]:
    """Published versions; all of them for members of the provider."""
    raise NotImplementedError


def version_visible_to(user: User, version_id: UUID | str) -> DatasetVersion:
    """That version, or NotFound."""
    raise NotImplementedError


def open_offer(dataset: Dataset) -> Offer | None:
    """The one offer that is open to requests, or None."""
    raise NotImplementedError


def offer_visible_to(user: User, offer_id: UUID | str) -> Offer:
    """That offer, open, or of the reader's own organisation, or one of its grants."""
    raise NotImplementedError


def newest_policy(dataset: Dataset) -> PolicyVersion | None:
    """The policy version with the highest number, or None."""
    raise NotImplementedError


def columns_for(
    user: User, version: DatasetVersion, policy_version: PolicyVersion | None
) -> tuple[ColumnCard, ...]:
    """The columns in file order; hidden and unnamed ones only for the provider."""
    raise NotImplementedError


def policy_sentences(policy_version: PolicyVersion, table: str = "") -> tuple[str, ...]:
    """The policy in plain sentences; `table` empty: the dataset's own."""
    raise NotImplementedError


def starting_policies(version: DatasetVersion) -> dict[str, str]:
    """Policy texts to start from, by template name, made from the version's profile."""
    raise NotImplementedError

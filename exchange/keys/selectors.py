"""The states of keys, for those who may see them; never a byte of one."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from django.core.exceptions import ValidationError
from django.db.models import Count, Exists, OuterRef, Q, QuerySet

from exchange.errors import NotFound
from exchange.keys.choice import ProviderKind, kind_of
from exchange.keys.models import DataKey, KeyState, MasterKey, OrganisationKey
from exchange.keys.permissions import may_manage_keys, may_see_keys
from exchange.parties.models import Organisation, User
from exchange.parties.permissions import sees_all_evidence


@dataclass(frozen=True, slots=True)
class OrganisationKeyState:
    """The newest key of an organisation; `state` is "" where there is none."""

    organisation: Organisation
    state: str
    generation: int = 0
    created_at: datetime | None = None
    provider: ProviderKind | None = None
    master_key: str = ""
    is_rotating: bool = False
    active: int = 0  # data keys that open something
    destroyed: int = 0


@dataclass(frozen=True, slots=True)
class PurposeCount:
    purpose: str
    active: int
    destroyed: int


def organisation_key_state(organisation: Organisation) -> OrganisationKeyState:
    """What is to be known of the organisation's key and of how much lies under it."""
    newest = (
        OrganisationKey.objects.filter(organisation=organisation)
        .order_by("-generation")
        .first()
    )
    if newest is None:
        return OrganisationKeyState(organisation, "")
    counts = data_keys_of(organisation).aggregate(
        active=Count("pk", filter=Q(state=KeyState.ACTIVE)),
        destroyed=Count("pk", filter=Q(state=KeyState.DESTROYED)),
    )
    return OrganisationKeyState(
        organisation=organisation,
        state=newest.state,
        generation=newest.generation,
        created_at=newest.created_at,
        provider=kind_of(newest.provider_ref),
        master_key=newest.provider_ref,
        is_rotating=OrganisationKey.objects.filter(
            organisation=organisation, state=KeyState.RETIRING
        ).exists(),
        **counts,
    )


def data_keys_of(organisation: Organisation) -> QuerySet[DataKey]:
    return DataKey.objects.filter(organisation_key__organisation=organisation)


def counts_by_purpose(organisation: Organisation) -> list[PurposeCount]:
    rows = (
        data_keys_of(organisation)
        .values_list("purpose")
        .annotate(
            active=Count("pk", filter=Q(state=KeyState.ACTIVE)),
            destroyed=Count("pk", filter=Q(state=KeyState.DESTROYED)),
        )
        .order_by("purpose")
    )
    return [PurposeCount(*row) for row in rows]


def newest_master() -> MasterKey | None:
    """The master key that was noted last; None before any key was wrapped."""
    return MasterKey.objects.filter(retired_at=None).order_by("-pk").first()


def organisations_seen_by(user: User) -> QuerySet[Organisation]:
    """Those whose keys' states the reader may see: own ones, or for a regulator all."""
    held = Organisation.objects.filter(
        Exists(OrganisationKey.objects.filter(organisation=OuterRef("pk")))
    )
    if sees_all_evidence(user):
        return held
    mine = Organisation.objects.filter(members=user).distinct()
    managed = [o.pk for o in mine if may_manage_keys(user, o)]
    return Organisation.objects.filter(pk__in=managed)


def organisation_seen_by(user: User, public_id: UUID | str) -> Organisation:
    """The organisation of that id, if the reader may see its keys' states, or NotFound."""
    try:
        found = Organisation.objects.filter(public_id=public_id).first()
    except (ValidationError, ValueError):
        found = None
    if found is None or not may_see_keys(user, found):
        raise NotFound(
            "there is no such organisation, or its keys are not for this reader",
            hint="Data stewards, administrators and a regulator see the keys' states.",
        )
    return found

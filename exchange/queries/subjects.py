"""What a grant lets a query stand on: versions and schemas; and whether it still may."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from datetime import datetime
from functools import lru_cache
from uuid import UUID

from exchange.agreements.models import Grant
from exchange.catalogue.ingest import encrypted_table
from exchange.catalogue.models import Dataset, DatasetVersion, OfferTable
from exchange.catalogue.selectors import schema_of
from exchange.catalogue.states import VersionState
from exchange.errors import Refused
from exchange.keys.models import KeyState
from sandbox.needs import Need
from sandbox.protocol import EncryptedTable, TableSchema


def versions_of(grant: Grant) -> dict[str, DatasetVersion]:
    """By table name, the version that the grant's offer pinned.

    Read once for a loaded grant: which they are never changes. Their states and keys do,
    so whoever needs those asks `_versions_now`.
    """
    found: dict[str, DatasetVersion] | None = grant.__dict__.get("_versions")
    if found is None:
        found = grant.__dict__["_versions"] = _versions_now(grant)
    return found


def _versions_now(grant: Grant) -> dict[str, DatasetVersion]:
    tables = grant.offer.tables.select_related(
        "version__dataset__organisation", "version__data_key"
    )
    return {table.table_name: table.version for table in tables}


def check_usable(grant: Grant, now: datetime) -> None:
    """Raise Refused unless the grant may be used now, on versions that all stand.

    Reads the rows anew: a revocation between submission and release must count. Codes:
    `grant_revoked`, `grant_expired`, `grant_not_started`, `version_key_destroyed`,
    `version_withdrawn`.
    """
    version = "offer__tables__version"
    current = list(
        Grant.objects.filter(pk=grant.pk).values_list(
            *("revoked_at", "starts_at", "ends_at"),
            *(f"{version}__state", f"{version}__data_key__state"),
        )
    )
    revoked_at, starts_at, ends_at, _, _ = current[0]
    states = {state for *_, state, _ in current}
    key_states = {state for *_, state in current}
    faults = (
        (
            revoked_at is not None,
            "grant_revoked",
            "the provider revoked this grant",
            "Ask the provider, or request access anew.",
        ),
        (
            now >= ends_at,
            "grant_expired",
            f"this grant ended at {ends_at.isoformat(timespec='seconds')}",
            "Request access anew.",
        ),
        (
            now < starts_at,
            "grant_not_started",
            f"this grant begins at {starts_at.isoformat(timespec='seconds')}",
            "Wait until then.",
        ),
        (
            KeyState.DESTROYED in key_states,
            "version_key_destroyed",
            "the key of a dataset version that this grant stands on was destroyed",
            "Nobody can read its rows any more. Look the dataset up for another version.",
        ),
        (
            states != {VersionState.PUBLISHED},
            "version_withdrawn",
            "a dataset version that this grant stands on was withdrawn",
            "Look the dataset up for a newer version and request access to it.",
        ),
    )
    for holds, code, message, hint in faults:
        if holds:
            raise Refused(message, code=code, hint=hint)


def schemas_of(grant: Grant) -> tuple[TableSchema, ...]:
    """The schema of every table that the policy names, by table name."""
    return _schemas_of_offer(grant.offer_id)


@lru_cache(maxsize=256)
def _schemas_of_offer(offer_id: UUID) -> tuple[TableSchema, ...]:
    # An offer pins the versions of its tables, and a version its names and types.
    tables = OfferTable.objects.filter(offer=offer_id).order_by("table_name")
    pinned = tables.values_list("table_name", "version")
    return tuple(TableSchema(name, _columns_of(version)) for name, version in pinned)


@lru_cache(maxsize=256)
def _columns_of(version_id: UUID) -> tuple[tuple[str, str], ...]:
    # Of a version that was on offer: its names and types never change.
    return tuple(schema_of(DatasetVersion(pk=version_id)).items())


def nameable_tables(grant: Grant, used: tuple[str, ...]) -> tuple[EncryptedTable, ...]:
    """The tables a query uses by name and version, without a file or a key."""
    return tuple(
        EncryptedTable(name, str(version.pk), (), b"")
        for name, version in sorted(versions_of(grant).items())
        if name in used
    )


def encrypted_tables(grant: Grant, needs: Mapping[str, Need]) -> tuple[EncryptedTable, ...]:
    """The tables a query uses, with their keys unwrapped: only for a Job, at once.

    Keys of column groups that hold nothing it needs stay wrapped.
    """
    return tuple(
        encrypted_table(version, table=name, columns=needed_of(needs[name], version))
        for name, version in sorted(_versions_now(grant).items())
        if name in needs
    )


def needed_of(need: Need, version: DatasetVersion) -> Collection[str]:
    """The columns of a version that a need may mean: all of them where it does not say."""
    return (
        need.needed
        if need.needed is not None
        else {name for name, _ in _columns_of(version.pk)}
    )


def protected_datasets(grant: Grant, used: tuple[str, ...]) -> list[Dataset]:
    """The datasets of which a query over these tables tells something, in fixed order."""
    policy = grant.policy_version.policy
    found = []
    for name, version in sorted(versions_of(grant).items()):
        table = policy.table(name)
        if name in used and (table is None or table.is_protected):
            found.append(version.dataset)
    return found

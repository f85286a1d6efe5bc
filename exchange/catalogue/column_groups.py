"""Columns of a version under data keys of their own: made with it, found by column."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from exchange.audit.actors import Actor
from exchange.catalogue import vault
from exchange.catalogue.datakeys import opened
from exchange.catalogue.models import ColumnGroup, DatasetVersion
from exchange.keys import services as keys
from exchange.keys.models import DataKey, KeyPurpose
from sandbox.protocol import GroupOutput


def make_groups(
    version: DatasetVersion, apart: Mapping[str, Sequence[str]], *, by: Actor
) -> None:
    """In the caller's transaction: these columns, by group, have keys of their own."""
    version.column_groups.all().delete()  # of an attempt that never began
    for name, columns in apart.items():
        ColumnGroup.objects.create(
            version=version,
            name=name,
            columns=list(columns),
            data_key=_fresh_key(version, by=by),
        )


def issue_group_keys(version: DatasetVersion, *, by: Actor) -> None:
    """In the caller's transaction: the groups have fresh keys, for another attempt."""
    for group in version.column_groups.all():
        group.data_key = _fresh_key(version, by=by)
        group.save(update_fields=["data_key"])


def outputs(version: DatasetVersion, *, shards: int) -> tuple[GroupOutput, ...]:
    """What a partition writes for the version's groups, under names that are not taken."""
    return tuple(
        GroupOutput(
            name=group.name,
            columns=tuple(group.columns),
            outputs=tuple(
                vault.new_name("versions", version.pk, f"{group.name}-{index}")
                for index in range(shards)
            ),
            key=opened(group.data_key),
        )
        for group in _groups(version)
    )


def holding(version: DatasetVersion, columns: Collection[str]) -> list[ColumnGroup]:
    """The groups that hold at least one of these columns."""
    return [group for group in _groups(version) if set(columns) & set(group.columns)]


def keys_of(version: DatasetVersion) -> list[DataKey]:
    """The groups' data keys: with the version's own, all that its files are under."""
    return [group.data_key for group in _groups(version)]


def _groups(version: DatasetVersion) -> list[ColumnGroup]:
    return list(version.column_groups.select_related("data_key"))


def _fresh_key(version: DatasetVersion, *, by: Actor) -> DataKey:
    return keys.issue_data_key(
        organisation=version.dataset.organisation,
        purpose=KeyPurpose.VERSION,
        subject=version,
        by=by,
    )

"""Starting policies for the wizard: the profile with the roles that the provider chose."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from exchange.catalogue.models import Column, DatasetVersion
from policies import templates
from sandbox.protocol import ColumnProfile


def starting_texts(
    version: DatasetVersion, roles: Mapping[str, Mapping[str, Any]]
) -> Mapping[str, str]:
    """Policy texts by template name; a column without a choice keeps its proposal."""
    profiles = tuple(
        _profile(column, roles.get(column.name))
        for column in version.columns.order_by("position")
    )
    return templates.starting_policies(table=version.dataset.table_name, columns=profiles)


def _profile(column: Column, chosen: Mapping[str, Any] | None) -> ColumnProfile:
    proposed = tuple(column.proposed_roles)
    grid = column.proposed_grid
    if chosen is not None:
        proposed = tuple(str(chosen["role"]).split("+"))
        grid = str(chosen["grid"]).strip()
    return ColumnProfile(
        name=column.name,
        type=column.type,
        null_share=column.null_share,
        distinct=column.distinct,
        minimum=column.minimum or None,
        maximum=column.maximum or None,
        proposed_roles=proposed,
        proposed_grid=grid or None,
        reason=column.reason,
    )

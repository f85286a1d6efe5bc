"""What must hold before a version goes on offer, and which versions stand behind."""

from __future__ import annotations

from packaging.licenses import InvalidLicenseExpression, canonicalize_license_expression

from exchange.catalogue.models import Dataset, DatasetVersion, Offer, PolicyVersion
from exchange.catalogue.states import VersionState
from exchange.errors import Conflict, Invalid
from policies.document import Policy, Table


def check_licence(licence: str) -> str:
    """The SPDX expression in its canonical spelling; `LicenseRef-...` for other texts."""
    try:
        return str(canonicalize_license_expression(licence.strip()))
    except InvalidLicenseExpression as error:
        raise Invalid(
            "the licence is no SPDX expression",
            code="licence_unknown",
            hint="For example CC-BY-4.0 or CDLA-Permissive-2.0; for terms of your own "
            "LicenseRef- and a name, with the text under terms.",
        ) from error


def unit_columns(table: Table) -> list[str]:
    """The columns by which a table is partitioned; none where each row is its own unit."""
    return [unit.column for unit in table.units]


def check_publishable(
    version: DatasetVersion, policy_version: PolicyVersion, policy: Policy
) -> str:
    """Raise unless `version` may go on offer; returns the dataset's aggregate mode."""
    dataset = version.dataset
    if version.state not in (VersionState.READY, VersionState.PUBLISHED):
        raise Conflict(
            f"version {version.number} is {version.state}; only a ready one is published",
            code="version_not_ready",
            hint="Confirm the roles so that it is partitioned, and wait until it is ready.",
        )
    if policy_version.dataset_id != dataset.pk:
        raise Invalid(
            "the policy version belongs to another dataset",
            code="policy_of_another_dataset",
            hint="Set a policy on this dataset.",
        )
    if not policy.rules:
        raise Invalid(
            "the policy has no rule, so nothing could be asked of the dataset",
            code="policy_without_rule",
            hint="Add a rule of kind aggregate or subset.",
        )
    table = policy.table(dataset.table_name)
    names = set(version.columns.values_list("name", flat=True))
    missing = (
        [] if table is None else [c.name for c in table.columns if c.name not in names]
    )
    if table is None or missing:
        what = (
            ", ".join(f"`{name}`" for name in missing)
            or f"the table `{dataset.table_name}`"
        )
        raise Conflict(
            f"policy {policy_version.number} does not fit version {version.number}: {what}",
            code="policy_version_unfit",
            hint="Edit the policy so that it speaks of this version's columns.",
        )
    if unit_columns(table) != version.unit_columns:
        raise Conflict(
            "the policy protects other units than those by which the rows were partitioned",
            code="partition_unfit",
            hint="Upload the data as a new version: another unit means another version.",
        )
    modes = {str(rule.mode) for rule in policy.aggregate_rules}
    fixed = {dataset.aggregate_mode} - {""}
    if len(modes | fixed) > 1:
        raise Conflict(
            "a dataset has one aggregate mode for life: exact releases void the claims of "
            f"differential privacy; here meet {' and '.join(sorted(modes | fixed))}",
            code="aggregate_mode_fixed",
            hint="Keep the mode of the first publication, or register another dataset.",
        )
    return next(iter(modes | fixed), "")


def pin_tables(
    dataset: Dataset, version: DatasetVersion, policy: Policy
) -> dict[str, DatasetVersion]:
    """The version behind each table of the policy; its own is `version`."""
    pinned = {dataset.table_name: version}
    for table in policy.tables:
        if table.name == dataset.table_name:
            continue
        offer = (
            Offer.objects.filter(
                dataset__organisation=dataset.organisation_id,
                dataset__table_name=table.name,
                closed_at=None,
            )
            .select_related("version", "policy_version")
            .first()
        )
        if offer is None:
            raise Conflict(
                f"the policy joins `{table.name}`, which is not on offer",
                code="table_not_published",
                hint="Publish that dataset first, or leave the table out of the policy.",
            )
        _check_not_weaker(table, policy, offer.policy_version.policy)
        pinned[table.name] = offer.version
    return pinned


def _check_not_weaker(table: Table, policy: Policy, own: Policy) -> None:
    # Joins take the strictest (DESIGN 5). A document that describes another dataset's table
    # with other roles, or asks for fewer units, would open a side door to it.
    floor = max((rule.min_units for rule in own.aggregate_rules), default=0)
    least = min((rule.min_units for rule in policy.aggregate_rules), default=floor)
    if own.table(table.name) != table or (table.is_protected and least < floor):
        raise Conflict(
            f"the policy describes `{table.name}` otherwise, or with fewer units per cell, "
            "than the policy under which that dataset is on offer",
            code="table_policy_differs",
            hint="Copy its entry word for word, and take the larger min_units.",
        )

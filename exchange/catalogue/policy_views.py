"""A policy as one reader may see it: whole for its provider, without hidden names else.

Its text, its sentences and the lines to which a refusal points all come from one view, so
that a reader who follows a line finds it in what he was shown.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any
from uuid import UUID

from django.db.models import Q, QuerySet

from exchange.catalogue.models import Dataset, PolicyVersion
from exchange.catalogue.selectors import datasets_visible_to, is_provider, one_of
from exchange.parties.models import User
from exchange.parties.permissions import can_manage_datasets, sees_all_evidence
from policies.codec import lay_out_policy, load_policy
from policies.composing import line_numbers
from policies.disclosed import disclosed
from policies.document import Policy
from policies.odrl.reading import from_odrl
from policies.reasons import line_of
from policies.words import describe


@dataclass(frozen=True, slots=True)
class PolicyView:
    """One policy version for one reader; `text` is a document that says `policy`."""

    policy: Policy
    text: str
    is_whole: bool  # names hidden columns

    @property
    def lines(self) -> Mapping[str, int]:
        """The line of each part in `text`."""
        return _lines(self.text)

    def sentences(self, table: str) -> tuple[str, ...]:
        """What the policy says of the table, in plain sentences."""
        return describe(self.policy, table)


def policy_view(user: User, version: PolicyVersion) -> PolicyView:
    """The version as `user` may see it; its remarks are for those who may change it."""
    provider = version.dataset.organisation
    if can_manage_datasets(user, provider):
        return PolicyView(version.policy, version.source, is_whole=True)
    if is_provider(user, provider) or sees_all_evidence(user):
        return _laid_out(version.policy, is_whole=True)
    return _laid_out(version.policy, is_whole=False)


def policy_seen_by(user: User, version: PolicyVersion) -> Policy:
    """The policy of `policy_view`; who asks is looked up only where it hides anything."""
    if _is_open(version.policy):
        return version.policy
    return policy_view(user, version).policy


@lru_cache(maxsize=128)
def _is_open(policy: Policy) -> bool:
    return disclosed(policy) == policy


@lru_cache(maxsize=128)
def _laid_out(policy: Policy, *, is_whole: bool) -> PolicyView:
    shown = policy if is_whole else disclosed(policy)
    return PolicyView(shown, lay_out_policy(shown), is_whole=is_whole)


def policies_visible_to(user: User, dataset: Dataset) -> QuerySet[PolicyVersion]:
    """Every version for the provider's people and for regulators, else those offered."""
    found = dataset.policies.select_related("dataset__organisation").order_by("-number")
    if is_provider(user, dataset.organisation) or sees_all_evidence(user):
        return found
    held = Q(grants__consumer__in=user.organisations.all())
    return found.filter(Q(offers__closed_at=None, offers__isnull=False) | held).distinct()


def policy_visible_to(user: User, policy_id: UUID | str) -> PolicyVersion:
    """That policy version, or NotFound."""
    found = PolicyVersion.objects.select_related("dataset__organisation")
    version = one_of(found, policy_id)
    seen = datasets_visible_to(user).filter(pk=version.dataset_id)
    if can_manage_datasets(user, version.dataset.organisation) or (
        version.offers.exists() and seen.exists()
    ):
        return version
    return one_of(found.none(), policy_id)


def document_of(text: str) -> str:
    """`text` as a policy document of version 1: one in ODRL is turned into it.

    Raises PolicyError, with the JSON path, where the ODRL is not of our profile.
    """
    start = text.lstrip("\ufeff \t\r\n")[:4096]
    if start.startswith("{") and '"@context"' in start:
        return lay_out_policy(from_odrl(text))
    return text


def read_policy(text: str) -> Policy:
    """The policy that `text` says, in YAML, JSON or ODRL; raises PolicyError."""
    return load_policy(document_of(text))


def with_lines(
    user: User, version: PolicyVersion, reasons: Iterable[Mapping[str, Any]]
) -> list[dict[str, Any]]:
    """`reasons` with `policy_line`: where the policy says so, in the text `user` sees."""
    found = [dict(reason) for reason in reasons]
    if any(reason.get("policy_path") for reason in found):
        lines = policy_view(user, version).lines
        for reason in found:
            reason["policy_line"] = line_of(reason.get("policy_path") or "", lines)
    return found


@lru_cache(maxsize=64)
def _lines(text: str) -> Mapping[str, int]:
    # Composing takes some 20 µs a character, and a page of refusals asks again and again.
    return line_numbers(text)

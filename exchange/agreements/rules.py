"""Which rule of an offer's policy a request is about, and what that rule offers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from exchange.agreements.states import RuleKind
from exchange.catalogue.models import Offer
from exchange.errors import Invalid, Refused
from policies.checks import subset_table
from policies.decision import rule_for
from policies.document import AggregateRule, Policy, SubsetRule


@dataclass(frozen=True, slots=True)
class OfferedRule:
    """One rule of a policy as a request sees it."""

    kind: str
    index: int  # among the policy's rules of its kind
    licence: str  # what must be accepted; empty until an offer says it
    columns: tuple[str, ...]  # of a subset; empty for aggregates
    reviewers: int
    purposes: tuple[str, ...]  # empty: any
    expires_after_days: int | None = None
    max_queries_per_day: int | None = None


def rule_at(policy: Policy, kind: str, index: int) -> OfferedRule:
    """The rule of that kind and number."""
    if kind == RuleKind.AGGREGATE:
        return _aggregate(index, policy.aggregate_rules[index])
    if kind == RuleKind.SUBSET:
        return _subset(index, policy.subset_rules[index])
    raise Invalid(f"a rule is aggregate or subset, not {kind}", code="rule_kind_unknown")


def rules_offered(offer: Offer) -> tuple[OfferedRule, ...]:
    """Every rule that can be asked for, aggregates first; each with its licence."""
    policy = offer.policy_version.policy
    own = offer.dataset.table_name
    aggregates = (
        _aggregate(index, rule, licence=offer.licence)
        for index, rule in enumerate(policy.aggregate_rules)
    )
    subsets = (
        _subset(index, rule)
        for index, rule in enumerate(policy.subset_rules)
        if _is_about(policy, rule, own)
    )
    return (*aggregates, *subsets)


def find_rule(offer: Offer, *, kind: str, purpose: str) -> OfferedRule:
    """The one rule of that kind that serves the purpose; Refused `purpose_not_offered`."""
    if kind not in RuleKind.values:
        raise Invalid(
            f"a request is for aggregate or subset, not {kind[:20]}",
            code="rule_kind_unknown",
            hint="Choose one of the two.",
        )
    policy = offer.policy_version.policy
    if kind == RuleKind.AGGREGATE:
        rule = rule_for(policy, purpose)
        if rule is not None:
            index = policy.aggregate_rules.index(rule)
            return _aggregate(index, rule, licence=offer.licence)
    offered = [rule for rule in rules_offered(offer) if rule.kind == kind]
    if kind == RuleKind.SUBSET:
        serving = [r for r in offered if not r.purposes or purpose in r.purposes]
        if purpose.strip() and serving:
            return serving[0]
    known = sorted({name for rule in offered for name in rule.purposes})
    raise Refused(
        f"no {RuleKind(kind).label} are offered for this purpose",
        code="purpose_not_offered",
        hint=f"Purposes offered: {', '.join(known)}."
        if known
        else "The policy has no such rule; look at what the offer says.",
    )


def check_columns(rule: OfferedRule, columns: Sequence[str]) -> list[str]:
    """The columns asked for, in the rule's order; Refused `column_not_offered`."""
    if rule.kind == RuleKind.AGGREGATE:
        # What aggregates may use is the policy's to say, column by column, at each query.
        return list(dict.fromkeys(columns))
    unknown = [name for name in columns if name not in rule.columns]
    if unknown:
        raise Refused(
            f"not offered as rows: {', '.join(f'`{name[:63]}`' for name in unknown[:20])}",
            code="column_not_offered",
            hint=f"Columns offered: {', '.join(rule.columns)}.",
        )
    return [name for name in rule.columns if name in columns or not columns]


def _is_about(policy: Policy, rule: SubsetRule, table_name: str) -> bool:
    table = subset_table(policy, rule)
    return table is not None and table.name == table_name


def _aggregate(index: int, rule: AggregateRule, *, licence: str = "") -> OfferedRule:
    return OfferedRule(
        kind=str(RuleKind.AGGREGATE),
        index=index,
        licence=licence,
        columns=(),
        reviewers=rule.approval.reviewers,
        purposes=rule.purposes,
        max_queries_per_day=rule.max_queries_per_day,
    )


def _subset(index: int, rule: SubsetRule) -> OfferedRule:
    return OfferedRule(
        kind=str(RuleKind.SUBSET),
        index=index,
        licence=rule.licence,
        columns=rule.columns,
        reviewers=rule.approval.reviewers,
        purposes=rule.purposes,
        expires_after_days=rule.expires_after_days,
    )

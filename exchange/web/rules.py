"""A policy's rules as a reader needs them: what may be asked for, and on which terms."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from exchange.agreements.models import AccessRequest
from exchange.agreements.states import RuleKind
from exchange.catalogue.policy_views import policy_view
from exchange.parties.models import User
from policies.disclosed import KEPT
from policies.document import AggregateRule, Approval, Policy, SubsetRule
from policies.vocabulary import PURPOSES, purpose_term
from policies.words import describe, describe_column


def _approval(approval: Approval) -> str:
    if approval.is_automatic:
        return _("Granted at once, by the policy alone")
    return ngettext(
        "Decided by %(n)d named reviewer of the provider",
        "Decided by %(n)d named reviewers of the provider",
        approval.reviewers,
    ) % {"n": approval.reviewers}


def _aggregate(rule: AggregateRule, licence: str) -> dict[str, Any]:
    facts = [
        (_("Purposes"), ", ".join(map(purpose_words, rule.purposes))),
        (_("A cell needs at least"), _("%(n)d different units") % {"n": rule.min_units}),
        (_("Aggregates"), ", ".join(sorted(a.replace("_", " ") for a in rule.aggregates))),
        (_("Approval"), _approval(rule.approval)),
    ]
    if rule.max_queries_per_day:
        facts.append((_("Runs a day"), str(rule.max_queries_per_day)))
    return {
        "kind": "aggregate",
        "title": _("Aggregates"),
        "lede": _("Counts, sums, averages and their kin, by groups. No row leaves."),
        "facts": facts,
        "licence": licence,
    }


def _subset(rule: SubsetRule) -> dict[str, Any]:
    facts = [
        (_("Columns"), ", ".join(rule.columns)),
        (
            _("At most"),
            ngettext("%(n)s row", "%(n)s rows", rule.max_rows)
            % {"n": f"{rule.max_rows:,}"},
        ),
        (_("Licence"), rule.licence),
        (_("Approval"), _approval(rule.approval)),
    ]
    if rule.label:
        facts.insert(1, (_("Label"), rule.label))
    if rule.row_filter:
        facts.append((_("Only rows where"), condition_words(rule)))
    if rule.purposes:
        facts.insert(0, (_("Purposes"), ", ".join(map(purpose_words, rule.purposes))))
    if rule.pseudonymise:
        facts.append((_("Pseudonymised"), ", ".join(rule.pseudonymise)))
    return {
        "kind": "subset",
        "title": _("Labelled rows"),
        "lede": _("A licensed package of rows for training and testing models."),
        "facts": facts,
        "licence": rule.licence,
    }


def condition_words(rule: SubsetRule) -> str:
    """The condition that chooses rows, or that the reader is not told it."""
    if rule.row_filter == KEPT:
        return _("a condition that the provider keeps")
    return rule.row_filter or ""


def rule_cards(policy: Policy, *, licence: str) -> list[dict[str, Any]]:
    """One card for each rule, in document order."""
    return [
        _aggregate(rule, licence) if isinstance(rule, AggregateRule) else _subset(rule)
        for rule in policy.rules
    ]


def rules_of_kind(policy: Policy, kind: str) -> list[AggregateRule | SubsetRule]:
    """The policy's rules of that kind, in document order; none for an unknown kind."""
    if kind == RuleKind.AGGREGATE:
        return list(policy.aggregate_rules)
    if kind == RuleKind.SUBSET:
        return list(policy.subset_rules)
    return []


def purpose_words(purpose: str) -> str:
    term = purpose_term(purpose)
    return term.label if term is not None else purpose


def purpose_choices(rules: list[AggregateRule | SubsetRule]) -> list[tuple[str, str]]:
    """The purposes that the rules name; a rule that names none takes any we know."""
    if any(not rule.purposes for rule in rules):
        names = [str(term.purpose) for term in PURPOSES]
    else:
        names = [name for rule in rules for name in rule.purposes]
    return [(name, purpose_words(name)) for name in dict.fromkeys(names)]


@dataclass(frozen=True, slots=True)
class PolicyWords:
    """A policy in sentences: those on columns apart, since a table shows them better."""

    general: tuple[str, ...]
    columns: Mapping[str, str]


def policy_words(policy: Policy, table_name: str) -> PolicyWords:
    """Everything `policies.words` says of the table, in two parts."""
    table = policy.table(table_name)
    assert table is not None, "a stored policy names its dataset's table"
    columns = {
        column.name: describe_column(policy, table_name, column.name)
        for column in table.columns
    }
    said = set(columns.values())
    return PolicyWords(
        tuple(s for s in describe(policy, table_name) if s not in said), columns
    )


def rule_card_of(access: AccessRequest, reader: User) -> dict[str, Any]:
    """The card of the one rule that the request is about, as the reader may see it."""
    policy = policy_view(reader, access.offer.policy_version).policy
    cards = rule_cards(policy, licence=access.offer.licence)
    return [card for card in cards if card["kind"] == access.kind][access.rule_index]

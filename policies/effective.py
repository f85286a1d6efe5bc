"""What a grant lets be learned: its policy cut down to one purpose and one rule.

The strictest wins: where tables of several policies meet, `policies.meet` combines them
first. What is left is a policy again, so that it decides and reads in words like any other.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from policies.document import Policy
from policies.errors import NothingRemains
from policies.meet import combine


def effective_aggregates(policies: Sequence[Policy], purpose: str) -> Policy:
    """Return what queries for `purpose` meet over the tables of `policies` together.

    At least as strict as each of them. Raises as `combine` does.
    """
    joined = combine(policies, purpose)
    rules = tuple(replace(rule, purposes=(purpose,)) for rule in joined.aggregate_rules)
    return replace(joined, rules=rules)


def effective_subset(
    policy: Policy, *, rule_index: int, purpose: str, columns: Sequence[str] = ()
) -> Policy:
    """Return what one subset grant lets out: its rule, for its purpose and columns.

    `rule_index` counts the policy's subset rules; no `columns` means all of the rule's.
    Raises NothingRemains where the policy has no such rule, or none of its columns.
    """
    if not 0 <= rule_index < len(policy.subset_rules):
        raise NothingRemains(
            "the policy has no such rule for subsets", path="rules", hint="Ask anew."
        )
    rule = policy.subset_rules[rule_index]
    kept = tuple(name for name in rule.columns if not columns or name in columns)
    if not kept:
        raise NothingRemains(
            "none of the granted columns is in the rule", path="rules", hint="Ask anew."
        )
    narrow = replace(
        rule,
        columns=kept,
        purposes=(purpose,),
        label=rule.label if rule.label in kept else None,
        pseudonymise=tuple(name for name in rule.pseudonymise if name in kept),
    )
    return replace(policy, rules=(narrow,))

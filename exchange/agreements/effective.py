"""What a grant lets be learned, in words: the strictest of all that it rests on."""

from __future__ import annotations

from exchange.agreements.models import Grant
from exchange.agreements.states import RuleKind
from exchange.catalogue.policy_views import policy_view
from exchange.parties.models import User
from policies.document import Policy
from policies.effective import effective_aggregates, effective_subset
from policies.words import describe


def effective_policy(user: User, grant: Grant) -> Policy:
    """The grant's policy, cut down to its purpose, rule and columns, as `user` sees it."""
    policy = policy_view(user, grant.policy_version).policy
    if grant.kind == RuleKind.SUBSET:
        return effective_subset(
            policy,
            rule_index=grant.rule_index,
            purpose=grant.purpose,
            columns=grant.columns,
        )
    return effective_aggregates([policy], grant.purpose)


def effective_words(user: User, grant: Grant) -> dict[str, list[str]]:
    """The sentences on each table of the effective policy, the dataset's own first."""
    policy = effective_policy(user, grant)
    own = grant.version.dataset.table_name
    names = sorted((table.name for table in policy.tables), key=lambda name: name != own)
    return {name: list(describe(policy, name)) for name in names}

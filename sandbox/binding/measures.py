"""Which measures a statistic may be of: findings for public columns and for no numbers."""

from __future__ import annotations

from policies.shape import Usage
from sandbox.binding.facts import Facts
from sandbox.plan.terms import NUMBERS, Ref
from sandbox.sql import syntax


def check_measures(
    facts: Facts, call: syntax.Call, family: str, refs: tuple[Ref, ...]
) -> bool:
    """Note what a statistic reads; says whether it may be of all of these columns."""
    # Each of them, so that every finding is told.
    return len([r for r in refs if check_measure(facts, call, family, r)]) == len(refs)


def check_measure(facts: Facts, call: syntax.Call, family: str, ref: Ref) -> bool:
    """Note what a statistic reads; says whether it may be of this column."""
    if facts.is_public(ref) and family != "count":
        facts.refuse(
            "aggregate_of_public",
            f"`{ref.table}.{ref.column}` is public: the digits of its sum would tell "
            "how many rows it was added for",
            "Group by it, and multiply with the count afterwards.",
            call.place,
        )
        return False
    facts.use(ref, Usage.AGGREGATE, call.place, aggregate=family)
    if family != "count" and ref.kind not in NUMBERS:
        facts.refuse(
            "types_differ",
            f"`{ref.table}.{ref.column}` is no number, so it has no {family}",
            "Count it, or group by it.",
            call.place,
        )
        return False
    return True

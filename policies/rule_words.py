"""A rule in plain sentences: what may leave, its limits, and what they do not stop."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from policies.disclosed import KEPT
from policies.document import (
    Aggregate,
    AggregateRule,
    Approval,
    Dominance,
    DpBudget,
    Mode,
    SubsetRule,
)
from policies.phrases import listed, plain, times
from policies.vocabulary import find_licence, purpose_term

SAFE_LIMITS = (
    "What safe mode does not protect against: it is not proof against reconstruction. "
    "Someone who asks many different questions, who joins forces with others, or who "
    "knows much about one contributor already can narrow down single values. It is meant "
    "for few, reviewed answers."
)
DP_LIMITS = (
    "This node cannot run differentially private queries yet: it refuses every query under "
    "this rule."
)
SUBSET_LIMITS = (
    "What a subset does not protect against: the recipient holds single rows. Pseudonyms "
    "and left-out columns make it harder to recognise whom a row is about, not impossible; "
    "once delivered, only the licence binds the recipient."
)

_AGGREGATES = {
    Aggregate.COUNT: "counts",
    Aggregate.COUNT_DISTINCT: "counts of different values",
    Aggregate.APPROX_COUNT_DISTINCT: "approximate counts of different values",
    Aggregate.SUM: "sums",
    Aggregate.AVG: "averages",
    Aggregate.STDDEV: "standard deviations",
    Aggregate.VARIANCE: "variances",
    Aggregate.COVAR: "covariances",
    Aggregate.CORR: "correlations",
    Aggregate.REGR: "linear regressions",
    Aggregate.SKEWNESS: "skewness",
    Aggregate.KURTOSIS: "kurtosis",
    Aggregate.QUANTILE: "medians and other quantiles (interpolated, marked approximate)",
}


def aggregate_sentences(rule: AggregateRule) -> Iterator[str]:
    """Say what aggregates may leave, under which limits, and what these do not stop."""
    yield f"Aggregates may leave for {purposes_in_words(rule.purposes)}."
    yield ("They may be: " + aggregate_words(rule.aggregates) + ".")
    if rule.min_units == 1:
        yield (
            "A group is shown from 1 unit on: there is no threshold, so groups of one may "
            "be shown."
        )
    else:
        yield (
            f"A group is shown only if at least {rule.min_units} units contribute to it, "
            "and withheld too where subtracting answers would leave fewer."
        )
    yield from dominance_words(rule.dominance)
    if rule.max_queries_per_day is not None:
        yield f"At most {times(rule.max_queries_per_day, 'query', 'queries')} per day run."
    yield _approval(rule.approval, "query")
    if rule.mode is Mode.SAFE:
        yield SAFE_LIMITS
        return
    if rule.budget is not None:
        yield budget_words(rule.budget)
    yield DP_LIMITS


def aggregate_words(aggregates: frozenset[Aggregate]) -> str:
    """Name one or more aggregates: `counts, sums and averages`."""
    return listed([_AGGREGATES[name] for name in Aggregate if name in aggregates])


def budget_words(budget: DpBudget) -> str:
    """Say what a differentially private rule may spend."""
    total, each = plain(budget.rho_total), plain(budget.rho_per_consumer)
    groups = times(budget.max_groups_per_unit, "group", "groups")
    rows = times(budget.max_rows_per_unit_group, "row", "rows")
    return (
        f"Answers carry noise (differential privacy): all consumers together may spend rho "
        f"{total}, each {each}, with delta {plain(budget.delta)}. One unit counts in at "
        f"most {groups}, with at most {rows} in each."
    )


def dominance_words(limits: Dominance) -> Iterator[str]:
    """Say where a few units make up too much of a group; where no limit stands, that."""
    if limits.n is not None and limits.share is not None:
        most = "the largest unit makes"
        if limits.n > 1:
            most = f"the {limits.n} largest units make"
        share = plain(limits.share * 100)
        yield f"A group is withheld where {most} up {share} % or more of a total."
    if limits.p_percent is not None:
        yield (
            "A group is withheld where its second largest unit could estimate the largest "
            f"to within {plain(limits.p_percent)} %."
        )
    if limits == Dominance():
        yield (
            "There is no dominance limit: where one unit makes up most of a total, the "
            "total gives its value away."
        )


def _approval(approval: Approval, what: str) -> str:
    if approval.is_automatic:
        return f"No person looks at a {what} first: approval is automatic."
    people = times(approval.reviewers, "named reviewer", "named reviewers")
    verb = "looks" if approval.reviewers == 1 else "look"
    return f"{people[0].upper()}{people[1:]} of the provider {verb} at each {what} first."


def subset_sentences(rule: SubsetRule) -> Iterator[str]:
    """Say which rows may leave, to whom, and what that cannot take back."""
    for_what = (
        f" for {purposes_in_words(rule.purposes)}" if rule.purposes else " for any purpose"
    )
    columns, rows = names_of(rule.columns), times(rule.max_rows, "row", "rows")
    yield f"Single rows may leave{for_what}: at most {rows} of the columns {columns}."
    if rule.label is not None:
        yield f"The label of these rows is `{rule.label}`."
    if rule.row_filter == KEPT:
        yield "Only rows that meet a condition which the provider keeps to itself."
    elif rule.row_filter is not None:
        yield f"Only rows that meet this condition: `{rule.row_filter}`."
    if rule.pseudonymise:
        names = names_of(rule.pseudonymise)
        yield f"In place of {names} the rows carry keyed pseudonyms."
    if rule.fingerprint:
        yield (
            "The policy asks that rows be marked for their recipient, to trace a leaked "
            "copy. This node cannot mark rows yet."
        )
    licence = find_licence(rule.licence)
    yield (
        f"The recipient must accept the licence {rule.licence}"
        + (f": {licence.sentence[0].lower()}{licence.sentence[1:]}" if licence else ".")
    )
    if rule.expires_after_days is not None:
        days = times(rule.expires_after_days, "day", "days")
        yield f"The right to fetch and use the rows ends after {days}."
    yield _approval(rule.approval, "request")
    yield SUBSET_LIMITS


def purposes_in_words(purposes: Sequence[str]) -> str:
    """Name one or more purposes; one that no vocabulary defines says so."""
    return listed(
        [
            f"“{purpose}” (a purpose that only the provider has defined)"
            if (term := purpose_term(purpose)) is None
            else term.label[0].lower() + term.label[1:]
            for purpose in purposes
        ]
    )


def names_of(columns: Sequence[str]) -> str:
    """Name one or more columns."""
    return listed([f"`{name}`" for name in columns])

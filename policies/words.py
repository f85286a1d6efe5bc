"""A policy in plain sentences, for the provider who signs it and the builder who reads it.

The sentences promise no more than the rules hold: what safe mode does not protect against
is said where safe mode is described.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from decimal import Decimal

from policies.checks import subset_table
from policies.document import (
    Aggregate,
    AggregateRule,
    Approval,
    Column,
    Derived,
    Dominance,
    DpBudget,
    Mode,
    Policy,
    Role,
    SubsetRule,
    Table,
)
from policies.errors import UnknownTerm
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


def describe(policy: Policy, table_name: str) -> tuple[str, ...]:
    """Say in sentences what `policy` lets anyone learn from a table.

    Order: who is protected, each column by name, then each rule with its limits. Raises
    UnknownTerm where the policy has no such table.
    """
    table = _table(policy, table_name)
    if table.public:
        return (f"`{table.name}` is a public reference table: all its columns are free.",)
    if table.requester:
        sentence = (
            f"`{table.name}` is a list that the requester brings: it may be joined on unit "
            "keys and nothing else. This node does not take such lists yet."
        )
        return (sentence,)
    return tuple(_protected(policy, table))


def describe_column(policy: Policy, table_name: str, column_name: str) -> str:
    """Say in one or more sentences what a column may be used for.

    A column that the policy does not name is hidden. Raises UnknownTerm where the policy
    has no such table.
    """
    table = _table(policy, table_name)
    if table.public:
        return f"`{column_name}` may be used freely: its table is public."
    if table.requester:
        return f"`{column_name}` may be joined on unit keys: its table is the requester's."
    column = table.column(column_name)
    if column is None or column.has(Role.HIDDEN):
        return f"`{column_name}` is hidden: no query may refer to it."
    noisy = any(rule.mode is Mode.DP for rule in policy.aggregate_rules)
    return " ".join((_use(table, column), *_limits(column, noisy=noisy)))


def _table(policy: Policy, name: str) -> Table:
    table = policy.table(name)
    if table is None:
        raise UnknownTerm(
            "the policy has no table of this name",
            path="tables",
            hint=f"Its tables are: {', '.join(table.name for table in policy.tables)}.",
        )
    return table


def _protected(policy: Policy, table: Table) -> Iterator[str]:
    yield from _units(table)
    for column in table.columns:
        yield describe_column(policy, table.name, column.name)
    yield "Columns that are not named here are hidden."
    for item in table.derived:
        yield _derived(item)
    subsets = [rule for rule in policy.subset_rules if subset_table(policy, rule) == table]
    if not policy.aggregate_rules and not subsets:
        yield "Nothing may leave: the policy has no rule for this table."
    for rule in policy.aggregate_rules:
        yield from _aggregate(rule)
    for subset in subsets:
        yield from _subset(subset)


def _units(table: Table) -> Iterator[str]:
    if table.row_units:
        yield (
            f"Each row of `{table.name}` is protected as one unit of its own. Where "
            "several rows are about one person or firm, this protects the rows, not them."
        )
    for unit in table.units:
        yield (
            f"Protected is each {unit.domain}: rows with the same `{unit.column}` are "
            "about one."
        )
    if len(table.units) > 1:
        yield "A row belongs to all of these; the limits below hold for each of them."


def _use(table: Table, column: Column) -> str:
    name = f"`{column.name}`"
    if column.has(Role.UNIT_KEY):
        domain = next(unit.domain for unit in table.units if unit.column == column.name)
        return (
            f"{name} says which {domain} a row is about: it may be counted and joined with "
            f"other tables of the same {domain}, never shown, grouped or compared."
        )
    if column.has(Role.ROW_KEY):
        return f"{name} keeps the rows of one record together: it serves in joins only."
    uses = _list([*_verbs(column)])
    label = (
        " It is the label that models learn to predict." if column.has(Role.LABEL) else ""
    )
    return f"{name}: queries may {uses}.{label}"


def _verbs(column: Column) -> Iterator[str]:
    grid = None if column.grid is None else _plain(column.grid)
    if column.has(Role.DIMENSION) or column.has(Role.LABEL):
        if grid is not None:
            yield f"group by it in bins of {grid} or a multiple of that"
        elif column.grain is not None:
            yield f"group and filter by it, cut to the {column.grain} or coarser"
        else:
            yield "group and filter by it as it stands"
    if column.has(Role.MEASURE):
        yield "aggregate it"
    if grid is not None:
        yield f"compare it with multiples of {grid}"


def _limits(column: Column, *, noisy: bool) -> Iterator[str]:
    if column.sensitive:
        yield "It is sensitive: a group in which everyone has the same value is withheld."
    if column.values_public:
        yield "Its values are public: they may be printed even where a group is withheld."
    if column.scale is not None:
        yield f"It is read with {column.scale} decimals."
    if column.clamp is not None and noisy:
        yield (
            "Under differential privacy, values are cut to the range from "
            f"{_plain(column.clamp[0])} to {_plain(column.clamp[1])}."
        )


def _derived(item: Derived) -> str:
    compare = (
        ""
        if item.grid is None
        else f" and compare it with multiples of {_plain(item.grid)}"
    )
    return f"`{item.name}`, defined as `{item.expr}`: queries may aggregate it{compare}."


def _aggregate(rule: AggregateRule) -> Iterator[str]:
    yield f"Aggregates may leave for {_purposes(rule.purposes)}."
    yield (
        "They may be: "
        + _list([_AGGREGATES[name] for name in Aggregate if name in rule.aggregates])
        + "."
    )
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
    yield from _dominance(rule.dominance)
    if rule.max_queries_per_day is not None:
        yield f"At most {_times(rule.max_queries_per_day, 'query', 'queries')} per day run."
    yield _approval(rule.approval, "query")
    if rule.mode is Mode.SAFE:
        yield SAFE_LIMITS
        return
    if rule.budget is not None:
        yield _budget(rule.budget)
    yield DP_LIMITS


def _budget(budget: DpBudget) -> str:
    total, each = _plain(budget.rho_total), _plain(budget.rho_per_consumer)
    groups = _times(budget.max_groups_per_unit, "group", "groups")
    rows = _times(budget.max_rows_per_unit_group, "row", "rows")
    return (
        f"Answers carry noise (differential privacy): all consumers together may spend rho "
        f"{total}, each {each}, with delta {_plain(budget.delta)}. One unit counts in at "
        f"most {groups}, with at most {rows} in each."
    )


def _dominance(limits: Dominance) -> Iterator[str]:
    if limits.n is not None and limits.share is not None:
        most = "the largest unit makes"
        if limits.n > 1:
            most = f"the {limits.n} largest units make"
        share = _plain(limits.share * 100)
        yield f"A group is withheld where {most} up {share} % or more of a total."
    if limits.p_percent is not None:
        yield (
            "A group is withheld where its second largest unit could estimate the largest "
            f"to within {_plain(limits.p_percent)} %."
        )
    if limits == Dominance():
        yield (
            "There is no dominance limit: where one unit makes up most of a total, the "
            "total gives its value away."
        )


def _approval(approval: Approval, what: str) -> str:
    if approval.is_automatic:
        return f"No person looks at a {what} first: approval is automatic."
    people = _times(approval.reviewers, "named reviewer", "named reviewers")
    verb = "looks" if approval.reviewers == 1 else "look"
    return f"{people[0].upper()}{people[1:]} of the provider {verb} at each {what} first."


def _subset(rule: SubsetRule) -> Iterator[str]:
    for_what = f" for {_purposes(rule.purposes)}" if rule.purposes else " for any purpose"
    columns, rows = _names(rule.columns), _times(rule.max_rows, "row", "rows")
    yield f"Single rows may leave{for_what}: at most {rows} of the columns {columns}."
    if rule.label is not None:
        yield f"The label of these rows is `{rule.label}`."
    if rule.row_filter is not None:
        yield f"Only rows that meet this condition: `{rule.row_filter}`."
    if rule.pseudonymise:
        names = _names(rule.pseudonymise)
        yield f"In place of {names} the rows carry pseudonyms, others for each recipient."
    if rule.fingerprint:
        yield (
            "The rows are to be marked for their recipient, so that a leaked copy can be "
            "traced."
        )
    licence = find_licence(rule.licence)
    yield (
        f"The recipient must accept the licence {rule.licence}"
        + (f": {licence.sentence[0].lower()}{licence.sentence[1:]}" if licence else ".")
    )
    if rule.expires_after_days is not None:
        days = _times(rule.expires_after_days, "day", "days")
        yield f"The right to fetch and use the rows ends after {days}."
    yield _approval(rule.approval, "request")
    yield SUBSET_LIMITS


def _purposes(purposes: Sequence[str]) -> str:
    return _list(
        [
            f"“{purpose}” (a purpose that only the provider has defined)"
            if (term := purpose_term(purpose)) is None
            else term.label[0].lower() + term.label[1:]
            for purpose in purposes
        ]
    )


def _names(columns: Sequence[str]) -> str:
    return _list([f"`{name}`" for name in columns])


def _list(words: Sequence[str]) -> str:
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"


def _times(count: int, one: str, many: str) -> str:
    return f"one {one}" if count == 1 else f"{count:,} {many}"


def _plain(number: Decimal) -> str:
    text = f"{number.normalize():f}"
    return "0" if text == "-0" else text

"""What can be learned from one column, by whom, and what the limits do not protect against.

The sentences on single rules are those of `policies.rule_words`; here they are put together
for one column and each of its audiences.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from policies.disclosed import KEPT
from policies.document import (
    Aggregate,
    AggregateRule,
    Column,
    Dominance,
    Mode,
    Policy,
    Role,
    Rule,
    SubsetRule,
)
from policies.phrases import plain, times
from policies.resolution import Steps, is_dimension, is_hidden, steps_of
from policies.rule_words import (
    DP_LIMITS,
    SAFE_LIMITS,
    SUBSET_LIMITS,
    aggregate_words,
    purposes_in_words,
)
from policies.strictness import subset_table_name
from policies.words import describe_column, find_table

_COUNTS = frozenset({Aggregate.COUNT})
_DISTINCT = frozenset({Aggregate.COUNT_DISTINCT, Aggregate.APPROX_COUNT_DISTINCT})


@dataclass(frozen=True, slots=True)
class Learning:
    """What one audience, those who ask under one rule, can learn from one column."""

    kind: str  # aggregate | subset
    audience: str  # such as `For official statistics`
    sentences: tuple[str, ...]
    not_protected: tuple[str, ...]  # what these limits do not stop
    path: str  # of the rule


def explain_column(
    policy: Policy, table_name: str, column_name: str
) -> tuple[Learning, ...]:
    """Say for each rule what can be learned from a column; none where nothing can.

    Rules come in document order. Raises UnknownTerm where the policy has no such table.
    """
    table = find_table(policy, table_name)
    column = table.column(column_name)
    if not table.is_protected:
        sentence = describe_column(policy, table_name, column_name)
        return (Learning("public", "For any purpose", (sentence,), (), ""),)
    found = []
    for index, rule in enumerate(policy.rules):
        path = f"rules[{index}]"
        if isinstance(rule, AggregateRule):
            if column is not None and not is_hidden(column):
                found.append(_under_aggregates(column, rule, path))
        elif subset_table_name(policy, rule) == table_name:
            found += _under_subset(rule, column_name, path)
    return tuple(found)


def _audience(rule: Rule) -> str:
    return f"For {purposes_in_words(rule.purposes)}" if rule.purposes else "For any purpose"


def _under_aggregates(column: Column, rule: AggregateRule, path: str) -> Learning:
    return Learning(
        "aggregate",
        _audience(rule),
        tuple(_learned(column, rule)),
        tuple(_open(column, rule)),
        path,
    )


def _learned(column: Column, rule: AggregateRule) -> Iterator[str]:
    name, groups = f"`{column.name}`", f"groups of at least {_units(rule)}"
    if column.has(Role.UNIT_KEY):
        yield f"How many different {name} stand behind a group, over {groups}."
        yield "Never a single one: it can be neither shown, grouped nor compared."
        return
    if column.has(Role.ROW_KEY):
        yield f"Nothing by itself: {name} only keeps the rows of one record together."
        return
    families = rule.aggregates - _COUNTS - _DISTINCT
    if column.has(Role.MEASURE) and families:
        words = aggregate_words(families)
        yield f"{words[:1].upper()}{words[1:]} of {name}, over {groups}."
    elif column.has(Role.MEASURE):
        yield f"No sums or averages of {name}: the rule admits counts only."
    steps = steps_of(column)
    if is_dimension(column) or steps.grid is not None:
        yield f"How {groups} differ by {name}{_seen(steps)}, and what else they hold."
    yield _compared(steps)
    if steps.is_free and rule.aggregates & _DISTINCT:
        yield f"How many different values {name} has in a group."
    if column.values_public:
        yield f"Which values {name} can have: their list is public."
    elif not steps.is_none:
        yield f"Which values of {name} occur{_seen(steps)}, once enough units have one."
    yield "Never the value of one row or one unit."


def _units(rule: AggregateRule) -> str:
    return times(rule.min_units, "unit", "different units")


def _seen(steps: Steps) -> str:
    if steps.grid is not None:
        return f", in steps of {plain(steps.grid)}"
    return "" if steps.grain is None else f", by {steps.grain} or coarser"


def _compared(steps: Steps) -> str:
    if steps.is_none:
        return "No comparisons: nobody can ask about those above or below a value."
    if steps.grid is not None:
        return f"Comparisons only with multiples of {plain(steps.grid)}."
    if steps.grain is not None:
        return f"Comparisons only with the first day of a {steps.grain} or longer period."
    return "Comparisons with any value."


def _open(column: Column, rule: AggregateRule) -> Iterator[str]:
    """What the limits of the rule leave open for this column."""
    if rule.mode is Mode.DP:
        yield DP_LIMITS
        return
    if rule.min_units == 1:
        yield "There is no threshold: a group of one unit tells what that unit holds."
    if column.has(Role.MEASURE) and rule.dominance == Dominance():
        yield (
            "There is no dominance limit: where one unit makes up most of a total, the "
            "total gives its value away."
        )
    if is_dimension(column) and not column.sensitive:
        yield (
            "It is not marked sensitive: a group in which everyone has the same value is "
            "shown, and tells that value about each of them."
        )
    if steps_of(column).is_free and column.has(Role.MEASURE):
        yield (
            "It has no grid: comparisons with any number can be set to leave out the few "
            "above it. Only the threshold and the complement check stand against that."
        )
    yield _bare(SAFE_LIMITS)


def _bare(limits: str) -> str:
    """The limits without "What ... does not protect against: ", which a heading says."""
    text = limits.partition(": ")[2]
    return text[:1].upper() + text[1:]


def _under_subset(rule: SubsetRule, name: str, path: str) -> Iterator[Learning]:
    if name in rule.columns:
        rows = times(rule.max_rows, "row", "rows")
        what = "A keyed pseudonym in place of" if name in rule.pseudonymise else "Each"
        words = [
            f"{what} value of `{name}` in up to {rows}, row by row, under {rule.licence}."
            if name not in rule.pseudonymise
            else f"{what} `{name}` in up to {rows}: which rows belong together, not whose."
        ]
        if rule.label == name:
            words.append("It is the label that models learn to predict.")
        yield Learning(
            "subset", _audience(rule), tuple(words), (_bare(SUBSET_LIMITS),), path
        )
    elif (
        rule.row_filter is not None and rule.row_filter != KEPT and name in rule.row_filter
    ):
        sentence = (
            f"That every delivered row meets the condition `{rule.row_filter}`, in which "
            f"`{name}` may stand."
        )
        yield Learning(
            "subset", _audience(rule), (sentence,), (_bare(SUBSET_LIMITS),), path
        )

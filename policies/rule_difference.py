"""What changed between the rules of two policies, in words, purpose by purpose."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence

from policies.changes import Difference, Effect, changed
from policies.document import (
    AggregateRule,
    Approval,
    Dominance,
    Mode,
    Policy,
    Rule,
    SubsetRule,
)
from policies.phrases import times
from policies.rule_words import (
    aggregate_words,
    budget_words,
    dominance_words,
    names_of,
    purposes_in_words,
)
from policies.strictness import (
    budget_covers,
    caps_cover,
    dominance_covers,
    subset_table_name,
)


def rule_differences(old: Policy, new: Policy) -> Iterator[Difference]:
    """Yield every change of a rule from `old` to `new`."""
    yield from _aggregates(old, new)
    yield from _subsets(old, new)


def _served(policy: Policy) -> dict[str, tuple[str, AggregateRule]]:
    # By purpose: no purpose stands in two aggregate rules.
    return {
        purpose: (f"rules[{index}]", rule)
        for index, rule in enumerate(policy.rules)
        if isinstance(rule, AggregateRule)
        for purpose in rule.purposes
    }


def _aggregates(old: Policy, new: Policy) -> Iterator[Difference]:
    before, after = _served(old), _served(new)
    for found, others, word, effect in (
        (after, before, "now", Effect.LOOSENS),
        (before, after, "no longer", Effect.TIGHTENS),
    ):
        for path, purposes in _grouped(found, [p for p in found if p not in others]):
            words = purposes_in_words(purposes)
            yield Difference(
                f"Aggregates may {word} leave for {words}.", effect, f"{path}.purposes"
            )
    pairs: dict[tuple[str, str], list[str]] = defaultdict(list)
    for purpose, (path, _) in after.items():
        if purpose in before:
            pairs[before[purpose][0], path].append(purpose)
    for purposes in pairs.values():
        was, (path, now) = before[purposes[0]][1], after[purposes[0]]
        one = len(pairs) == 1 and len(old.aggregate_rules) == len(new.aggregate_rules) == 1
        where = "" if one else f"For {purposes_in_words(purposes)}: "
        yield from _limits(was, now, path, where)


def _grouped(
    served: dict[str, tuple[str, AggregateRule]], purposes: Sequence[str]
) -> list[tuple[str, list[str]]]:
    groups: dict[str, list[str]] = defaultdict(list)
    for purpose in purposes:
        groups[served[purpose][0]].append(purpose)
    return list(groups.items())


def _limits(
    was: AggregateRule, now: AggregateRule, path: str, where: str
) -> Iterator[Difference]:
    gained, lost = now.aggregates - was.aggregates, was.aggregates - now.aggregates
    at = f"{path}.aggregates"
    if gained:
        words = aggregate_words(gained)
        yield Difference(f"{where}{words} may now leave.", Effect.LOOSENS, at)
    if lost:
        words = aggregate_words(lost)
        yield Difference(f"{where}{words} may no longer leave.", Effect.TIGHTENS, at)
    if was.min_units != now.min_units:
        yield from changed(
            f"{path}.min_units",
            f"{where}a group needs {times(now.min_units, 'unit', 'units')} instead of "
            f"{was.min_units}.",
            new_covers=now.min_units >= was.min_units,
            old_covers=was.min_units >= now.min_units,
        )
    if was.mode is not now.mode:
        yield from changed(
            f"{path}.mode",
            f"{where}answers are protected by the mode {now.mode} instead of {was.mode}.",
            new_covers=now.mode is Mode.DP,
            old_covers=was.mode is Mode.DP,
        )
    if was.dominance != now.dominance:
        yield from changed(
            f"{path}.dominance",
            f"{where}{_dominance(now.dominance)} Before: {_dominance(was.dominance)}",
            new_covers=dominance_covers(now.dominance, was.dominance),
            old_covers=dominance_covers(was.dominance, now.dominance),
        )
    yield from _approval(f"{path}.approval", was.approval, now.approval, f"{where}")
    yield from _cap(
        f"{path}.max_queries_per_day",
        was.max_queries_per_day,
        now.max_queries_per_day,
        f"{where}queries a day",
    )
    if was.budget != now.budget:
        yield from changed(
            f"{path}.budget",
            f"{where}the budget of noise is "
            + ("gone." if now.budget is None else f"now: {budget_words(now.budget)}"),
            new_covers=budget_covers(now, was),
            old_covers=budget_covers(was, now),
        )


def _approval(path: str, was: Approval, now: Approval, where: str) -> Iterator[Difference]:
    if was != now:
        yield from changed(
            path,
            f"{where}{_people(now)} before something leaves instead of {_number(was)}.",
            new_covers=now.reviewers >= was.reviewers,
            old_covers=was.reviewers >= now.reviewers,
        )


def _people(approval: Approval) -> str:
    if approval.is_automatic:
        return "nobody looks"
    return times(approval.reviewers, "reviewer looks", "reviewers look")


def _number(approval: Approval) -> str:
    return "nobody" if approval.is_automatic else str(approval.reviewers)


def _dominance(limits: Dominance) -> str:
    return " ".join(dominance_words(limits))


def _cap(path: str, was: int | None, now: int | None, what: str) -> Iterator[Difference]:
    if was == now:
        return
    before = "not at all" if was is None else f"to {was:,}"
    after = "no more" if now is None else f"to {now:,}"
    sentence = f"{what} are limited {after}, before {before}."
    yield from changed(
        path, sentence, new_covers=caps_cover(now, was), old_covers=caps_cover(was, now)
    )


def _subsets(old: Policy, new: Policy) -> Iterator[Difference]:
    names = {
        subset_table_name(policy, rule)
        for policy in (old, new)
        for rule in policy.subset_rules
    }
    for name in sorted(names):
        before, after = _of_table(old, name), _of_table(new, name)
        # Rules that stand in both say nothing; the others are compared in order.
        kept = [rule for rule in before.values() if rule in after.values()]
        was = [(path, rule) for path, rule in before.items() if rule not in kept]
        now = [(path, rule) for path, rule in after.items() if rule not in kept]
        for (_, gone), (path, came) in zip(was, now, strict=False):
            yield from _subset(gone, came, path)
        for path, rule in now[len(was) :]:
            yield Difference(
                f"Single rows of {names_of(rule.columns)} may now leave.",
                Effect.LOOSENS,
                path,
            )
        for path, rule in was[len(now) :]:
            yield Difference(
                f"Single rows of {names_of(rule.columns)} may no longer leave.",
                Effect.TIGHTENS,
                path,
            )


def _of_table(policy: Policy, name: str) -> dict[str, SubsetRule]:
    rules: Sequence[Rule] = policy.rules
    return {
        f"rules[{index}]": rule
        for index, rule in enumerate(rules)
        if isinstance(rule, SubsetRule) and subset_table_name(policy, rule) == name
    }


def _subset(was: SubsetRule, now: SubsetRule, path: str) -> Iterator[Difference]:
    gained = [name for name in now.columns if name not in was.columns]
    lost = [name for name in was.columns if name not in now.columns]
    at = f"{path}.columns"
    if gained:
        yield Difference(f"Rows may now carry {names_of(gained)}.", Effect.LOOSENS, at)
    if lost:
        yield Difference(f"Rows no longer carry {names_of(lost)}.", Effect.TIGHTENS, at)
    kept = set(was.columns) & set(now.columns)
    masked, before = set(now.pseudonymise) & kept, set(was.pseudonymise) & kept
    at = f"{path}.pseudonymise"
    for names, word, effect in (
        (before - masked, "in clear", Effect.LOOSENS),
        (masked - before, "as pseudonyms", Effect.TIGHTENS),
    ):
        if names:
            words = names_of(sorted(names))
            yield Difference(f"Rows now carry {words} {word}.", effect, at)
    yield from _terms(was, now, path)
    yield from _approval(f"{path}.approval", was.approval, now.approval, "")
    yield from _cap(f"{path}.max_rows", was.max_rows, now.max_rows, "rows of a package")
    yield from _cap(
        f"{path}.expires_after_days",
        was.expires_after_days,
        now.expires_after_days,
        "days of use",
    )


def _terms(was: SubsetRule, now: SubsetRule, path: str) -> Iterator[Difference]:
    if was.row_filter != now.row_filter:
        yield from changed(
            f"{path}.row_filter",
            "Rows are chosen by no condition any more."
            if now.row_filter is None
            else "Rows are chosen by another condition.",
            new_covers=was.row_filter is None,
            old_covers=now.row_filter is None,
        )
    if was.licence != now.licence:
        yield from changed(
            f"{path}.licence",
            f"Rows leave under the licence {now.licence} instead of {was.licence}.",
            new_covers=False,
            old_covers=False,
        )
    if was.label != now.label:
        label = f"`{now.label}`" if now.label is not None else "none"
        yield Difference(f"The label of rows is {label}.", Effect.NEUTRAL, f"{path}.label")
    if was.fingerprint != now.fingerprint:
        yield from changed(
            f"{path}.fingerprint",
            f"Rows are {'now' if now.fingerprint else 'no longer'} marked for their "
            "recipient.",
            new_covers=now.fingerprint,
            old_covers=was.fingerprint,
        )
    yield from _purposes(was, now, f"{path}.purposes")


def _purposes(was: SubsetRule, now: SubsetRule, path: str) -> Iterator[Difference]:
    if not was.purposes or not now.purposes:
        if was.purposes:
            yield Difference("Rows may now leave for any purpose.", Effect.LOOSENS, path)
        if now.purposes:
            words = purposes_in_words(now.purposes)
            yield Difference(f"Rows may leave only for {words}.", Effect.TIGHTENS, path)
        return
    for names, word, effect in (
        ([p for p in now.purposes if p not in was.purposes], "now", Effect.LOOSENS),
        ([p for p in was.purposes if p not in now.purposes], "no longer", Effect.TIGHTENS),
    ):
        if names:
            words = purposes_in_words(names)
            yield Difference(f"Rows may {word} leave for {words}.", effect, path)

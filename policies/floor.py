"""The floor: what the operator of a node demands of every policy that it holds.

A floor document (YAML or JSON) states the weakest limits that the node accepts; what it
leaves out it does not demand. All of its keys:

    version: 1
    min_units: 10                      # at least
    dominance: {n: 1, share: 0.80, p_percent: 10}
    reviewers: 1                       # at least, of aggregates and subsets
    aggregates: [count, sum, avg]      # no others
    purposes: [official-statistics]    # no others
    modes: [safe, dp]                  # no others
    max_queries_per_day: 200           # a cap must stand, of at most this
    budget: {rho_total: 0.5, rho_per_consumer: 0.05, delta: 1.0e-6}
    subset: {reviewers: 2, max_rows: 10000, licences: [CC-BY-4.0], expires_after_days: 365}
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, field

from policies.composing import compose
from policies.document import (
    Aggregate,
    AggregateRule,
    Dominance,
    DpBudget,
    Mode,
    Policy,
    SubsetRule,
)
from policies.errors import UnknownTerm, WeakerThanFloor
from policies.nodes import Node
from policies.reading import read_budget, read_dominance, read_names, read_word
from policies.strictness import dominance_covers

_NO_LINES: Mapping[str, int] = {}


@dataclass(frozen=True, slots=True)
class SubsetFloor:
    """What is demanded of subset rules beyond what holds for all; None: nothing."""

    reviewers: int = 0
    max_rows: int | None = None
    licences: frozenset[str] | None = None
    expires_after_days: int | None = None


@dataclass(frozen=True, slots=True)
class Floor:
    """The weakest limits that a node accepts; None: no demand."""

    min_units: int = 1
    dominance: Dominance = field(default_factory=Dominance)
    reviewers: int = 0
    aggregates: frozenset[Aggregate] | None = None
    purposes: frozenset[str] | None = None
    modes: frozenset[Mode] | None = None
    max_queries_per_day: int | None = None
    budget: DpBudget | None = None
    subset: SubsetFloor = field(default_factory=SubsetFloor)


@dataclass(frozen=True, slots=True)
class _Weakness:
    key: str  # of the rule
    message: str
    hint: str


def load_floor(text: str) -> Floor:
    """Read a floor document; raises PolicySyntaxError or UnknownTerm, each with a line."""
    root = compose(text)
    root.only(
        "version", "min_units", "dominance", "reviewers", "aggregates", "purposes", "modes",
        "max_queries_per_day", "budget", "subset",
    )  # fmt: skip
    version = root.child("version")
    if version is not None and version.text() != "1":
        raise UnknownTerm(
            "the floor must be of version 1, the only one that this node speaks",
            line=version.line,
            column=version.column,
            path="version",
            hint="Put `version: 1` on the first line.",
        )
    aggregates, purposes, modes, budget, subset = (
        root.child(key) for key in ("aggregates", "purposes", "modes", "budget", "subset")
    )
    return Floor(
        min_units=_integer(root, "min_units", low=1) or 1,
        dominance=read_dominance(root.child("dominance")),
        reviewers=_integer(root, "reviewers", low=0, high=20) or 0,
        aggregates=None
        if aggregates is None
        else frozenset(read_word(item, Aggregate) for item in aggregates.elements()),
        purposes=None if purposes is None else frozenset(read_names(purposes)),
        modes=None
        if modes is None
        else frozenset(read_word(item, Mode) for item in modes.elements()),
        max_queries_per_day=_integer(root, "max_queries_per_day", low=1),
        budget=None if budget is None else _spending(budget),
        subset=SubsetFloor() if subset is None else _subset_floor(subset),
    )


def check_floor(
    policy: Policy, floor: Floor, *, lines: Mapping[str, int] = _NO_LINES
) -> None:
    """Raise WeakerThanFloor, a Contradiction, unless each rule keeps to the floor.

    `lines` is what `line_numbers` says of the policy's text.
    """
    for fault in floor_faults(policy, floor, lines=lines):
        raise fault


def floor_faults(
    policy: Policy, floor: Floor, *, lines: Mapping[str, int] = _NO_LINES
) -> tuple[WeakerThanFloor, ...]:
    """Return every way in which a rule is weaker than the floor, in the policy's order."""
    found = []
    for index, rule in enumerate(policy.rules):
        weaknesses = (
            _aggregate(rule, floor)
            if isinstance(rule, AggregateRule)
            else _subset(rule, floor)
        )
        for weakness in weaknesses:
            at = f"rules[{index}]"
            path = f"{at}.{weakness.key}"
            found.append(
                WeakerThanFloor(
                    f"rule {index + 1} is weaker than the node's floor: {weakness.message}",
                    line=lines.get(path, lines.get(at)),
                    path=path,
                    hint=weakness.hint,
                )
            )
    return tuple(found)


def _integer(node: Node, key: str, *, low: int, high: int = 2**31) -> int | None:
    child = node.child(key)
    return None if child is None else child.integer(low=low, high=high)


def _subset_floor(node: Node) -> SubsetFloor:
    node.only("reviewers", "max_rows", "licences", "expires_after_days")
    licences = node.child("licences")
    return SubsetFloor(
        reviewers=_integer(node, "reviewers", low=0, high=20) or 0,
        max_rows=_integer(node, "max_rows", low=1),
        licences=None if licences is None else frozenset(read_names(licences)),
        expires_after_days=_integer(node, "expires_after_days", low=1),
    )


def _spending(node: Node) -> DpBudget:
    node.only("rho_total", "rho_per_consumer", "delta")
    return read_budget(node)


def _aggregate(rule: AggregateRule, floor: Floor) -> Iterator[_Weakness]:
    if rule.min_units < floor.min_units:
        least = floor.min_units
        yield _Weakness(
            "min_units",
            f"a group of {rule.min_units} units may be shown, {least} are the least",
            f"Set `min_units: {least}` or more.",
        )
    if not dominance_covers(rule.dominance, floor.dominance):
        wanted = _dominance(floor.dominance)
        yield _Weakness(
            "dominance",
            "its dominance limits let groups pass that the floor withholds",
            f"Set `dominance: {wanted}`, or stricter.",
        )
    yield from _reviewers(rule.approval.reviewers, floor.reviewers)
    yield from _others("aggregates", "admits", sorted(rule.aggregates), floor.aggregates)
    yield from _others("purposes", "serves", rule.purposes, floor.purposes)
    yield from _others("mode", "has the mode", [rule.mode], floor.modes)
    yield from _cap(
        "max_queries_per_day", rule.max_queries_per_day, floor.max_queries_per_day
    )
    if rule.mode is Mode.DP and rule.budget is not None and floor.budget is not None:
        yield from _budget(rule.budget, floor.budget)


def _subset(rule: SubsetRule, floor: Floor) -> Iterator[_Weakness]:
    demanded = floor.subset
    least = max(floor.reviewers, demanded.reviewers)
    yield from _reviewers(rule.approval.reviewers, least)
    if floor.purposes is not None and not rule.purposes:
        yield _Weakness(
            "purposes",
            "it serves any purpose",
            f"List its purposes, out of: {', '.join(sorted(floor.purposes))}.",
        )
    yield from _others("purposes", "serves", rule.purposes, floor.purposes)
    yield from _others("licence", "uses the licence", [rule.licence], demanded.licences)
    yield from _cap("max_rows", rule.max_rows, demanded.max_rows)
    yield from _cap(
        "expires_after_days", rule.expires_after_days, demanded.expires_after_days
    )


def _dominance(limits: Dominance) -> str:
    parts = []
    if limits.n is not None:
        parts += [f"n: {limits.n}", f"share: {limits.share}"]
    if limits.p_percent is not None:
        parts.append(f"p_percent: {limits.p_percent}")
    return "{" + ", ".join(parts) + "}"


def _reviewers(count: int, least: int) -> Iterator[_Weakness]:
    if count < least:
        yield _Weakness(
            "approval",
            f"{count or 'no'} reviewers look first, {least} are the least",
            f"Set `approval: {{reviewers: {least}}}` or more.",
        )


def _others(
    key: str, verb: str, came: Sequence[str], allowed: Set[str] | None
) -> Iterator[_Weakness]:
    others = [] if allowed is None else [word for word in came if word not in allowed]
    if allowed is not None and others:
        yield _Weakness(
            key,
            f"it {verb} {', '.join(f'`{word[:60]}`' for word in others)}",
            f"The floor admits: {', '.join(sorted(allowed))}.",
        )


def _cap(key: str, came: int | None, most: int | None) -> Iterator[_Weakness]:
    if most is not None and (came is None or came > most):
        yield _Weakness(
            key,
            f"`{key}` is {'not set' if came is None else came}, the most is {most}",
            f"Set `{key}: {most}` or less.",
        )


def _budget(came: DpBudget, most: DpBudget) -> Iterator[_Weakness]:
    for key, spent, limit in (
        ("rho_total", came.rho_total, most.rho_total),
        ("rho_per_consumer", came.rho_per_consumer, most.rho_per_consumer),
        ("delta", came.delta, most.delta),
    ):
        if spent > limit:
            yield _Weakness(
                "budget",
                f"`{key}` is {spent}, the most is {limit}",
                f"Set `{key}: {limit}` or less.",
            )

"""decide: whether a query may run for a purpose, with every reason and a way forward.

Pure: it sees the policy, the request and the facts of the query (`QueryShape`), never SQL.
A use of a column that no branch below positively allows is refused.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum

from policies.columns import refuse_use
from policies.document import AggregateRule, Mode, Policy, Role, Table
from policies.reasons import Reason, line_of
from policies.resolution import is_hidden, steps_of
from policies.shape import ColumnUse, JoinUse, Place, QueryShape, Usage

_NO_LINES: Mapping[str, int] = {}


class Verdict(StrEnum):
    """What becomes of a query."""

    ALLOW = "allow"
    REVIEW = "review"  # nothing speaks against it, but the policy wants people to look
    REFUSE = "refuse"


@dataclass(frozen=True, slots=True)
class Request:
    """On what ground someone asks."""

    purpose: str


@dataclass(frozen=True, slots=True)
class Decision:
    """The verdict, every reason for it, and the rule that would govern the release."""

    verdict: Verdict
    reasons: tuple[Reason, ...] = ()
    rule: AggregateRule | None = None


def decide(
    policy: Policy,
    request: Request,
    shape: QueryShape,
    *,
    lines: Mapping[str, int] = _NO_LINES,
) -> Decision:
    """Say whether the query may run; every ground for refusal is listed, not the first.

    `lines` is what `composing.line_numbers` says of the policy's text: each reason then
    names its line there.
    """
    found = _decide(policy, request, shape)
    reasons = (
        replace(reason, policy_line=line_of(reason.policy_path, lines))
        for reason in found.reasons
    )
    return replace(found, reasons=tuple(reasons)) if lines else found


def _decide(policy: Policy, request: Request, shape: QueryShape) -> Decision:
    rule = rule_for(policy, request.purpose)
    reasons = (
        *_findings(shape),
        *_rule_reasons(policy, request, rule),
        *_uses(policy, shape),
        *_joins(policy, shape),
        *(() if rule is None else _aggregates(policy, rule, shape)),
    )
    reasons = tuple(dict.fromkeys(reasons))
    if reasons or rule is None:
        return Decision(Verdict.REFUSE, reasons, rule)
    if not shape.fingerprint:
        # Nothing was found against it, yet no plan came: the analyser does not know it.
        return Decision(Verdict.REFUSE, (_no_plan(),), rule)
    if not rule.approval.is_automatic:
        return Decision(Verdict.REVIEW, (_needs_review(policy, rule),), rule)
    return Decision(Verdict.ALLOW, (), rule)


def rule_for(policy: Policy, purpose: str) -> AggregateRule | None:
    """Return the one aggregate rule that serves `purpose`, or None."""
    return next((r for r in policy.aggregate_rules if purpose in r.purposes), None)


def _no_plan() -> Reason:
    return Reason(
        "query_not_understood",
        "the analyser could not turn the query into a plan it positively knows",
        "Write one SELECT with aggregates over dimensions.",
    )


def _path_of(policy: Policy, rule: AggregateRule, key: str) -> str:
    return f"rules[{policy.rules.index(rule)}].{key}"


def _needs_review(policy: Policy, rule: AggregateRule) -> Reason:
    count = rule.approval.reviewers
    people = "one reviewer" if count == 1 else f"{count} reviewers"
    return Reason(
        "needs_review",
        f"the policy asks {people} of the provider to look at this query before it runs",
        "Submit it with a note that says what it is for; you will see their decision.",
        policy_path=_path_of(policy, rule, "approval"),
    )


def _findings(shape: QueryShape) -> Iterator[Reason]:
    for finding in shape.findings:
        hint = finding.hint or "Leave it out; the dataset's page shows what may be asked."
        yield Reason(finding.code, finding.message, hint, finding.place)


def _rule_reasons(
    policy: Policy, request: Request, rule: AggregateRule | None
) -> Iterator[Reason]:
    if not policy.aggregate_rules:
        yield Reason(
            "no_rule",
            "the policy has no rule for aggregates, so no query may run",
            "Ask the provider for an aggregate rule, or request a licensed subset.",
            policy_path="rules",
        )
    elif rule is None:
        served = sorted({p for r in policy.aggregate_rules for p in r.purposes})
        yield Reason(
            "purpose_not_allowed",
            f"the purpose `{request.purpose[:60]}` is served by no rule of this policy",
            f"Ask for one of: {', '.join(served)}.",
            policy_path="rules",
        )
    elif rule.mode is Mode.DP:
        yield Reason(
            "mode_unavailable",
            "the policy promises differential privacy, which this node cannot run yet",
            "Ask the provider for a rule of mode safe.",
            policy_path=_path_of(policy, rule, "mode"),
        )


def _uses(policy: Policy, shape: QueryShape) -> Iterator[Reason]:
    used = {use.table for use in shape.uses}
    for name in shape.tables:
        # `SELECT count(*) FROM t` uses no column of t.
        if name not in used and policy.table(name) is None:
            yield _unknown_table(policy, name, None)
    for use in shape.uses:
        table = policy.table(use.table)
        if table is None:
            yield _unknown_table(policy, use.table, use.place)
        elif table.is_protected:
            reason = refuse_use(table, use)
            if reason is not None:
                yield reason


def _unknown_table(policy: Policy, name: str, place: Place | None) -> Reason:
    return Reason(
        "unknown_table",
        f"`{name[:60]}` is no table of this policy",
        f"The tables are: {', '.join(t.name for t in policy.tables)}.",
        place,
        "tables",
    )


def _joins(policy: Policy, shape: QueryShape) -> Iterator[Reason]:
    for join in shape.joins:
        left, right = policy.table(join.left_table), policy.table(join.right_table)
        if left is None or right is None:
            continue  # `_uses` has said it
        if left.is_protected and right.is_protected:
            if not _same_domain(
                left, join.left_column, right, join.right_column
            ) and not _keeps_lines_together(policy, shape, join):
                yield _not_on_units(
                    left,
                    right,
                    join.place,
                    f"not on `{join.left_column}` and `{join.right_column}`",
                )
        elif left.requester or right.requester:
            yield Reason(
                "requester_table_unavailable",
                "a table that you bring can be joined only on unit keys, and this node "
                "does not take one yet",
                "Ask with the provider's own tables.",
                join.place,
                f"tables.{left.name if left.requester else right.name}",
            )
        else:
            yield from _public_join(left, join.left_column, join.place, shape)
            yield from _public_join(right, join.right_column, join.place, shape)
    yield from _apart(policy, shape)


def _keeps_lines_together(policy: Policy, shape: QueryShape, join: JoinUse) -> bool:
    """Whether a join of row keys stands beside one on units of the same two tables.

    It only narrows what the units' join lets together.
    """
    tables = policy.table(join.left_table), policy.table(join.right_table)
    sides = zip(tables, (join.left_column, join.right_column), strict=True)
    columns = [table.column(name) for table, name in sides if table is not None]
    if not all(column is not None and column.has(Role.ROW_KEY) for column in columns):
        return False
    pair = {join.left_table, join.right_table}
    for other in shape.joins:
        if {other.left_table, other.right_table} == pair:
            left, right = policy.table(other.left_table), policy.table(other.right_table)
            if (
                left is not None
                and right is not None
                and _same_domain(left, other.left_column, right, other.right_column)
            ):
                return True
    return False


def _public_join(
    table: Table, name: str, place: Place | None, shape: QueryShape
) -> Iterator[Reason]:
    # A public column that holds some keys would pick out the units that have them.
    column = table.column(name)
    if not table.is_protected:
        return
    if column is None or is_hidden(column):
        # Its use should stand in the shape too; a join without one is no way around.
        use = ColumnUse(table.name, name, Usage.JOIN_KEY, place)
        reason = refuse_use(table, use)
        if reason is not None and (table.name, name) not in _joined(shape):
            yield reason
        return
    if column.has(Role.UNIT_KEY) or column.has(Role.ROW_KEY):
        yield Reason(
            "join_on_key",
            f"`{table.name}.{name}` is a key and cannot be joined with a public table",
            _dimension_hint(table),
            place,
            f"tables.{table.name}.columns.{name}",
        )


def _joined(shape: QueryShape) -> set[tuple[str, str]]:
    return {(u.table, u.column) for u in shape.uses if u.usage is Usage.JOIN_KEY}


def _dimension_hint(table: Table) -> str:
    names = [column.name for column in table.columns if steps_of(column).is_free]
    if not names:
        return f"`{table.name}` has no plain dimension on which to join: ask of it alone."
    return f"Join on a dimension of `{table.name}`: {', '.join(names[:8])}."


def _apart(policy: Policy, shape: QueryShape) -> Iterator[Reason]:
    """Protected tables that hang together only through public ones multiply their rows."""
    for group in dict.fromkeys(shape.froms or (shape.tables,)):
        yield from _apart_in(policy, shape, group)


def _apart_in(
    policy: Policy, shape: QueryShape, group: tuple[str, ...]
) -> Iterator[Reason]:
    tables = [policy.table(name) for name in group]
    protected = [table for table in tables if table is not None and table.is_protected]
    if len(protected) < 2:
        return
    reached = {protected[0].name}
    names = {table.name for table in protected}
    links = [{join.left_table, join.right_table} for join in shape.joins]
    grown = True
    while grown:
        grown = False
        for link in links:
            if link <= names and link & reached and not link <= reached:
                reached |= link
                grown = True
    for table in protected:
        if table.name not in reached:
            yield _not_on_units(
                protected[0], table, None, "not through a public table alone"
            )


def _not_on_units(left: Table, right: Table, place: Place | None, what: str) -> Reason:
    return Reason(
        "join_not_on_units",
        f"`{left.name}` and `{right.name}` may be joined only on unit keys of one domain, "
        + what,
        _unit_join_hint(left, right),
        place,
        f"tables.{left.name}.units",
    )


def _same_domain(left: Table, left_column: str, right: Table, right_column: str) -> bool:
    domains = {unit.domain for unit in left.units if unit.column == left_column}
    return any(
        unit.column == right_column and unit.domain in domains for unit in right.units
    )


def _unit_join_hint(left: Table, right: Table) -> str:
    for a in left.units:
        for b in right.units:
            if a.domain == b.domain:
                return (
                    f"Join ON {left.name}.{a.column} = {right.name}.{b.column}, "
                    "and add other conditions in WHERE."
                )
    return "These tables share no unit domain and cannot be joined."


def _aggregates(policy: Policy, rule: AggregateRule, shape: QueryShape) -> Iterator[Reason]:
    for name in shape.aggregates:
        if name not in rule.aggregates:
            yield Reason(
                "aggregate_not_allowed",
                f"the policy admits no `{name}` for this purpose",
                f"It admits: {', '.join(sorted(rule.aggregates))}.",
                policy_path=_path_of(policy, rule, "aggregates"),
            )

"""Uses of a view's columns, judged here: the exchange knows a policy's own tables only."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

from policies.columns import refuse_use
from policies.document import Role, Table
from policies.reasons import Reason
from policies.shape import ColumnUse, Finding, JoinUse, Usage
from sandbox.binding.facts import Facts

_SHOWN = "a computed table"


def judge_views(facts: Facts) -> None:
    """Turn every use of a view that the policy refuses into a finding.

    Afterwards uses, joins and FROM name base tables alone.
    """
    views = facts.views
    reasons = [
        reason
        for use in facts.uses
        if use.table in views and (reason := _refused(facts, use)) is not None
    ]
    joins = [join for join in facts.joins if {join.left_table, join.right_table} & {*views}]
    findings = [Finding(r.code, r.message, r.hint, r.place) for r in reasons]
    findings += [found for join in joins for found in _join_findings(facts, join)]
    findings += _apart(facts)
    facts.findings += findings
    facts.uses = [use for use in facts.uses if use.table not in views]
    facts.joins = [join for join in facts.joins if join not in joins]
    facts.froms = [
        named
        for group in facts.froms
        if (named := tuple(name for name in group if name not in views))
    ]


def _refused(facts: Facts, use: ColumnUse) -> Reason | None:
    table = facts.policy.table(use.table)
    assert table is not None
    shown = _name(facts, use.table, use.column)
    column = table.column(use.column)
    key = column is not None and column.has(Role.UNIT_KEY)
    if key and use.usage in (Usage.NULL_TEST, Usage.PER_UNIT):
        return None  # whether an outer join found anything
    renamed = dataclasses.replace(
        table,
        name=_SHOWN,
        columns=() if column is None else (dataclasses.replace(column, name=shown),),
    )
    reason = refuse_use(renamed, dataclasses.replace(use, table=_SHOWN, column=shown))
    if reason is None:
        return None
    message = reason.message.replace(f"`{_SHOWN}.{shown}`", f"`{shown}`")
    return dataclasses.replace(reason, message=message, policy_path="")


def _name(facts: Facts, table: str, column: str) -> str:
    found = [
        n for ref, n in facts.names.items() if (ref.table, ref.column) == (table, column)
    ]
    return found[0].rsplit(".", 1)[-1] if found else "a computed column"


def _join_findings(facts: Facts, join: JoinUse) -> Iterator[Finding]:
    left = facts.policy.table(join.left_table)
    right = facts.policy.table(join.right_table)
    if left is None or right is None or not (left.is_protected and right.is_protected):
        return
    if _domains(left, join.left_column) & _domains(right, join.right_column):
        return
    yield _not_on_units(join)


def _domains(table: Table, column: str) -> set[str]:
    return {unit.domain for unit in table.units if unit.column == column}


def _not_on_units(join: JoinUse | None) -> Finding:
    return Finding(
        "join_not_on_units",
        "protected rows may be joined with what is computed of others only on unit keys of "
        "one domain",
        "Join them ON their unit keys, and add other conditions in WHERE.",
        None if join is None else join.place,
    )


def _apart(facts: Facts) -> Iterator[Finding]:
    """Refuse protected rows that hang together only through public tables."""
    links = [{join.left_table, join.right_table} for join in facts.joins]
    for group in facts.froms:
        names = {name for name in group if _is_protected(facts, name)}
        if len(names) < 2 or not names & {*facts.views}:
            continue
        reached = {sorted(names)[0]}
        while True:
            more = {n for link in links if link <= names and link & reached for n in link}
            if more <= reached:
                break
            reached |= more
        if reached != names:
            yield _not_on_units(None)


def _is_protected(facts: Facts, name: str) -> bool:
    table = facts.policy.table(name)
    return table is not None and table.is_protected

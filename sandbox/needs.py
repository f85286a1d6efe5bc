"""Which columns of a table a job's worker gets an image of.

`allowed` is what the policy lets any query touch; `needed` what this text can touch. An
image is fit for a job when it holds all that is needed and nothing that is not allowed, so
that a view over it is a boundary by column, and unneeded columns are not decrypted.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass

from policies.codec import load_policy
from policies.document import Policy, Role, Table
from policies.errors import PolicyError
from sandbox.errors import QueryRejected
from sandbox.protocol import ExecuteJob, PartitionJob, SubsetJob, TableSchema


@dataclass(frozen=True, slots=True)
class Need:
    """The columns of one table: None means all of them."""

    needed: frozenset[str] | None
    allowed: frozenset[str] | None

    def fits(self, held: frozenset[str] | None) -> bool:
        """Whether an image that holds the columns `held` serves this need."""
        if held is None:
            return self.allowed is None
        if self.needed is None:
            return False
        return self.needed <= held and (self.allowed is None or held <= self.allowed)


EVERYTHING = Need(None, None)
# `select *`, `distinct *`, `all *`, `, *`, `t.*`, read from behind: only where a star
# stands is anything compared, and a text may be as long as all earlier releases together.
_STAR_FROM_BEHIND = re.compile(r"\*\s*(?:[,.]|tceles\b|tcnitsid\b|lla\b)")
_NATURAL = re.compile(r"\bnatural\b")


def needs_of(job: ExecuteJob | PartitionJob | SubsetJob) -> dict[str, Need]:
    """Return the need of each table of `job`; raises QueryRejected on a bad policy."""
    if isinstance(job, PartitionJob):
        return {job.source.table: EVERYTHING}
    try:
        policy = load_policy(job.policy)
    except PolicyError as error:
        raise QueryRejected(
            f"the job's policy cannot be read ({error.code})",
            hint="Publish the policy again with this release.",
        ) from error
    if isinstance(job, SubsetJob):
        return {job.table.table: _subset_need(job, policy)}
    schemas = {schema.table: schema for schema in job.schemas}
    # Earlier releases too: the answer is compared with theirs, over their columns.
    text = _Text("\n".join((job.sql, *job.history)))
    needs = {}
    for stored in job.tables:
        table, schema = policy.table(stored.table), schemas.get(stored.table)
        if table is None or schema is None:
            raise QueryRejected("a table of the job is not in its policy and schemas")
        needs[stored.table] = _execute_need(text, table, schema)
    return needs


def _execute_need(text: _Text, table: Table, schema: TableSchema) -> Need:
    names = [name for name, _ in schema.columns]
    if not table.is_protected:
        return Need(frozenset(names), None)
    expressions = _Text(" ".join(derived.expr for derived in table.derived))
    allowed = frozenset(
        name for name in names if _is_open(table, name) or expressions.may_mention(name)
    )
    needed = frozenset(
        name
        for name in allowed
        if _is_unit_key(table, name)
        or text.may_mention(name)
        or expressions.may_mention(name)
    )
    return Need(needed, allowed)


def _subset_need(job: SubsetJob, policy: Policy) -> Need:
    rules = policy.subset_rules
    if not 0 <= job.rule_index < len(rules):
        raise QueryRejected("the job names a subset rule that its policy does not have")
    row_filter = _Text(rules[job.rule_index].row_filter or "")
    needed = frozenset(
        name
        for name, _ in job.schema.columns
        if name in job.columns or row_filter.may_mention(name)
    )
    return Need(needed, needed)


def columns_apart(
    policy: Policy, table_name: str, names: Sequence[str]
) -> dict[str, tuple[str, ...]]:
    """Return the columns that neither query nor package may show, by the group of each.

    `subset`: those by which a subset rule filters; `hidden`: those that nothing may reach.
    Empty where a policy cuts nothing off, or would leave no column outside.
    """
    table = policy.table(table_name)
    if table is None or not table.is_protected:
        return {}
    shown = {name.lower() for rule in policy.subset_rules for name in rule.columns}
    filters = _Text(" ".join(rule.row_filter or "" for rule in policy.subset_rules))
    asked = bool(policy.aggregate_rules)  # without one, no query reaches any column
    derived = table.derived if asked else ()
    expressions = _Text(" ".join(item.expr for item in derived))
    groups: dict[str, list[str]] = {}
    for name in names:
        is_asked = _is_open(table, name) if asked else _is_unit_key(table, name)
        if is_asked or name.lower() in shown or expressions.may_mention(name):
            continue
        group = "subset" if filters.may_mention(name) else "hidden"
        groups.setdefault(group, []).append(name)
    if sum(map(len, groups.values())) == len(names):
        return {}
    return {group: tuple(columns) for group, columns in sorted(groups.items())}


def _is_open(table: Table, name: str) -> bool:
    column = next((c for c in table.columns if c.name.lower() == name.lower()), None)
    if _is_unit_key(table, name):
        return True
    return column is not None and not column.has(Role.HIDDEN)


def _is_unit_key(table: Table, name: str) -> bool:
    return name.lower() in {unit.column.lower() for unit in table.units}


class _Text:
    """SQL text or history that is asked which columns it can name."""

    def __init__(self, text: str) -> None:
        self._lower = text.lower()
        self._names_all = _names_all(self._lower)

    def may_mention(self, name: str) -> bool:
        """Whether the text can name a column.

        Too often yes is slow, wrongly no fails closed. SQL names regardless of case and
        doubles quotes inside quoted names; JSON escapes them. `*` and NATURAL name what is
        not written.
        """
        written = {name.lower().replace('"', '""'), json.dumps(name)[1:-1].lower()}
        return self._names_all or any(item in self._lower for item in written)


def _names_all(lower: str) -> bool:
    if "natural" in lower and _NATURAL.search(lower) is not None:
        return True
    return "*" in lower and _STAR_FROM_BEHIND.search(lower[::-1]) is not None

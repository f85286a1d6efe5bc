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
_NAMES_ALL = re.compile(r"(\bselect|\bdistinct|\ball|[,.])\s*\*|\bnatural\b")


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
    text = "\n".join((job.sql, *job.history)).lower()
    needs = {}
    for stored in job.tables:
        table, schema = policy.table(stored.table), schemas.get(stored.table)
        if table is None or schema is None:
            raise QueryRejected("a table of the job is not in its policy and schemas")
        needs[stored.table] = _execute_need(text, table, schema)
    return needs


def _execute_need(text: str, table: Table, schema: TableSchema) -> Need:
    names = [name for name, _ in schema.columns]
    if not table.is_protected:
        return Need(frozenset(names), None)
    expressions = " ".join(derived.expr for derived in table.derived).lower()
    allowed = frozenset(
        name for name in names if _is_open(table, name) or _may_mention(expressions, name)
    )
    needed = frozenset(
        name
        for name in allowed
        if _is_unit_key(table, name)
        or _may_mention(text, name)
        or _may_mention(expressions, name)
    )
    return Need(needed, allowed)


def _subset_need(job: SubsetJob, policy: Policy) -> Need:
    rules = policy.subset_rules
    if not 0 <= job.rule_index < len(rules):
        raise QueryRejected("the job names a subset rule that its policy does not have")
    row_filter = (rules[job.rule_index].row_filter or "").lower()
    needed = frozenset(
        name
        for name, _ in job.schema.columns
        if name in job.columns or _may_mention(row_filter, name)
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
    filters = " ".join(rule.row_filter or "" for rule in policy.subset_rules).lower()
    asked = bool(policy.aggregate_rules)  # without one, no query reaches any column
    derived = table.derived if asked else ()
    expressions = " ".join(item.expr for item in derived).lower()
    groups: dict[str, list[str]] = {}
    for name in names:
        is_asked = _is_open(table, name) if asked else _is_unit_key(table, name)
        if is_asked or name.lower() in shown or _may_mention(expressions, name):
            continue
        group = "subset" if _may_mention(filters, name) else "hidden"
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


def _may_mention(lower: str, name: str) -> bool:
    """Whether SQL text or history, in small letters, can name a column.

    Too often yes is slow, wrongly no fails closed. SQL names regardless of case and doubles
    quotes inside quoted names; JSON escapes them. `*` and NATURAL name what is not written.
    """
    written = {name.lower().replace('"', '""'), json.dumps(name)[1:-1].lower()}
    return any(item in lower for item in written) or _NAMES_ALL.search(lower) is not None

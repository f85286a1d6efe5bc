"""A policy as its consumers may see it: without the names of what is hidden.

A column that a policy does not name is hidden, so leaving out the hidden ones changes
nothing of what it allows. What names them elsewhere, a condition on rows or the formula of
a derived measure, is kept back as a whole.
"""

from __future__ import annotations

import re
from dataclasses import replace

from policies.document import Policy, Rule, SubsetRule, Table
from policies.resolution import is_hidden

KEPT = "(kept by the provider)"
_TEXT = re.compile(r"'(?:[^']|'')*'")
_NAME = re.compile(r'"((?:[^"]|"")*)"|([^\W\d]\w*)')
# What a condition may hold besides names of columns; any other word counts as a name.
_WORDS = {
    "and", "or", "not", "in", "is", "null", "between", "like", "true", "false", "date",
    "timestamp", "case", "when", "then", "else", "end",
}  # fmt: skip


def disclosed(policy: Policy) -> Policy:
    """Return `policy` without hidden columns and without texts that may name them.

    It decides as `policy` does; it is for showing, since KEPT is no condition.
    """
    tables = tuple(_table(table) for table in policy.tables)
    shown = {column.name.casefold() for table in tables for column in table.columns}
    return Policy(tables, tuple(_rule(rule, shown) for rule in policy.rules))


def _table(table: Table) -> Table:
    columns = tuple(column for column in table.columns if not is_hidden(column))
    shown = {column.name.casefold() for column in columns}
    derived = tuple(
        item if _names_only(item.expr, shown) else replace(item, expr=KEPT)
        for item in table.derived
    )
    return replace(table, columns=columns, derived=derived)


def _rule(rule: Rule, shown: set[str]) -> Rule:
    if not isinstance(rule, SubsetRule) or rule.row_filter is None:
        return rule
    is_plain = _names_only(rule.row_filter, shown)
    return rule if is_plain else replace(rule, row_filter=KEPT)


def _names_only(text: str, shown: set[str]) -> bool:
    rest = _TEXT.sub("", text)
    if "'" in rest or "--" in rest or "/*" in rest or "$" in rest:
        return False  # more than this reader of names understands
    for quoted, bare in _NAME.findall(rest):
        name = (quoted.replace('""', '"') if quoted else bare).casefold()
        if name not in shown and (quoted or name not in _WORDS):
            return False
    return True

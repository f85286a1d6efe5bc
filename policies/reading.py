"""From nodes to values: tables, columns and rules of a policy document, version 1."""

from __future__ import annotations

import re
from decimal import Decimal
from enum import StrEnum
from typing import TypeVar

from policies.document import (
    Aggregate,
    AggregateRule,
    Approval,
    Column,
    Derived,
    Dominance,
    DpBudget,
    Grain,
    Mode,
    Role,
    Rule,
    SubsetRule,
    Table,
    UnitKey,
)
from policies.nodes import MAX_NAME_CHARACTERS, Node, is_name

E = TypeVar("E", bound=StrEnum)

# Table names stand bare in SQL; `main.patients` or a quoted path must never resolve.
TABLE_NAME = re.compile(r"[^\W\d]\w{0,62}")


def read_tables(node: Node) -> tuple[Table, ...]:
    """Read the mapping of tables, sorted by name; at least one stands in it."""
    tables = [_table(name, child) for name, child in node.items()]
    if not tables:
        raise node.fault("names no table", "Describe at least one table.")
    return tuple(sorted(tables, key=lambda table: table.name))


def read_rules(node: Node | None) -> tuple[Rule, ...]:
    """Read the list of rules in order; no list means no rule: nothing may leave."""
    return () if node is None else tuple(_rule(item) for item in node.elements())


def read_word(node: Node, kind: type[E]) -> E:
    """Read one word of a closed list; raises UnknownTerm on any other."""
    text = node.text()
    try:
        return kind(text)
    except ValueError:
        raise node.unknown(text, ", ".join(kind)) from None


def _name(node: Node, text: str) -> str:
    if not is_name(text):
        raise node.fault(
            f"must be named with 1 to {MAX_NAME_CHARACTERS} printable characters"
        )
    return text


def _table(name: str, node: Node) -> Table:
    if not TABLE_NAME.fullmatch(name):
        raise node.fault(
            "is no table name: letters, digits and _ only, at most 63, no digit first"
        )
    node.only("public", "requester", "units", "columns", "derived")
    public, requester = node.child("public"), node.child("requester")
    is_public = public is not None and public.flag()
    is_requester = requester is not None and requester.flag()
    if is_public or is_requester:
        node.only("public", "requester")
        if is_public and is_requester:
            raise node.fault("cannot be public and the requester's own at once")
        return Table(name, public=is_public, requester=is_requester)
    units = node.require("units")
    columns = [_column(key, child) for key, child in node.require("columns").items()]
    derived = node.child("derived")
    by_row = not units.is_list
    if by_row and units.text() != "row":
        raise units.unknown(units.text(), "row, or a list of {domain, column}")
    return Table(
        name,
        row_units=by_row,
        units=() if by_row else _units(units),
        columns=tuple(sorted(columns, key=lambda column: column.name)),
        derived=()
        if derived is None
        else tuple(
            sorted(
                (_derived(key, child) for key, child in derived.items()),
                key=lambda item: item.name,
            )
        ),
    )


def _units(node: Node) -> tuple[UnitKey, ...]:
    found = []
    for item in node.elements():
        item.only("domain", "column")
        domain, column = item.require("domain"), item.require("column")
        found.append(UnitKey(_name(domain, domain.text()), _name(column, column.text())))
    if not found:
        raise node.fault("is empty", "Name a unit column, or write `units: row`.")
    return tuple(found)


def _column(name: str, node: Node) -> Column:
    node.only("role", "sensitive", "values", "grid", "clamp", "scale", "grain")
    role = node.require("role")
    roles = [
        read_word(item, Role) for item in (role.elements() if role.is_list else [role])
    ]
    if not roles or len(set(roles)) != len(roles):
        raise role.fault("must name one or more different roles")
    sensitive, values = node.child("sensitive"), node.child("values")
    if values is not None and values.text() != "public":
        raise values.unknown(values.text(), "public")
    grid, scale, grain = node.child("grid"), node.child("scale"), node.child("grain")
    clamp = node.child("clamp")
    return Column(
        name,
        frozenset(roles),
        sensitive=(sensitive is not None and sensitive.flag()) or Role.LABEL in roles,
        values_public=values is not None,
        grid=None if grid is None else _positive(grid),
        clamp=None if clamp is None else _clamp(clamp),
        scale=None if scale is None else scale.integer(low=0, high=12),
        grain=None if grain is None else read_word(grain, Grain),
    )


def _positive(node: Node) -> Decimal:
    number = node.decimal()
    if number <= 0:
        raise node.fault("must be greater than 0")
    return number


def _clamp(node: Node) -> tuple[Decimal, Decimal]:
    bounds = [item.decimal() for item in node.elements()]
    if len(bounds) != 2 or bounds[0] >= bounds[1]:
        raise node.fault("must be [low, high] with low below high")
    return bounds[0], bounds[1]


def _derived(name: str, node: Node) -> Derived:
    node.only("expr", "grid", "clamp")
    grid, clamp = node.child("grid"), node.child("clamp")
    return Derived(
        name,
        node.require("expr").text(),
        grid=None if grid is None else _positive(grid),
        clamp=None if clamp is None else _clamp(clamp),
    )


def _rule(node: Node) -> Rule:
    kind = node.require("kind")
    match kind.text():
        case "aggregate":
            return _aggregate(node)
        case "subset":
            return _subset(node)
        case other:
            raise kind.unknown(other, "aggregate, subset")


def read_names(node: Node) -> tuple[str, ...]:
    """Read a list of one or more different names, in order."""
    found = [_name(item, item.text()) for item in node.elements()]
    if not found or len(set(found)) != len(found):
        raise node.fault("must list one or more different names")
    return tuple(found)


def _approval(node: Node | None) -> Approval:
    # Who says nothing has not waived review: one reviewer.
    if node is None:
        return Approval(1)
    if node.is_mapping:
        node.only("reviewers")
        return Approval(node.require("reviewers").integer(low=1, high=20))
    if node.text() != "automatic":
        raise node.unknown(node.text(), "automatic, or {reviewers: N}")
    return Approval(0)


def _aggregate(node: Node) -> AggregateRule:
    node.only(
        "kind", "mode", "min_units", "dominance", "aggregates", "purposes", "approval",
        "max_queries_per_day", "budget",
    )  # fmt: skip
    mode, cap, budget = (
        node.child(key) for key in ("mode", "max_queries_per_day", "budget")
    )
    return AggregateRule(
        purposes=read_names(node.require("purposes")),
        aggregates=frozenset(
            read_word(item, Aggregate) for item in node.require("aggregates").elements()
        ),
        min_units=node.require("min_units").integer(low=1),
        mode=Mode.SAFE if mode is None else read_word(mode, Mode),
        dominance=read_dominance(node.child("dominance")),
        approval=_approval(node.child("approval")),
        max_queries_per_day=None if cap is None else cap.integer(low=1),
        budget=None if budget is None else read_budget(budget),
    )


def read_dominance(node: Node | None) -> Dominance:
    """Read dominance limits; where nothing stands there is no limit."""
    if node is None:
        return Dominance()
    node.only("n", "share", "p_percent")
    n, share, p = (node.child(key) for key in ("n", "share", "p_percent"))
    if (n is None) != (share is None):
        raise node.fault("needs `n` and `share` together")
    found = Dominance(
        n=None if n is None else n.integer(low=1, high=100),
        share=None if share is None else share.decimal(high="1"),
        p_percent=None if p is None else p.decimal(low="0", high="100"),
    )
    if found.share is not None and found.share <= 0:
        raise node.fault("needs a `share` greater than 0")
    return found


def read_budget(node: Node) -> DpBudget:
    """Read the budget of a differentially private rule."""
    node.only(
        "rho_total", "rho_per_consumer", "delta", "max_groups_per_unit",
        "max_rows_per_unit_group",
    )  # fmt: skip
    groups, rows = (
        node.child(key) for key in ("max_groups_per_unit", "max_rows_per_unit_group")
    )
    return DpBudget(
        rho_total=node.require("rho_total").decimal(low="0"),
        rho_per_consumer=node.require("rho_per_consumer").decimal(low="0"),
        delta=node.require("delta").decimal(low="0", high="1"),
        max_groups_per_unit=1 if groups is None else groups.integer(low=1),
        max_rows_per_unit_group=1 if rows is None else rows.integer(low=1),
    )


def _subset(node: Node) -> SubsetRule:
    node.only(
        "kind", "columns", "label", "row_filter", "max_rows", "licence", "purposes",
        "pseudonymise", "fingerprint", "approval", "expires_after_days",
    )  # fmt: skip
    label, row_filter, fingerprint = (
        node.child(key) for key in ("label", "row_filter", "fingerprint")
    )
    purposes, pseudonyms = node.child("purposes"), node.child("pseudonymise")
    expires = node.child("expires_after_days")
    licence = node.require("licence")
    return SubsetRule(
        columns=read_names(node.require("columns")),
        licence=_name(licence, licence.text()),
        max_rows=node.require("max_rows").integer(low=1),
        label=None if label is None else label.text(),
        row_filter=None if row_filter is None else row_filter.text(),
        purposes=() if purposes is None else read_names(purposes),
        pseudonymise=() if pseudonyms is None else read_names(pseudonyms),
        fingerprint=fingerprint is not None and fingerprint.flag(),
        approval=_approval(node.child("approval")),
        expires_after_days=None if expires is None else expires.integer(low=1),
    )

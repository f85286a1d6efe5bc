"""Starting policies: YAML for a steward to read and change, made from a table's profile.

Each text passes `load_policy`. Where a proposal does not fit its column, the column starts
hidden: to open a column is a decision, to forget one is not.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from enum import StrEnum
from textwrap import wrap
from typing import Protocol

from policies import template_text
from policies.document import Role
from policies.engine_types import Kind, kind_of
from policies.errors import Contradiction, PolicySyntaxError
from policies.nodes import is_name
from policies.reading import TABLE_NAME
from policies.vocabulary import Purpose
from policies.yaml_text import comment, scalar

DEFAULT_PURPOSES = (
    Purpose.OFFICIAL_STATISTICS,
    Purpose.PREDICTIVE_MAINTENANCE,
    Purpose.PROCESS_OPTIMISATION,
    Purpose.GENERAL_RESEARCH,
)
DEFAULT_LICENCE = "CDLA-Permissive-2.0"


class Template(StrEnum):
    """The policies one may start from."""

    STATISTICS = "statistics"
    REVIEWED_STATISTICS = "reviewed-statistics"
    LABELLED_SUBSET = "labelled-subset"


@dataclass(frozen=True, slots=True)
class TemplateCard:
    """A template with its name for people and what it starts with."""

    template: Template
    title: str
    sentence: str


TEMPLATES: tuple[TemplateCard, ...] = (
    TemplateCard(
        Template.STATISTICS,
        "Statistics",
        "Protected aggregates leave without anybody looking first; no single row leaves.",
    ),
    TemplateCard(
        Template.REVIEWED_STATISTICS,
        "Reviewed statistics",
        "Protected aggregates leave after a reviewer of yours approved each query.",
    ),
    TemplateCard(
        Template.LABELLED_SUBSET,
        "Labelled subset",
        "Protected aggregates leave, and a capped set of rows leaves under a licence after "
        "a reviewer of yours approved the request.",
    ),
)


class ProfiledColumn(Protocol):
    """What a profile knows of a column: any object with these, read-only, will do."""

    @property
    def name(self) -> str:
        """The column's name in the data."""

    @property
    def type(self) -> str:
        """Its engine type, such as `DECIMAL(18,3)`."""

    @property
    def proposed_roles(self) -> Sequence[str]:
        """Roles in the words of the policy document; none means hidden."""

    @property
    def proposed_grid(self) -> str | None:
        """A positive decimal number, empty or None: no grid."""

    @property
    def reason(self) -> str:
        """Why these roles, in a sentence."""


@dataclass(frozen=True, slots=True)
class _Start:
    """One column as the template will state it."""

    column: ProfiledColumn
    roles: tuple[Role, ...]
    limits: tuple[str, ...] = ()
    remark: str = ""
    is_named: bool = True  # False: the policy leaves it out, which hides it

    @property
    def is_deliverable(self) -> bool:
        """Whether a subset may carry it without further thought."""
        return not {Role.HIDDEN, Role.UNIT_KEY, Role.ROW_KEY} & set(self.roles)


def starting_policies(*, table: str, columns: Sequence[ProfiledColumn]) -> dict[str, str]:
    """Return every template that fits the profile, as YAML by template name."""
    found = {}
    for template in Template:
        if template is Template.LABELLED_SUBSET and not _deliverable(columns):
            continue
        found[str(template)] = starting_policy(template, table=table, columns=columns)
    return found


def starting_policy(
    template: Template,
    *,
    table: str,
    columns: Sequence[ProfiledColumn],
    purposes: Sequence[str] = DEFAULT_PURPOSES,
    licence: str = DEFAULT_LICENCE,
) -> str:
    """Write one template as commented YAML that `load_policy` reads.

    Requires at least one purpose. Raises PolicySyntaxError where `table` cannot stand bare
    in SQL, Contradiction where a subset is wanted and no column can be delivered.
    """
    if not TABLE_NAME.fullmatch(table):
        raise PolicySyntaxError(
            "a policy names its table by letters, digits and _ only, no digit first",
            hint="Give the dataset a name of that form.",
        )
    starts = _starts(columns)
    text = _head(template, table) + _units(starts) + _columns(starts)
    text += _aggregate_rule(template, purposes)
    if template is Template.LABELLED_SUBSET:
        text += _subset_rule(starts, purposes, licence)
    return text


def _deliverable(columns: Sequence[ProfiledColumn]) -> bool:
    return any(start.is_deliverable for start in _starts(columns))


def _starts(columns: Sequence[ProfiledColumn]) -> list[_Start]:
    found: list[_Start] = []
    has_unit = False
    seen: set[str] = set()
    for column in columns:
        start = _start(column)
        if column.name.casefold() in seen:
            start = _left_out(column, "another column differs only in letter case")
        elif start.roles == (Role.UNIT_KEY,) and has_unit:
            start = _hidden(column, "a second key: to protect both, name both under units")
        has_unit = has_unit or start.roles == (Role.UNIT_KEY,)
        seen.add(column.name.casefold())
        found.append(start)
    return found


def _start(column: ProfiledColumn) -> _Start:
    if not is_name(column.name):
        return _left_out(column, "its name cannot stand in a policy")
    kind = kind_of(column.type)
    known = {str(role) for role in Role}
    if kind is Kind.OTHER or not column.proposed_roles:
        return _hidden(column)
    if not set(column.proposed_roles) <= known:
        return _hidden(column, "its proposed role is unknown")
    roles = [Role(role) for role in dict.fromkeys(column.proposed_roles)]
    for alone in (Role.HIDDEN, Role.UNIT_KEY, Role.ROW_KEY):
        if alone in roles:
            return _Start(column, (alone,))
    if not kind.is_number:
        roles = [role for role in roles if role is not Role.MEASURE]
    if not roles:
        return _hidden(column, f"{kind} cannot be a measure")
    limits = ["grain: month"] if kind is Kind.DATE else []
    grid = _grid(column.proposed_grid) if kind.is_number else None
    if grid is not None:
        limits.append(f"grid: {grid:f}")
    if kind is Kind.FLOAT and Role.MEASURE in roles:
        limits.append(f"scale: {_scale(grid)}")
    return _Start(column, tuple(roles), tuple(limits))


def _hidden(column: ProfiledColumn, remark: str = "") -> _Start:
    return _Start(column, (Role.HIDDEN,), remark=remark)


def _left_out(column: ProfiledColumn, why: str) -> _Start:
    return _Start(column, (Role.HIDDEN,), remark=f"left out: {why}", is_named=False)


def _grid(text: str | None) -> Decimal | None:
    try:
        grid = Decimal(text or "NaN")
    except InvalidOperation:
        return None
    return grid.normalize() if grid.is_finite() and 0 < grid < Decimal("1e30") else None


def _scale(grid: Decimal | None) -> int:
    # Three decimals below the grid keep any sensible reading as it was measured.
    exponent = 0 if grid is None else grid.as_tuple().exponent
    return min(12, 3 + max(0, -int(exponent)))


def _head(template: Template, table: str) -> str:
    card = next(card for card in TEMPLATES if card.template is template)
    title = f"Starting policy for {table}: {card.title}. {card.sentence}"
    lines = "\n".join(comment(line) for line in wrap(title, 84))
    return f"{lines}\n{template_text.ADVICE}  {table}:\n"


def _units(starts: Sequence[_Start]) -> str:
    unit = next((start for start in starts if start.roles == (Role.UNIT_KEY,)), None)
    if unit is None:
        return template_text.UNITS + template_text.ROW_UNITS
    domain, name = scalar(_domain(unit.column.name)), scalar(unit.column.name)
    return template_text.UNITS + template_text.KEY_UNITS % (domain, name)


def _domain(column: str) -> str:
    name = column.lower()
    for ending in ("_id", "_key", "_no", "_number", "_code"):
        if name.endswith(ending) and name != ending:
            return name.removesuffix(ending)
    return "unit" if name == "id" else name


def _columns(starts: Sequence[_Start]) -> str:
    if not any(start.is_named for start in starts):
        return template_text.ROLES + "    columns: {}\n"
    return (
        template_text.ROLES + "    columns:\n" + "".join(_column(start) for start in starts)
    )


def _column(start: _Start) -> str:
    why = [start.column.type, start.column.reason, start.remark]
    remark = "      " + comment("; ".join(part.rstrip(".") for part in why if part)) + "\n"
    if not start.is_named:
        return remark
    roles = ", ".join(start.roles)
    role = roles if len(start.roles) == 1 else f"[{roles}]"
    inside = ", ".join((f"role: {role}", *start.limits))
    return f"{remark}      {scalar(start.column.name)}: {{{inside}}}\n"


def _list(items: Sequence[str]) -> str:
    return "\n".join(f"      - {scalar(item)}" for item in items)


def _aggregate_rule(template: Template, purposes: Sequence[str]) -> str:
    reviewed = template is Template.REVIEWED_STATISTICS
    return template_text.AGGREGATE % _list(purposes) + (
        template_text.REVIEWED if reviewed else template_text.AUTOMATIC
    )


def _subset_rule(starts: Sequence[_Start], purposes: Sequence[str], licence: str) -> str:
    chosen = [start for start in starts if start.is_deliverable]
    if not chosen:
        raise Contradiction(
            "no column of this profile can be delivered in a subset",
            hint="Start from the template for statistics.",
        )
    label = next((start for start in chosen if Role.LABEL in start.roles), None)
    return template_text.SUBSET % (
        _list([start.column.name for start in chosen]),
        "    # Name the column that models learn to predict: label: failure"
        if label is None
        else f"    label: {scalar(label.column.name)}",
        scalar(licence),
        _list(purposes),
    )

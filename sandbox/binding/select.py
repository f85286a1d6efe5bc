"""A SELECT, bound: the plan of a query together with every fact that a policy may judge."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from policies.document import Policy
from policies.shape import QueryShape, Usage
from sandbox.binding.aggregates import AggregateBinder
from sandbox.binding.cells import CellBinder
from sandbox.binding.facts import Facts, place_of
from sandbox.binding.functions import is_aggregate
from sandbox.binding.predicates import PredicateBinder
from sandbox.binding.scope import Scope
from sandbox.binding.terms import TermBinder
from sandbox.plan.block import Order, Plan, Unit, canonical_plan
from sandbox.plan.canonical import canonical, key_of
from sandbox.plan.terms import All, Always, Literal, Predicate, Ref, Term, refs_of
from sandbox.sql import syntax

MAX_OUTPUTS = 200
MAX_KEYS = 12


@dataclass(frozen=True, slots=True)
class Analysis:
    """What came of a query: its shape, and its plan where one could be made."""

    shape: QueryShape
    plan: Plan | None


def bind(
    select: syntax.Select, policy: Policy, schemas: Mapping[str, Sequence[tuple[str, str]]]
) -> Analysis:
    """Derive shape and plan; the plan is None where anything was not understood."""
    facts = Facts(policy)
    plan = _Binder(facts, select, schemas).plan()
    if facts.findings:
        plan = None
    shape = QueryShape(
        tables=tuple(
            sorted({use.table for use in facts.uses} | set(plan.tables if plan else ()))
        ),
        uses=tuple(dict.fromkeys(facts.uses)),
        joins=tuple(facts.joins),
        aggregates=tuple(sorted(facts.families)),
        findings=tuple(dict.fromkeys(facts.findings)),
        fingerprint="" if plan is None else plan.fingerprint,
        outputs=tuple(_output_name(item, i) for i, item in enumerate(select.outputs)),
    )
    return Analysis(shape, plan)


class _Binder:
    """Binds one SELECT in the order in which its clauses get their meaning."""

    def __init__(
        self,
        facts: Facts,
        select: syntax.Select,
        schemas: Mapping[str, Sequence[tuple[str, str]]],
    ) -> None:
        self._facts = facts
        self._select = select
        self._scope = Scope(facts, schemas)
        self._scope.add(select.source)
        aliases = {
            item.alias.lower(): item.expression for item in select.outputs if item.alias
        }
        self._terms = TermBinder(facts, self._scope, aliases)
        self._predicates = PredicateBinder(self._terms)
        self._scratch = TermBinder(facts.scratch(), self._scope, aliases)
        PredicateBinder(self._scratch)
        self._aggregates = AggregateBinder(facts, self._terms)

    def plan(self) -> Plan | None:
        """Return the canonical plan, or None with the facts that say why."""
        if not self._scope.bound:
            return None
        self._check_size()
        where = self._where()
        keys = self._keys()
        cells = CellBinder(
            self._facts, self._terms, self._aggregates, tuple(keys), self._scratch
        )
        outputs = [cells.cell(item.expression) for item in self._select.outputs]
        having = None if self._select.having is None else cells.cell(self._select.having)
        orders = self._orders(cells)
        if not keys and not self._aggregates.aggregates:
            self._row_level()
        units = self._units()
        if self._facts.findings or where is None or any(item is None for item in outputs):
            return None
        return canonical_plan(
            Plan(
                tables=tuple(item.table for item in self._scope.bound),
                joins=tuple(self._scope.joins),
                units=units,
                where=where,
                keys=tuple(keys),
                hidden=tuple(self._aggregates.hidden),
                aggregates=tuple(self._aggregates.aggregates),
                outputs=tuple(item for item in outputs if item is not None),
                having=having,
                orders=orders,
                limit=self._select.limit,
                offset=self._select.offset,
            )
        )

    def _check_size(self) -> None:
        if len(self._select.outputs) > MAX_OUTPUTS:
            self._facts.refuse(
                "query_too_complex",
                f"the query has {len(self._select.outputs)} outputs, at most {MAX_OUTPUTS}",
                "Ask for less in one query.",
            )

    def _row_level(self) -> None:
        if not any(use.usage is Usage.ROW_OUTPUT for use in self._facts.uses):
            self._facts.refuse(
                "row_level_output",
                "the query has neither an aggregate nor GROUP BY",
                "Add an aggregate, for example count(*).",
            )

    # --- clauses

    def _where(self) -> Predicate | None:
        parts: list[Predicate] = []
        for condition in (*self._scope.conditions, self._select.where):
            if condition is None:
                continue
            predicate = self._predicates.where(condition)
            if predicate is None:
                return None
            parts.append(predicate)
        return canonical(All(tuple(parts))) if parts else Always(value=True)

    def _keys(self) -> list[Term]:
        keys: dict[str, Term] = {}
        for expression in self._group_expressions():
            term = self._terms.term(expression, Usage.GROUP_KEY)
            if term is None:
                continue
            if isinstance(term, Literal) or not refs_of(term):
                self._facts.refuse(
                    "constant_group",
                    "a group key is a constant",
                    "Group by a column.",
                    place_of(expression),
                )
            keys.setdefault(key_of(term), term)
        if len(keys) > MAX_KEYS:
            self._facts.refuse(
                "query_too_complex",
                f"the query has {len(keys)} group keys, at most {MAX_KEYS}",
                "Ask for less in one query.",
            )
        return list(keys.values())

    def _group_expressions(self) -> list[syntax.Expression]:
        if self._select.group_all:
            return [
                item.expression
                for item in self._select.outputs
                if not _has_aggregate(item.expression)
            ]
        return [self._ordinal(item, "GROUP BY") for item in self._select.groups]

    def _ordinal(self, expression: syntax.Expression, clause: str) -> syntax.Expression:
        if isinstance(expression, syntax.Constant) and expression.kind == "integer":
            number = int(expression.text.replace("_", "")[:9] or "0")
            if 1 <= number <= len(self._select.outputs):
                return self._select.outputs[number - 1].expression
            self._facts.refuse(
                "ordinal_out_of_range",
                f"{clause} names output {number}, there are {len(self._select.outputs)}",
                "Count the outputs from 1.",
                expression.place,
            )
        return expression

    def _orders(self, cells: CellBinder) -> tuple[Order, ...]:
        found = []
        for item in self._select.orders:
            expression = self._ordinal(item.expression, "ORDER BY")
            if isinstance(expression, syntax.Column) and len(expression.names) == 1:
                # In ORDER BY an output's alias comes before a column of that name.
                expression = self._terms.aliases.get(
                    expression.names[0].lower(), expression
                )
            cell = cells.cell(expression)
            if cell is None:
                continue
            nulls_last = True if item.nulls_last is None else item.nulls_last
            found.append(Order(cell, item.descending, nulls_last))
        return tuple(found)

    # --- units

    def _units(self) -> tuple[Unit, ...]:
        """Return who is protected in the joined rows; a joined key stands once."""
        same: dict[Ref, Ref] = {}

        def root(ref: Ref) -> Ref:
            while ref in same:
                ref = same[ref]
            return ref

        for left, right in self._scope.joins:
            a, b = sorted((root(left), root(right)), key=key_of)
            if a != b:
                same[b] = a
        units: dict[str, Unit] = {}
        by_row = [item for item in self._scope.bound if self._is_by_row(item.table)]
        for item in self._scope.bound:
            table = self._facts.policy.table(item.table)
            assert table is not None
            for unit in table.units:
                ref = item.columns.get(unit.column.lower())
                if ref is None:
                    self._facts.refuse(
                        "unit_column_missing",
                        f"`{item.table}` has no column `{unit.column}`, its unit key",
                        "Ask the provider to publish the dataset again.",
                    )
                    continue
                found = Unit(unit.domain, root(ref))
                units[key_of(found)] = found
        if by_row:
            units["row"] = Unit("row", None)
            if len([i for i in self._scope.bound if self._is_protected(i.table)]) > 1:
                self._facts.refuse(
                    "join_not_on_units",
                    f"each row of `{by_row[0].table}` is its own unit, so it joins "
                    "no other protected table",
                    "Ask over it alone, or with public tables.",
                )
        if not units:
            self._facts.refuse(
                "no_protected_table",
                "the query reads public tables only, which the dataset page offers whole",
                "Download them there.",
            )
        return tuple(units.values())

    def _is_by_row(self, name: str) -> bool:
        table = self._facts.policy.table(name)
        return table is not None and table.is_protected and table.row_units

    def _is_protected(self, name: str) -> bool:
        table = self._facts.policy.table(name)
        return table is not None and table.is_protected


def _has_aggregate(expression: object) -> bool:
    if isinstance(expression, syntax.Call) and is_aggregate(expression.name):
        return True
    if isinstance(expression, tuple):
        return any(_has_aggregate(item) for item in expression)
    names = getattr(expression, "__dataclass_fields__", {})
    return any(
        _has_aggregate(getattr(expression, name)) for name in names if name != "place"
    )


def _output_name(item: syntax.Output, index: int) -> str:
    if item.alias:
        return item.alias
    match item.expression:
        case syntax.Column(names=names):
            return names[-1]
        case syntax.Call(name="count_star"):
            return "count_star()"
        case syntax.Call(
            name=name, arguments=(syntax.Column(names=names),), distinct=distinct
        ):
            return f"{name}({'DISTINCT ' if distinct else ''}{names[-1]})"
    return f"column_{index + 1}"

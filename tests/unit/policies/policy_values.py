"""Policies and shapes for tests: a worked example, and hypothesis strategies for laws."""

from __future__ import annotations

from decimal import Decimal

from hypothesis import strategies as st

from policies.codec import load_policy
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
    Policy,
    Role,
    Rule,
    SubsetRule,
    Table,
    UnitKey,
)
from policies.shape import ColumnUse, JoinUse, QueryShape, Usage

EXAMPLE = """\
version: 1
tables:
  patients:
    units: [{domain: person, column: id}]
    columns:
      id: {role: unit_key}
      visit_id: {role: row_key}
      name: {role: hidden}
      city: {role: dimension, values: public}
      age: {role: [dimension, measure], grid: 5, clamp: [0, 120]}
      income: {role: measure, grid: 5000, scale: 2}
      weight: {role: measure}
      visit_date: {role: dimension, grain: month}
      diagnosis: {role: dimension, sensitive: true}
      failure: {role: label}
    derived:
      bmi: {expr: "weight / 2", grid: 1, clamp: [10, 80]}
  visits:
    units: [{domain: person, column: patient_id}, {domain: firm, column: payer}]
    columns:
      patient_id: {role: unit_key}
      payer: {role: unit_key}
      cost: {role: measure, grid: 0.5}
  runs:
    units: row
    columns:
      torque: {role: measure}
  cities: {public: true}
  my_list: {requester: true}
rules:
  - kind: aggregate
    min_units: 10
    dominance: {n: 2, share: 0.90, p_percent: 10}
    aggregates: [count, count_distinct, avg]
    purposes: [official-statistics]
    approval: automatic
    max_queries_per_day: 100
  - kind: aggregate
    mode: dp
    min_units: 1
    aggregates: [count, sum]
    purposes: [model-training, house-rule]
    approval: {reviewers: 2}
    budget: {rho_total: 0.5, rho_per_consumer: 0.05, delta: 1.0e-6}
  - kind: subset
    columns: [id, age, failure]
    label: failure
    row_filter: "age >= 40"
    max_rows: 5000
    licence: CDLA-Permissive-2.0
    purposes: [model-training]
    pseudonymise: [id]
    fingerprint: true
    approval: {reviewers: 2}
    expires_after_days: 90
"""


def example() -> Policy:
    """The worked example, read anew."""
    return load_policy(EXAMPLE)


def _unique(names: list[str]) -> list[str]:
    return list({name.casefold(): name for name in names}.values())


names = st.text(
    st.characters(exclude_categories=["Cs"], min_codepoint=32), min_size=1, max_size=12
)
table_names = st.from_regex(r"[a-z][a-z0-9_]{0,8}", fullmatch=True)
numbers = st.decimals(
    min_value=Decimal("-1e12"), max_value=Decimal("1e12"), allow_nan=False, places=6
)
positives = st.decimals(min_value=Decimal("0.000001"), max_value=Decimal("1e12"), places=6)
purposes = st.sampled_from(["official-statistics", "model-training", "house-rule", "p q"])


@st.composite
def clamps(draw: st.DrawFn) -> tuple[Decimal, Decimal]:
    """A range whose low end lies below its high end."""
    low = draw(numbers)
    return low, low + draw(positives)


@st.composite
def columns(draw: st.DrawFn, name: str) -> Column:
    """A column of any roles and limits that may stand together, but no unit key."""
    if draw(st.integers(0, 4)) == 0:
        return Column(name, frozenset({draw(st.sampled_from([Role.HIDDEN, Role.ROW_KEY]))}))
    known = [Role.DIMENSION, Role.MEASURE, Role.LABEL]
    roles = draw(st.frozensets(st.sampled_from(known), min_size=1))
    sensitive = Role.LABEL in roles or draw(st.booleans())
    grain = None if Role.MEASURE in roles else draw(st.none() | st.sampled_from(Grain))
    return Column(
        name,
        roles,
        sensitive=sensitive,
        values_public=Role.DIMENSION in roles and not sensitive and draw(st.booleans()),
        grid=None if grain else draw(st.none() | positives),
        clamp=draw(st.none() | clamps()),
        scale=draw(st.none() | st.integers(0, 12)),
        grain=grain,
    )


@st.composite
def tables(draw: st.DrawFn, name: str) -> Table:
    """A public, requester or protected table."""
    match draw(st.integers(0, 5)):
        case 0:
            return Table(name, public=True)
        case 1:
            return Table(name, requester=True)
    found = _unique(draw(st.lists(names, min_size=1, max_size=7)))
    split = draw(st.integers(0, min(2, len(found))))
    units = tuple(UnitKey(draw(names), key) for key in found[:split])
    derived = _unique([f"d{index}{name}" for index, name in enumerate(found)])[:2]
    taken = {name.casefold() for name in found}
    described = [Column(unit.column, frozenset({Role.UNIT_KEY})) for unit in units]
    described += [draw(columns(other)) for other in found[split:]]
    return Table(
        name,
        row_units=not units,
        units=units,
        columns=tuple(sorted(described, key=lambda column: column.name)),
        derived=tuple(
            Derived(
                item, draw(names), draw(st.none() | positives), draw(st.none() | clamps())
            )
            for item in sorted(derived)
            if item.casefold() not in taken
        ),
    )


dominances = st.builds(
    lambda pair, p: Dominance(pair[0], pair[1], p),
    st.just((None, None))
    | st.tuples(st.integers(1, 5), st.decimals(Decimal("0.01"), Decimal(1), places=2)),
    st.none() | st.decimals(Decimal(0), Decimal(100), places=1),
)
approvals = st.builds(Approval, st.integers(0, 20))
budgets = st.builds(
    DpBudget,
    rho_total=positives,
    rho_per_consumer=positives,
    delta=st.decimals(Decimal(0), Decimal(1), places=8),
    max_groups_per_unit=st.integers(1, 50),
    max_rows_per_unit_group=st.integers(1, 50),
)


@st.composite
def aggregate_rules(draw: st.DrawFn, serves: tuple[str, ...]) -> AggregateRule:
    """A rule for aggregates that serves these purposes."""
    mode = draw(st.sampled_from(Mode))
    return AggregateRule(
        purposes=serves,
        aggregates=draw(st.frozensets(st.sampled_from(Aggregate), min_size=1)),
        min_units=draw(st.integers(1, 1000)),
        mode=mode,
        dominance=draw(dominances),
        approval=draw(approvals),
        max_queries_per_day=draw(st.none() | st.integers(1, 1000)),
        budget=draw(budgets if mode is Mode.DP else st.none() | budgets),
    )


@st.composite
def subset_rules(draw: st.DrawFn, table: Table) -> SubsetRule | None:
    """A rule over columns of `table`, or None where it has none to deliver."""
    usable = [column for column in table.columns if not column.has(Role.HIDDEN)]
    if not usable:
        return None
    chosen = draw(st.lists(st.sampled_from(usable), min_size=1, unique=True))
    keys = [column.name for column in chosen if column.has(Role.UNIT_KEY)]
    plain = [column.name for column in chosen if not column.has(Role.UNIT_KEY)]
    return SubsetRule(
        columns=tuple(column.name for column in chosen),
        licence=draw(st.sampled_from(["CC-BY-4.0", "own licence"])),
        max_rows=draw(st.integers(1, 10**6)),
        label=draw(st.sampled_from([None, *plain])),
        row_filter=draw(st.none() | names),
        purposes=tuple(draw(st.lists(purposes, unique=True))),
        pseudonymise=(*keys, *plain[:1]) if draw(st.booleans()) else tuple(keys),
        fingerprint=draw(st.booleans()),
        approval=draw(approvals),
        expires_after_days=draw(st.none() | st.integers(1, 1000)),
    )


@st.composite
def policies(draw: st.DrawFn) -> Policy:
    """A policy whose parts hold together."""
    found = sorted(set(draw(st.lists(table_names, min_size=1, max_size=3))))
    described = tuple(draw(tables(name)) for name in found)
    serves = draw(st.lists(purposes, unique=True))
    split = draw(st.integers(0, len(serves)))
    rules: list[Rule] = [
        draw(aggregate_rules(tuple(part)))
        for part in (serves[:split], serves[split:])
        if part
    ]
    if len(described) == 1 and described[0].is_protected:
        subset = draw(subset_rules(described[0]))
        rules += [subset] if subset else []
    return Policy(described, tuple(rules))


@st.composite
def shapes(draw: st.DrawFn, policy: Policy) -> QueryShape:
    """The facts of a query over tables and columns, most of them of `policy`."""
    where = [(t.name, c.name) for t in policy.tables for c in t.columns]
    where += [("nowhere", "nothing"), (policy.tables[0].name, "nothing")]
    place = st.sampled_from(where)
    families = st.sampled_from(sorted(Aggregate))
    uses = st.builds(
        lambda at, usage, aggregate, on_grid: ColumnUse(
            at[0], at[1], usage, aggregate=aggregate, on_grid=on_grid
        ),
        place,
        st.sampled_from(Usage),
        families,
        st.booleans(),
    )
    joins = st.builds(lambda a, b: JoinUse(a[0], a[1], b[0], b[1], "inner"), place, place)
    return QueryShape(
        tables=tuple(draw(st.lists(st.sampled_from([t for t, _ in where]), max_size=2))),
        uses=tuple(draw(st.lists(uses, max_size=3))),
        joins=tuple(draw(st.lists(joins, max_size=1))),
        aggregates=tuple(sorted(draw(st.sets(families, max_size=2)))),
        fingerprint=draw(st.sampled_from(["", "f" * 64])),
    )


_SUITED = {
    Role.HIDDEN: [Usage.NULL_TEST],
    Role.UNIT_KEY: [Usage.COUNT_DISTINCT, Usage.JOIN_KEY],
    Role.ROW_KEY: [Usage.JOIN_KEY],
    Role.MEASURE: [Usage.AGGREGATE, Usage.NULL_TEST, Usage.RANGE, Usage.GROUP_BIN],
    Role.DIMENSION: [Usage.GROUP_KEY, Usage.EQUALITY, Usage.GROUP_TRUNC, Usage.GROUP_BIN],
    Role.LABEL: [Usage.GROUP_KEY, Usage.EQUALITY, Usage.COUNT_DISTINCT],
}


@st.composite
def honest_shapes(draw: st.DrawFn, policy: Policy) -> QueryShape:
    """The facts of a query that means to keep to `policy`'s first aggregate rule."""
    columns = [(table, column) for table in policy.tables for column in table.columns]
    families = st.sampled_from(sorted(policy.aggregate_rules[0].aggregates))
    uses = []
    if columns:
        for table, column in draw(st.lists(st.sampled_from(columns), max_size=2)):
            role = draw(st.sampled_from(sorted(column.roles)))
            usage = draw(st.sampled_from(_SUITED[role]))
            uses.append(ColumnUse(table.name, column.name, usage, aggregate=draw(families)))
    return QueryShape(
        tables=(policy.tables[0].name,),
        uses=tuple(uses),
        aggregates=(draw(families),),
        fingerprint="f" * 64,
    )

"""The policy document, version 1, as frozen values (DESIGN section 5).

A policy says, of tables and their columns, what part each plays in protecting people
(roles), and, of purposes, what kind of answer may leave (rules).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from decimal import Decimal
from enum import StrEnum

# Decimals kept of what is computed: a quotient does not end where its parts do.
COMPUTED_SCALE = 12


class Role(StrEnum):
    """What a query may do with a column."""

    UNIT_KEY = "unit_key"  # equi-join within the domain, count and count distinct
    ROW_KEY = "row_key"  # equi-join only, to keep the lines of one order together
    HIDDEN = "hidden"  # no reference at all
    DIMENSION = "dimension"  # group, filter
    MEASURE = "measure"  # aggregate; compare on its grid
    LABEL = "label"  # a sensitive dimension: the target of labelled subsets


class Grain(StrEnum):
    """The finest calendar period at which a date may be seen."""

    DAY = "day"
    WEEK = "week"
    MONTH = "month"
    QUARTER = "quarter"
    YEAR = "year"


class Mode(StrEnum):
    """How aggregates are protected; a dataset has one for life."""

    SAFE = "safe"
    DP = "dp"


class Aggregate(StrEnum):
    """The families of aggregates that a rule may admit."""

    COUNT = "count"
    COUNT_DISTINCT = "count_distinct"
    APPROX_COUNT_DISTINCT = "approx_count_distinct"
    SUM = "sum"
    AVG = "avg"
    STDDEV = "stddev"
    VARIANCE = "variance"
    COVAR = "covar"
    CORR = "corr"
    REGR = "regr"
    SKEWNESS = "skewness"
    KURTOSIS = "kurtosis"
    QUANTILE = "quantile"


@dataclass(frozen=True, slots=True)
class UnitKey:
    """One column that names who is protected, in a domain such as `person`."""

    domain: str
    column: str


@dataclass(frozen=True, slots=True)
class Column:
    """The roles of one column and the limits at which it may be seen."""

    name: str
    roles: frozenset[Role]
    sensitive: bool = False  # label implies sensitive
    values_public: bool = False  # its domain may be printed
    grid: Decimal | None = None  # > 0: comparisons and bins only at multiples of it
    clamp: tuple[Decimal, Decimal] | None = None  # low < high
    scale: int | None = None  # decimals kept of a DOUBLE, 0..12
    grain: Grain | None = None

    def has(self, role: Role) -> bool:
        """Whether the column plays `role`."""
        return role in self.roles


@dataclass(frozen=True, slots=True)
class Derived:
    """A measure that the provider defines by an expression over other columns."""

    name: str
    expr: str
    grid: Decimal | None = None
    clamp: tuple[Decimal, Decimal] | None = None


@dataclass(frozen=True, slots=True)
class Table:
    """One table: protected (units and columns), public, or brought by the requester."""

    name: str
    public: bool = False
    requester: bool = False
    row_units: bool = False  # `units: row`: each row is its own unit
    units: tuple[UnitKey, ...] = ()
    columns: tuple[Column, ...] = ()
    derived: tuple[Derived, ...] = ()

    @property
    def is_protected(self) -> bool:
        """Whether its rows are about someone: neither public nor the requester's own."""
        return not (self.public or self.requester)

    def column(self, name: str) -> Column | None:
        """The column of that name; a column the policy does not name is None: hidden.

        A derived measure is a measure, and sensitive where its text names what is.
        """
        for column in self.columns:
            if column.name == name:
                return column
        for item in self.derived:
            if item.name == name:
                text = item.expr.lower()
                told = any(c.sensitive and c.name.lower() in text for c in self.columns)
                roles = frozenset({Role.MEASURE})
                return Column(
                    name,
                    roles,
                    told,
                    grid=item.grid,
                    clamp=item.clamp,
                    scale=COMPUTED_SCALE,
                )
        return None


@dataclass(frozen=True, slots=True)
class Dominance:
    """The (n,k) rule and the p% rule; the boundary itself is unsafe."""

    n: int | None = None
    share: Decimal | None = None  # 0 < share <= 1
    p_percent: Decimal | None = None


@dataclass(frozen=True, slots=True)
class DpBudget:
    """What a differentially private rule may spend in all and per consumer."""

    rho_total: Decimal
    rho_per_consumer: Decimal
    delta: Decimal
    max_groups_per_unit: int = 1
    max_rows_per_unit_group: int = 1


@dataclass(frozen=True, slots=True)
class Approval:
    """Who decides a request: nobody (automatic) or that many named reviewers."""

    reviewers: int = 0

    @property
    def is_automatic(self) -> bool:
        """Whether no human is asked."""
        return self.reviewers == 0


@dataclass(frozen=True, slots=True)
class AggregateRule:
    """Controlled aggregates may leave for these purposes."""

    purposes: tuple[str, ...]
    aggregates: frozenset[Aggregate]
    min_units: int
    mode: Mode = Mode.SAFE
    dominance: Dominance = field(default_factory=Dominance)
    approval: Approval = field(default_factory=Approval)
    max_queries_per_day: int | None = None
    budget: DpBudget | None = None


@dataclass(frozen=True, slots=True)
class SubsetRule:
    """Licensed labelled rows may leave: these columns, filtered, capped, licensed."""

    columns: tuple[str, ...]
    licence: str
    max_rows: int
    label: str | None = None
    row_filter: str | None = None
    purposes: tuple[str, ...] = ()  # empty: any purpose of the vocabulary
    pseudonymise: tuple[str, ...] = ()
    fingerprint: bool = False
    approval: Approval = field(default_factory=Approval)
    expires_after_days: int | None = None


Rule = AggregateRule | SubsetRule


@dataclass(frozen=True, slots=True)
class Policy:
    """One version of what may be learned from a set of tables."""

    tables: tuple[Table, ...]
    rules: tuple[Rule, ...] = ()

    def table(self, name: str) -> Table | None:
        """The table of that name, or None."""
        return next((table for table in self.tables if table.name == name), None)

    @property
    def aggregate_rules(self) -> tuple[AggregateRule, ...]:
        """The rules for aggregates, in document order."""
        return tuple(r for r in self.rules if isinstance(r, AggregateRule))

    @property
    def subset_rules(self) -> tuple[SubsetRule, ...]:
        """The rules for labelled subsets, in document order."""
        return tuple(r for r in self.rules if isinstance(r, SubsetRule))

"""QueryShape: the facts about a query at which a policy may look.

The analyser in the sandbox derives it from SQL; `policies.decision` judges it. No SQL
text and no value of a protected table is in it: constants that the query itself wrote
appear as on-grid or off-grid facts, never verbatim.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


@dataclass(frozen=True, slots=True)
class Place:
    """Where in the submitted SQL: character offset (0-based), line and column (1-based)."""

    offset: int
    line: int
    column: int


class Usage(StrEnum):
    """What a query does with a column."""

    ROW_OUTPUT = "row_output"  # leaves unaggregated
    GROUP_KEY = "group_key"  # as it stands
    GROUP_BIN = "group_bin"  # in bins of constant width
    GROUP_TRUNC = "group_trunc"  # cut to a calendar period
    GROUP_EXPRESSION = "group_expression"  # through an allowed scalar function
    EQUALITY = "equality"  # =, <>, IN, LIKE with constants
    RANGE = "range"  # <, <=, >, >=, BETWEEN with constants
    NULL_TEST = "null_test"
    AGGREGATE = "aggregate"  # the bare argument of an aggregate
    COUNT_DISTINCT = "count_distinct"
    JOIN_KEY = "join_key"
    PER_UNIT = "per_unit"  # computed with, or carried along, within one unit
    OTHER = "other"  # anything the analyser does not positively know


@dataclass(frozen=True, slots=True)
class ColumnUse:
    """One reference to a column of a base table, by binding."""

    table: str  # the policy's table name, not the alias
    column: str
    usage: Usage
    place: Place | None = None
    aggregate: str | None = None  # family, for AGGREGATE and COUNT_DISTINCT
    on_grid: bool = True  # every constant it met lies on its grid or grain
    detail: str = ""  # width of a bin, grain of a cut: for the sentence


@dataclass(frozen=True, slots=True)
class JoinUse:
    """One equi-join of two tables."""

    left_table: str
    left_column: str
    right_table: str
    right_column: str
    kind: str  # inner
    place: Place | None = None


@dataclass(frozen=True, slots=True)
class Finding:
    """Something in the SQL that the analyser refuses whatever the policy says."""

    code: str
    message: str
    hint: str = ""
    place: Place | None = None


@dataclass(frozen=True, slots=True)
class QueryShape:
    """All facts about one query."""

    tables: tuple[str, ...] = ()
    uses: tuple[ColumnUse, ...] = ()
    joins: tuple[JoinUse, ...] = ()
    aggregates: tuple[str, ...] = ()  # families used, sorted
    findings: tuple[Finding, ...] = ()
    fingerprint: str = ""  # sha256 hex of the canonical plan, empty where there is none
    outputs: tuple[str, ...] = ()  # names of the output columns, in order
    froms: tuple[tuple[str, ...], ...] = ()  # tables that stand in one FROM, for each

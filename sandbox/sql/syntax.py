"""The syntax of a query as our own frozen nodes: what the parser hands to the binder.

A node exists here only if the analyser has a branch for it. Everything else that the
engine's grammar knows arrives as `Opaque`, which no later step accepts.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from policies.shape import Place


@dataclass(frozen=True, slots=True)
class Column:
    """A name, perhaps qualified: `city`, `p.city`."""

    names: tuple[str, ...]
    place: Place | None = field(default=None, compare=False)


@dataclass(frozen=True, slots=True)
class Constant:
    """A literal; `kind` is integer, numeric, string, boolean or null."""

    kind: str
    text: str
    place: Place | None = field(default=None, compare=False)


@dataclass(frozen=True, slots=True)
class Call:
    """A function, operator or aggregate: `count(DISTINCT id) FILTER (WHERE ...)`."""

    name: str  # lower case
    arguments: tuple[Expression, ...]
    distinct: bool = False
    condition: Expression | None = None
    place: Place | None = field(default=None, compare=False)


@dataclass(frozen=True, slots=True)
class Comparison:
    """`left op right` with op one of = <> < <= > >= and `is distinct`."""

    operator: str
    left: Expression
    right: Expression
    place: Place | None = field(default=None, compare=False)


@dataclass(frozen=True, slots=True)
class Logical:
    """AND or OR of two or more."""

    operator: str
    items: tuple[Expression, ...]


@dataclass(frozen=True, slots=True)
class Not:
    """NOT item."""

    item: Expression


@dataclass(frozen=True, slots=True)
class NullTest:
    """item IS NULL."""

    item: Expression
    place: Place | None = field(default=None, compare=False)


@dataclass(frozen=True, slots=True)
class Among:
    """item IN (options)."""

    item: Expression
    options: tuple[Expression, ...]
    place: Place | None = field(default=None, compare=False)


@dataclass(frozen=True, slots=True)
class Cast:
    """CAST(item AS type); `lenient` for TRY_CAST."""

    item: Expression
    type: str
    lenient: bool
    place: Place | None = field(default=None, compare=False)


@dataclass(frozen=True, slots=True)
class Case:
    """CASE WHEN condition THEN result ... ELSE otherwise END."""

    branches: tuple[tuple[Expression, Expression], ...]
    otherwise: Expression
    place: Place | None = field(default=None, compare=False)


@dataclass(frozen=True, slots=True)
class Opaque:
    """Something the analyser has no branch for; a finding says what."""

    what: str
    place: Place | None = field(default=None, compare=False)


Expression = (
    Column
    | Constant
    | Call
    | Comparison
    | Logical
    | Not
    | NullTest
    | Among
    | Cast
    | Case
    | Opaque
)


@dataclass(frozen=True, slots=True)
class TableName:
    """A base table in FROM, with its alias (its own name where none was given)."""

    name: str
    alias: str
    place: Place | None = None


@dataclass(frozen=True, slots=True)
class Join:
    """left INNER JOIN right ON condition, or USING (columns)."""

    left: Source
    right: Source
    condition: Expression | None
    using: tuple[str, ...]
    place: Place | None = None


Source = TableName | Join


@dataclass(frozen=True, slots=True)
class Output:
    """One item of the SELECT list; `alias` is empty where none was given."""

    expression: Expression
    alias: str


@dataclass(frozen=True, slots=True)
class Order:
    """One item of ORDER BY; `nulls_last` None means the engine's default (last)."""

    expression: Expression
    descending: bool
    nulls_last: bool | None


@dataclass(frozen=True, slots=True)
class Select:
    """One SELECT."""

    outputs: tuple[Output, ...]
    source: Source | None
    where: Expression | None = None
    groups: tuple[Expression, ...] = ()
    group_all: bool = False
    having: Expression | None = None
    orders: tuple[Order, ...] = ()
    limit: int | None = None
    offset: int = 0

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
class Subquery:
    """(SELECT ...) as a value, EXISTS (SELECT ...), or item IN (SELECT ...)."""

    kind: str  # scalar, exists, in
    query: Query
    item: Expression | None = None  # of `in`
    place: Place | None = field(default=None, compare=False)


@dataclass(frozen=True, slots=True)
class Frame:
    """ROWS, RANGE or GROUPS between two bounds; None offsets are unbounded."""

    unit: str  # rows, range, groups
    start: tuple[str, int | None]  # (preceding | current | following, rows)
    end: tuple[str, int | None]


@dataclass(frozen=True, slots=True)
class Window:
    """call OVER (PARTITION BY ... ORDER BY ... frame)."""

    call: Call
    partitions: tuple[Expression, ...] = ()
    orders: tuple[Order, ...] = ()
    frame: Frame | None = None  # None: the engine's default
    ignore_nulls: bool = False
    place: Place | None = field(default=None, compare=False)


@dataclass(frozen=True, slots=True)
class Star:
    """`*` or `t.*`, EXCLUDE names, REPLACE (expression AS name)."""

    table: str = ""
    exclude: tuple[str, ...] = ()
    replace: tuple[tuple[str, Expression], ...] = ()
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
    | Subquery
    | Window
    | Star
    | Opaque
)


@dataclass(frozen=True, slots=True)
class TableName:
    """A base table in FROM, with its alias (its own name where none was given)."""

    name: str
    alias: str
    place: Place | None = None


@dataclass(frozen=True, slots=True)
class Derived:
    """A subquery in FROM, with its alias ("" where none was given)."""

    query: Query
    alias: str
    column_aliases: tuple[str, ...] = ()
    place: Place | None = None


@dataclass(frozen=True, slots=True)
class Join:
    """left JOIN right ON condition, or USING (columns).

    `kind` is inner, left, right, full, semi, anti or cross; `asof` for ASOF joins, which
    are inner or left. A comma in FROM is a cross join. NATURAL is `natural`.
    """

    left: Source
    right: Source
    condition: Expression | None
    using: tuple[str, ...]
    place: Place | None = None
    kind: str = "inner"
    asof: bool = False
    natural: bool = False


Source = TableName | Derived | Join


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
    """One SELECT.

    `grouping_sets` holds, for ROLLUP, CUBE and GROUPING SETS, the positions in `groups` of
    each set in the order in which the engine lists them; None for a plain GROUP BY.
    `distinct_on` is () for SELECT DISTINCT and None where nothing is distinct. `with_`
    names the queries of WITH, in order; a later one may use the earlier ones. With
    `order_all` (ORDER BY ALL) `orders` is one Order over a Star: its direction and nulls.
    """

    outputs: tuple[Output, ...]
    source: Source | None
    where: Expression | None = None
    groups: tuple[Expression, ...] = ()
    group_all: bool = False
    having: Expression | None = None
    orders: tuple[Order, ...] = ()
    limit: int | None = None
    offset: int = 0
    grouping_sets: tuple[tuple[int, ...], ...] | None = None
    qualify: Expression | None = None
    distinct_on: tuple[Expression, ...] | None = None
    with_: tuple[tuple[str, Query], ...] = ()
    order_all: bool = False


@dataclass(frozen=True, slots=True)
class SetOperation:
    """left UNION [ALL] right, with the ORDER BY and LIMIT of the whole."""

    kind: str  # union, except, intersect
    all: bool
    left: Query
    right: Query
    orders: tuple[Order, ...] = ()
    limit: int | None = None
    offset: int = 0
    with_: tuple[tuple[str, Query], ...] = ()
    by_name: bool = False
    order_all: bool = False
    place: Place | None = field(default=None, compare=False)


Query = Select | SetOperation

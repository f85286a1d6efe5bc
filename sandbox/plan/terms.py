"""Bound terms and predicates: what may be computed from one row before it is aggregated.

Each says by construction which base columns reach it. They are values: equal meaning
after `sandbox.plan.canonical` is equal value, and they render to SQL that we wrote.

Long because it is one closed table: every kind of node, and the functions that match them
all, which a new node must enter together.
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum


class Kind(StrEnum):
    """What an engine type is, as far as comparing and computing go."""

    INTEGER = "integer"
    DECIMAL = "decimal"
    DOUBLE = "double"
    TEXT = "text"
    DATE = "date"
    TIMESTAMP = "timestamp"
    BOOLEAN = "boolean"
    OTHER = "other"  # nothing may be done with it but count it


NUMBERS = frozenset({Kind.INTEGER, Kind.DECIMAL, Kind.DOUBLE})


@dataclass(frozen=True, slots=True)
class Ref:
    """A column of a base table, by binding."""

    table: str
    column: str
    kind: Kind
    scale: int | None = None  # decimals of a DECIMAL


@dataclass(frozen=True, slots=True)
class Literal:
    """A constant that the query itself wrote; dates as ISO text."""

    value: str | int | Decimal | bool | None
    kind: Kind


@dataclass(frozen=True, slots=True)
class Bin:
    """The bin of a number: `floor(ref / width) * width`, or its index, or by `//`."""

    ref: Ref
    width: Decimal
    index_only: bool
    truncating: bool  # `//` cuts towards zero, floor() downwards


@dataclass(frozen=True, slots=True)
class Trunc:
    """A date cut to the first day of its period."""

    ref: Ref
    grain: str


@dataclass(frozen=True, slots=True)
class DatePart:
    """A part of a date, such as its year, month or day of the week, as an integer."""

    ref: Ref
    part: str


@dataclass(frozen=True, slots=True)
class DateText:
    """A date as text, in a format that shows no more than its grain."""

    ref: Ref
    format: str


@dataclass(frozen=True, slots=True)
class Apply:
    """An allow-listed scalar function that cannot fail on any row."""

    function: str
    arguments: tuple[Term, ...]
    kind: Kind


@dataclass(frozen=True, slots=True)
class Choose:
    """CASE over predicates; every result has one kind."""

    branches: tuple[tuple[Predicate, Term], ...]
    otherwise: Term
    kind: Kind


@dataclass(frozen=True, slots=True)
class Gap:
    """From one date to another of the same unit, in whole units: a measure (DESIGN 5).

    `elapsed` counts days (or hours) that passed, which is what `a - b` and intervals mean;
    otherwise the borders of calendar periods between them, which is `date_diff`.
    """

    unit: str  # hour, day, week, month, quarter, year
    start: Term
    end: Term
    elapsed: bool


@dataclass(frozen=True, slots=True)
class Truth:
    """A predicate as a boolean (or, after a cast, 0/1) value."""

    predicate: Predicate
    as_integer: bool = False


Term = Ref | Literal | Bin | Trunc | DatePart | DateText | Apply | Choose | Gap | Truth


@dataclass(frozen=True, slots=True)
class Compare:
    """term op constant, op one of = <> < <= > >=; gridded columns have only < and >=."""

    operator: str
    term: Term
    constant: Literal


@dataclass(frozen=True, slots=True)
class CompareResult:
    """term op a controlled result that re-enters (`Plan.parameters[index]`).

    It is snapped to the grid or the grain of the column that it is compared with, and
    becomes a Compare before the block is run.
    """

    operator: str
    term: Term
    index: int
    grid: Decimal | None = None
    grain: str | None = None


@dataclass(frozen=True, slots=True)
class Equal:
    """Two dimensions compared with each other: = or <>, of one unit's rows < and <= too."""

    operator: str
    left: Term
    right: Term


@dataclass(frozen=True, slots=True)
class Within:
    """term IN (constants), sorted and without NULL."""

    term: Term
    constants: tuple[Literal, ...]


@dataclass(frozen=True, slots=True)
class WithinResult:
    """term IN the values of a controlled result (`Plan.parameters[index]`)."""

    term: Term
    index: int


@dataclass(frozen=True, slots=True)
class Like:
    """term LIKE pattern."""

    term: Term
    pattern: str
    ignore_case: bool


@dataclass(frozen=True, slots=True)
class Missing:
    """term IS NULL."""

    term: Term


@dataclass(frozen=True, slots=True)
class Holds:
    """A boolean term as a predicate."""

    term: Term


@dataclass(frozen=True, slots=True)
class Member:
    """ref IN (SELECT column FROM view), a view by its name; never NULL for a known unit."""

    ref: Ref
    view: str
    column: str


@dataclass(frozen=True, slots=True)
class All:
    """Every one holds."""

    items: tuple[Predicate, ...]


@dataclass(frozen=True, slots=True)
class AnyOf:
    """At least one holds."""

    items: tuple[Predicate, ...]


@dataclass(frozen=True, slots=True)
class Negate:
    """NOT item, in three-valued logic."""

    item: Predicate


@dataclass(frozen=True, slots=True)
class Always:
    """TRUE, FALSE or NULL."""

    value: bool | None


Predicate = (
    Compare
    | CompareResult
    | Equal
    | Within
    | WithinResult
    | Like
    | Missing
    | Holds
    | Member
    | All
    | AnyOf
    | Negate
    | Always
)


def kind_of(term: Term) -> Kind:
    """Return what kind of value a term gives."""
    match term:
        case Ref(kind=kind) | Literal(kind=kind) | Apply(kind=kind) | Choose(kind=kind):
            return kind
        case Bin(ref=ref, width=width, truncating=truncating):
            whole = ref.kind is Kind.INTEGER and width == width.to_integral_value()
            return Kind.INTEGER if truncating and whole else Kind.DOUBLE
        case Trunc(ref=ref):
            return ref.kind
        case DatePart():
            return Kind.INTEGER
        case DateText():
            return Kind.TEXT
        case Gap():
            return Kind.INTEGER
        case Truth(as_integer=as_integer):
            return Kind.INTEGER if as_integer else Kind.BOOLEAN


def parts_of(node: Term | Predicate) -> tuple[Term | Predicate, ...]:
    """Return the direct parts of a term or predicate."""
    match node:
        case Bin(ref=ref) | Trunc(ref=ref) | DatePart(ref=ref) | DateText(ref=ref):
            return (ref,)
        case Member(ref=ref):
            return (ref,)
        case Apply(arguments=arguments):
            return arguments
        case Choose(branches=branches, otherwise=otherwise):
            return (*(part for branch in branches for part in branch), otherwise)
        case Truth(predicate=item) | Negate(item=item):
            return (item,)
        case Gap(start=left, end=right) | Equal(left=left, right=right):
            return (left, right)
        case Compare() | CompareResult() | Within() | WithinResult() | Like():
            return (node.term,)
        case Missing(term=term) | Holds(term=term):
            return (term,)
        case All(items=items) | AnyOf(items=items):
            return items
        case Ref() | Literal() | Always():
            return ()


def refs_of(node: Term | Predicate) -> frozenset[Ref]:
    """Return the base columns that reach a term or predicate."""
    if isinstance(node, Ref):
        return frozenset({node})
    found = frozenset(ref for part in parts_of(node) for ref in refs_of(part))
    if isinstance(node, Member):
        # What the view is about reaches the filter too: whether it is sensitive.
        return found | {Ref(node.view, node.column, node.ref.kind)}
    return found


def members_in(node: Term | Predicate) -> tuple[Member, ...]:
    """Return the semi-joins in a term or predicate, in the order they stand."""
    if isinstance(node, Member):
        return (node,)
    return tuple(found for part in parts_of(node) for found in members_in(part))


def kind_of_type(engine_type: str) -> tuple[Kind, int | None]:
    """Return kind and decimals of an engine type such as `DECIMAL(10,2)`."""
    name = engine_type.upper()
    if name.startswith("DECIMAL("):
        return Kind.DECIMAL, int(name[:-1].split(",")[1])
    return _KINDS.get(name, Kind.OTHER), None


_KINDS = {
    **dict.fromkeys(
        (
            "TINYINT", "SMALLINT", "INTEGER", "BIGINT", "HUGEINT", "UTINYINT", "USMALLINT",
            "UINTEGER", "UBIGINT",
        ),
        Kind.INTEGER,
    ),
    "DOUBLE": Kind.DOUBLE,
    "FLOAT": Kind.DOUBLE,
    "VARCHAR": Kind.TEXT,
    "DATE": Kind.DATE,
    "TIMESTAMP": Kind.TIMESTAMP,
    "TIMESTAMP_S": Kind.TIMESTAMP,
    "TIMESTAMP_MS": Kind.TIMESTAMP,
    "TIMESTAMP_NS": Kind.TIMESTAMP,
    "TIMESTAMP WITH TIME ZONE": Kind.OTHER,
    "BOOLEAN": Kind.BOOLEAN,
}  # fmt: skip

"""Expressions over controlled cells: what stage 2 computes, after protection.

They can name keys and aggregates of the plan, never a column of a table; so whatever they
compute is post-processing of what was released anyway.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from sandbox.quoting import text_literal


@dataclass(frozen=True, slots=True)
class KeyCell:
    """The value of a visible key."""

    index: int


@dataclass(frozen=True, slots=True)
class AggregateCell:
    """The value of an aggregate, or withheld."""

    index: int


@dataclass(frozen=True, slots=True)
class LiteralCell:
    """A constant; `kind` is integer, numeric, string, boolean or null."""

    kind: str
    text: str


@dataclass(frozen=True, slots=True)
class PostCall:
    """An allow-listed function or operator over cell expressions."""

    name: str
    arguments: tuple[CellExpression, ...]


@dataclass(frozen=True, slots=True)
class PostCase:
    """CASE over cell expressions."""

    branches: tuple[tuple[CellExpression, CellExpression], ...]
    otherwise: CellExpression


@dataclass(frozen=True, slots=True)
class PostCast:
    """TRY_CAST of a cell expression: a cast that fails is NULL, never an error."""

    item: CellExpression
    type: str


CellExpression = KeyCell | AggregateCell | LiteralCell | PostCall | PostCase | PostCast

INFIX = frozenset({"+", "-", "*", "/", "//", "%", "||", "=", "<>", "<", "<=", ">", ">="})
FUNCTIONS = frozenset(
    {
        "round", "floor", "ceil", "ceiling", "abs", "sign", "sqrt", "ln", "log", "log10",
        "log2", "exp", "power", "pow", "coalesce", "ifnull", "nullif", "greatest", "least",
        "upper", "lower", "trim", "left", "right", "length", "concat", "if", "isnan",
    }
)  # fmt: skip
LOGIC = frozenset({"and", "or", "not", "is_null", "in", "negate"})
CAST_TYPES = frozenset(
    {
        "TINYINT", "SMALLINT", "INTEGER", "BIGINT", "HUGEINT", "DOUBLE", "FLOAT", "VARCHAR",
        "BOOLEAN", "DATE", "DECIMAL",
    }
)  # fmt: skip


def children_of(node: CellExpression) -> tuple[CellExpression, ...]:
    """Return the direct parts of an expression."""
    match node:
        case PostCall(arguments=arguments):
            return arguments
        case PostCase(branches=branches, otherwise=otherwise):
            return (*(part for branch in branches for part in branch), otherwise)
        case PostCast(item=item):
            return (item,)
        case _:
            return ()


def aggregates_in(node: CellExpression) -> frozenset[int]:
    """Return the aggregates that reach an expression: it is withheld if one of them is."""
    if isinstance(node, AggregateCell):
        return frozenset({node.index})
    found: frozenset[int] = frozenset()
    for child in children_of(node):
        found |= aggregates_in(child)
    return found


def keys_in(node: CellExpression) -> frozenset[int]:
    """Return the keys that reach an expression."""
    if isinstance(node, KeyCell):
        return frozenset({node.index})
    found: frozenset[int] = frozenset()
    for child in children_of(node):
        found |= keys_in(child)
    return found


def remapped(
    node: CellExpression, keys: Mapping[int, int], aggregates: Mapping[int, int]
) -> CellExpression:
    """Return the expression with its key and aggregate numbers replaced."""
    match node:
        case KeyCell(index=index):
            return KeyCell(keys[index])
        case AggregateCell(index=index):
            return AggregateCell(aggregates[index])
        case LiteralCell():
            return node
        case PostCall(name=name, arguments=arguments):
            return PostCall(name, tuple(remapped(a, keys, aggregates) for a in arguments))
        case PostCase(branches=branches, otherwise=otherwise):
            return PostCase(
                tuple(
                    (remapped(a, keys, aggregates), remapped(b, keys, aggregates))
                    for a, b in branches
                ),
                remapped(otherwise, keys, aggregates),
            )
        case PostCast(item=item, type=name):
            return PostCast(remapped(item, keys, aggregates), name)


def cell_sql(node: CellExpression) -> str:
    """Return the SQL of an expression over the table `cells` (columns k0.., a0..)."""
    match node:
        case KeyCell(index=index):
            return f"k{index}"
        case AggregateCell(index=index):
            return f"a{index}"
        case LiteralCell(kind=kind, text=text):
            return text_literal(text) if kind == "string" else text
        case PostCast(item=item, type=name):
            return f"TRY_CAST({cell_sql(item)} AS {name})"
        case PostCase(branches=branches, otherwise=otherwise):
            whens = " ".join(f"WHEN {cell_sql(a)} THEN {cell_sql(b)}" for a, b in branches)
            return f"CASE {whens} ELSE {cell_sql(otherwise)} END"
        case PostCall(name=name, arguments=arguments):
            return _call_sql(name, [cell_sql(argument) for argument in arguments])


def _call_sql(name: str, rendered: list[str]) -> str:
    if name in INFIX:
        return "(" + f" {name} ".join(rendered) + ")"
    if name in ("and", "or"):
        return "(" + f" {name.upper()} ".join(rendered) + ")"
    match name:
        case "not":
            return f"(NOT {rendered[0]})"
        case "negate":
            return f"(- {rendered[0]})"
        case "is_null":
            return f"({rendered[0]} IS NULL)"
        case "in":
            return f"({rendered[0]} IN ({', '.join(rendered[1:])}))"
        case _ if name in FUNCTIONS:
            return f"{name}({', '.join(rendered)})"
    raise AssertionError("a function outside the allow-list was bound")

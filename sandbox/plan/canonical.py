"""Equal meaning, equal value: the canonical form of predicates, and terms as plain data.

Every rule here holds in three-valued logic: `age >= 0` is not TRUE where age is NULL, so
no comparison is ever dropped for being always true.
"""

from __future__ import annotations

import dataclasses
import json
from decimal import Decimal
from typing import Any

from sandbox.plan import terms
from sandbox.plan.terms import (
    All,
    Always,
    AnyOf,
    Compare,
    Equal,
    Literal,
    Negate,
    Predicate,
    Term,
    Within,
)

_FLIPPED = {"=": "<>", "<>": "=", "<": ">=", ">=": "<", ">": "<=", "<=": ">"}
_FIELDS: dict[type, tuple[str, ...]] = {}  # looked up for every node of every plan
_NODES = {
    item.__name__: item
    for item in vars(terms).values()
    if isinstance(item, type) and dataclasses.is_dataclass(item)
}


def admit(*kinds: type) -> None:
    """Let `from_data` read nodes of these kinds too: their modules build upon this one."""
    _NODES.update((kind.__name__, kind) for kind in kinds)


def canonical(predicate: Predicate) -> Predicate:
    """Return the predicate flattened, negations pushed down, duplicates out, sorted."""
    match predicate:
        case All(items=items):
            return _gather(tuple(canonical(item) for item in items), conjunction=True)
        case AnyOf(items=items):
            return _gather(tuple(canonical(item) for item in items), conjunction=False)
        case Negate(item=item):
            return _negate(canonical(item))
        case Within(term=term, constants=constants):
            distinct = tuple(sorted(set(constants), key=key_of))
            if len(distinct) == 1:
                return Compare("=", term, distinct[0])
            return Within(term, distinct)
        case Equal(operator=operator, left=left, right=right):
            if operator in (">", ">="):
                return Equal("<" + operator[1:], right, left)
            if operator in ("<", "<="):
                return predicate
            first, second = sorted((left, right), key=key_of)
            return Equal(operator, first, second)
        case _:
            return predicate


def _negate(predicate: Predicate) -> Predicate:
    match predicate:
        case Negate(item=item):
            return item
        case All(items=items):
            return _gather(tuple(_negate(item) for item in items), conjunction=False)
        case AnyOf(items=items):
            return _gather(tuple(_negate(item) for item in items), conjunction=True)
        case Compare(operator=operator, term=term, constant=constant):
            return Compare(_FLIPPED[operator], term, constant)
        case Equal(operator=operator, left=left, right=right):
            return canonical(Equal(_FLIPPED[operator], left, right))
        case Always(value=value):
            return Always(None if value is None else not value)
        case _:
            return Negate(predicate)


def _gather(items: tuple[Predicate, ...], *, conjunction: bool) -> Predicate:
    kind = All if conjunction else AnyOf
    flat: dict[str, Predicate] = {}
    for item in items:
        for part in item.items if isinstance(item, kind) else (item,):
            flat.setdefault(key_of(part), part)
    absorbing, neutral = Always(not conjunction), Always(conjunction)
    if absorbing in flat.values():
        return absorbing
    kept = [flat[key] for key in sorted(flat) if flat[key] != neutral]
    if not conjunction:
        kept = _merge_equalities(kept)
    if not kept:
        return neutral
    return kept[0] if len(kept) == 1 else kind(tuple(kept))


def _merge_equalities(items: list[Predicate]) -> list[Predicate]:
    # city = 'a' OR city = 'b' is city IN ('a', 'b').
    found: dict[Term, set[Literal]] = {}
    rest: list[Predicate] = []
    for item in items:
        match item:
            case Compare(operator="=", term=term, constant=constant):
                found.setdefault(term, set()).add(constant)
            case Within(term=term, constants=constants):
                found.setdefault(term, set()).update(constants)
            case _:
                rest.append(item)
    for term, values in found.items():
        ordered = tuple(sorted(values, key=key_of))
        rest.append(
            Compare("=", term, ordered[0]) if len(ordered) == 1 else Within(term, ordered)
        )
    return sorted(rest, key=key_of)


def field_names(kind: type) -> tuple[str, ...]:
    """Return the names of a node's fields; () for what is no node."""
    names = _FIELDS.get(kind)
    if names is None:
        known = dataclasses.is_dataclass(kind)
        names = tuple(field.name for field in dataclasses.fields(kind)) if known else ()
        _FIELDS[kind] = names
    return names


def to_data(node: Any) -> Any:
    """Turn a term, predicate or plan part into JSON-ready lists; equals give equals."""
    if isinstance(node, tuple):
        return ["()", *[to_data(item) for item in node]]
    names = field_names(type(node))
    if names:
        return [type(node).__name__, *[to_data(getattr(node, name)) for name in names]]
    if isinstance(node, Decimal):
        return ["d", format(node.normalize(), "f")]
    if node is None or isinstance(node, (bool, int)):
        return node
    return str(node)


def from_data(data: Any) -> Any:
    """Read what `to_data` wrote; raises ValueError on anything that is not a known node."""
    if not isinstance(data, list):
        if data is None or isinstance(data, (bool, int, str)):
            return data
        raise ValueError("a plan holds a value of an unknown type")
    tag, *rest = data
    if tag == "()":
        return tuple(from_data(item) for item in rest)
    if tag == "d":
        return Decimal(rest[0])
    kind = _NODES.get(tag)
    names = () if kind is None else field_names(kind)
    if kind is None or len(names) != len(rest):
        raise ValueError("a plan holds an unknown node")
    values = [from_data(item) for item in rest]
    if "kind" in names:
        place = names.index("kind")
        values[place] = terms.Kind(values[place])
    return kind(*values)


def key_of(node: Any) -> str:
    """Return the text by which equal parts sort and compare."""
    return json.dumps(to_data(node), ensure_ascii=False, separators=(",", ":"))

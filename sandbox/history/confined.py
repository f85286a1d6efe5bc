"""To which values a filter confines single terms, by its text: so rows are told apart.

A row passes a filter where it IS TRUE; of a conjunction each part is TRUE then. So where a
part compares a term with constants, the term has one of the values that the part allows,
in every row that passes. A term is computed from one row alone, and in one row it has one
value. Hence two filters that allow some term no common value let no common row pass: over
any data, and over any join in which both stand, since they read one row of it.

What left of an earlier release is confined further: its labels say which values the keys
have in those rows. A part, key or label that is not understood confines nothing.
"""

from __future__ import annotations

import datetime
from collections.abc import Iterable, Mapping
from decimal import Decimal

from sandbox.history.entry import Label
from sandbox.history.values import (
    KNOWN,
    Cut,
    Listed,
    Ranged,
    Value,
    Values,
    common,
    either,
    moment_of,
    value_of,
)
from sandbox.plan.terms import (
    All,
    AnyOf,
    Bin,
    Choose,
    Compare,
    DatePart,
    DateText,
    Holds,
    Kind,
    Literal,
    Missing,
    Negate,
    Predicate,
    Ref,
    Term,
    Trunc,
    Within,
    kind_of,
)

Confined = Mapping[Term, Values]

_READ_FROM_ROW = (Ref, Bin, Trunc, DatePart, DateText)
_MONTHS = {"month": 1, "quarter": 3, "year": 12}


def confined(predicate: Predicate) -> Confined:
    """Return to which values each term is confined in every row that passes a filter."""
    found: dict[Term, Values] = {}
    _meet_all(found, _confined(predicate))
    return found


def confined_further(
    by_filter: Confined, keys: Iterable[Term], labels: Iterable[Label]
) -> Confined:
    """Return what confines those rows of a filter whose keys have one of these labels."""
    found = dict(by_filter)
    columns = zip(*labels, strict=True)
    for key, column in zip(keys, columns, strict=False):
        _meet_all(found, _by_label(key, frozenset(column)))
    return found


def apart(one: Confined, other: Confined) -> bool:
    """Whether no row can pass both; False where their text does not show it."""
    fewer, more = (one, other) if len(one) < len(other) else (other, one)
    for term, values in fewer.items():
        its = more.get(term)
        if its is not None and common(values, its).is_empty:
            return True
    return False


# --- filters


def _confined(predicate: Predicate) -> Confined:
    match predicate:
        case All(items=items):
            found: dict[Term, Values] = {}
            for item in items:
                _meet_all(found, _confined(item))
            return found
        case AnyOf(items=items):
            return _in_some([_confined(item) for item in items])
        case Compare(operator=operator, term=term, constant=constant):
            values = _compared(operator, value_of(constant, kind_of(term)))
        case Within(term=term, constants=constants):
            values = _listed(value_of(item, kind_of(term)) for item in constants)
        case Negate(item=Within(term=term, constants=constants)):
            listed = _listed(value_of(item, kind_of(term)) for item in constants)
            left_out = listed.values if isinstance(listed, Listed) else frozenset()
            values = Ranged(left_out=left_out)
        case Missing(term=term):
            values = Listed(frozenset({None}))
        case Negate(item=Missing(term=term)):
            values = KNOWN
        case Holds(term=term):
            values = Listed(frozenset({True}))
        case Negate(item=Holds(term=term)):
            values = Listed(frozenset({False}))
        case _:
            return {}
    return {term: values} if isinstance(term, _READ_FROM_ROW) else {}


def _compared(operator: str, value: Value) -> Values:
    if value is None:
        return KNOWN  # some value, though which is in doubt
    if operator == "=":
        return Listed(frozenset({value}))
    if operator == "<>":
        return Ranged(left_out=frozenset({value}))
    if isinstance(value, (str, bool)):
        return KNOWN
    place: Cut = (value, 1 if operator in (">", "<=") else 0)  # type: ignore[assignment]  # of one kind, as the value is
    return Ranged(low=place) if operator in (">", ">=") else Ranged(high=place)


def _listed(values: Iterable[Value]) -> Values:
    found = frozenset(values)
    return KNOWN if None in found else Listed(found)


def _in_some(alternatives: list[Confined]) -> Confined:
    found: dict[Term, Values] = {}
    for term, values in alternatives[0].items():
        met: Values | None = values
        for other in alternatives[1:]:
            its = other.get(term)
            met = None if met is None or its is None else either(met, its)
        if met is not None:
            found[term] = met
    return found


def _meet_all(found: dict[Term, Values], more: Confined) -> None:
    for term, values in more.items():
        _meet(found, term, values)
        within = _within_periods(term.grain, values) if isinstance(term, Trunc) else None
        if isinstance(term, Trunc) and within is not None:
            _meet(found, term.ref, within)


def _meet(found: dict[Term, Values], term: Term, values: Values) -> None:
    known = found.get(term)
    found[term] = values if known is None else common(known, values)


# --- periods


def _within_periods(grain: str, values: Values) -> Values | None:
    """Return where a date lies whose period begins at one of `values`; None: anywhere."""
    if isinstance(values, Ranged):
        return Ranged(low=values.low)  # a period begins no later than what lies in it
    moments = [value for value in values.values if isinstance(value, datetime.datetime)]
    if not moments or len(moments) < len(values.values):
        return None
    return Ranged((min(moments), 0), (_next(grain, max(moments)), 0))


def _next(grain: str, first: datetime.datetime) -> datetime.datetime:
    """Return where the period ends that begins at `first`."""
    months = _MONTHS.get(grain)
    if months is None:
        return first + datetime.timedelta(days=7 if grain == "week" else 1)
    place = first.year * 12 + first.month - 1 + months
    return first.replace(year=place // 12, month=place % 12 + 1, day=1)


# --- labels


def _by_label(key: Term, column: frozenset[object]) -> Confined:
    if isinstance(key, Choose):
        branches = [_branch(key, value) for value in column]
        known = [confined(found) for found in branches if found is not None]
        return _in_some(known) if known and len(known) == len(branches) else {}
    if not isinstance(key, _READ_FROM_ROW):
        return {}
    values = _labelled(column, kind_of(key))
    return {} if values is None else {key: values}


def _branch(key: Choose, value: object) -> Predicate | None:
    """Return the condition that holds where CASE gives `value`, if only one does."""
    given = [result for _, result in key.branches] + [key.otherwise]
    constants = [item.value for item in given if isinstance(item, Literal)]
    if len(constants) < len(given):
        return None
    places = [place for place, constant in enumerate(constants) if constant == value]
    if value is None or len(places) != 1 or places[0] == len(key.branches):
        return None
    return key.branches[places[0]][0]


def _labelled(column: Iterable[object], kind: Kind) -> Values | None:
    """Return the values that labels stand for; None where one is in doubt.

    Of a number that is not whole a label may be rounded; of NaN it is None, as of NULL.
    """
    found: set[Value] = set()
    for label in column:
        value: Value = None
        match kind:
            case Kind.TEXT if isinstance(label, str):
                value = label
            case Kind.BOOLEAN if isinstance(label, bool):
                value = label
            case Kind.INTEGER if isinstance(label, int) and not isinstance(label, bool):
                value = Decimal(label)
            case Kind.DATE if isinstance(label, str):
                value = moment_of(label)
        exact = kind in (Kind.TEXT, Kind.BOOLEAN, Kind.INTEGER, Kind.DATE)
        if value is None and not (exact and label is None):
            return None
        found.add(value)
    return Listed(frozenset(found))

"""Casts of terms of one row: those that no value can make fail, and TRY_CAST."""

from __future__ import annotations

from sandbox.plan.terms import (
    NUMBERS,
    Apply,
    Bin,
    DatePart,
    Holds,
    Kind,
    Ref,
    Term,
    Truth,
    kind_of,
)

_INTEGERS = frozenset({"TINYINT", "SMALLINT", "INTEGER", "BIGINT"})
# type -> (function of the plan, kind), for values that may not fit: there NULL.
_TRIED = {
    "INTEGER": ("try_int", Kind.INTEGER),
    "BIGINT": ("try_integer", Kind.INTEGER),
    "DOUBLE": ("try_double", Kind.DOUBLE),
    "DATE": ("try_date", Kind.DATE),
}


def cast_term(term: Term, name: str, *, lenient: bool, compared: bool) -> Term | None:
    """Return a term cast to a type, or None where the cast could fail on a value.

    With `compared` a number as DOUBLE stays what it is, since it compares alike.
    """
    kind = kind_of(term)
    if isinstance(term, Truth) and name in _INTEGERS:
        return Truth(term.predicate, as_integer=True)
    if kind is Kind.BOOLEAN and name in (*_INTEGERS, "BOOLEAN"):
        return term if name == "BOOLEAN" else Truth(Holds(term), as_integer=True)
    if name == "VARCHAR" and kind in (Kind.TEXT, Kind.INTEGER, Kind.BOOLEAN, Kind.DATE):
        return term if kind is Kind.TEXT else Apply("to_text", (term,), Kind.TEXT)
    if name in ("INTEGER", "BIGINT") and isinstance(term, (Bin, DatePart)):
        return Apply("try_integer", (term,), Kind.INTEGER)
    if name in ("INTEGER", "BIGINT", "HUGEINT") and kind is Kind.INTEGER:
        return term
    if name == "DATE" and kind is Kind.DATE:
        return term
    if name == "TIMESTAMP" and kind is Kind.TIMESTAMP:
        return term
    if name == "DOUBLE" and kind in NUMBERS and compared and isinstance(term, Ref):
        return term
    # A number becomes another, rounded, and a moment its day; text may be anything.
    safe = kind is Kind.TIMESTAMP if name == "DATE" else kind in NUMBERS
    if name in _TRIED and (safe or (lenient and kind is Kind.TEXT)):
        function, result = _TRIED[name]
        return Apply(function, (term,), result)
    return None

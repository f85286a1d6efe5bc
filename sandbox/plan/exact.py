"""Measures in types whose sums are exact and cannot overflow on real data."""

from __future__ import annotations

from decimal import Decimal

from policies.document import Policy
from sandbox.plan.render import term_sql
from sandbox.plan.terms import Kind, Ref

DEFAULT_SCALE = 6  # decimals kept of a DOUBLE whose policy names none
# Doubles from here on would overflow exact sums; they count as missing.
DOUBLE_LIMIT = Decimal(10) ** 18
_NARROW_DIGITS, _NARROW_SCALE = 18, 12


def exact_sql(ref: Ref, policy: Policy) -> str:
    """Return a measure in a type whose sums are exact and cannot overflow on real data."""
    text = term_sql(ref)
    if ref.kind is Kind.INTEGER:
        return f"CAST({text} AS HUGEINT)"
    if ref.kind is Kind.DECIMAL:
        return f"CAST({text} AS DECIMAL(38,{ref.scale or 0}))"
    return (
        f"CASE WHEN isfinite({text}) AND abs({text}) < {DOUBLE_LIMIT} "
        f"THEN CAST({text} AS DECIMAL(38,{scale_of(ref, policy)})) END"
    )


def narrow_sql(ref: Ref, policy: Policy) -> str:
    """Return the same, cheaper, for a statement that may be asked again if it fails.

    Where a DOUBLE is no number, or too large for the narrow type, the engine raises
    ConversionException; of all others the value is that of `exact_sql`.
    """
    scale = scale_of(ref, policy)
    if ref.kind is not Kind.DOUBLE or scale > _NARROW_SCALE:
        return exact_sql(ref, policy)
    return f"CAST({term_sql(ref)} AS DECIMAL({_NARROW_DIGITS},{scale}))"


def scale_of(ref: Ref, policy: Policy) -> int:
    """Return how many decimals of a DOUBLE measure its sums keep."""
    table = policy.table(ref.table)
    column = None if table is None else table.column(ref.column)
    scale = None if column is None else column.scale
    return DEFAULT_SCALE if scale is None else scale

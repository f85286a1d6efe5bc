"""Constants: what a literal is worth, and where it lies on a column's grid or grain.

Measures and dates meet constants only half-open and on their grid, since two filters that
differ by less would single out who lies between them.
"""

from __future__ import annotations

import datetime
from decimal import Decimal

from policies.document import Column
from sandbox.binding import date_constants
from sandbox.plan.terms import NUMBERS, All, Compare, Kind, Literal, Negate, Predicate, Term
from sandbox.sql import syntax

_LIMIT = Decimal("1e27")
_DAY = datetime.timedelta(days=1)
_NUMERIC_CASTS = {"TINYINT", "SMALLINT", "INTEGER", "BIGINT", "HUGEINT", "DOUBLE", "FLOAT"}


def constant_of(expression: syntax.Expression) -> Literal | None:
    """Return the value of a constant expression, or None where it is none we fold."""
    match expression:
        case syntax.Constant(kind=kind, text=text):
            return _plain(kind, text)
        case syntax.Cast(item=item, type=name):
            return _cast(constant_of(item), name)
        case syntax.Call(name=name, arguments=arguments, distinct=False, condition=None):
            values = [constant_of(argument) for argument in arguments]
            moved = date_constants.shifted(name, arguments, values[0] if values else None)
            if moved is not None:
                return moved
            known = [value for value in values if value is not None]
            if len(known) < len(values):
                return None
            if all(value.kind in NUMBERS for value in known):
                found = _arithmetic(name, [value.value for value in known])
                return date_constants.made(name, known) if found is None else found
            return date_constants.made(name, known)
        case _:
            pass
    return None


def _plain(kind: str, text: str) -> Literal | None:
    match kind:
        case "string":
            return Literal(text, Kind.TEXT)
        case "boolean":
            return Literal(text.lower() == "true", Kind.BOOLEAN)
        case "null":
            return Literal(None, Kind.OTHER)
        case _:
            return _number(text.replace("_", ""))


def _number(text: str) -> Literal | None:
    try:
        return _numeric(Decimal(text))
    except ArithmeticError:  # no number, or one whose exponent no decimal holds
        return None


def _numeric(value: Decimal) -> Literal | None:
    # Past 28 digits decimal arithmetic would round, and move a bound off its grid.
    if not value.is_finite() or value.adjusted() > 27:
        return None
    if abs(value) > _LIMIT or len(value.as_tuple().digits) > 28:
        return None
    if value and value.adjusted() < -12:
        return None
    whole = value == value.to_integral_value()
    return Literal(value.normalize() + 0, Kind.INTEGER if whole else Kind.DECIMAL)


def _arithmetic(name: str, values: list[object]) -> Literal | None:
    numbers = [value for value in values if isinstance(value, Decimal)]
    if len(numbers) != len(values):
        return None
    match name, numbers:
        case "-", [value]:
            return _numeric(-value)
        case "+", [left, right]:
            return _numeric(left + right)
        case "-", [left, right]:
            return _numeric(left - right)
        case "*", [left, right]:
            return _numeric(left * right)
    return None


def _cast(value: Literal | None, name: str) -> Literal | None:
    if value is None:
        return None
    if name == "DATE" and value.kind is Kind.TEXT:
        return date_literal(str(value.value), Kind.DATE)
    if name.startswith("TIMESTAMP") and value.kind is Kind.TEXT and "ZONE" not in name:
        return date_literal(str(value.value), Kind.TIMESTAMP)
    if name in _NUMERIC_CASTS and value.kind is Kind.INTEGER:
        return value
    if name == "VARCHAR" and value.kind is Kind.TEXT:
        return value
    if name == "DATE" and value.kind is Kind.TIMESTAMP:
        return date_literal(str(value.value)[:10], Kind.DATE)
    if name == "TIMESTAMP" and value.kind is Kind.DATE:
        return date_literal(str(value.value), Kind.TIMESTAMP)
    if name in ("DATE", "TIMESTAMP", "BOOLEAN") and value.kind is _CASTS.get(name):
        return value
    return _from_text(str(value.value), name) if value.kind is Kind.TEXT else None


_CASTS = {"DATE": Kind.DATE, "TIMESTAMP": Kind.TIMESTAMP, "BOOLEAN": Kind.BOOLEAN}


def _from_text(text: str, name: str) -> Literal | None:
    if name == "BOOLEAN" and text.lower() in ("true", "false"):
        return Literal(text.lower() == "true", Kind.BOOLEAN)
    number = _number(text) if name in _NUMERIC_CASTS else None
    if number is not None and number.kind is not Kind.INTEGER and name != "DOUBLE":
        return None  # the engine would round it
    return number


def date_literal(text: str, kind: Kind) -> Literal | None:
    """Read an ISO date or timestamp without zone; None where it is none."""
    try:
        moment = datetime.datetime.fromisoformat(text.strip())
    except ValueError:
        return None
    if moment.tzinfo is not None or not 1 < moment.year < 9999:
        return None
    if kind is Kind.DATE:
        if moment.time() != datetime.time():
            return None
        return Literal(moment.date().isoformat(), Kind.DATE)
    return Literal(moment.isoformat(sep=" "), Kind.TIMESTAMP)


def fitted(value: Literal, kind: Kind) -> Literal | None:
    """Return the constant as one that compares with `kind` without a cast on any row."""
    if value.value is None:
        return None
    if kind in NUMBERS:
        return value if value.kind in NUMBERS else None
    if kind in (Kind.DATE, Kind.TIMESTAMP):
        if value.kind in (Kind.DATE, Kind.TIMESTAMP, Kind.TEXT):
            return date_literal(str(value.value), kind)
        return None
    return value if value.kind is kind else None


def step_of(kind: Kind, scale: int | None) -> Decimal | None:
    """Return the distance between neighbouring values of a numeric type, None if dense."""
    if kind is Kind.INTEGER:
        return Decimal(1)
    if kind is Kind.DECIMAL and scale is not None:
        return Decimal(1).scaleb(-scale)
    return None


def half_open(
    operator: str, term: Term, value: Literal, *, kind: Kind, scale: int | None
) -> tuple[Predicate, tuple[Literal, ...], bool]:
    """Rewrite a comparison to `<` and `>=` only.

    Returns the predicate, the bounds it names, and whether the rewriting is exact: `<=` on
    a dense type is not, since it tells who stands exactly on the bound.
    """
    if operator in ("<", ">="):
        bound = _ceiling(value, kind, scale)
        return Compare(operator, term, bound), (bound,), True
    if operator in ("<=", ">"):
        above = _successor(value, kind, scale)
        turned = "<" if operator == "<=" else ">="
        if above is None:
            return Compare(turned, term, value), (value,), False
        return Compare(turned, term, above), (above,), True
    above = _successor(value, kind, scale)
    if above is None or _ceiling(value, kind, scale) != value:
        return Compare(operator, term, value), (value,), False
    inside = All((Compare(">=", term, value), Compare("<", term, above)))
    return (inside if operator == "=" else Negate(inside)), (value, above), True


def _ceiling(value: Literal, kind: Kind, scale: int | None) -> Literal:
    step = step_of(kind, scale)
    if step is None or not isinstance(value.value, Decimal):
        return value
    number = (value.value / step).to_integral_value(rounding="ROUND_CEILING") * step
    return _numeric(number) or value


def _successor(value: Literal, kind: Kind, scale: int | None) -> Literal | None:
    if kind is Kind.DATE:
        day = datetime.date.fromisoformat(str(value.value)) + _DAY
        return Literal(day.isoformat(), Kind.DATE)
    step = step_of(kind, scale)
    if step is None or not isinstance(value.value, Decimal):
        return None
    number = (value.value / step).to_integral_value(rounding="ROUND_FLOOR") * step + step
    return _numeric(number)


def is_on_grid(column: Column, bound: Literal) -> bool:
    """Whether a bound lies on the column's grid, or is the first day of its grain."""
    if column.grid is not None:
        return isinstance(bound.value, Decimal) and bound.value % column.grid == 0
    if column.grain is None:
        return False
    try:
        moment = datetime.datetime.fromisoformat(str(bound.value))
    except ValueError:
        return False
    if moment.time() != datetime.time():
        return False
    match column.grain.value:
        case "day":
            return True
        case "week":
            return moment.weekday() == 0
        case "month":
            return moment.day == 1
        case "quarter":
            return moment.day == 1 and moment.month % 3 == 1
        case "year":
            return moment.day == 1 and moment.month == 1
    return False


def cut_is_coarser(grain: str, column: Column) -> bool:
    """Whether periods of `grain` are unions of the periods that the column may show."""
    if column.grain is None:
        return True
    order = ("day", "month", "quarter", "year")
    finest = column.grain.value
    if finest == "week" or grain == "week":
        # Weeks cross months and years: only days are finer.
        return grain == finest or finest == "day"
    return grain in order and order.index(grain) >= order.index(finest)

"""Terms and predicates as SQL of our own: the only text of a query that the engine runs."""

from __future__ import annotations

from decimal import Decimal

from sandbox.plan.terms import (
    All,
    Always,
    AnyOf,
    Apply,
    Bin,
    Choose,
    Compare,
    CompareResult,
    DatePart,
    DateText,
    Equal,
    Gap,
    Holds,
    Kind,
    Like,
    Literal,
    Member,
    Missing,
    Negate,
    Predicate,
    Ref,
    Term,
    Trunc,
    Truth,
    Within,
    WithinResult,
    kind_of,
)
from sandbox.quoting import quoted, text_literal

_INFIX = {"||", "+", "-", "*", "/", "//", "%"}
_TRIED = {
    "try_integer": "BIGINT",
    "try_int": "INTEGER",
    "try_double": "DOUBLE",
    "try_date": "DATE",
}
# They overflow or leave the calendar on some values: there they give NULL.
_MAY_RAISE = {
    "+", "-", "*", "/", "//", "%", "abs", "floor", "ceil", "round", "trunc", "last_day",
    "regexp_replace", "regexp_extract", "split_part", "substr",
}  # fmt: skip


def number_literal(value: Decimal | int) -> str:
    """Return a number as written by us: digits, sign, point; never an exponent."""
    return format(value, "f") if isinstance(value, Decimal) else str(value)


def term_sql(term: Term) -> str:
    """Return the SQL of a term over tables that carry their policy names."""
    match term:
        case Ref(table=table, column=column):
            return f"{quoted(table)}.{quoted(column)}"
        case Literal():
            return _literal(term)
        case Bin():
            return _bin(term)
        case Trunc(ref=ref, grain=grain):
            cut = f"date_trunc({text_literal(grain)}, {term_sql(ref)})"
            return f"CAST({cut} AS DATE)" if ref.kind is Kind.DATE else cut
        case DatePart(ref=ref, part=part):
            found = f"date_part({text_literal(part)}, {term_sql(ref)})"
            # At the very first dates of the calendar the engine's weeks fail.
            return f"TRY({found})" if part in ("week", "isoyear", "yearweek") else found
        case DateText(ref=ref, format=pattern):
            return f"strftime({term_sql(ref)}, {text_literal(pattern)})"
        case Apply(function=function, arguments=arguments):
            rendered = [term_sql(argument) for argument in arguments]
            return _applied(function, rendered)
        case Choose(branches=branches, otherwise=otherwise):
            whens = " ".join(
                f"WHEN {predicate_sql(condition)} THEN {term_sql(result)}"
                for condition, result in branches
            )
            return f"CASE {whens} ELSE {term_sql(otherwise)} END"
        case Gap():
            return _gap(term)
        case Truth(predicate=predicate, as_integer=as_integer):
            inner = f"({predicate_sql(predicate)})"
            return f"CAST({inner} AS INTEGER)" if as_integer else inner


def _applied(function: str, rendered: list[str]) -> str:
    if function == "to_text":
        return f"CAST({rendered[0]} AS VARCHAR)"
    if function in _TRIED:
        return f"TRY_CAST({rendered[0]} AS {_TRIED[function]})"
    if function == "-" and len(rendered) == 1:
        return f"TRY(- {rendered[0]})"
    if function in _INFIX:
        text = "(" + f" {function} ".join(rendered) + ")"
    else:
        text = f"{function}({', '.join(rendered)})"
    return f"TRY({text})" if function in _MAY_RAISE else text


def _literal(literal: Literal) -> str:
    value = literal.value
    match literal.kind:
        case Kind.BOOLEAN if isinstance(value, bool):
            return "TRUE" if value else "FALSE"
        case _ if value is None:
            return "NULL"
        case Kind.TEXT:
            return text_literal(str(value))
        case Kind.DATE:
            return f"DATE {text_literal(str(value))}"
        case Kind.TIMESTAMP:
            return f"TIMESTAMP {text_literal(str(value))}"
        case _ if isinstance(value, (int, Decimal)):
            return number_literal(value)
    raise AssertionError("a literal of an unknown kind was bound")


def _bin(term: Bin) -> str:
    column, width = term_sql(term.ref), number_literal(term.width)
    index = f"({column} // {width})" if term.truncating else f"floor({column} / {width})"
    return index if term.index_only else f"({index} * {width})"


def _gap(gap: Gap) -> str:
    start, end = term_sql(gap.start), term_sql(gap.end)
    dates = kind_of(gap.start) is Kind.DATE and kind_of(gap.end) is Kind.DATE
    if gap.elapsed and not (dates and gap.unit == "day"):
        # What passed, rounded up: 30 days and a minute are more than 30 days.
        seconds = {"hour": 3600, "day": 86400, "week": 604800}[gap.unit]
        passed = (
            f"CAST(date_diff('day', {start}, {end}) AS BIGINT) * 86400000000"
            if dates
            else f"date_diff('microsecond', CAST({start} AS TIMESTAMP), "
            f"CAST({end} AS TIMESTAMP))"
        )
        value = f"CAST(ceil({passed} / {seconds * 1_000_000}) AS BIGINT)"
    else:
        value = f"date_diff({text_literal(gap.unit)}, {start}, {end})"
    # Infinite dates have no difference: the engine would raise on them.
    return f"CASE WHEN isfinite({start}) AND isfinite({end}) THEN {value} END"


def members_sql(view: str, column: str) -> str:
    """Return the values that a semi-join looks up: those of a view's column."""
    # Without NULL on the right, NOT IN says what people mean by it.
    name = quoted(column)
    return f"SELECT {name} FROM {quoted(view)} WHERE {name} IS NOT NULL"


def predicate_sql(predicate: Predicate) -> str:  # noqa: C901 - one branch for each kind
    """Return the SQL of a predicate; it is three-valued, as the engine's."""
    match predicate:
        case Compare(operator=operator, term=term, constant=constant):
            return f"{term_sql(term)} {operator} {_literal(constant)}"
        case Equal(operator=operator, left=left, right=right):
            return f"{term_sql(left)} {operator} {term_sql(right)}"
        case Within(term=term, constants=constants):
            return f"{term_sql(term)} IN ({', '.join(map(_literal, constants))})"
        case Like(term=term, pattern=pattern, ignore_case=ignore_case):
            word = "ILIKE" if ignore_case else "LIKE"
            return f"{term_sql(term)} {word} {text_literal(pattern)}"
        case Missing(term=term):
            return f"{term_sql(term)} IS NULL"
        case Holds(term=term):
            return term_sql(term)
        case Member(ref=ref, view=view, column=column):
            return f"{term_sql(ref)} IN ({members_sql(view, column)})"
        case All(items=items):
            return " AND ".join(f"({predicate_sql(item)})" for item in items)
        case AnyOf(items=items):
            return " OR ".join(f"({predicate_sql(item)})" for item in items)
        case Negate(item=item):
            return f"NOT ({predicate_sql(item)})"
        # Shown to reviewers before it is run; a block is filled in before that.
        case CompareResult(operator=operator, term=term):
            return f"{term_sql(term)} {operator} (an earlier result)"
        case WithinResult(term=term):
            return f"{term_sql(term)} IN (an earlier result)"
        case Always(value=value):
            return {True: "TRUE", False: "FALSE", None: "NULL::BOOLEAN"}[value]

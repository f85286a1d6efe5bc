"""Plain functions over terms of one row: what their arguments must be, what they give.

None can raise on a value: arithmetic is tried, so that what overflows is NULL. None makes
text grow past a bound that the query's own text sets.
"""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal

from sandbox.binding.functions import SCALARS
from sandbox.binding.patterns import groups_in, pattern_problem, replacement_problem
from sandbox.plan.terms import NUMBERS, Apply, Choose, Kind, Literal, Term, kind_of

MAX_TEXT = 200
MAX_GROWTH = 1_000
_VARIADIC = frozenset({"coalesce", "concat", "||", "concat_ws", "least", "greatest"})
# name -> ours; how many arguments, at least and at most
ARITHMETIC = {
    "+": ("+", 2, 2), "-": ("-", 1, 2), "*": ("*", 2, 2), "/": ("/", 2, 2),
    "//": ("//", 2, 2), "%": ("%", 2, 2), "add": ("+", 2, 2), "subtract": ("-", 2, 2),
    "multiply": ("*", 2, 2), "divide": ("//", 2, 2), "mod": ("%", 2, 2),
    "abs": ("abs", 1, 1), "floor": ("floor", 1, 1), "ceil": ("ceil", 1, 1),
    "ceiling": ("ceil", 1, 1), "round": ("round", 1, 2), "trunc": ("trunc", 1, 1),
}  # fmt: skip
_WHOLE = frozenset({"+", "-", "*", "//", "%", "abs"})
_OPTIONS = frozenset("cis")
CLOCKS = frozenset(
    {
        "now", "today", "current_date", "current_timestamp", "current_time",
        "get_current_timestamp", "get_current_time", "localtimestamp", "localtime",
        "transaction_timestamp", "current_localtimestamp", "current_localtime",
    }
)  # fmt: skip
_PATTERN_HINT = (
    "Give a constant pattern of at most 100 characters out of letters, [sets], (groups), "
    "., *, +, ? and {n}; or use LIKE, starts_with, split_part."
)
HINTS = {
    **dict.fromkeys(
        ("regexp_matches", "regexp_full_match", "regexp_extract", "regexp_replace"),
        _PATTERN_HINT,
    ),
    **dict.fromkeys(("lpad", "rpad", "repeat"), "Format over the result instead."),
    "strptime": "Use TRY_CAST(x AS DATE).",
    "try_strptime": "Use TRY_CAST(x AS DATE).",
    "width_bucket": "Use floor((x - low) / width).",
    "equi_width_bins": "Use floor(x / width) * width.",
    "time_bucket": "Use date_trunc('month', d).",
    "initcap": "Use upper(left(x, 1)) || lower(substr(x, 2)).",
}
CLOCK_HINT = "Write the date out: DATE '2024-06-30'."


def arithmetic(name: str, arguments: Sequence[Term]) -> Term | None:
    """Return arithmetic of numbers; None where an argument is no number."""
    ours, least, most = ARITHMETIC[name]
    if not least <= len(arguments) <= most:
        return None
    kinds = {kind_of(argument) for argument in arguments}
    if not kinds <= NUMBERS:
        return None
    if ours == "round" and len(arguments) == 2 and not _is_count(arguments[1], 12):
        return None
    whole = kinds == {Kind.INTEGER} and (ours in _WHOLE or ours in ("round", "trunc"))
    return Apply(ours, tuple(arguments), Kind.INTEGER if whole else Kind.DOUBLE)


def applied(name: str, arguments: Sequence[Term]) -> Term | str:
    """Return a function of the allow-list over its arguments, or what speaks against it."""
    ours, shapes, result = SCALARS[name]
    bound = tuple(arguments)
    if ours in ("||", "concat", "concat_ws"):
        bound = tuple(_as_text(argument) for argument in bound)
    kinds = {kind_of(argument) for argument in bound if not _is_null(argument)}
    if ours in ("least", "greatest"):
        return _bounded(ours, bound, kinds)
    if not _fits(ours, shapes, bound, kinds):
        return "it takes others"
    problem = _text_problem(ours, bound)
    if problem is not None:
        return problem
    kind = result if result is not None else next(iter(kinds), Kind.OTHER)
    found = Apply(ours, bound, kind)
    if kind is Kind.TEXT and growth_of(found) > MAX_GROWTH:
        return f"the text could grow more than {MAX_GROWTH} times"
    return found


def _bounded(ours: str, bound: tuple[Term, ...], kinds: set[Kind]) -> Term | str:
    ordered = (Kind.TEXT, Kind.DATE, Kind.TIMESTAMP)
    if len(bound) < 2 or len(bound) > 20 or any(map(_is_null, bound)):
        return "it takes two or more values"
    if kinds <= NUMBERS:
        return Apply(ours, bound, kinds.pop() if len(kinds) == 1 else Kind.DOUBLE)
    if len(kinds) == 1 and kinds <= set(ordered):
        return Apply(ours, bound, kinds.pop())
    return "its values have different types"


def _text_problem(ours: str, bound: tuple[Term, ...]) -> str | None:
    """Return what speaks against the constants of a function over text."""
    texts = [item.value if isinstance(item, Literal) else None for item in bound]
    if ours.startswith("regexp_"):
        pattern = texts[1]
        assert isinstance(pattern, str)
        problem = pattern_problem(pattern)
        if problem is not None:
            return f"the pattern {problem}"
        if ours == "regexp_replace":
            problem = replacement_problem(str(texts[2]), groups_in(pattern))
            if problem is not None:
                return f"the replacement {problem}"
            return _options_problem(texts[3:], _OPTIONS | {"g"})
        if ours == "regexp_extract":
            group = texts[2] if len(texts) > 2 else Decimal(0)
            if not isinstance(group, Decimal) or not 0 <= group <= groups_in(pattern):
                return "the pattern has no such group"
            return None
        return _options_problem(texts[2:], _OPTIONS)
    return None


def _options_problem(options: Sequence[object], known: frozenset[str]) -> str | None:
    text = options[0] if options else ""
    if isinstance(text, str) and set(text) <= known and len(text) <= len(known):
        return None
    return f"its options are not among {', '.join(sorted(known))}"


def _as_text(term: Term) -> Term:
    """Return a number, date or boolean as text, which cannot fail; else the term."""
    if isinstance(term, Literal) and term.kind is Kind.INTEGER:
        return Literal(format(Decimal(str(term.value)), "f"), Kind.TEXT)
    plain = (*NUMBERS, Kind.BOOLEAN, Kind.DATE)
    if not isinstance(term, Literal) and kind_of(term) in plain:
        return Apply("to_text", (term,), Kind.TEXT)
    return term


def growth_of(term: Term) -> int:
    """Return by how much the text of a term may be longer than any value it starts from."""
    match term:
        case Choose(branches=branches, otherwise=otherwise):
            return max(growth_of(otherwise), *(growth_of(item) for _, item in branches))
        case Apply(function="||" | "concat" | "concat_ws", arguments=arguments):
            return sum(growth_of(argument) for argument in arguments)
        case Apply(function="replace", arguments=(text, old, new)):
            return growth_of(text) * -(-_length(new) // max(1, _length(old)) or -1)
        case Apply(function="regexp_replace", arguments=(text, _, new, *_)):
            return growth_of(text) * (1 + _length(new))
        case Apply(arguments=arguments):
            return max((growth_of(argument) for argument in arguments), default=1)
    return 1


def _length(term: Term) -> int:
    return len(str(term.value)) if isinstance(term, Literal) else MAX_TEXT


def _is_null(term: Term) -> bool:
    return isinstance(term, Literal) and term.value is None


def _fits(
    name: str, shapes: tuple[str, ...], arguments: tuple[Term, ...], kinds: set[Kind]
) -> bool:
    if name in _VARIADIC:
        if len(arguments) < (2 if name == "concat_ws" else 1):
            return False
        rest = (shapes[-1],) * (len(arguments) - len(shapes))
        shapes = (*shapes, *rest)[: len(arguments)]
    required = [shape for shape in shapes if not shape.endswith("?")]
    if not len(required) <= len(arguments) <= len(shapes):
        return False
    return all(
        _fits_one(shape.rstrip("?"), argument, kinds)
        for shape, argument in zip(shapes, arguments, strict=False)
    )


def _is_count(term: Term, most: int) -> bool:
    value = term.value if isinstance(term, Literal) else None
    return isinstance(value, Decimal) and abs(value) <= most and value == int(value)


def _fits_one(shape: str, argument: Term, kinds: set[Kind]) -> bool:
    match shape:
        case "text":
            return kind_of(argument) is Kind.TEXT
        case "count":
            return _is_count(argument, 1000)
        case "short":
            value = argument.value if isinstance(argument, Literal) else None
            return isinstance(value, str) and len(value) <= MAX_TEXT
        case _:
            return len(kinds) == 1 and Kind.OTHER not in kinds

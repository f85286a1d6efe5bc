"""The statement that finds atoms: rows by which filters they pass, and by their keys.

Many filters are made of few conditions: forty places by twelve months are fifty-two. Then
each condition is looked at for each row, and each filter once for each set of conditions
that some row fulfils. A filter passes what IS TRUE: a conjunction where each part is, an
alternative where one is. So of each condition it is enough to know whether it is TRUE.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

from policies.document import Policy
from sandbox.plan.block import Unit
from sandbox.plan.expanding import Rows as BaseRows
from sandbox.plan.joint_rows import belonging, joint_from, unit_sql
from sandbox.plan.render import predicate_sql, term_sql
from sandbox.plan.terms import All, AnyOf, Predicate, members_in

BITS = 60  # of a word, which is a BIGINT
_FEW = 16  # filters, which cost less than finding what they have in common


class Laying:
    """The columns of some rows laid beside one another, and the statement for them."""

    def __init__(
        self, every: Sequence[BaseRows], unit: Unit, *, policy: Policy, most: int
    ) -> None:
        """Lay out at most `most` rows; `every` begins with those that the unit is of.

        Requires that all can stand side by side.
        """
        filters: dict[str, Predicate] = {}
        terms: dict[str, list[int]] = {}  # of each key, the bits of those that have it
        self.bits: list[int] = []  # of each of `every`, the bit of its filter
        self.columns: list[list[int]] = []  # and the columns of its keys
        for item in every:
            predicate = belonging(item.source)
            text = predicate_sql(predicate)
            filters.setdefault(text, predicate)
            self.bits.append(list(filters).index(text))
            keys = [term_sql(term) for term in item.keys]
            for key in keys:
                terms.setdefault(key, []).append(self.bits[-1])
            self.columns.append([list(terms).index(key) for key in keys])
        self.words = -(-len(filters) // BITS)
        sources = [item.source for item in every]
        name = "1" if unit.ref is None else unit_sql(every[0].base(unit.ref), sources)
        columns = [f"{term} AS t{i}" for i, term in enumerate(terms)] + [f"{name} AS u"]
        joint = f"{joint_from(sources, policy)} WHERE {name} IS NOT NULL"
        # A key is told apart only where a row is one of those that it is a key of.
        shown = [f"w{i}" for i in range(self.words)]
        shown += [
            f"CASE WHEN {_any_sql(used)} THEN t{i} END"
            for i, used in enumerate(terms.values())
        ]
        self.width = len(shown)
        counted = "count(*)" if unit.ref is None else "count(DISTINCT u)"
        self.sql = (
            f"SELECT {', '.join(shown)}, {counted} FROM "
            f"({_rows_sql(filters, columns, joint)}) AS found "
            f"GROUP BY ALL LIMIT {most}"
        )


def _rows_sql(filters: Mapping[str, Predicate], columns: Sequence[str], joint: str) -> str:
    """Return the rows that pass some filter, with words of which they pass."""
    conditions: dict[str, int] = {}
    passing = [_passes(predicate, conditions) for predicate in filters.values()]
    looked_at = sum(text.count("&") for text in passing)
    if len(filters) <= _FEW or 2 * len(conditions) >= looked_at:
        shown = ", ".join([*_words_sql("w", filters), *columns])
        if any(map(members_in, filters.values())):
            # Who is in another table is not looked up a second time to leave rows out.
            some = " OR ".join(f"w{i} <> 0" for i in range(-(-len(filters) // BITS)))
            return f"SELECT * FROM (SELECT {shown} FROM {joint}) AS laid WHERE {some}"
        texts = " OR ".join(f"({text})" for text in filters)
        return f"SELECT {shown} FROM {joint} AND ({texts})"
    taken = ", ".join(f"l{i}" for i in range(-(-len(conditions) // BITS)))
    words = list(_words_sql("w", passing))
    some = " OR ".join(f"w{i} <> 0" for i in range(len(words)))
    shown = ", ".join([*_words_sql("l", conditions), *columns])
    return (
        f"WITH laid AS NOT MATERIALIZED (SELECT {shown} FROM {joint}), "
        f"sets AS (SELECT DISTINCT {taken} FROM laid), "
        f"passed AS (SELECT {taken}, {', '.join(words)} FROM sets) "
        f"SELECT * FROM laid JOIN (SELECT * FROM passed WHERE {some}) AS theirs "
        f"USING ({taken})"
    )


def _passes(predicate: Predicate, conditions: dict[str, int]) -> str:
    """Return where a filter is TRUE, said of the bits of its conditions."""
    match predicate:
        case All(items=items):
            parts = [_passes(item, conditions) for item in items]
            return f"({' AND '.join(parts) or 'TRUE'})"
        case AnyOf(items=items):
            parts = [_passes(item, conditions) for item in items]
            return f"({' OR '.join(parts) or 'FALSE'})"
    place = conditions.setdefault(predicate_sql(predicate), len(conditions))
    return f"(l{place // BITS} & {1 << place % BITS}) <> 0"


def _words_sql(letter: str, conditions: Iterable[str]) -> Iterator[str]:
    """Yield columns whose bits say which conditions are TRUE."""
    texts = list(conditions)
    for start in range(0, len(texts), BITS):
        word = " + ".join(
            f"CASE WHEN {text} THEN {1 << place}::BIGINT ELSE 0 END"
            for place, text in enumerate(texts[start : start + BITS])
        )
        yield f"{word} AS {letter}{start // BITS}"


def _any_sql(bits: Sequence[int]) -> str:
    """Return the condition that one of some bits is set."""
    words: dict[int, int] = {}
    for bit in bits:
        words[bit // BITS] = words.get(bit // BITS, 0) | 1 << bit % BITS
    return " OR ".join(f"(w{word} & {mask}) <> 0" for word, mask in words.items())

"""Statements made of others: tokens changed, statements spliced, cut, nested, disguised."""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Sequence

_TOKEN = re.compile(r"'(?:[^']|'')*'|\"(?:[^\"]|\"\")*\"|\w+|\s+|[^\w\s]")
_SIGNS = (
    "\x00", "\x1b", "\u00a0", "\u200b", "\u202e", "\u2028", "\ufeff", "\U0001f4a5", "é",
    "\ud800", "'", '"', "`", "$$", ";", "--", "/*", "*/", "\\", "%", "?", "$1", ":x", "#1",
    "::", "->", "{", "[", "(", ")", "]", "}", "=>", ":=", "e'\\x00'", "0x", "1e999", "@",
)  # fmt: skip
_WORDS = (
    "NULL", "TRUE", "DISTINCT", "ALL", "OVER ()", "FILTER (WHERE TRUE)", "ORDER BY 1",
    "LIMIT 1", "OFFSET 1", "QUALIFY TRUE", "WINDOW w AS ()", "USING SAMPLE 1%", "LATERAL",
    "EXCEPT", "INTERSECT", "UNION", "UNION ALL BY NAME", "WITH ORDINALITY",
    "COLLATE NOCASE", "AT TIME ZONE 'UTC'", "IS DISTINCT FROM", "GLOB", "SIMILAR TO",
    "ANTI JOIN", "ASOF JOIN", "POSITIONAL JOIN", "RECURSIVE", "MATERIALIZED",
    "GROUPING SETS (())", "COLUMNS(*)",
    "EXCLUDE (id)", "REPLACE (1 AS id)", "RENAME (id AS x)", "BETWEEN SYMMETRIC", "ESCAPE",
)  # fmt: skip


def tokens(sql: str) -> list[str]:
    """Cut a statement into strings, names, blanks and signs; joined they give it again."""
    return _TOKEN.findall(sql)


def mutate(chance: random.Random, corpus: Sequence[str]) -> str:
    """Return a statement of the corpus, changed one to three times."""
    sql = chance.choice(corpus)
    for _ in range(chance.randint(1, 3)):
        sql = chance.choice(_CHANGES)(chance, sql, corpus)
    return sql


def _swapped(chance: random.Random, sql: str, corpus: Sequence[str]) -> str:
    """Put a token of another statement in place of one of the same kind."""
    mine, others = tokens(sql), tokens(chance.choice(corpus))
    at = chance.randrange(len(mine) or 1)
    if not mine or not others:
        return sql
    alike = [t for t in others if t[0].isalnum() == mine[at][0].isalnum()] or others
    mine[at] = chance.choice(alike)
    return "".join(mine)


def _dropped(chance: random.Random, sql: str, corpus: Sequence[str]) -> str:
    mine = tokens(sql)
    if mine:
        start = chance.randrange(len(mine))
        del mine[start : start + chance.randint(1, 5)]
    return "".join(mine)


def _doubled(chance: random.Random, sql: str, corpus: Sequence[str]) -> str:
    mine = tokens(sql)
    if mine:
        start = chance.randrange(len(mine))
        mine[start:start] = mine[start : start + chance.randint(1, 12)]
    return "".join(mine)


def _inserted(chance: random.Random, sql: str, corpus: Sequence[str]) -> str:
    mine = tokens(sql)
    word = chance.choice(_SIGNS) if chance.random() < 0.5 else f" {chance.choice(_WORDS)} "
    mine.insert(chance.randint(0, len(mine)), word)
    return "".join(mine)


def _spliced(chance: random.Random, sql: str, corpus: Sequence[str]) -> str:
    mine, others = tokens(sql), tokens(chance.choice(corpus))
    return "".join(
        mine[: chance.randint(0, len(mine))] + others[chance.randint(0, len(others)) :]
    )


def _cut(chance: random.Random, sql: str, corpus: Sequence[str]) -> str:
    return sql[: chance.randint(0, len(sql))]


def _disguised(chance: random.Random, sql: str, corpus: Sequence[str]) -> str:
    """Write the same in another way: case, quotes, comments, blanks."""
    mine = tokens(sql)
    for at, token in enumerate(mine):
        if chance.random() < 0.2:
            if token.isspace():
                mine[at] = chance.choice(("/**/", "\n", "\t", " -- x\n", "\u00a0", "  "))
            elif token[0].isalpha():
                mine[at] = chance.choice((token.upper(), token.swapcase(), f'"{token}"'))
    return "".join(mine)


def _nested(chance: random.Random, sql: str, corpus: Sequence[str]) -> str:
    depth = chance.choice((1, 2, 3, 10, 60, 400))
    match chance.randrange(8):
        case 0:
            return "SELECT * FROM (" * depth + sql + ")" * depth
        case 1:
            return f"SELECT count(*) FROM ({sql}) t"
        case 2:
            return f"WITH x AS ({sql}) SELECT * FROM x"
        case 3:
            return "(" * depth + sql + ")" * depth
        case 4:
            return f"SELECT ({sql}) AS x"
        case 5:
            return " UNION ALL ".join([sql] * min(depth, 20))
        case 6:
            return f"{sql}; {chance.choice(corpus)}"
        case _:
            other = chance.choice(corpus)
            return f"SELECT a.* FROM ({sql}) a, ({other}) b"


_CHANGES: tuple[Callable[[random.Random, str, Sequence[str]], str], ...] = (
    _swapped, _swapped, _dropped, _doubled, _inserted, _spliced, _cut, _disguised, _nested,
)  # fmt: skip

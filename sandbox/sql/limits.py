"""What a text must keep to before the engine's parser sees it; one cheap pass, no tree.

The engine's parser needs seconds for ten thousand open brackets, and it expands named
windows and grouping sets while it parses. The limits here are chosen so that whatever
passes is parsed and read within about 100 ms and far below 200 MB.

The pass knows words, numbers, signs, strings and comments as the engine's tokenizer does
(block comments nest there, `E''` has backslashes, `$tag$` quotes). Where the two could
part, the text is refused: a nested comment, a lone carriage return, an invisible sign.
"""

from __future__ import annotations

import re
import unicodedata

from policies.shape import Finding, Place

MAX_SQL_CHARACTERS = 100_000
MAX_TOKENS = 5_000
MAX_BRACKET_DEPTH = 100
# Each OVER w holds a copy of the window's tree: the cost is the product of both.
MAX_TOKENS_WITH_WINDOW_CLAUSE = 600
# ROLLUP of n counts n + 1, CUBE 2 ** n; all that one text names are multiplied.
MAX_GROUPING_SETS = 128
MAX_NAME_CHARACTERS = 200
# WITH inside WITH costs the parser six times as much at each level, if all is not well.
MAX_NESTED_WITH = 2

# A word is of letters, digits, `_`, `$` and whatever is not ASCII and no space; a digit or
# `$` does not begin it. `*+` gives nothing back: no time and no memory for second tries.
_TOKEN = re.compile(
    r"""
    (?P<space>[ \t\n\xa0\u2000-\u200a\u202f\u205f\u3000]+|\r\n)
  | (?P<escaped>[eE]'[^'\\]*(?:(?:\\.|'')[^'\\]*)*+(?P<escaped_end>'?))
  | (?P<word>[^\s\x00-\x40\x5b-\x5e\x60\x7b-\x7f]
             [^\s\x00-\x23\x25-\x2f\x3a-\x40\x5b-\x5e\x60\x7b-\x7f]*+)
  | (?P<number>[0-9][\d_]*(?:\.[\d_]*)?(?:[eE][+-]?\d+)?)
  | (?P<string>'[^']*(?:''[^']*)*+(?P<string_end>'?))
  | (?P<name>"[^"]*(?:""[^"]*)*+(?P<name_end>"?))
  | (?P<line>--[^\r\n]*)
  | (?P<block>/\*)
  | (?P<dollar>\$(?:[^\s\x00-\x40\x5b-\x5e\x60\x7b-\x7f]
                   [^\s\x00-\x2f\x3a-\x40\x5b-\x5e\x60\x7b-\x7f]*+)?\$)
  | (?P<sign>.)
    """,
    re.VERBOSE | re.DOTALL,
)
_RUNS_ON = re.compile(r"""[\w$'"]|[^\x00-\x7f\s]""")
_UNUSUAL = re.compile(r"[^\t\n\x20-\x7e]")
_COMMENT_EDGE = re.compile(r"/\*|\*/")
# Both reorder what a reader sees, the text around them included.
_BIDI = re.compile("[\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]")
# Drawn as nothing or as a blank although their categories are letters, marks or symbols.
_BLANKS = frozenset(
    "\u034f\u115f\u1160\u1680\u17b4\u17b5\u180b\u180c\u180d\u180f\u2800\u3164\uffa0"
) | frozenset(map(chr, range(0xFE00, 0xFE10)))
_HIDDEN_CATEGORIES = ("Cf", "Cc", "Zl", "Zp")
_STRINGS = ("escaped", "string", "dollar")
_CLOSE = "Check that each bracket has its partner."
_CLOSED = ("escaped", "string", "name")


def check_text(sql: str) -> Finding | None:
    """Return the first ground for not parsing a text, or None."""
    if len(sql) > MAX_SQL_CHARACTERS:
        return _too_complex(
            f"has {len(sql)} characters, at most {MAX_SQL_CHARACTERS} are read"
        )
    if "\0" in sql:
        return Finding("sql_syntax", "the query contains a NUL character", "Remove it.")
    try:
        sql.encode()
    except UnicodeEncodeError as error:
        return Finding(
            "sql_syntax",
            "the query contains half of a surrogate pair, which is no character",
            "Type the character anew.",
            _place(sql, error.start),
        )
    found = _BIDI.search(sql)
    if found:
        return _invisible(sql, found.start())
    return _Scan(sql).finding()


class _Scan:
    """One pass over a text; every method returns a finding or goes on."""

    def __init__(self, sql: str) -> None:
        self._sql = sql
        self._tokens = 0
        # The brackets, 0 for none, in which a WITH stands; how deep one is in others.
        self._with_depths: set[int] = set()
        self._nested_with = 0
        self._words: set[str] = set()
        self._unusual = _UNUSUAL.search(sql) is not None
        self._before = ("", "")
        self._sets = 1
        # For each open bracket how much its items count as grouping sets, and its commas.
        self._open: list[tuple[str, int]] = []

    def finding(self) -> Finding | None:
        """Return the first ground against the text."""
        position = 0
        size = len(self._sql)
        while position < size:
            match = _TOKEN.match(self._sql, position)
            if match is None:  # no cover: the last branch takes any character
                return _invisible(self._sql, position)
            kind, end = str(match.lastgroup).removesuffix("_end"), match.end()
            if kind == "block":
                end = self._end_of_comment(position)
            elif kind == "dollar":
                end = self._sql.find(match.group(), end)
                end = end + len(match.group()) if end > 0 else -1
            elif kind in _CLOSED and not match.group(f"{kind}_end"):
                end = -1
            found = self._step(kind, position, end)
            if found is not None:
                return found
            position = end
        if self._open:
            # The engine's parser tries for minutes to make sense of brackets left open.
            return self._syntax("a bracket is not closed", position, _CLOSE)
        return None

    def _step(self, kind: str, start: int, end: int) -> Finding | None:
        if end < 0:
            what = {"block": "a comment", "name": "a quoted name"}.get(kind, "a string")
            return self._syntax(f"{what} is opened and not closed", start, "Close it.")
        if self._unusual and kind not in _STRINGS:
            hidden = _hidden_in(self._sql, start, end, space=kind == "space")
            if hidden is not None:
                return _invisible(self._sql, hidden)
        if kind == "block" and self._sql.find("/*", start + 2, end) >= 0:
            # Most editors end both at the first `*/`, the engine at the second.
            return self._syntax("a comment stands inside a comment", start, "Take it out.")
        if kind == "number" and _RUNS_ON.match(self._sql, end):
            # `0xFF` would be read as the number 0 under the name xFF.
            return self._syntax("a number runs into a name", start, "Put a space between.")
        if kind in ("space", "line", "block"):
            return None
        self._tokens += 1
        text = self._sql[start:end] if end - start <= MAX_NAME_CHARACTERS else ""
        if kind in ("word", "name", "number") and not text:
            return _too_complex(
                f"has a name or number of {end - start} characters, at most "
                f"{MAX_NAME_CHARACTERS} are read",
                _place(self._sql, start),
            )
        if kind == "sign":
            if text in ")]}" and not self._open:
                return self._syntax("a bracket is closed that is not open", start, _CLOSE)
            self._sign(text)
        word = text.lower() if kind == "word" else ""
        self._words.add(word)
        if word == "with":
            self._with_depths.add(len(self._open))
            self._nested_with = max(self._nested_with, len(self._with_depths))
        self._before = (self._before[1], word)
        return self._limits(start)

    def _sign(self, sign: str) -> None:
        if sign in "([{":
            last = self._before[1]
            sets = last == "sets" and self._before[0] == "grouping"
            kind = "sets" if sets else last if last in ("rollup", "cube") else ""
            self._open.append((kind, 1))
        elif sign == "," and self._open:
            kind, items = self._open[-1]
            self._open[-1] = (kind, items + 1)
        elif sign in ")]}":
            self._with_depths.discard(len(self._open))
            kind, items = self._open.pop()
            if kind:
                # Capped: 2 ** items of a long CUBE would be a number of kilobytes.
                items = min(items, MAX_GROUPING_SETS + 1)
                self._sets *= {"sets": items, "rollup": items + 1, "cube": 2**items}[kind]

    def _limits(self, start: int) -> Finding | None:
        named = "window" in self._words
        limit = MAX_TOKENS_WITH_WINDOW_CLAUSE if named else MAX_TOKENS
        if self._tokens > limit:
            what = f"has more than {limit} words and signs"
            what += " beside a WINDOW clause" if named else ""
        elif len(self._open) > MAX_BRACKET_DEPTH:
            what = f"nests brackets deeper than {MAX_BRACKET_DEPTH}"
        elif self._sets > MAX_GROUPING_SETS:
            what = f"asks for more than {MAX_GROUPING_SETS} grouping sets"
        elif self._nested_with > MAX_NESTED_WITH:
            what = f"nests WITH deeper than {MAX_NESTED_WITH}"
        else:
            return None
        return _too_complex(what, _place(self._sql, start))

    def _end_of_comment(self, start: int) -> int:
        depth = 0
        for edge in _COMMENT_EDGE.finditer(self._sql, start):
            depth += 1 if edge.group() == "/*" else -1
            if depth == 0:
                return edge.end()
        return -1

    def _syntax(self, what: str, start: int, hint: str) -> Finding:
        place = _place(self._sql, start)
        where = f"at line {place.line}, column {place.column}"
        return Finding("sql_syntax", f"{what} {where}", hint, place)


def _hidden_in(sql: str, start: int, end: int, *, space: bool) -> int | None:
    if space:
        return None
    for found in _UNUSUAL.finditer(sql, start, end):
        sign, offset = found.group(), found.start()
        # The engine ends a line comment at a lone `\r`, most editors show it as nothing.
        if sql[offset : offset + 2] == "\r\n":
            continue
        if sign in _BLANKS or unicodedata.category(sign) in _HIDDEN_CATEGORIES:
            return offset
    return None


def _invisible(sql: str, offset: int) -> Finding:
    place = _place(sql, offset)
    return Finding(
        "invisible_character",
        f"the query has the invisible character U+{ord(sql[offset]):04X} at line "
        f"{place.line}, column {place.column}, so a reader sees another text than runs",
        "Remove it; in a string everything but marks of writing direction may stand.",
        place,
    )


def _too_complex(what: str, place: Place | None = None) -> Finding:
    return Finding("query_too_complex", f"the query {what}", "Ask for less at once.", place)


def _place(sql: str, offset: int) -> Place:
    start = sql.rfind("\n", 0, offset) + 1
    return Place(offset, sql.count("\n", 0, offset) + 1, offset - start + 1)

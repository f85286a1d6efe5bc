"""Regular expressions of a query: short constant ones, in the part that every engine reads.

RE2 matches in linear time, but in proportion to the pattern written out:
`(((a{1,30}){1,30}){1,30})b` has 27,000 copies of `a`. The engine reads a pattern while it
plans, and an unreadable one fails the query; so only what is known to be readable passes.
"""

from __future__ import annotations

import re
import warnings

MAX_PATTERN = 100
MAX_COPIES = 200  # of a part, by repetition counts within each other or one after the other
_TOKEN = re.compile(
    r"""(?P<escape>\\[dDwWsSbB.\\+*?()\[\]{}|^$/\- ])
    |(?P<set>\[\^?(?:\\[dDwWsS.\\\]\[^\-]|[^\]\[\\^])+\])
    |(?P<open>\((?:\?:)?)
    |(?P<close>\))
    |(?P<count>(?:[*+?]|\{\d{1,3}(?:,\d{0,3})?\})\??)
    |(?P<bare>[|^$])
    |(?P<plain>[^\\\[\](){}|*+?^$])""",
    re.VERBOSE,
)
_FLAGS = re.compile(r"\(\?[is]+\)")


def pattern_problem(pattern: str) -> str | None:
    """Return what speaks against a pattern, or None: every engine reads it, and fast."""
    if len(pattern) > MAX_PATTERN:
        return f"has {len(pattern)} characters, at most {MAX_PATTERN}"
    flags = _FLAGS.match(pattern)
    position = 0 if flags is None else flags.end()
    copies, may_repeat = 1, False
    while position < len(pattern):
        token = _TOKEN.match(pattern, position)
        if token is None:
            return "has a part that is not among the plain ones"
        position = token.end()
        if token.lastgroup == "count":
            if not may_repeat:
                return "repeats what cannot be repeated"
            numbers = [int(n) for n in re.findall(r"\d+", token[0])]
            copies *= max([*numbers, 1])
            if copies > MAX_COPIES:
                return f"repeats more than {MAX_COPIES} times in all"
        may_repeat = token.lastgroup in ("set", "close", "plain") or (
            token.lastgroup == "escape" and token[0] not in (r"\b", r"\B")
        )
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            re.compile(pattern)
    except (re.error, OverflowError, RecursionError):
        return "cannot be read"
    return None


def groups_in(pattern: str) -> int:
    """Return how many groups a pattern without problems has."""
    return re.compile(pattern).groups


def replacement_problem(replacement: str, groups: int) -> str | None:
    r"""Return what speaks against a replacement, which may name groups as `\1`."""
    for found in re.finditer(r"\\(.?)", replacement, re.DOTALL):
        if not found[1].isascii() or not found[1].isdigit():
            return r"has a \ that names no group"
        if int(found[1]) > groups:
            return "names a group that the pattern does not have"
    return None

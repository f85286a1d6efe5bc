"""Functions over results whose text is as long as a constant says: only up to a bound."""

from __future__ import annotations

import re

from sandbox.sql import syntax

MAX_WIDTH = 100
_BRACES = re.compile(r"(?:[^{}]|\{\{|\}\}|\{(?::[^{}]{0,20})?\})*")
_PERCENT = re.compile(r"(?:[^%]|%%|%[-+ 0#,']{0,3}\d{0,3}(?:\.\d{1,3})?[dfgesxX])*")


def shape_problem(call: syntax.Call) -> str | None:
    """Return what speaks against `format`, `printf`, `lpad` or `rpad`; None: nothing.

    A width that is a number of the query itself may be 100 at most; one that comes out of
    the data, as `%*d` has it, is refused.
    """
    if call.name in ("lpad", "rpad"):
        width = call.arguments[1] if len(call.arguments) == 3 else None
        if not isinstance(width, syntax.Constant) or width.kind != "integer":
            return "it takes a text, a constant length and a text"
        return _too_wide(width.text.replace("_", ""))
    if call.name in ("format", "printf"):
        shape = call.arguments[0] if call.arguments else None
        if not isinstance(shape, syntax.Constant) or shape.kind != "string":
            return "its format is no constant"
        known = _BRACES if call.name == "format" else _PERCENT
        if len(shape.text) > MAX_WIDTH or not known.fullmatch(shape.text):
            return "its format is too long or not among the plain ones"
        return _too_wide(shape.text)
    return None


def _too_wide(text: str) -> str | None:
    if any(len(n) > 3 or int(n) > MAX_WIDTH for n in re.findall(r"\d+", text)):
        return f"it is wider than {MAX_WIDTH}"
    return None

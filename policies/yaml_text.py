"""Text as a quoted scalar that YAML and JSON read back as it was."""

from __future__ import annotations

import json
import re

# Characters that JSON lets stand in a string and YAML refuses or folds into a space:
# C1 controls (with U+0085), line and paragraph separators, surrogates, the BOM.
_YAML_BREAKS = re.compile("[\x7f-\x9f\u2028\u2029\ud800-\udfff\ufeff\ufffe\uffff]")
_CONTROLS = re.compile("[\x00-\x1f]")
_BARE = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]*")
_WORDS = {"null", "true", "false", "yes", "no", "on", "off", "y", "n"}


def escape_json(text: str) -> str:
    """Escape in a JSON document what YAML would not read back; its meaning stays."""
    return _YAML_BREAKS.sub(lambda match: f"\\u{ord(match[0]):04x}", text)


def scalar(text: str) -> str:
    """Write `text` bare where that is plain to read and safe, else in double quotes."""
    if _BARE.fullmatch(text) and text.lower() not in _WORDS:
        return text
    return escape_json(json.dumps(text, ensure_ascii=False))


def comment(text: str) -> str:
    """Write `text` on one comment line, whatever characters it holds."""
    line = _CONTROLS.sub("?", " ".join(text.split()))
    return "# " + escape_json(line)

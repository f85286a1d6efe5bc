"""The cases printed for readers: `python -m tests.spec.printed` writes docs/released.md."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.spec.cases import FILES, WITHHELD, cases, tables

PAGE = Path(__file__).resolve().parents[2] / "docs" / "released.md"
_HEAD = """# What is released, by example

Printed from `tests/spec/*.yaml`, which are run as tests; change those, then
`python -m tests.spec.printed`. The threshold is ten units. **withheld** stands for a cell
that is not shown; rows of groups that are no public knowledge collapse into one. *partial*
marks an answer that leaves something out.
"""


def page() -> str:
    """Return the page."""
    parts = [_HEAD]
    for name in FILES:
        parts += ["\n".join(_case(case)) for case in cases(name)]
    return "\n".join(parts)


def _case(case: dict[str, Any]) -> Iterator[str]:
    yield f"## {case['title']}\n"
    for name, table in tables(case).items():
        columns = [_column(column, table) for column in table["types"]]
        columns += [
            f"`{item}` = `{said['expr']}`, {_words(said, leave='expr')}"
            for item, said in table.get("derived", {}).items()
        ]
        kind = "public table" if table.get("public") else "table"
        yield f"- {kind} `{name}`: {'; '.join(columns)}"
        yield from (f"  - {_block(block, table)}" for block in table["data"])
    if "rule" in case:
        yield f"- rule: {_words(case['rule'])}"
    if "session" in case:
        yield "- asked one after the other by one consumer"
    yield "\n| query | released |\n|---|---|"
    for ask in case["asks"]:
        sql = ask["sql"].replace("|", "\\|")
        yield f"| `{sql}` | {_answer(ask)} |"
    yield ""


def _column(name: str, table: dict[str, Any]) -> str:
    if table.get("public"):
        return f"`{name}`"
    said = table["columns"][name]
    role = said["role"]
    roles = " and ".join(role if isinstance(role, list) else [role]).replace("_", " ")
    more = _words(said, leave="role")
    return f"`{name}` {roles}{', ' if more else ''}{more}"


def _words(said: dict[str, Any], *, leave: str = "") -> str:
    found = []
    for key, value in said.items():
        if key == leave:
            continue
        text = _words(value) if isinstance(value, dict) else str(value).lower()
        found.append(f"{key} {text}")
    return ", ".join(found)


def _block(block: dict[str, Any], table: dict[str, Any]) -> str:
    values = [f"`{name}` {_value(block[name])}" for name in table["types"] if name in block]
    return f"{_who(block)}: {', '.join(values)}"


def _who(block: dict[str, Any]) -> str:
    ids = block.get("ids")
    if ids is None:
        count = block.get("units")
        who = "a row" if count is None else f"{count} units"
    elif isinstance(ids, list):
        who = (
            f"{len(ids)} rows of nobody"
            if ids[0] is None
            else f"unit {', '.join(map(str, ids))}"
        )
    else:
        who = f"units {ids.replace('..', ' to ')}"
    if "as" in block:
        who += f" as `{block['as']}`"
    return f"{who}, {block['each']} rows each" if "each" in block else who


def _value(value: object) -> str:
    if isinstance(value, list):
        return f"{', '.join(map(_value, value))} in turn"
    return "NULL" if value is None else f"{value}"


def _answer(ask: dict[str, Any]) -> str:
    if "refused" in ask:
        code = ask["refused"]
        return "refused" if code is True else f"refused: `{code}`"
    rows = "<br>".join(", ".join(map(_cell, row)) for row in ask["released"])
    return f"{rows} *partial*" if ask.get("partial") else rows


def _cell(value: object) -> str:
    if value == WITHHELD:
        return "**withheld**"
    return "NULL" if value is None else str(value)


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")

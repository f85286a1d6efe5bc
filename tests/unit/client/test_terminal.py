from __future__ import annotations

import dataclasses
import io
import json
from typing import Any

import pytest
from bonded.config import Config
from bonded.terminal import MAX_CELL, clean, say, say_json, table


def test_table_is_as_wide_as_its_widest_cell() -> None:
    assert table(("a", "bb"), [("1", "x"), ("333", "")]) == [
        "a    bb",
        "---  --",
        "1    x",
        "333",
    ]


def test_table_of_no_rows_is_its_header() -> None:
    assert table(("a",), []) == ["a", "-"]


def test_table_shortens_long_cells_and_joins_lines() -> None:
    lines = table(("a",), [("x" * 200,), ("one\ntwo",)])

    assert len(lines[2]) == MAX_CELL
    assert lines[3] == "one two"


@pytest.mark.parametrize("text", ["\x1b[31m", "\r", "\u202e", "\x07", "\u2028"])
def test_clean_replaces_what_would_act_on_a_terminal(text: str) -> None:
    assert text not in clean(f"a{text}b")


def test_say_prints_to_a_terminal_of_another_encoding() -> None:
    raw = io.BytesIO()
    out = io.TextIOWrapper(raw, encoding="ascii")

    say("größe", "two\nlines", "\x1b[2J", out=out)
    out.flush()

    assert raw.getvalue() == b"gr\\xf6\\xdfe\ntwo\nlines\n\\ufffd[2J\n"


def test_say_json_leaves_out_what_is_not_for_eyes(
    capsys: pytest.CaptureFixture[str],
) -> None:
    @dataclasses.dataclass(frozen=True)
    class Kept:
        token: str = dataclasses.field(repr=False)
        names: tuple[str, ...]
        places: frozenset[Any]

    say_json([Kept("bnd_secret", ("a",), frozenset({(1, 2)})), Config("http://h", "bnd_x")])

    printed = json.loads(capsys.readouterr().out)
    assert printed == [
        {"names": ["a"], "places": [[1, 2]]},
        {"url": "http://h", "verifier_key": ""},
    ]

"""The pages about client and API name what there is."""

from __future__ import annotations

import argparse
import ast
import re
from pathlib import Path

from bonded.api import Dataset, Node
from bonded.cli import build_parser
from bonded.results import Package, Result

from exchange.api.urls import urlpatterns

DOCS = Path(__file__).resolve().parents[3] / "docs"
CLIENT = (DOCS / "client.md").read_text("utf-8")
API = (DOCS / "api.md").read_text("utf-8")


def commands() -> set[str]:
    (subparsers,) = (
        action
        for action in build_parser()._actions
        if isinstance(action, argparse._SubParsersAction)
    )
    return set(subparsers.choices)


def test_every_command_is_on_the_page_and_no_other() -> None:
    table = "".join(line for line in CLIENT.splitlines() if line.startswith("| `bonded"))

    assert set(re.findall(r"`bonded ([a-z]+)", table)) == commands()


def test_options_on_the_page_are_of_the_parser() -> None:
    known = " ".join(
        option
        for action in build_parser()._subparsers._group_actions  # type: ignore[union-attr]
        for parser in action.choices.values()  # type: ignore[union-attr]
        for option in parser._option_string_actions
    )

    assert all(option in known.split() for option in re.findall(r" (--[a-z-]+)", CLIENT))


def test_example_uses_what_the_client_has() -> None:
    (example,) = re.findall(r"```python\n(.*?)```", CLIENT, re.S)
    known = {
        "node": Node,
        "ds": Dataset,
        "result": Result,
        "package": Package,
        "Node": Node,
    }

    used = [
        (node.value.id, node.attr)
        for node in ast.walk(ast.parse(example))
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name)
    ]

    assert len(used) >= 12
    for name, attribute in used:
        assert name == "pandas" or hasattr(known[name], attribute), (name, attribute)


def test_every_resource_is_on_the_page() -> None:
    routes = {str(pattern.pattern).split("/")[0] for pattern in urlpatterns} - {
        "",
        "<path:rest>",
    }

    named = set(re.findall(r"[a-z]+", API))

    assert routes - named == {"offers"}  # found through a dataset or a publication

"""docs/reasons.md holds one line for each reason, finding and error code."""

from __future__ import annotations

import ast
import inspect
import re
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

from policies import columns, decision, errors
from policies.errors import PolicyError

PAGE = Path(__file__).parents[3] / "docs" / "reasons.md"
HEADINGS = [
    "Reasons of a decision",
    "Findings of the analyser",
    "Errors of a policy document",
]
_FINDING = re.compile(r"parameter|[a-z]+(?:_[a-z]+)+")
_CODE = re.compile(r"[a-z]+(?:_[a-z]+)+")


def documented(heading: str) -> dict[str, tuple[str, str]]:
    """The rows of the table under a heading: code -> (meaning, way forward)."""
    section = PAGE.read_text(encoding="utf-8").split(f"## {heading}\n")[1].split("\n## ")[0]
    rows = re.findall(r"^\| `(\w+)` \| (.*?) \| (.*?) \|$", section, flags=re.MULTILINE)
    assert len({code for code, _, _ in rows}) == len(rows)
    return {code: (meaning, way) for code, meaning, way in rows}


def _texts(node: ast.AST) -> Iterator[str]:
    for inner in ast.walk(node):
        if isinstance(inner, ast.Constant) and isinstance(inner.value, str):
            yield inner.value


def reason_codes(module: ModuleType) -> set[str]:
    """Every code that a module can give to a Reason, read from its source."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(inspect.getsource(module))):
        called = node.func if isinstance(node, ast.Call) else None
        if isinstance(called, ast.Name) and called.id in {"Reason", "_reason"}:
            assert isinstance(node, ast.Call)
            found.update(_texts(node.args[0]))
        if isinstance(node, ast.Assign):
            targets = ast.dump(node.targets[0])
            if "'code'" in targets:
                found.update(text for text in _texts(node.value) if _CODE.fullmatch(text))
    return found


def finding_codes() -> set[str]:
    """Every code that the analyser's modules leave a finding with."""
    found: set[str] = set()
    for path in (PAGE.parents[1] / "sandbox").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if not isinstance(node, ast.Call):
                continue
            called = getattr(node.func, "attr", getattr(node.func, "id", ""))
            if called in {"refuse", "_refuse", "Finding", "give_up"}:
                literals = (text for argument in node.args[:2] for text in _texts(argument))
                found.update(text for text in literals if _FINDING.fullmatch(text))
    return found


def subclasses(kind: type[PolicyError]) -> Iterator[type[PolicyError]]:
    yield kind
    for child in kind.__subclasses__():
        if child.__module__.startswith("policies."):  # other packages document their own
            yield from subclasses(child)


def test_reasons_each_has_a_line_and_each_line_a_reason() -> None:
    codes = reason_codes(decision) | reason_codes(columns)

    assert len(codes) > 20
    assert set(documented("Reasons of a decision")) == codes


def test_findings_each_has_a_line() -> None:
    codes = finding_codes()

    assert len(codes) > 20
    assert codes <= set(documented("Findings of the analyser"))


def test_errors_each_has_a_line_and_each_line_an_error() -> None:
    codes = [kind.code for kind in subclasses(PolicyError)]

    assert len(set(codes)) == len(codes)
    assert set(documented("Errors of a policy document")) == set(codes)


@pytest.mark.parametrize(
    "heading", ["Reasons of a decision", "Errors of a policy document"]
)
def test_documented_lines_say_meaning_and_way_forward(heading: str) -> None:
    for code, (meaning, way) in documented(heading).items():
        assert meaning.endswith("."), code
        assert way.endswith("."), code


def test_error_module_draws_every_class_in_its_tree() -> None:
    tree = errors.__doc__ or ""

    for kind in subclasses(PolicyError):
        assert kind.__name__ in tree

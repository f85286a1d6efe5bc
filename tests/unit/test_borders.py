"""Each import contract catches a violation planted by hand, in a copy of the packages."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGES = ("exchange", "sandbox", "policies", "ledger", "client/bonded")

# Contract -> the module that gets a forbidden import, and that import.
PLANTED = {
    "Packages point downwards": ("policies/errors.py", "import ledger.merkle"),
    "policies is plain Python: no framework, no engine, no I/O": (
        "policies/errors.py",
        "import random",
    ),
    "the worker starts without the web stack and cannot reach the network": (
        "sandbox/errors.py",
        "import urllib.request",
    ),
    "an auditor needs only ledger and the client": (
        "ledger/errors.py",
        "import policies.errors",
    ),
    "only the sandbox ever holds a row": ("exchange/errors.py", "import duckdb"),
    "the exchange enters the sandbox by its door": (
        "exchange/errors.py",
        "import sandbox.processes.lockdown",
    ),
    "Stages of an exchange, in the order data meets them": (
        "exchange/audit/actors.py",
        "import exchange.parties.models",
    ),
    "No cycles among neighbours": ("ledger/canonical.py", "import ledger.entry"),
}


def lint(copy: Path) -> str:
    done = subprocess.run(
        [str(Path(sys.executable).with_name("lint-imports")), "--no-cache"],
        cwd=copy,
        env={**os.environ, "PYTHONPATH": str(copy / "client"), "COLUMNS": "200"},
        capture_output=True,
        text=True,
        check=False,
    )
    return done.stdout + done.stderr


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    for package in PACKAGES:
        ignored = shutil.ignore_patterns("__pycache__", "static")
        shutil.copytree(ROOT / package, tmp_path / package, ignore=ignored)
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    return tmp_path


def test_contracts_are_those_with_a_planted_violation() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())

    names = {contract["name"] for contract in project["tool"]["importlinter"]["contracts"]}

    assert names == set(PLANTED)


def test_contracts_hold(copy: Path) -> None:
    said = lint(copy)

    for name in PLANTED:
        assert f"{name} KEPT" in said, said


def test_every_contract_catches_its_planted_violation(copy: Path) -> None:
    for module, line in PLANTED.values():
        path = copy / module
        path.write_text(f"{path.read_text()}\n{line}\n")

    said = lint(copy)

    for name in PLANTED:
        assert f"{name} BROKEN" in said, said

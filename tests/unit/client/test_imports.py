"""What comes with the client: neither Django nor an engine, and pandas only when asked."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
HEAVY = ("django", "rest_framework", "celery", "duckdb", "pyarrow", "pandas", "numpy")


@pytest.mark.parametrize("module", ["bonded", "bonded.cli", "bonded.verify"])
def test_import_loads_nothing_heavy(module: str) -> None:
    code = f"import sys, {module}; print(*(n for n in {HEAVY!r} if n in sys.modules))"

    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT
    )

    assert done.stdout.split() == []


def test_wheel_carries_client_and_ledger_and_names_what_they_import() -> None:
    document = tomllib.loads((ROOT / "client" / "pyproject.toml").read_text("utf-8"))
    wheel = document["tool"]["hatch"]["build"]["targets"]["wheel"]

    assert wheel == {"packages": ["bonded"], "force-include": {"../ledger": "ledger"}}
    named = [text.split(">")[0] for text in document["project"]["dependencies"]]
    assert named == ["httpx", "cryptography"]
    assert document["project"]["scripts"] == {"bonded": "bonded.cli:main"}

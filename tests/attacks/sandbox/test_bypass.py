"""The way around the policy engine that the attacks rest on."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.attacks.sandbox.served import Bypassed

pytestmark = pytest.mark.sandboxed


def test_bypassed_worker_runs_text_that_no_policy_admits(bypassed: Bypassed) -> None:
    assert bypassed.run("SELECT current_setting('threads'), 7").rows == (("2", "7"),)


def test_bypassed_worker_runs_python_confined(bypassed: Bypassed) -> None:
    assert bypassed.act("echo", ["a", 1]) == ["a", 1]

    told = bypassed.act("identity")

    assert told["parent"] == bypassed.roles["forkserver"]
    assert told["environment"] == {}


def test_production_imports_nothing_of_the_bypass() -> None:
    """The real children, started as the daemon starts them, never load a test module."""
    program = (
        "import sys; from sandbox import __main__; from sandbox.processes import"
        " daemon, forkserver, unsealer; forkserver.prepare();"
        " print([name for name in sys.modules if name.split('.')[0] == 'tests'])"
    )
    said = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )

    assert said.stdout.strip() == "[]"

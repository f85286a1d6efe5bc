"""A whole node in processes of its own: set up, peopled, served, and gone afterwards."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
READY_SECONDS = 90.0
STOP_SECONDS = 30.0

# Runs inside the node's own Django; prints a token for each person.
PEOPLE = """
import json
from exchange.audit.actors import NODE
from exchange.parties.models import Kind, Organisation, Role, Scope, User
from exchange.parties.services import (
    grant_membership, issue_token, register_organisation,
)
tokens = {}
for slug, kind, name, role in (
    ("mill", Kind.PROVIDER, "steward", Role.STEWARD),
    ("mill", Kind.PROVIDER, "reviewer", Role.REVIEWER),
    ("maker", Kind.CONSUMER, "builder", Role.BUILDER),
    ("office", Kind.REGULATOR, "regulator", Role.REGULATOR),
):
    organisation = Organisation.objects.filter(slug=slug).first()
    if organisation is None:
        organisation = register_organisation(
            slug=slug, name=slug.title(), kind=kind, by=NODE
        )
    user = User.objects.create(username=name)
    grant_membership(user=user, organisation=organisation, role=role, by=NODE)
    _, tokens[name] = issue_token(
        user=user, name="journey", scopes=list(Scope), expires_in_days=1, by=NODE
    )
print(json.dumps(tokens))
"""


@dataclass(frozen=True, slots=True)
class LiveNode:
    """Where a running node listens, and a token of each of its people."""

    url: str
    tokens: dict[str, str]
    home: Path


@contextmanager
def live_node(home: Path) -> Iterator[LiveNode]:
    """A node runs while the block does. Raises AssertionError with its logs otherwise."""
    port = _free_port()
    environment = {
        **{key: value for key, value in os.environ.items() if not _is_of_this_test(key)},
        "BONDED_HOME": str(home),
        "BONDED_MODE": "development",
        "BONDED_NODE_NAME": "journey.localhost",
        "DJANGO_SETTINGS_MODULE": "exchange.settings",
    }
    _manage(environment, "setup")
    printed = _manage(environment, "shell", "--verbosity", "0", "--command", PEOPLE)
    tokens = json.loads(printed.strip().splitlines()[-1])
    process = subprocess.Popen(
        [sys.executable, "manage.py", "node", "--port", str(port)],
        cwd=ROOT,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )
    try:
        _wait_until_ready(process, home)
        yield LiveNode(f"http://127.0.0.1:{port}", tokens, home)
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.communicate(timeout=STOP_SECONDS)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.communicate()


def _manage(environment: dict[str, str], *arguments: str) -> str:
    done = subprocess.run(
        [sys.executable, "manage.py", *arguments],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def _wait_until_ready(process: subprocess.Popen[bytes], home: Path) -> None:
    deadline = time.monotonic() + READY_SECONDS
    while not (home / "run" / "ready").exists():
        assert process.poll() is None, f"the node ended early\n{logs(home)}"
        assert time.monotonic() < deadline, f"the node is not ready\n{logs(home)}"
        time.sleep(0.1)


def logs(home: Path) -> str:
    """The last lines of each process's log."""
    found = sorted((home / "run").glob("*.log"))
    return "\n".join(f"--- {log.name}\n{log.read_text()[-3000:]}" for log in found)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _is_of_this_test(name: str) -> bool:
    # The node under test has a database and a broker of its own.
    return name.startswith(("BONDED_", "DATABASE_URL", "PYTEST", "COV_"))

"""A whole node of the product's own, filled with one published table and one grant.

PostgreSQL and Redis are used where `DATABASE_URL` and `BONDED_BROKER_URL` name them: the
benchmark makes a database of its own beside the named one, and drops it. Without them the
node has its defaults, SQLite and a broker of files.
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from benchmarks.apart import apart
from benchmarks.subject import POLICY, write_runs
from tests.factories.node import PEOPLE

_ROOT = Path(__file__).resolve().parent.parent
_READY_SECONDS, _LOAD_SECONDS = 120, 300
_LICENCE = "CC-BY-4.0"
PURPOSE = "maintenance"


@dataclass(frozen=True, slots=True)
class Served:
    """Where the node is, and what a model builder needs to ask it."""

    url: str
    token: str
    grant: str
    stores: str  # which database and broker, in words

    def client(self) -> httpx.Client:
        """Return a client with the builder's token and a connection of its own."""
        return httpx.Client(
            base_url=self.url,
            headers={"Authorization": f"Bearer {self.token}"},
            timeout=120,
        )


@contextlib.contextmanager
def running_node(home: Path, *, rows: int, units: int) -> Iterator[Served]:
    """Set a node up in `home`, run it, publish machine runs, grant access to them."""
    with _environment(home) as environment:
        _manage(environment, "setup")
        people = ("shell", "--verbosity", "0", "--command", PEOPLE)
        tokens = json.loads(_manage(environment, *people).strip().splitlines()[-1])
        url = f"http://127.0.0.1:{_free_port()}"
        with _node(home, environment, url):
            table = home / "runs.parquet"
            apart(lambda: write_runs(table, rows, units))
            grant = _publish(url, tokens, table)
            yield Served(url, tokens["builder"], grant, _stores(environment))


def until_state(client: httpx.Client, path: str, *states: str) -> dict[str, Any]:
    """Ask until the thing at `path` is in one of these states; SystemExit if it failed."""
    stop = time.monotonic() + _LOAD_SECONDS
    while time.monotonic() < stop:
        found: dict[str, Any] = _json(client.get(path))
        if found["state"] in states:
            return found
        if found["state"] == "failed":
            raise SystemExit(f"the node could not do it: {found.get('error')}")
        time.sleep(0.2)
    raise SystemExit(f"{path} did not come to {states} in {_LOAD_SECONDS} s")


def _publish(url: str, tokens: dict[str, str], table: Path) -> str:
    api = {"base_url": f"{url}/api/v1/", "timeout": _LOAD_SECONDS}
    steward = {"Authorization": f"Bearer {tokens['steward']}"}
    builder = {"Authorization": f"Bearer {tokens['builder']}"}
    with httpx.Client(**api, headers=steward) as client:  # type: ignore[arg-type]
        dataset = _json(client.post("datasets", json={"title": "Runs", "table": "runs"}))[
            "id"
        ]
        with table.open("rb") as file:
            version = _json(
                client.post(
                    f"datasets/{dataset}/uploads",
                    params={"filename": "runs.parquet"},
                    content=file,
                    headers={"Content-Type": "application/vnd.apache.parquet"},
                )
            )["id"]
        until_state(client, f"versions/{version}", "profiled")
        _json(client.post(f"datasets/{dataset}/policies", json={"text": POLICY}))
        _json(client.post(f"versions/{version}/partition"))
        until_state(client, f"versions/{version}", "ready")
        _json(client.post(f"versions/{version}/publish", json={"licence": _LICENCE}))
    with httpx.Client(**api, headers=builder) as client:  # type: ignore[arg-type]
        asked = {
            "dataset": dataset,
            "purpose": PURPOSE,
            "legal_basis": "not-personal",
            "justification": "A benchmark.",
            "accept_licence": _LICENCE,
        }
        return str(_json(client.post("requests", json=asked))["grant"])


def _json(response: httpx.Response) -> Any:
    if response.is_error:
        raise SystemExit(f"the node answered {response.status_code}: {response.text}")
    return response.json()


@contextlib.contextmanager
def _environment(home: Path) -> Iterator[dict[str, str]]:
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith("BONDED_") or name == "BONDED_BROKER_URL"
    }
    kept |= {
        "BONDED_HOME": str(home),
        "BONDED_MODE": "development",
        "BONDED_NODE_NAME": "benchmark.localhost",
        "DJANGO_SETTINGS_MODULE": "exchange.settings",
    }
    if "DATABASE_URL" not in kept:
        yield kept
        return
    with _own_database(kept["DATABASE_URL"]) as url:
        yield kept | {"DATABASE_URL": url}


@contextlib.contextmanager
def _own_database(url: str) -> Iterator[str]:
    import psycopg
    from psycopg import sql

    name = f"bonded_benchmark_{secrets.token_hex(4)}"
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
        try:
            yield url.rsplit("/", 1)[0] + f"/{name}"
        finally:
            drop = sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)")
            connection.execute(drop.format(sql.Identifier(name)))


def _manage(environment: dict[str, str], *arguments: str) -> str:
    done = subprocess.run(
        [sys.executable, "manage.py", *arguments],
        cwd=_ROOT,
        env=environment,
        check=True,
        stdout=subprocess.PIPE,
        text=True,
    )
    return done.stdout


@contextlib.contextmanager
def _node(home: Path, environment: dict[str, str], url: str) -> Iterator[None]:
    with (home / "node.log").open("wb") as log:
        node = subprocess.Popen(
            [sys.executable, "manage.py", "node", "--port", url.rsplit(":", 1)[1]],
            cwd=_ROOT,
            env=environment,
            stdout=log,
            stderr=subprocess.STDOUT,
        )
        try:
            _wait(lambda: (home / "run" / "ready").exists() or node.poll() is not None)
            if node.poll() is not None:
                raise SystemExit(f"the node did not start: see {home / 'node.log'}")
            yield
        finally:
            node.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                node.wait(30)
            if node.poll() is None:
                node.kill()


def _wait(holds: Callable[[], bool]) -> None:
    stop = time.monotonic() + _READY_SECONDS
    while not holds():
        if time.monotonic() > stop:
            raise SystemExit(f"the node was not ready in {_READY_SECONDS} s")
        time.sleep(0.1)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _stores(environment: dict[str, str]) -> str:
    database = environment.get("DATABASE_URL", "sqlite").split(":")[0]
    broker = environment.get("BONDED_BROKER_URL", "filesystem").split(":")[0]
    return f"database {database}, broker {broker}"

"""Where a test run lives: a fresh node in a temporary directory, made before Django starts.

pytest loads this as a plugin (`-p tests.environment` in pyproject.toml), for pytest-django
reads the settings before any conftest. A DATABASE_URL or BONDED_BROKER_URL that is set is
kept, so that the suite also runs on PostgreSQL and Redis; of processes that share the tests
each has its own database of either.
"""

from __future__ import annotations

import atexit
import os
import shutil
import tempfile
from pathlib import Path
from urllib.parse import urlsplit

from exchange.node.secret_files import make_directories, make_secrets, places_under

NODE_NAME = "test.bonded.localhost"


def _prepare() -> Path:
    home = Path(tempfile.mkdtemp(prefix="bonded-test-"))
    owner = os.getpid()

    def remove() -> None:
        if os.getpid() == owner:  # forked children leave the directory to their parent
            shutil.rmtree(home, ignore_errors=True)

    atexit.register(remove)
    places = places_under(home)
    make_directories(places)
    make_secrets(places, node_name=NODE_NAME)
    os.environ.update(
        BONDED_HOME=str(home),
        BONDED_MODE="development",
        BONDED_NODE_NAME=NODE_NAME,
        BONDED_LOG_LEVEL="WARNING",
        DJANGO_SETTINGS_MODULE="exchange.settings",
    )
    for name in (
        "BONDED_SECRET_KEY",
        "BONDED_DEBUG",
        "BONDED_ALLOWED_HOSTS",
        "BONDED_POLICY_FLOOR",
    ):
        os.environ.pop(name, None)
    given, process = (
        os.environ.get("BONDED_BROKER_URL"),
        os.environ.get("PYTEST_XDIST_WORKER"),
    )
    os.environ["BONDED_BROKER_URL"] = broker_of(given or "memory://", process)
    return home


def broker_of(url: str, process: str | None) -> str:
    """Return the broker of one of the processes that share the tests; None: it is alone.

    Of one Redis each gets the next database: in a shared one the workers of one process'
    tests would take the messages of another's, whose rows they do not see.
    """
    if process is None or not url.startswith(("redis:", "rediss:")):
        return url
    server = urlsplit(url)
    number = int(server.path.strip("/") or 0) + 1 + int(process.removeprefix("gw"))
    return server._replace(path=f"/{number}").geturl()


HOME = _prepare()

"""The triggers that keep the log's rows, counted on a database made by all migrations."""

from __future__ import annotations

import importlib
import os
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest
from django.db import connection

ROOT = Path(__file__).parents[4]
KEPT = importlib.import_module("exchange.audit.migrations.0002_refuse_changes")


def test_every_trigger_stands_on_sqlite_after_all_migrations(tmp_path: Path) -> None:
    """Of a database of its own: the suite's lacks those that forbid its clean-up."""
    kept = {k: v for k, v in os.environ.items() if k != "DATABASE_URL"}
    file = tmp_path / "node.sqlite3"
    subprocess.run(
        [sys.executable, "manage.py", "migrate", "--verbosity", "0"],
        env={**kept, "DATABASE_URL": f"sqlite:///{file}"},
        cwd=ROOT,
        check=True,
    )

    with sqlite3.connect(file) as database:
        found = dict(
            database.execute("SELECT name, sql FROM sqlite_master WHERE type = 'trigger'")
        )
    database.close()

    assert len(found) == 6
    assert found == KEPT.sqlite_triggers()


@pytest.mark.django_db
@pytest.mark.skipif(connection.vendor != "postgresql", reason="needs PostgreSQL")
def test_every_trigger_stands_on_postgresql_after_all_migrations() -> None:
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT tgname, tgenabled FROM pg_trigger "
            "JOIN pg_proc ON pg_proc.oid = tgfoid WHERE proname = 'audit_refuse'"
        )
        found = dict(cursor.fetchall())

    assert len(found) == 6
    assert found == dict.fromkeys(KEPT.postgres_triggers(), "O")

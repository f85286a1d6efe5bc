"""The triggers that keep the log's rows, counted on a database made by all migrations."""

from __future__ import annotations

import importlib
import os
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest
from django.db import DatabaseError, connection, transaction

from exchange.audit.actors import NODE
from exchange.audit.events import EventType
from exchange.audit.models import AuditEvent
from exchange.audit.services import record, seal

ROOT = Path(__file__).parents[4]
KEPT = importlib.import_module("exchange.audit.migrations.0002_refuse_changes")
ADDED = importlib.import_module("exchange.audit.migrations.0003_refuse_replacing")


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

    assert len(found) == 10
    assert found == KEPT.sqlite_triggers() | ADDED.sqlite_triggers()


@pytest.mark.django_db
@pytest.mark.skipif(connection.vendor != "postgresql", reason="needs PostgreSQL")
def test_every_trigger_stands_on_postgresql_after_all_migrations() -> None:
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT tgname, tgenabled FROM pg_trigger "
            "JOIN pg_proc ON pg_proc.oid = tgfoid WHERE proname = 'audit_refuse'"
        )
        found = dict(cursor.fetchall())

    assert len(found) == 9
    # "D": the suite empties its tables by TRUNCATE, so it has those switched off.
    assert found == dict.fromkeys(KEPT.postgres_triggers(), "O") | dict.fromkeys(
        ADDED.postgres_triggers(), "D"
    )


def _write() -> AuditEvent:
    with transaction.atomic():
        return record(
            type=EventType.LOGIN_SUCCEEDED, actor=NODE, subject=("user", "1"), method="x"
        )


def _assert_refused(*statements: str) -> None:
    *before, last = statements
    with transaction.atomic(), connection.cursor() as cursor:
        for statement in before:
            cursor.execute(statement)
        with pytest.raises(DatabaseError, match="insert only"), transaction.atomic():
            cursor.execute(last)
        transaction.set_rollback(True)


@pytest.mark.django_db
@pytest.mark.skipif(connection.vendor != "sqlite", reason="REPLACE is SQLite's")
@pytest.mark.parametrize("table", list(ADDED.TAKEN))
def test_row_of_the_log_cannot_be_replaced(table: str) -> None:
    """REPLACE deletes the row in its way, and asks no trigger against deletion."""
    _write()
    seal()

    _assert_refused(f"INSERT OR REPLACE INTO {table} SELECT * FROM {table}")


@pytest.mark.django_db
@pytest.mark.skipif(connection.vendor != "sqlite", reason="REPLACE is SQLite's")
def test_sealed_event_is_not_displaced_from_its_place() -> None:
    _write()
    seal()
    pending = _write()

    _assert_refused(
        "UPDATE OR REPLACE audit_auditevent SET \"index\" = 0, leaf_hash = x'00' "
        f"WHERE seq = {pending.seq}"
    )


@pytest.mark.django_db
@pytest.mark.skipif(connection.vendor != "postgresql", reason="TRUNCATE is PostgreSQL's")
@pytest.mark.parametrize("table", list(ADDED.TAKEN))
def test_log_cannot_be_truncated(table: str) -> None:
    _assert_refused(
        f"ALTER TABLE {table} ENABLE TRIGGER {table}_no_truncate",
        f"TRUNCATE {table} CASCADE",
    )

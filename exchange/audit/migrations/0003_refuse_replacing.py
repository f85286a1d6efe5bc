"""Triggers against the statements that go round those of 0002.

SQLite deletes what `INSERT OR REPLACE` and `UPDATE OR REPLACE` displace without asking the
triggers against deletion; PostgreSQL asks no trigger of a row before TRUNCATE.
"""

from django.db import migrations

EVENTS = "audit_auditevent"
# What is unique in each table: a row that has it already would be displaced.
TAKEN = {
    EVENTS: 'seq = NEW.seq OR event_id = NEW.event_id OR "index" = NEW."index"',
    "audit_treenode": 'id = NEW.id OR (level = NEW.level AND "index" = NEW."index")',
    "audit_storedcheckpoint": "id = NEW.id OR size = NEW.size "
    "OR previous_size = NEW.previous_size",
}
REFUSAL = "audit rows are insert only"


def sqlite_triggers():
    """Name of each trigger -> the statement that makes it."""
    body = f"BEGIN SELECT RAISE(ABORT, '{REFUSAL}'); END"
    triggers = {
        f"{table}_no_replace": f"BEFORE INSERT ON {table} "
        f"WHEN EXISTS (SELECT 1 FROM {table} WHERE {taken}) {body}"
        for table, taken in TAKEN.items()
    }
    triggers["audit_event_place_once"] = (
        f'BEFORE UPDATE ON {EVENTS} WHEN EXISTS (SELECT 1 FROM {EVENTS} '
        f'WHERE "index" = NEW."index" AND seq <> OLD.seq) {body}'
    )
    return {name: f"CREATE TRIGGER {name} {text}" for name, text in triggers.items()}


def postgres_triggers():
    return {
        f"{table}_no_truncate": f"CREATE TRIGGER {table}_no_truncate "
        f"BEFORE TRUNCATE ON {table} FOR EACH STATEMENT EXECUTE FUNCTION audit_refuse()"
        for table in TAKEN
    }


def forwards(apps, schema_editor):
    on_postgres = schema_editor.connection.vendor == "postgresql"
    for statement in (postgres_triggers() if on_postgres else sqlite_triggers()).values():
        schema_editor.execute(statement)


def backwards(apps, schema_editor):
    if schema_editor.connection.vendor == "postgresql":
        for table in TAKEN:
            schema_editor.execute(f"DROP TRIGGER IF EXISTS {table}_no_truncate ON {table}")
        return
    for name in sqlite_triggers():
        schema_editor.execute(f"DROP TRIGGER IF EXISTS {name}")


class Migration(migrations.Migration):
    dependencies = [("audit", "0002_refuse_changes")]
    operations = [migrations.RunPython(forwards, backwards)]

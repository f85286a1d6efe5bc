"""Triggers that keep events, tree and checkpoints as they were written.

SQLite drops triggers with a table that a later migration rebuilds: such a migration must
run these operations again (a test counts the triggers).
"""

from django.db import migrations

FIXED = [
    "seq", "event_id", "type", "at", "actor_id", "actor_name", "organisation",
    "subject_type", "subject_id", "case_id", "entry", "private",
]
EVENTS = "audit_auditevent"
ADDED_ONLY = ["audit_treenode", "audit_storedcheckpoint"]
REFUSAL = "audit rows are insert only"


def sqlite_triggers():
    """Name of each trigger -> the statement that makes it."""
    changed = " OR ".join(f'NEW."{c}" IS NOT OLD."{c}"' for c in FIXED)
    body = f"BEGIN SELECT RAISE(ABORT, '{REFUSAL}'); END"
    triggers = {
        "audit_event_stays": f"BEFORE UPDATE ON {EVENTS} "
        f'WHEN OLD."index" IS NOT NULL OR {changed} {body}',
        "audit_event_no_delete": f"BEFORE DELETE ON {EVENTS} {body}",
    }
    for table in ADDED_ONLY:
        triggers[f"{table}_stays"] = f"BEFORE UPDATE ON {table} {body}"
        triggers[f"{table}_no_delete"] = f"BEFORE DELETE ON {table} {body}"
    return {name: f"CREATE TRIGGER {name} {text}" for name, text in triggers.items()}


def postgres_triggers():
    changed = " OR ".join(f'NEW."{c}" IS DISTINCT FROM OLD."{c}"' for c in FIXED)
    call = "FOR EACH ROW"
    refuse = "EXECUTE FUNCTION audit_refuse()"
    triggers = {
        "audit_event_stays": f"BEFORE UPDATE ON {EVENTS} {call} "
        f'WHEN (OLD."index" IS NOT NULL OR {changed}) {refuse}',
        "audit_event_no_delete": f"BEFORE DELETE ON {EVENTS} {call} {refuse}",
    }
    for table in ADDED_ONLY:
        triggers[f"{table}_stays"] = f"BEFORE UPDATE ON {table} {call} {refuse}"
        triggers[f"{table}_no_delete"] = f"BEFORE DELETE ON {table} {call} {refuse}"
    return {name: f"CREATE TRIGGER {name} {text}" for name, text in triggers.items()}


FUNCTION = f"""
CREATE OR REPLACE FUNCTION audit_refuse() RETURNS trigger LANGUAGE plpgsql AS
$$ BEGIN RAISE EXCEPTION '{REFUSAL}' USING ERRCODE = 'integrity_constraint_violation'; END $$
"""


def forwards(apps, schema_editor):
    if schema_editor.connection.vendor == "postgresql":
        schema_editor.execute(FUNCTION)
        statements = postgres_triggers()
    else:
        statements = sqlite_triggers()
    for statement in statements.values():
        schema_editor.execute(statement)


def backwards(apps, schema_editor):
    for name, statement in postgres_triggers().items():
        on = statement.split(" ON ")[1].split()[0]
        suffix = f" ON {on}" if schema_editor.connection.vendor == "postgresql" else ""
        schema_editor.execute(f"DROP TRIGGER IF EXISTS {name}{suffix}")
    if schema_editor.connection.vendor == "postgresql":
        schema_editor.execute("DROP FUNCTION IF EXISTS audit_refuse()")


class Migration(migrations.Migration):
    dependencies = [("audit", "0001_initial")]
    operations = [migrations.RunPython(forwards, backwards)]

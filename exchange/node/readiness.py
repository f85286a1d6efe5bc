"""Whether a node may serve: everything set-up makes is there and sound."""

from __future__ import annotations

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.db import DatabaseError, connection
from django.db.migrations.executor import MigrationExecutor

from exchange.audit.signing import signing_key
from exchange.errors import ExchangeError, Unavailable
from exchange.keys.choice import provider

HINT = "Run `manage.py setup` with the same environment."


class NodeNotReady(Unavailable):
    """Something that set-up makes is missing; nothing is served without it."""

    code = "node_not_set_up"


def has_secret_key() -> bool:
    """Say whether the settings of this process hold one; Django raises at an empty one."""
    try:
        return bool(settings.SECRET_KEY)
    except ImproperlyConfigured:
        return False


def check_secrets() -> None:
    """Raise NodeNotReady unless the node has its secrets, sound and private.

    A key provider elsewhere may be away: the node starts, says so, and goes on by itself.
    """
    if not has_secret_key():
        raise NodeNotReady("The node has no secret key.", hint=HINT)
    try:
        provider()
        signing_key()
    except ExchangeError as error:
        raise NodeNotReady(error.message, hint=error.hint) from error


def check_is_ready() -> None:
    """Raise NodeNotReady unless secrets, directories and migrations are all there."""
    check_secrets()
    for directory in (settings.VAULT_DIR, settings.RUN_DIR, settings.BROKER_DIR):
        if not directory.is_dir():
            raise NodeNotReady(f"The directory {directory.name}/ is missing.", hint=HINT)
    try:
        executor = MigrationExecutor(connection)
        missing = executor.migration_plan(executor.loader.graph.leaf_nodes())
    except DatabaseError as error:
        raise NodeNotReady("The database does not answer.", hint=HINT) from error
    if missing:
        raise NodeNotReady(f"The database lacks {len(missing)} migrations.", hint=HINT)

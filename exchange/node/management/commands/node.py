from __future__ import annotations

import argparse
import socket
import sys
from typing import Any

from django.conf import settings
from django.core.management import BaseCommand, CommandError

from exchange.errors import ExchangeError
from exchange.node.processes import Role
from exchange.node.readiness import check_is_ready
from exchange.node.supervisor import Address, Plan, check_is_free, python, supervise

# The daemon runs foreign SQL: it gets no settings, no secret and no database address.
SANDBOX_ENVIRONMENT = dict.fromkeys(
    (
        "BONDED_SECRET_KEY",
        "DATABASE_URL",
        "BONDED_BROKER_URL",
        "BONDED_KEYRING_PASSPHRASE_FILE",
        "BONDED_TRANSIT_TOKEN_FILE",
        "BONDED_TRANSIT_ROLE_ID_FILE",
        "BONDED_TRANSIT_SECRET_ID_FILE",
        "BONDED_PKCS11_PIN_FILE",
    ),
    "",
)
SERVING_THREADS = 4


class Command(BaseCommand):
    help = "Run web, Celery with beat, log sequencer and sandbox daemon, supervised."

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        parser.add_argument("--host", default="127.0.0.1")
        parser.add_argument("--port", type=int, default=8000)
        parser.add_argument("--workers", type=int, default=2, help="of Celery and sandbox")

    def handle(self, *args: Any, **options: Any) -> None:
        address = Address(options["host"], options["port"])
        try:
            check_is_ready()
            check_is_free(address)
            status = supervise(
                Plan(
                    roles=roles(address, workers=options["workers"]),
                    run_dir=settings.RUN_DIR,
                    say=self._say,
                    is_serving=lambda: _is_serving(address),
                )
            )
        except ExchangeError as error:
            sentence = f"{error.code}: {error.message} {error.hint}".strip()
            raise CommandError(sentence) from error
        sys.exit(status)

    def _say(self, sentence: str) -> None:
        self.stdout.write(f"node: {sentence}")
        self.stdout.flush()


def roles(address: Address, *, workers: int) -> tuple[Role, ...]:
    """Return the processes of a small node; in production each is a unit of its own."""
    celery = ("-m", "celery", "-A", "exchange.celery")
    beat_file = settings.RUN_DIR / "beat-schedule"
    return (
        Role(
            "sandbox",
            python(
                *("-m", "sandbox", "--socket", str(settings.BONDED_SANDBOX_SOCKET)),
                *("--vault", str(settings.VAULT_DIR), "--workers", str(workers)),
            ),
            SANDBOX_ENVIRONMENT,
        ),
        Role("sequencer", python("manage.py", "sequencer")),
        Role(
            "worker",
            python(
                *celery,
                *("worker", "--queues", "default,sandbox", "--concurrency", str(workers)),
                *("--without-gossip", "--without-mingle", "--without-heartbeat"),
                *("--loglevel", "WARNING"),
            ),
        ),
        Role(
            "beat",
            python(
                *celery,
                *("beat", "--schedule", str(beat_file), "--pidfile", ""),
                *("--loglevel", "WARNING"),
            ),
        ),
        Role(
            "web",
            python(
                *("-m", "granian", "--interface", "wsgi", "exchange.wsgi:application"),
                *("--host", address.host, "--port", str(address.port)),
                # Who waits (`Prefer: wait`) holds a thread; others go on being served.
                *("--workers", "1", "--no-ws"),
                *("--blocking-threads", str(settings.BONDED_WAITERS + SERVING_THREADS)),
                *("--log-level", "warning"),
            ),
        ),
    )


def _is_serving(address: Address) -> bool:
    try:
        with socket.create_connection((address.host, address.port), timeout=0.5):
            pass
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as door:
            door.settimeout(0.5)
            door.connect(str(settings.BONDED_SANDBOX_SOCKET))
    except OSError:
        return False
    return True

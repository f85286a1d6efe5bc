from __future__ import annotations

from typing import Any

from django.core.management import BaseCommand, CommandError

from exchange.demo.people import accounts_table
from exchange.demo.seed import seed
from exchange.errors import ExchangeError
from policies.errors import PolicyError


class Command(BaseCommand):
    help = "Fill a running demo node with people, data and six exchanges. Safe to repeat."

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            seed(lambda step: self.stdout.write(f"demo: {step}"))
        except (ExchangeError, PolicyError) as error:
            raise CommandError(f"{error.code}: {error} {error.hint}") from error
        except KeyboardInterrupt as stop:
            raise CommandError("stopped; ./bonded demo goes on from here") from stop
        self.stdout.write(
            f"\n{accounts_table()}\n\nThe passwords are public: keep the demo to yourself."
        )

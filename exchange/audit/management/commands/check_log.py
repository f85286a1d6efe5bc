from __future__ import annotations

from typing import Any

from django.core.management import BaseCommand, CommandError

from exchange.audit.actors import NODE
from exchange.audit.services import check_log
from exchange.errors import ExchangeError
from ledger.errors import LedgerError


class Command(BaseCommand):
    help = (
        "Hash every entry of the log anew, compare with the signed root, and record that."
    )

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            checkpoint = check_log(by=NODE).checkpoint
        except (LedgerError, ExchangeError) as error:
            raise CommandError(f"{error.code}: {error.message} {error.hint}") from error
        self.stdout.write(
            f"{checkpoint.size} entries of {checkpoint.origin} are those that were signed; "
            f"root {checkpoint.root.hex()}"
        )

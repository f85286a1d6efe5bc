from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from django.core.management import BaseCommand, CommandError

from exchange.audit.selectors import export_log
from exchange.audit.signing import verifier_key
from exchange.errors import ExchangeError


class Command(BaseCommand):
    help = "Write the log to a file that `bonded verify --log` checks anywhere."

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        parser.add_argument("file", type=Path)
        parser.add_argument("--start", type=int, default=0, help="first entry, default 0")

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            lines = export_log(options["start"])
            with options["file"].open("xb") as file:
                file.writelines(lines)
        except ExchangeError as error:
            raise CommandError(f"{error.code}: {error.message} {error.hint}") from error
        except FileExistsError as error:
            raise CommandError("The file exists; it is not overwritten.") from error
        self.stdout.write(f"verifier key: {verifier_key()}")

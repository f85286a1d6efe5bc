from __future__ import annotations

from typing import Any

from django.core.management import BaseCommand, CommandError, CommandParser

from exchange.audit.actors import NODE
from exchange.errors import ExchangeError
from exchange.parties.models import Kind
from exchange.parties.services import register_organisation


class Command(BaseCommand):
    help = "Register an organisation on this node; recorded as an act of its operator."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("slug", help="short name, such as port-authority")
        parser.add_argument("--name", required=True, help="full name, as people read it")
        parser.add_argument("--kind", required=True, choices=Kind.values)

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            organisation = register_organisation(
                slug=options["slug"],
                name=options["name"],
                kind=Kind(options["kind"]),
                by=NODE,
            )
        except ExchangeError as error:
            raise CommandError(f"{error.message} {error.hint}".strip()) from error
        self.stdout.write(f"registered {organisation.name} ({organisation.slug})")

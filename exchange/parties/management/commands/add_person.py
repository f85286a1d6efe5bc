from __future__ import annotations

import getpass
import sys
from typing import Any

from django.core.management import BaseCommand, CommandError, CommandParser
from django.db import transaction

from exchange.audit.actors import NODE
from exchange.errors import ExchangeError
from exchange.parties.models import Organisation, Role, User
from exchange.parties.services import grant_membership, register_user


class Command(BaseCommand):
    help = (
        "Give a person an account and a role in an organisation. The password is asked "
        "for, or read from standard input where that is no terminal; a person who has an "
        "account gets the role only."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("username")
        parser.add_argument("--organisation", required=True, metavar="SLUG")
        parser.add_argument("--role", required=True, choices=Role.values)
        parser.add_argument("--name", default="", help="full name")
        parser.add_argument("--email", default="")

    def handle(self, *args: Any, **options: Any) -> None:
        organisation = Organisation.objects.filter(slug=options["organisation"]).first()
        if organisation is None:
            known = ", ".join(Organisation.objects.values_list("slug", flat=True)) or "none"
            raise CommandError(
                f"There is no organisation {options['organisation']}; known: {known}. "
                "Register it by add_organisation."
            )
        user = User.objects.filter(username=options["username"]).first()
        password = "" if user is not None else _password()
        try:
            with transaction.atomic():
                if user is None:
                    user = register_user(
                        username=options["username"],
                        password=password,
                        full_name=options["name"],
                        email=options["email"],
                        by=NODE,
                    )
                grant_membership(
                    user=user,
                    organisation=organisation,
                    role=Role(options["role"]),
                    by=NODE,
                )
        except ExchangeError as error:
            raise CommandError(f"{error.message} {error.hint}".strip()) from error
        self.stdout.write(f"{user.username} is {options['role']} of {organisation.name}")


def _password() -> str:
    # Never an argument: those stand in the process list and the shell's history.
    if not sys.stdin.isatty():
        return sys.stdin.readline().rstrip("\n")
    first = getpass.getpass("Password: ")
    if getpass.getpass("Again: ") != first:
        raise CommandError("The two passwords differ.")
    return first

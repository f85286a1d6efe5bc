from __future__ import annotations

from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management import BaseCommand, CommandError, call_command
from django.db import connection

from exchange.errors import ExchangeError
from exchange.keys.choice import ProviderKind, provider
from exchange.keys.keyring import read_passphrase
from exchange.node.readiness import has_secret_key
from exchange.node.secret_files import Places, make_directories, make_secrets


class Command(BaseCommand):
    help = "Make what a node needs: directories, secrets, database. Safe to repeat."
    requires_system_checks = ()

    def handle(self, *args: Any, **options: Any) -> None:
        places = Places(
            home=settings.BONDED_HOME,
            vault=settings.VAULT_DIR,
            secrets=settings.SECRETS_DIR,
            broker=settings.BROKER_DIR,
            run=settings.RUN_DIR,
            django_key=settings.SECRET_KEY_FILE,
            keyring=settings.KEYRING_FILE,
            signing_key=settings.LOG_SIGNING_KEY_FILE,
        )
        make_directories(places)
        kind = ProviderKind(settings.BONDED_KEY_PROVIDER)
        passphrase_file = settings.BONDED_KEYRING_PASSPHRASE_FILE
        try:
            for name in make_secrets(
                places,
                node_name=settings.BONDED_NODE_NAME,
                with_keyring=kind is ProviderKind.FILE,
                passphrase=read_passphrase(passphrase_file) if passphrase_file else "",
            ):
                self.stdout.write(f"made the secret {name}")
            if kind is ProviderKind.PKCS11 and not provider().refs():
                provider().rotate()
                self.stdout.write("made the first master key in the token")
        except ExchangeError as error:
            raise CommandError(f"{error.code}: {error.message} {error.hint}") from error
        if not has_secret_key():
            # Made just now; the settings of this process were read before.
            settings.SECRET_KEY = places.django_key.read_text(encoding="ascii").strip()
        if connection.vendor == "sqlite":
            # Its journal takes over the mode. A copy elsewhere must stay the owner's too.
            database = Path(settings.DATABASES["default"]["NAME"])
            database.touch(mode=0o600)
            database.chmod(0o600)
        call_command("migrate", interactive=False, verbosity=0)
        self.stdout.write("the node is set up")

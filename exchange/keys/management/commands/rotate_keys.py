from __future__ import annotations

from typing import Any

from django.core.management import BaseCommand

from exchange.audit.actors import NODE
from exchange.keys.choice import provider
from exchange.keys.models import KeyState
from exchange.keys.services import rewrap
from exchange.parties.models import Organisation


class Command(BaseCommand):
    help = "Make a new master key, and new organisation keys under it. Data stays as it is."

    def handle(self, *args: Any, **options: Any) -> None:
        provider().rotate()
        holders = Organisation.objects.filter(keys__state=KeyState.ACTIVE)
        for organisation in holders.order_by("slug"):
            key = rewrap(organisation=organisation, by=NODE)
            self.stdout.write(f"{organisation.slug}: generation {key.generation}")

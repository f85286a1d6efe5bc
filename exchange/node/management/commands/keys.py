from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from typing import Any

from django.conf import settings
from django.core.exceptions import ValidationError
from django.core.management import BaseCommand, CommandError

from exchange.audit.actors import NODE
from exchange.catalogue.models import DatasetVersion
from exchange.catalogue.rekeying import rekey_version
from exchange.errors import ExchangeError
from exchange.keys import masters
from exchange.keys.choice import file_keyring, provider, provider_of
from exchange.keys.keyring import read_passphrase
from exchange.keys.models import DataKey, KeyState, OrganisationKey
from exchange.keys.provider import check_works
from exchange.keys.rotation import rotate_organisation
from exchange.node.key_status import describe
from exchange.parties.models import Organisation
from exchange.queries.shredding import (
    keys_of,
    queries_on,
    shred_organisation,
    shred_version,
    words_for_version,
)

EXIT_UNFINISHED = 3
EXIT_PROVIDER = 4


class Command(BaseCommand):
    help = (
        "Look after the node's keys. Exit codes: 0 done; 1 refused or failed, with the "
        "code; 3 from `status`: a rotation is unfinished; 4 from `status`: the key "
        "provider does not serve."
    )

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        acts = parser.add_subparsers(dest="act", required=True, metavar="ACT")

        def act(name: str, text: str) -> argparse.ArgumentParser:
            made: argparse.ArgumentParser = acts.add_parser(name, help=text)
            return made

        def dry(name: str, text: str) -> argparse.ArgumentParser:
            made = act(name, text)
            made.add_argument(
                "--dry-run", action="store_true", help="say what would be done, do nothing"
            )
            return made

        status = act("status", "the provider, its master keys, each organisation's key")
        status.add_argument("--json", action="store_true", help="for a program to read")
        dry("rotate-master", "a new master key, and every organisation's key under it")
        dry("rewrap", "every organisation's key under the current master key")
        dry("retire-masters", "remove master keys under which nothing lies any more")
        one = dry("rotate-organisation", "a new organisation key; its data keys move")
        one.add_argument("organisation", help="its short name")
        data = dry("rotate-data", "write a version's files anew under a new data key")
        data.add_argument("version", help="the dataset version's id")
        end = dry("destroy", "make all that a key encrypted unreadable, for ever")
        end.add_argument("what", choices=("version", "organisation"))
        end.add_argument("which", help="the version's id, or the organisation's short name")
        end.add_argument("--confirm", default="", help="the words that --dry-run names")
        act("lock-keyring", "put the keyring under the passphrase that the settings name")
        act("unlock-keyring", "take the keyring out from under its passphrase")

    def handle(self, *args: Any, **options: Any) -> None:
        acts: dict[str, Callable[[dict[str, Any]], None]] = {
            "status": self._status,
            "rotate-master": self._rotate_master,
            "rewrap": self._rewrap,
            "retire-masters": self._retire,
            "rotate-organisation": self._rotate_organisation,
            "rotate-data": self._rotate_data,
            "destroy": self._destroy,
            "lock-keyring": self._lock,
            "unlock-keyring": self._unlock,
        }
        try:
            acts[options["act"]](options)
        except ExchangeError as error:
            sentence = f"{error.code}: {error.message} {error.hint}".strip()
            raise CommandError(sentence) from error

    def _say(self, sentence: str) -> None:
        self.stdout.write(sentence)

    def _status(self, options: dict[str, Any]) -> None:
        about = describe()
        if options["json"]:
            self._say(json.dumps(about, indent=2))
        else:
            for line in about["lines"]:
                self._say(line)
        if about["problem"]:
            raise CommandError(about["problem"], returncode=EXIT_PROVIDER)
        if about["unfinished"]:
            raise CommandError(
                "A rotation is unfinished: run `manage.py keys rewrap`, and "
                "`manage.py keys rotate-organisation` for those that are retiring.",
                returncode=EXIT_UNFINISHED,
            )

    def _rotate_master(self, options: dict[str, Any]) -> None:
        if options["dry_run"]:
            check_works(provider())
            count = OrganisationKey.objects.live().count()
            self._say(f"would make a master key, and bring {count} keys under it")
            return
        done = masters.rotate_master(by=NODE)
        self._say(f"master key {done.ref}: {done.keys} organisation keys lie under it")

    def _rewrap(self, options: dict[str, Any]) -> None:
        if options["dry_run"]:
            waiting = len(masters.waiting_for_rewrap(provider().current))
            self._say(f"would bring {waiting} keys under {provider().current}")
            return
        done = masters.rewrap(by=NODE)
        self._say(f"master key {done.ref}: {done.keys} organisation keys were brought here")

    def _retire(self, options: dict[str, Any]) -> None:
        if options["dry_run"]:
            gone = masters.retirable()
            self._say(f"would retire {len(gone)}: {', '.join(gone) or 'none'}")
        else:
            gone = masters.retire_masters(by=NODE)
            self._say(f"retired {len(gone)}: {', '.join(gone) or 'none'}")
        if stop := masters.held_up_by():
            self._say(
                f"{stop} and later ones stay: an organisation's key lies under it; run "
                "`keys rewrap`, then retire again"
            )

    def _rotate_organisation(self, options: dict[str, Any]) -> None:
        organisation = _organisation(options["organisation"])
        keys = DataKey.objects.filter(
            organisation_key__organisation=organisation, state=KeyState.ACTIVE
        )
        if options["dry_run"]:
            self._say(f"would bring {keys.count()} data keys under a new key")
            return
        key = rotate_organisation(organisation=organisation, by=NODE)
        self._say(
            f"{organisation.slug}: generation {key.generation}, {keys.count()} data keys"
        )

    def _rotate_data(self, options: dict[str, Any]) -> None:
        version = _version(options["version"])
        if options["dry_run"]:
            self._say(f"would write {version.files.count()} files anew")
            return
        rekey_version(version=version, by=NODE)
        self._say("under way: see the page Operations, or the version's key")

    def _destroy(self, options: dict[str, Any]) -> None:
        if options["what"] == "version":
            version = _version(options["which"])
            live = keys_of(version).filter(state=KeyState.ACTIVE).count()
            if options["dry_run"]:
                self._say(
                    f"would destroy {live} keys of {version}, make {version.files.count()} "
                    f"files unreadable and end {queries_on(version).count()} queries; "
                    f"--confirm '{words_for_version(version)}'"
                )
                return
            shred_version(version=version, confirmation=options["confirm"], by=NODE)
            self._say(f"{live} keys of {version} are destroyed")
            return
        organisation = _organisation(options["which"])
        live = DataKey.objects.filter(
            organisation_key__organisation=organisation, state=KeyState.ACTIVE
        ).count()
        if options["dry_run"]:
            self._say(
                f"would destroy the key of {organisation.slug} and {live} data keys under "
                f"it: every dataset, result and history; --confirm '{organisation.slug}'"
            )
            return
        shred_organisation(
            organisation=organisation, confirmation=options["confirm"], by=NODE
        )
        self._say(f"{organisation.slug}: its key and {live} data keys are destroyed")

    def _lock(self, options: dict[str, Any]) -> None:
        place = settings.BONDED_KEYRING_PASSPHRASE_FILE
        if place is None:
            raise CommandError(
                "Name the passphrase's file in BONDED_KEYRING_PASSPHRASE_FILE first."
            )
        file_keyring().lock(read_passphrase(place))
        provider_of.cache_clear()
        self._say(
            "the keyring is locked; run `keys rotate-master` and `keys retire-masters`, "
            "for its old bytes may lie in backups"
        )

    def _unlock(self, options: dict[str, Any]) -> None:
        file_keyring().unlock()
        provider_of.cache_clear()
        self._say("the keyring needs no passphrase any more")


def _organisation(slug: str) -> Organisation:
    found = Organisation.objects.filter(slug=slug).first()
    if found is None:
        raise CommandError(f"no organisation has the short name {slug}")
    return found


def _version(wanted: str) -> DatasetVersion:
    try:
        found = DatasetVersion.objects.select_related("dataset__organisation").filter(
            pk=wanted
        )
        version = found.first()
    except ValidationError:
        version = None
    if version is None:
        raise CommandError(f"no dataset version has the id {wanted}")
    return version

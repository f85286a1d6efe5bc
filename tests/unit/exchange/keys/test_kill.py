"""Real processes, really killed in the middle of a rotation: all opens afterwards."""

from __future__ import annotations

import json
import os
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[4]
KEYS = 1500
ORGANISATIONS = 40

pytestmark = pytest.mark.long

MAKE = f"""
from exchange.audit.actors import NODE
from exchange.keys.services import issue_data_key, unwrap
from exchange.parties.models import Organisation
from django.db import transaction
with transaction.atomic():
    for number in range({ORGANISATIONS}):
        organisation = Organisation.objects.create(
            slug=f"o{{number}}", name=f"O {{number}}", kind="provider"
        )
        for key in range({KEYS} if not number else 1):
            issue_data_key(
                organisation=organisation,
                purpose="version",
                subject=("v", str(key)),
                by=NODE,
            )
"""
DIGEST = """
import hashlib
from exchange.keys.models import DataKey
from exchange.keys.services import unwrap
digest = hashlib.sha256()
for key in DataKey.objects.order_by("pk"):
    digest.update(unwrap(key))
print(digest.hexdigest())
"""


def environment(home: Path) -> dict[str, str]:
    kept = {
        k: v for k, v in os.environ.items() if not k.startswith(("BONDED_", "DATABASE"))
    }
    return kept | {"BONDED_HOME": str(home), "DJANGO_SETTINGS_MODULE": "exchange.settings"}


def manage(home: Path, *arguments: str) -> str:
    done = subprocess.run(
        [sys.executable, "manage.py", *arguments],
        cwd=ROOT,
        env=environment(home),
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def shell(home: Path, code: str) -> str:
    return manage(home, "shell", "--verbosity", "0", "--command", code).strip()


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("node")
    manage(home, "setup")
    shell(home, MAKE)
    return home


def ask(home: Path, question: str) -> int:
    with sqlite3.connect(f"file:{home}/db.sqlite3?mode=ro", uri=True, timeout=20) as rows:
        found: int = rows.execute(question).fetchone()[0]
    rows.close()
    return found


def killed_when(home: Path, arguments: tuple[str, ...], midway: Callable[[], bool]) -> None:
    """Start the command and kill it, without a warning, as soon as `midway` holds."""
    process = subprocess.Popen(
        [sys.executable, "manage.py", "keys", *arguments],
        cwd=ROOT,
        env=environment(home),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    until = time.monotonic() + 120
    while not midway():
        assert process.poll() is None, "it ended before it could be killed"
        assert time.monotonic() < until
        time.sleep(0.002)
    process.kill()
    process.wait()


def test_rotate_organisation_killed_midway_goes_on(home: Path) -> None:
    before = shell(home, DIGEST)
    left = (
        "SELECT count(*) FROM keys_datakey d JOIN keys_organisationkey k "
        "ON d.organisation_key_id = k.id WHERE k.state = 'retiring'"
    )

    killed_when(
        home, ("rotate-organisation", "o0"), lambda: 0 < ask(home, left) < KEYS - 200
    )

    assert 0 < ask(home, left) < KEYS
    assert shell(home, DIGEST) == before
    manage(home, "keys", "rotate-organisation", "o0")
    assert ask(home, left) == 0
    assert (
        ask(home, "SELECT count(*) FROM keys_organisationkey WHERE state='retiring'") == 0
    )
    assert shell(home, DIGEST) == before


def test_rotate_master_killed_midway_goes_on_and_then_the_old_one_retires(
    home: Path,
) -> None:
    before = shell(home, DIGEST)
    under = (
        "SELECT count(*) FROM keys_organisationkey WHERE state <> 'destroyed' AND "
        "provider_ref = (SELECT ref FROM keys_masterkey ORDER BY id DESC LIMIT 1)"
    )
    masters = ask(home, "SELECT count(*) FROM keys_masterkey")

    killed_when(
        home,
        ("rotate-master",),
        lambda: (
            ask(home, "SELECT count(*) FROM keys_masterkey") > masters
            and ask(home, under) > 1
        ),
    )

    assert 0 < ask(home, under) < ORGANISATIONS
    assert shell(home, DIGEST) == before
    manage(home, "keys", "rewrap")
    assert ask(home, under) == ORGANISATIONS
    manage(home, "keys", "retire-masters")
    about = json.loads(manage(home, "keys", "status", "--json"))
    assert len(about["master_keys"]) == 1
    assert not about["unfinished"]
    assert shell(home, DIGEST) == before

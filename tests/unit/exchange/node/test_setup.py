from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from exchange.audit.signing import SigningKeyUnusable, create_signing_key, read_signing_key
from exchange.node.secret_files import Places, make_directories, make_secrets, places_under

ROOT = Path(__file__).parents[4]
STRONG = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
PRODUCTION = {
    "BONDED_MODE": "production",
    "BONDED_NODE_NAME": "node.example",
    "BONDED_ALLOWED_HOSTS": "node.example",
}


def run(home: Path, code: str, **environment: str) -> subprocess.CompletedProcess[str]:
    kept = {
        k: v for k, v in os.environ.items() if not k.startswith(("BONDED_", "DATABASE_"))
    }
    return subprocess.run(
        [sys.executable, *(["manage.py", code] if code.isidentifier() else ["-c", code])],
        env={**kept, "BONDED_HOME": str(home), **environment},
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )


READ = "from exchange import settings"
SERVE = "import exchange.wsgi"


def test_import_of_the_settings_writes_nothing(tmp_path: Path) -> None:
    done = run(tmp_path / "home", READ)

    assert (done.returncode, done.stderr) == (0, "")
    assert not (tmp_path / "home").exists()


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"BONDED_MODE": "staging"}, "BONDED_MODE"),
        ({"BONDED_SECRET_KEY": "hunter2"}, "secret key is weak"),
        ({"BONDED_SECRET_KEY": "a" * 80}, "secret key is weak"),
        ({**PRODUCTION, "BONDED_SECRET_KEY": "hunter2"}, "secret key is weak"),
        ({**PRODUCTION, "BONDED_DEBUG": "1"}, "BONDED_DEBUG"),
        ({**PRODUCTION, "BONDED_ALLOWED_HOSTS": "*"}, "BONDED_ALLOWED_HOSTS"),
        ({**PRODUCTION, "BONDED_ALLOWED_HOSTS": ""}, "BONDED_ALLOWED_HOSTS"),
        (
            {k: v for k, v in PRODUCTION.items() if k != "BONDED_NODE_NAME"},
            "BONDED_NODE_NAME",
        ),
    ],
)
def test_weak_value_is_refused(
    tmp_path: Path, changes: dict[str, str], expected: str
) -> None:
    done = run(tmp_path, READ, **changes)

    assert done.returncode != 0
    assert "ImproperlyConfigured" in done.stderr
    assert expected in done.stderr
    assert changes.get("BONDED_SECRET_KEY", "nothing") not in done.stderr


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (None, "no file that this process can read"),
        (b"\xff\xfe", "no file that this process can read"),
        (b"", "is no floor"),
        (b"min_units: ten\n", "(line 1)"),
        (b"version: 1\nmin_unit: 10\n", "(line 2)"),
    ],
    ids=["absent", "no text", "empty", "no number", "unknown key"],
)
def test_floor_that_cannot_be_read_is_refused(
    tmp_path: Path, content: bytes | None, expected: str
) -> None:
    floor = tmp_path / "floor.yaml"
    if content is not None:
        floor.write_bytes(content)

    done = run(tmp_path, READ, BONDED_POLICY_FLOOR=str(floor))

    assert done.returncode != 0
    assert "ImproperlyConfigured" in done.stderr
    assert expected in done.stderr


def test_floor_named_by_an_empty_setting_is_refused(tmp_path: Path) -> None:
    done = run(tmp_path, READ, BONDED_POLICY_FLOOR="")

    assert "ImproperlyConfigured" in done.stderr


def test_floor_is_read_once_into_the_settings(tmp_path: Path) -> None:
    floor = tmp_path / "floor.yaml"
    floor.write_text("version: 1\nmin_units: 12\n", encoding="utf-8")

    done = run(
        tmp_path,
        "from exchange import settings; print(settings.POLICY_FLOOR.min_units)",
        BONDED_POLICY_FLOOR=str(floor),
    )

    assert (done.returncode, done.stdout) == (0, "12\n")


@pytest.mark.parametrize("mode", [{}, PRODUCTION], ids=["development", "production"])
def test_node_that_was_not_set_up_does_not_serve(
    tmp_path: Path, mode: dict[str, str]
) -> None:
    done = run(tmp_path, SERVE, **mode)

    assert done.returncode != 0
    assert "NodeNotReady" in done.stderr


def test_setup_makes_a_node_that_serves_and_is_safe_to_repeat(tmp_path: Path) -> None:
    home = tmp_path / "home"

    first = run(home, "setup", **PRODUCTION)
    secrets = {p.name: p.read_bytes() for p in (home / "secrets").iterdir()}
    second = run(home, "setup", **PRODUCTION)

    assert (first.returncode, second.returncode) == (0, 0), first.stderr + second.stderr
    assert {p.name: p.read_bytes() for p in (home / "secrets").iterdir()} == secrets
    assert len(secrets) == 3
    for text in secrets.values():
        assert (
            text.decode().split("\n")[-2 if text.endswith(b"\n") else -1]
            not in first.stdout
        )
    for path in [*(home / "secrets").iterdir(), home / "db.sqlite3"]:
        assert path.stat().st_mode & 0o777 == 0o600
    for path in [home, *(p for p in home.iterdir() if p.is_dir())]:
        assert path.stat().st_mode & 0o077 == 0
    done = run(home, SERVE, **PRODUCTION)
    assert (done.returncode, done.stderr) == (0, "")
    check = (
        "import django; django.setup()\n"
        "from exchange.node.readiness import check_is_ready as c; c()"
    )
    done = run(home, check, DJANGO_SETTINGS_MODULE="exchange.settings", **PRODUCTION)
    assert (done.returncode, done.stderr) == (0, "")


def _lose(path: str) -> Callable[[Path], None]:
    return lambda home: (home / path).unlink()


def _open_to_others(path: str) -> Callable[[Path], None]:
    return lambda home: (home / path).chmod(0o644)


@pytest.mark.parametrize(
    "harm",
    [
        _lose("secrets/django.key"),
        _lose("secrets/keyring.json"),
        _lose("secrets/log-signing.key"),
        _open_to_others("secrets/keyring.json"),
        _open_to_others("secrets/log-signing.key"),
    ],
)
def test_node_whose_secrets_are_lost_or_open_does_not_serve(
    tmp_path: Path, harm: Callable[[Path], None]
) -> None:
    places = _node(tmp_path)
    harm(places.home)

    done = run(places.home, SERVE, BONDED_NODE_NAME="node.example")

    assert "NodeNotReady" in done.stderr


def test_secret_key_of_the_environment_goes_before_the_file(tmp_path: Path) -> None:
    places = _node(tmp_path)

    done = run(
        places.home,
        "from exchange.settings import SECRET_KEY; print(SECRET_KEY)",
        BONDED_SECRET_KEY=STRONG,
    )

    assert done.stdout.strip() == STRONG


def test_simulator_needs_no_node(tmp_path: Path) -> None:
    done = subprocess.run(
        [
            *(sys.executable, "-X", "importtime", "manage.py", "simulate", "--help"),
        ],
        env={
            **os.environ,
            "BONDED_MODE": "nonsense",
            "BONDED_HOME": str(tmp_path / "none"),
        },
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )

    assert "| django" not in done.stderr
    assert not (tmp_path / "none").exists()


def _node(tmp_path: Path) -> Places:
    places = places_under(tmp_path / "home")
    make_directories(places)
    make_secrets(places, node_name="node.example")
    return places


def test_signing_key_is_read_as_it_was_made(tmp_path: Path) -> None:
    create_signing_key(tmp_path / "key", "node.example")

    key = read_signing_key(tmp_path / "key", "node.example")

    assert key.name == "node.example"
    assert key == read_signing_key(tmp_path / "key", "node.example")
    assert key.seed.hex() not in repr(key)


@pytest.mark.parametrize(
    "text",
    ["", "bonded-signing-key/2\nnode.example\nAAAA\n", "a\nb\nc\n"]
    + [f"bonded-signing-key/1\nnode.example\n{seed}\n" for seed in ("AAAA", "!", "")],
)
def test_signing_key_that_is_malformed_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "key"
    path.write_text(text)
    path.chmod(0o600)

    with pytest.raises(SigningKeyUnusable):
        read_signing_key(path, "node.example")


def test_signing_key_of_another_log_is_refused(tmp_path: Path) -> None:
    create_signing_key(tmp_path / "key", "node.example")

    with pytest.raises(SigningKeyUnusable, match=r"other\.example"):
        read_signing_key(tmp_path / "key", "other.example")

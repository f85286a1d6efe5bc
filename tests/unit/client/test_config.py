from __future__ import annotations

import json
import stat
from pathlib import Path

import pytest
from bonded.config import (
    Config,
    checked_url,
    config_path,
    load_config,
    read_config,
    write_config,
)
from bonded.errors import ConfigInvalid

TOKEN = "bnd_secret"


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    return {"BONDED_CONFIG": str(tmp_path / "deep" / "config.json")}


def keep(environment: dict[str, str], url: str = "http://localhost:8000") -> Path:
    path = config_path(environment)
    write_config(path, Config(url=url, token=TOKEN, verifier_key="n+0+k"))
    return path


def test_written_settings_come_back_and_are_their_owners_only(
    environment: dict[str, str],
) -> None:
    path = keep(environment)

    assert read_config(path) == Config("http://localhost:8000", TOKEN, "n+0+k")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o644])
def test_settings_that_others_may_read_are_refused(
    environment: dict[str, str], mode: int
) -> None:
    path = keep(environment)
    path.chmod(mode)

    with pytest.raises(ConfigInvalid, match="can be read by others"):
        load_config(environment=environment)


@pytest.mark.parametrize(
    "text",
    [
        "{",
        "[]",
        "{}",
        '{"format": "bonded-client/2"}',
        '{"format": "bonded-client/1", "url": 1}',
    ],
)
def test_settings_of_another_form_are_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "c.json"
    path.write_text(text)
    path.chmod(0o600)

    with pytest.raises(ConfigInvalid):
        read_config(path)


def test_settings_that_are_no_file_are_refused(tmp_path: Path) -> None:
    tmp_path.chmod(0o700)

    with pytest.raises(ConfigInvalid, match="cannot be read"):
        read_config(tmp_path)


def test_argument_comes_before_environment_before_file(environment: dict[str, str]) -> None:
    keep(environment)
    named = {**environment, "BONDED_URL": "http://127.0.0.1:1", "BONDED_TOKEN": "bnd_env"}

    assert load_config(environment=environment).token == TOKEN
    assert load_config(environment=named) == Config("http://127.0.0.1:1", "bnd_env")
    chosen = load_config(url="http://127.0.0.1:2", token="bnd_arg", environment=named)
    assert chosen == Config("http://127.0.0.1:2", "bnd_arg")


def test_stored_token_goes_to_its_own_address_only(environment: dict[str, str]) -> None:
    keep(environment)

    other = load_config(url="http://localhost:9999", environment=environment)

    assert (other.token, other.verifier_key) == ("", "")


def test_token_is_not_shown_by_repr() -> None:
    assert TOKEN not in repr(Config("http://localhost", TOKEN))


def test_without_any_address_there_is_a_way_forward(environment: dict[str, str]) -> None:
    with pytest.raises(ConfigInvalid) as refused:
        load_config(environment=environment)

    assert "bonded login" in refused.value.hint


@pytest.mark.parametrize(
    ("given", "used"),
    [
        ("exchange.example.org", "https://exchange.example.org"),
        ("https://h:8443/", "https://h:8443"),
        ("https://h/bonded/", "https://h/bonded"),
        ("http://localhost:8000", "http://localhost:8000"),
        ("http://a.localhost", "http://a.localhost"),
        ("http://127.0.0.2", "http://127.0.0.2"),
        ("http://[::1]:80", "http://[::1]:80"),
    ],
)
def test_checked_url(given: str, used: str) -> None:
    assert checked_url(given) == used


@pytest.mark.parametrize(
    "given",
    [
        "http://exchange.example.org",
        "http://10.0.0.1",
        "ftp://h",
        "https://",
        "https://user:secret@h",
        "https://h?x=1",
        "https://h#x",
    ],
)
def test_checked_url_refuses_what_would_show_or_lose_the_token(given: str) -> None:
    with pytest.raises(ConfigInvalid) as refused:
        checked_url(given)

    assert "secret" not in str(refused.value)


def test_config_path_follows_the_config_home(tmp_path: Path) -> None:
    assert config_path({"XDG_CONFIG_HOME": "/x"}) == Path("/x/bonded/config.json")
    assert config_path({}) == Path.home() / ".config/bonded/config.json"


def test_failed_write_leaves_the_old_settings(
    environment: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = keep(environment)

    def full(*_: object) -> None:
        raise OSError(28, "no space")

    monkeypatch.setattr(Path, "replace", full)
    with pytest.raises(OSError, match="no space"):
        write_config(path, Config("http://localhost:1"))

    assert json.loads(path.read_text())["token"] == TOKEN
    assert list(path.parent.iterdir()) == [path]

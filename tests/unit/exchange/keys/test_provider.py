from __future__ import annotations

import json
import traceback
from base64 import b64decode
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from exchange.keys.keyring import (
    FileKeyring,
    KeyringUnusable,
    PassphraseMissing,
    PassphraseWrong,
    read_passphrase,
)
from exchange.keys.provider import MemoryKeyring, ProviderMisconfigured
from tests.unit.exchange.keys.provider_contract import KeyProviderContract

KEY = b"k" * 32
EXPENSIVE = (
    '{"format": "bonded-keyring/2", "current": "a", "keys": {"a": "YQ=="},'
    ' "scrypt": {"n": 1073741824, "salt": "YQ=="}}'
)
PASSPHRASE = "a horse, a battery, a staple"


class TestMemoryKeyring(KeyProviderContract):
    @pytest.fixture
    def provider(self) -> MemoryKeyring:
        return MemoryKeyring()

    @pytest.fixture
    def another(self, provider: MemoryKeyring) -> MemoryKeyring:
        return provider


class TestLockedKeyring(KeyProviderContract):
    @pytest.fixture
    def provider(self, tmp_path: Path) -> FileKeyring:
        return FileKeyring.create(
            tmp_path / "keyring.json", passphrase=PASSPHRASE, scrypt_n=2
        )

    @pytest.fixture
    def another(self, provider: FileKeyring, tmp_path: Path) -> FileKeyring:
        return FileKeyring(tmp_path / "keyring.json", passphrase=PASSPHRASE)

    def test_file_holds_no_master_key_in_clear(self, tmp_path: Path) -> None:
        path = tmp_path / "keyring.json"
        clear = FileKeyring.create(path)
        (master,) = json.loads(path.read_text())["keys"].values()

        clear.lock(PASSPHRASE, scrypt_n=2)

        assert master not in path.read_text()
        assert b64decode(master) not in b64decode(
            next(iter(json.loads(path.read_text())["keys"].values()))
        )
        assert PASSPHRASE not in path.read_text()
        assert path.stat().st_mode & 0o777 == 0o600

    def test_lock_and_unlock_keep_every_master_key(self, tmp_path: Path) -> None:
        path = tmp_path / "keyring.json"
        keyring = FileKeyring.create(path)
        early = keyring.wrap(KEY, context=b"c")
        keyring.rotate()

        keyring.lock(PASSPHRASE, scrypt_n=2)
        locked = FileKeyring(path, passphrase=PASSPHRASE)
        assert locked.is_locked
        assert locked.unwrap(early, context=b"c") == KEY
        locked.unlock()

        again = FileKeyring(path)
        assert not again.is_locked
        assert again.unwrap(early, context=b"c") == KEY
        assert again.refs() == keyring.refs()

    def test_read_without_the_passphrase_is_refused(
        self, provider: FileKeyring, tmp_path: Path
    ) -> None:
        with pytest.raises(PassphraseMissing):
            FileKeyring(tmp_path / "keyring.json")

    def test_read_with_another_passphrase_is_refused_and_names_neither(
        self, provider: FileKeyring, tmp_path: Path
    ) -> None:
        with pytest.raises(PassphraseWrong) as caught:
            FileKeyring(tmp_path / "keyring.json", passphrase="another passphrase")

        said = "".join(traceback.format_exception_only(caught.value)) + caught.value.hint
        assert "another" not in said
        assert PASSPHRASE not in said

    def test_master_keys_that_changed_places_are_refused(
        self, provider: FileKeyring, tmp_path: Path
    ) -> None:
        path = tmp_path / "keyring.json"
        provider.rotate()
        document = json.loads(path.read_text())
        (first, second) = document["keys"]
        keys = document["keys"]
        keys[first], keys[second] = keys[second], keys[first]
        path.write_text(json.dumps(document))

        with pytest.raises(PassphraseWrong):
            FileKeyring(path, passphrase=PASSPHRASE)

    def test_keyring_in_clear_needs_no_passphrase_and_takes_one(
        self, tmp_path: Path
    ) -> None:
        path = tmp_path / "keyring.json"
        ref = FileKeyring.create(path).current

        assert FileKeyring(path, passphrase=PASSPHRASE).current == ref

    @pytest.mark.parametrize(
        ("text", "mode"),
        [("short\n", 0o600), ("", 0o600), (PASSPHRASE, 0o644), (None, 0)],
    )
    def test_passphrase_file_that_will_not_do_is_refused(
        self, tmp_path: Path, text: str | None, mode: int
    ) -> None:
        path = tmp_path / "passphrase"
        if text is not None:
            path.write_text(text)
            path.chmod(mode)

        with pytest.raises(ProviderMisconfigured) as caught:
            read_passphrase(path)

        assert caught.value.hint

    def test_passphrase_file_gives_its_first_line(self, tmp_path: Path) -> None:
        path = tmp_path / "passphrase"
        path.write_text(PASSPHRASE + "\n")
        path.chmod(0o600)

        assert read_passphrase(path) == PASSPHRASE


class TestFileKeyring(KeyProviderContract):
    @pytest.fixture
    def provider(self, tmp_path: Path) -> FileKeyring:
        return FileKeyring.create(tmp_path / "keyring.json")

    @pytest.fixture
    def another(self, provider: FileKeyring, tmp_path: Path) -> FileKeyring:
        return FileKeyring(tmp_path / "keyring.json")

    def test_create_makes_a_file_for_its_owner_only(self, tmp_path: Path) -> None:
        FileKeyring.create(tmp_path / "keyring.json")

        assert (tmp_path / "keyring.json").stat().st_mode & 0o777 == 0o600

    def test_create_where_there_is_one_keeps_it(self, tmp_path: Path) -> None:
        path = tmp_path / "keyring.json"
        before = FileKeyring.create(path).current

        with pytest.raises(FileExistsError):
            FileKeyring.create(path)

        assert FileKeyring(path).current == before

    def test_rotate_lasts_and_reaches_who_read_the_file_before(
        self, tmp_path: Path
    ) -> None:
        path = tmp_path / "keyring.json"
        FileKeyring.create(path)
        early, late = FileKeyring(path), FileKeyring(path)

        ref = late.rotate()

        assert FileKeyring(path).current == ref
        assert path.stat().st_mode & 0o777 == 0o600
        assert early.unwrap(late.wrap(KEY, context=b"c"), context=b"c") == KEY

    def test_rotate_by_many_at_once_loses_no_master_key(self, tmp_path: Path) -> None:
        path = tmp_path / "keyring.json"
        FileKeyring.create(path)

        with ThreadPoolExecutor(8) as pool:
            made = set(pool.map(lambda _: FileKeyring(path).rotate(), range(16)))

        assert made < set(FileKeyring(path).refs())

    @pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o644])
    def test_read_of_a_file_open_to_others_is_refused(
        self, tmp_path: Path, mode: int
    ) -> None:
        path = tmp_path / "keyring.json"
        FileKeyring.create(path)
        path.chmod(mode)

        with pytest.raises(KeyringUnusable, match=f"{mode:o}"):
            FileKeyring(path)

    def test_read_of_a_file_that_is_not_there_says_what_makes_it(
        self, tmp_path: Path
    ) -> None:
        with pytest.raises(KeyringUnusable) as caught:
            FileKeyring(tmp_path / "keyring.json")

        assert "setup" in caught.value.hint

    @pytest.mark.parametrize(
        "text",
        [
            "",
            "[]",
            "{}",
            '{"format": "bonded-keyring/2", "current": "a", "keys": {}}',
            EXPENSIVE,
            '{"format": "bonded-keyring/3", "current": "a", "keys": {}}',
            '{"format": "bonded-keyring/1", "current": "a", "keys": {"a": "!"}}',
            '{"format": "bonded-keyring/1", "current": "a", "keys": {"a": "YQ=="}}',
            '{"format": "bonded-keyring/1", "current": "b", "keys": []}',
        ],
    )
    def test_read_of_a_malformed_file_is_refused(self, tmp_path: Path, text: str) -> None:
        path = tmp_path / "keyring.json"
        path.write_text(text)
        path.chmod(0o600)

        with pytest.raises(KeyringUnusable):
            FileKeyring(path, passphrase=PASSPHRASE)

    def test_read_of_a_file_whose_current_key_is_missing_is_refused(
        self, tmp_path: Path
    ) -> None:
        path = tmp_path / "keyring.json"
        FileKeyring.create(path)
        document = json.loads(path.read_text())
        path.write_text(json.dumps(document | {"current": "nobody"}))

        with pytest.raises(KeyringUnusable):
            FileKeyring(path)

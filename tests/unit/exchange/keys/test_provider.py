from __future__ import annotations

import json
from pathlib import Path

import pytest

from exchange.keys.provider import FileKeyring, KeyringUnusable, MemoryKeyring
from tests.unit.exchange.keys.provider_contract import KeyProviderContract

KEY = b"k" * 32


class TestMemoryKeyring(KeyProviderContract):
    @pytest.fixture
    def provider(self) -> MemoryKeyring:
        return MemoryKeyring()


class TestFileKeyring(KeyProviderContract):
    @pytest.fixture
    def provider(self, tmp_path: Path) -> FileKeyring:
        return FileKeyring.create(tmp_path / "keyring.json")

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
            FileKeyring(path)

    def test_read_of_a_file_whose_current_key_is_missing_is_refused(
        self, tmp_path: Path
    ) -> None:
        path = tmp_path / "keyring.json"
        FileKeyring.create(path)
        document = json.loads(path.read_text())
        path.write_text(json.dumps(document | {"current": "nobody"}))

        with pytest.raises(KeyringUnusable):
            FileKeyring(path)

"""PKCS#11 keys, against SoftHSM 2 where it is installed."""

from __future__ import annotations

import secrets
import traceback
from pathlib import Path

import pytest

from exchange.keys.hardware import HardwareKeys, HardwareSettings
from exchange.keys.provider import (
    KEY_BYTES,
    KeyUnusable,
    MasterKeyMissing,
    ProviderDenied,
    ProviderMisconfigured,
    ProviderUnavailable,
    Wrapped,
)
from tests.unit.exchange.keys.conftest import Token
from tests.unit.exchange.keys.provider_contract import KeyProviderContract

KEY = b"k" * KEY_BYTES


class TestHardwareKeys(KeyProviderContract):
    @pytest.fixture
    def place(self, token: Token) -> HardwareSettings:
        return HardwareSettings(
            module=token.module,
            token=token.label,
            pin_file=token.pin_file,
            label=f"keys-{secrets.token_hex(4)}",
        )

    @pytest.fixture
    def provider(self, place: HardwareSettings) -> HardwareKeys:
        keys = HardwareKeys(place)
        keys.rotate()
        return keys

    @pytest.fixture
    def another(self, place: HardwareSettings) -> HardwareKeys:
        return HardwareKeys(place)

    def test_master_key_cannot_be_taken_out(self, provider: HardwareKeys) -> None:
        import pkcs11
        from pkcs11 import Attribute

        (master,) = provider._opened().get_objects(provider._template())

        with pytest.raises(pkcs11.exceptions.PKCS11Error):
            _ = master[Attribute.VALUE]

    def test_token_without_a_key_says_so(self, place: HardwareSettings) -> None:
        empty = HardwareKeys(place)

        assert empty.refs() == ()
        with pytest.raises(MasterKeyMissing):
            empty.wrap(KEY, context=b"c")

    def test_key_that_was_deleted_opens_nothing(
        self, provider: HardwareKeys, another: HardwareKeys
    ) -> None:
        wrapped = provider.wrap(KEY, context=b"c")
        (master,) = provider._opened().get_objects(provider._template())
        master.destroy()

        with pytest.raises(KeyUnusable):
            another.unwrap(wrapped, context=b"c")

    def test_ref_of_another_label_is_refused(self, provider: HardwareKeys) -> None:
        wrapped = provider.wrap(KEY, context=b"c")

        for ref in ("pkcs11/other/0000000100000000", "pkcs11/bonded/zz"):
            with pytest.raises(KeyUnusable):
                provider.unwrap(Wrapped(wrapped.blob, ref), context=b"c")

    # The library's search over a session that died complains when it is collected.
    @pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
    def test_session_that_was_closed_is_opened_anew(self, provider: HardwareKeys) -> None:
        wrapped = provider.wrap(KEY, context=b"c")
        provider._opened().close()

        assert provider.unwrap(wrapped, context=b"c") == KEY


def test_module_that_is_not_there_is_misconfigured(tmp_path: Path) -> None:
    keys = HardwareKeys(HardwareSettings(tmp_path / "none.so", "bonded", tmp_path / "pin"))

    with pytest.raises(ProviderMisconfigured) as caught:
        keys.wrap(KEY, context=b"c")

    assert "BONDED_PKCS11_MODULE" in caught.value.hint


def test_token_that_is_not_connected_is_unreachable(token: Token) -> None:
    keys = HardwareKeys(HardwareSettings(token.module, "elsewhere", token.pin_file))

    with pytest.raises(ProviderUnavailable) as caught:
        keys.wrap(KEY, context=b"c")

    assert caught.value.code == "key_provider_unreachable"


def test_wrong_pin_is_denied_and_not_shown(token: Token) -> None:
    import pkcs11

    # Another test of this process may be signed in, and that holds for all sessions.
    pkcs11.lib(str(token.module)).reinitialize()
    token.pin_file.write_text("00000000")
    keys = HardwareKeys(HardwareSettings(token.module, token.label, token.pin_file))

    with pytest.raises(ProviderDenied) as caught:
        keys.wrap(KEY, context=b"c")

    assert "00000000" not in "".join(traceback.format_exception(caught.value))

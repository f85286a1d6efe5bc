"""What every key provider owes (`exchange.keys.provider.KeyProvider`), as tests."""

from __future__ import annotations

import dataclasses
import logging
import secrets

import pytest

from exchange.keys.provider import KEY_BYTES, KeyProvider, KeyUnusable, Wrapped


class KeyProviderContract:
    """Subclass it and give a fixture `provider`."""

    def test_unwrap_returns_what_was_wrapped(self, provider: KeyProvider) -> None:
        key = secrets.token_bytes(KEY_BYTES)

        assert provider.unwrap(provider.wrap(key, context=b"c"), context=b"c") == key

    def test_wrap_twice_differs(self, provider: KeyProvider) -> None:
        key = secrets.token_bytes(KEY_BYTES)

        assert (
            provider.wrap(key, context=b"c").blob != provider.wrap(key, context=b"c").blob
        )

    def test_wrap_hides_the_key(self, provider: KeyProvider) -> None:
        key = secrets.token_bytes(KEY_BYTES)

        assert key not in provider.wrap(key, context=b"c").blob

    def test_unwrap_in_another_context_is_refused(self, provider: KeyProvider) -> None:
        wrapped = provider.wrap(secrets.token_bytes(KEY_BYTES), context=b"c")

        with pytest.raises(KeyUnusable):
            provider.unwrap(wrapped, context=b"d")

    def test_unwrap_of_any_altered_byte_is_refused(self, provider: KeyProvider) -> None:
        wrapped = provider.wrap(secrets.token_bytes(KEY_BYTES), context=b"c")

        for i in range(len(wrapped.blob)):
            blob = bytearray(wrapped.blob)
            blob[i] ^= 1
            with pytest.raises(KeyUnusable):
                provider.unwrap(Wrapped(bytes(blob), wrapped.ref), context=b"c")

    @pytest.mark.parametrize("length", [0, 5, 12, 20])
    def test_unwrap_of_a_short_blob_is_refused(
        self, provider: KeyProvider, length: int
    ) -> None:
        wrapped = provider.wrap(secrets.token_bytes(KEY_BYTES), context=b"c")

        with pytest.raises(KeyUnusable):
            provider.unwrap(Wrapped(wrapped.blob[:length], wrapped.ref), context=b"c")

    def test_unwrap_under_an_unknown_master_key_is_refused(
        self, provider: KeyProvider
    ) -> None:
        wrapped = provider.wrap(secrets.token_bytes(KEY_BYTES), context=b"c")

        with pytest.raises(KeyUnusable):
            provider.unwrap(dataclasses.replace(wrapped, ref="nobody"), context=b"c")

    def test_wrap_of_a_key_of_another_length_is_refused(
        self, provider: KeyProvider
    ) -> None:
        with pytest.raises(KeyUnusable, match="16 bytes"):
            provider.wrap(secrets.token_bytes(16), context=b"c")

    def test_rotate_keeps_what_was_wrapped_before_readable(
        self, provider: KeyProvider
    ) -> None:
        key, first = secrets.token_bytes(KEY_BYTES), provider.current
        wrapped = provider.wrap(key, context=b"c")

        refs = {first, provider.rotate(), provider.rotate()}

        assert len(refs) == 3
        assert provider.current in refs - {first}
        assert provider.unwrap(wrapped, context=b"c") == key
        assert provider.wrap(key, context=b"c").ref == provider.current

    def test_no_key_shows_in_repr_or_message_or_log(
        self, provider: KeyProvider, caplog: pytest.LogCaptureFixture
    ) -> None:
        caplog.set_level(logging.DEBUG)
        key = secrets.token_bytes(KEY_BYTES)
        wrapped = provider.wrap(key, context=b"c")

        with pytest.raises(KeyUnusable) as caught:
            provider.unwrap(wrapped, context=b"d")

        shown = repr(provider) + repr(caught.value) + caught.value.hint + caplog.text
        assert repr(key) not in shown
        assert key.hex() not in shown

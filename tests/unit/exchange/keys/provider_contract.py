"""What every key provider owes (`exchange.keys.provider.KeyProvider`), as tests."""

from __future__ import annotations

import base64
import dataclasses
import logging
import os
import secrets
import traceback
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from exchange.keys.provider import (
    KEY_BYTES,
    KeyProvider,
    KeyUnusable,
    MasterKeyInUse,
    Wrapped,
    check_works,
)


def in_a_child(holds: Callable[[], bool]) -> bool:
    """What `holds` says in a forked process, as Celery's workers are."""
    pid = os.fork()
    if not pid:
        status = 1
        try:
            status = 0 if holds() else 2
        finally:
            os._exit(status)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0


class KeyProviderContract:
    """Subclass it and give the fixtures `provider` and `another`.

    `another` holds the same master keys, as a second process would.
    """

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

    def test_rotate_reaches_every_process(
        self, provider: KeyProvider, another: KeyProvider
    ) -> None:
        key, before = secrets.token_bytes(KEY_BYTES), another.current

        ref = provider.rotate()
        wrapped = provider.wrap(key, context=b"c")

        assert ref != before
        assert another.current == ref == wrapped.ref
        assert another.unwrap(wrapped, context=b"c") == key
        assert another.wrap(key, context=b"c").ref == ref

    def test_refs_are_the_master_keys_oldest_first(self, provider: KeyProvider) -> None:
        first = provider.current

        second, third = provider.rotate(), provider.rotate()

        assert provider.refs() == (first, second, third)
        assert all(0 < len(ref) <= 128 for ref in provider.refs())

    def test_retire_closes_what_lies_under_it_and_older_ones_only(
        self, provider: KeyProvider, another: KeyProvider
    ) -> None:
        key = secrets.token_bytes(KEY_BYTES)
        wrapped = [provider.wrap(key, context=b"c")]
        for _ in range(2):
            provider.rotate()
            wrapped.append(provider.wrap(key, context=b"c"))

        provider.retire(wrapped[1].ref)

        assert provider.refs() == (wrapped[2].ref,) == another.refs()
        assert another.unwrap(wrapped[2], context=b"c") == key
        for gone in wrapped[:2]:
            with pytest.raises(KeyUnusable):
                provider.unwrap(gone, context=b"c")

    def test_retire_of_the_current_master_key_is_refused(
        self, provider: KeyProvider
    ) -> None:
        with pytest.raises(MasterKeyInUse):
            provider.retire(provider.current)

    def test_retire_of_an_unknown_master_key_is_refused(
        self, provider: KeyProvider
    ) -> None:
        with pytest.raises(KeyUnusable):
            provider.retire("nobody")

    def test_check_works_on_a_provider_that_does(self, provider: KeyProvider) -> None:
        check_works(provider)

    def test_threads_share_it(self, provider: KeyProvider) -> None:
        def there_and_back(key: bytes) -> bytes:
            return provider.unwrap(provider.wrap(key, context=b"c"), context=b"c")

        keys = [secrets.token_bytes(KEY_BYTES) for _ in range(20)]
        with ThreadPoolExecutor(4) as pool:
            assert list(pool.map(there_and_back, keys)) == keys

    def test_forked_child_uses_it(self, provider: KeyProvider) -> None:
        key = secrets.token_bytes(KEY_BYTES)
        wrapped = provider.wrap(key, context=b"c")

        def opened() -> bool:
            fresh = provider.wrap(key, context=b"d")
            return (
                provider.unwrap(wrapped, context=b"c")
                == key
                == provider.unwrap(fresh, context=b"d")
            )

        assert in_a_child(opened)
        assert provider.unwrap(wrapped, context=b"c") == key

    def test_unwrap_after_wrap_is_identity(self, provider: KeyProvider) -> None:
        @given(
            key=st.binary(min_size=KEY_BYTES, max_size=KEY_BYTES),
            context=st.binary(min_size=1),
        )
        @settings(max_examples=25)
        def holds(key: bytes, context: bytes) -> None:
            wrapped = provider.wrap(key, context=context)

            assert provider.unwrap(wrapped, context=context) == key
            with pytest.raises(KeyUnusable):
                provider.unwrap(wrapped, context=context + b"\x00")

        holds()

    def test_no_key_shows_in_repr_or_message_or_log(
        self, provider: KeyProvider, caplog: pytest.LogCaptureFixture
    ) -> None:
        caplog.set_level(logging.DEBUG)
        key = secrets.token_bytes(KEY_BYTES)
        wrapped = provider.wrap(key, context=b"c")

        with pytest.raises(KeyUnusable) as caught:
            provider.unwrap(wrapped, context=b"d")

        shown = repr(provider) + repr(caught.value) + caught.value.hint + caplog.text
        shown += "".join(traceback.format_exception(caught.value))
        assert repr(key) not in shown
        assert key.hex() not in shown
        assert base64.b64encode(key).decode() not in shown

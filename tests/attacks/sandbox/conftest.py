"""The bypassed daemon, one for each module that attacks it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.attacks.sandbox.served import Bypassed, serving_bypassed


@pytest.fixture(scope="module")
def bypassed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bypassed]:
    with serving_bypassed(tmp_path_factory.mktemp("bypassed")) as running:
        yield running

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from queue import Empty

import pytest
from kombu import Connection

from exchange.celery import app
from exchange.doorbell import Channel


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path


@pytest.fixture
def channel(folder: Path) -> Iterator[Channel]:
    options = {
        name: str(folder)
        for name in ("data_folder_in", "data_folder_out", "control_folder")
    }
    assert app is not None  # importing it puts our transport under the name `filesystem`
    with Connection("filesystem://", transport_options=options) as connection:
        found = connection.channel()
        assert isinstance(found, Channel)
        yield found


def test_message_is_never_seen_half_written(channel: Channel, folder: Path) -> None:
    over = threading.Event()
    torn: list[str] = []

    def look() -> None:
        while not over.is_set():
            for path in folder.glob("*.bell.msg"):
                if not path.read_text().endswith("}"):
                    torn.append(path.name)

    watcher = threading.Thread(target=look)
    watcher.start()
    for number in range(300):
        channel._put("bell", {"body": "x" * 2000, "number": number})
    over.set()
    watcher.join()

    assert torn == []
    assert len(list(folder.glob("*.bell.msg"))) == 300


def test_message_comes_back_as_it_was_put(channel: Channel) -> None:
    channel._put("bell", {"body": "look at 7"})

    assert channel._get("bell") == {"body": "look at 7"}
    with pytest.raises(Empty):
        channel._get("bell")


def test_torn_message_is_passed_over(channel: Channel, folder: Path) -> None:
    # Messages are taken in the order of their names: this one stands first.
    (folder / "0_torn.bell.msg").write_bytes(b"")
    channel._put("bell", {"body": "whole"})

    with pytest.raises(Empty):
        channel._get("bell")

    assert channel._get("bell") == {"body": "whole"}

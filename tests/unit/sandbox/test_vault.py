import hashlib
import os
import struct
from pathlib import Path

import pytest

from sandbox.errors import DistributionCorrupt, ProtocolError
from sandbox.files.vault import Output, open_stored, vault_path
from sandbox.protocol import StoredFile


def test_output_has_its_name_only_once_committed(tmp_path: Path) -> None:
    output = Output(tmp_path, "a/b")
    os.write(output.descriptor, b"content")
    assert not (tmp_path / "a/b").exists()

    stored = output.commit(rows=3)
    output.close()

    assert stored == StoredFile("a/b", hashlib.sha256(b"content").hexdigest(), 7, 3)
    assert [path.name for path in (tmp_path / "a").iterdir()] == ["b"]


@pytest.mark.parametrize(
    ("content", "footer"),
    [
        (b"PARE pages footer" + struct.pack("<I", 6) + b"PARE", 14),
        (b"PARE" + struct.pack("<I", 0) + b"PARE", 8),
        (b"PARE" + struct.pack("<I", 1) + b"PARE", 0),  # longer than the file
        (b"PARE" + struct.pack("<I", 2**32 - 1) + b"PARE", 0),
        (b"PAR1 pages footer" + struct.pack("<I", 6) + b"PAR1", 0),
        (b"PARE", 0),
        (b"", 0),
    ],
)
def test_output_commit_tells_the_digest_of_an_encrypted_footer(
    tmp_path: Path, content: bytes, footer: int
) -> None:
    output = Output(tmp_path, "a")
    os.write(output.descriptor, content)

    stored = output.commit(rows=0)
    output.close()

    expected = hashlib.sha256(content[-footer:]).hexdigest() if footer else ""
    assert stored.footer_sha256 == expected


def test_output_that_is_discarded_leaves_nothing_also_after_its_commit(
    tmp_path: Path,
) -> None:
    output = Output(tmp_path, "a/b")
    output.commit(rows=0)
    output.discard()
    output.close()

    assert list((tmp_path / "a").iterdir()) == []


def test_output_that_is_only_closed_leaves_nothing(tmp_path: Path) -> None:
    Output(tmp_path, "b").close()

    assert list(tmp_path.iterdir()) == []


def test_output_does_not_replace_a_file_that_came_meanwhile(tmp_path: Path) -> None:
    output = Output(tmp_path, "b")
    (tmp_path / "b").write_bytes(b"other")

    with pytest.raises(ProtocolError, match="taken"):
        output.commit(rows=0)
    output.discard()
    output.close()
    assert (tmp_path / "b").read_bytes() == b"other"


def test_names_do_not_lead_through_symbolic_links(tmp_path: Path) -> None:
    outside, vault = tmp_path / "outside", tmp_path / "vault"
    outside.mkdir()
    vault.mkdir()
    (outside / "file").write_bytes(b"x")
    (vault / "link").symlink_to(outside)
    (vault / "file").symlink_to(outside / "file")

    with pytest.raises(ProtocolError, match="symbolic"):
        vault_path(vault, "link/file")
    with pytest.raises(DistributionCorrupt):
        open_stored(vault, "file")

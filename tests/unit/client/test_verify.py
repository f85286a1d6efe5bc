"""`bonded verify` on files, as an auditor has them: no network, no node."""

from __future__ import annotations

import argparse
import shlex
from pathlib import Path

import pytest
from bonded.errors import ConfigInvalid
from bonded.verify import (
    KEY_VARIABLE,
    add_verify_command,
    not_proved,
    proved,
    read_key,
    verify_files,
)

from ledger.errors import KeyMalformed, LedgerError
from ledger.receipt import dump_receipt
from tests.factories.ledger import (
    KEY,
    RESULT,
    RESULT_SHA256,
    STRANGER,
    altered,
    make_entry,
    make_log,
)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A receipt of entry 5 of 7, its result, and the log when it had grown to 9."""
    log = make_log(9)
    (tmp_path / "receipt.json").write_bytes(dump_receipt(log.receipt(5, size=7)))
    (tmp_path / "result.json").write_bytes(RESULT)
    (tmp_path / "log.jsonl").write_bytes(log.export())
    (tmp_path / "node.vkey").write_text(f"{KEY}\n", "utf-8")
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv(KEY_VARIABLE, raising=False)
    return tmp_path


def run(command: str) -> int:
    parser = argparse.ArgumentParser(prog="bonded")
    add_verify_command(parser.add_subparsers(required=True))
    args = parser.parse_args(shlex.split(command))
    return int(args.run(args))


WHOLE = "verify receipt.json --result result.json --log log.jsonl --key node.vkey"


def test_verify_all_files_says_what_was_proved(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(WHOLE) == 0

    out, err = capsys.readouterr()
    checkpoint = make_log(7).checkpoint()
    assert err == ""
    assert out.startswith("VERIFIED")
    assert f"{KEY.name} signed a log of 7 entries, root {checkpoint.root.hex()}" in out
    assert "Entry 5 of it, unaltered: release:held about query 5, case case-1" in out
    assert "by 3f0c for ministry" in out
    assert (
        f"result.json is byte for byte what that entry released, SHA-256 {RESULT_SHA256}"
        in out
    )
    assert "every entry from 0 to 8" in out
    assert "no witness's signature was checked" in out
    assert "--result" not in out
    assert "--log" not in out


def test_verify_receipt_alone_says_what_is_not_proved(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("verify receipt.json --key node.vkey") == 0

    proved_part, not_proved_part = capsys.readouterr().out.split("Not proved:")
    assert "released, SHA-256" not in proved_part
    assert "every entry" not in proved_part
    assert "give it with --result" in not_proved_part
    assert "--log" in not_proved_part


@pytest.mark.parametrize("key", [str(KEY), "node.vkey"])
def test_verify_key_by_variable(
    folder: Path, monkeypatch: pytest.MonkeyPatch, key: str
) -> None:
    monkeypatch.setenv(KEY_VARIABLE, key)

    assert run("verify receipt.json") == 0


def test_verify_without_a_key_is_not_tried(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("verify receipt.json") == 2

    out, err = capsys.readouterr()
    assert out == ""
    assert "a verifier key is expected" in err
    assert KEY_VARIABLE in err


@pytest.mark.parametrize(
    "command",
    [
        "verify absent.json --key node.vkey",
        "verify . --key node.vkey",
        "verify receipt.json --key absent.vkey",
        "verify receipt.json --key receipt.json",
        "verify receipt.json --key a+b+c",
        "verify receipt.json --result absent.json --key node.vkey",
        "verify receipt.json --log absent.jsonl --key node.vkey",
    ],
)
def test_verify_what_cannot_be_read_is_not_tried(
    folder: Path, capsys: pytest.CaptureFixture[str], command: str
) -> None:
    assert run(command) == 2

    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("Not tried (")
    assert "→ " in err


def test_verify_by_another_key_is_refused_by_name(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(f"verify receipt.json --key '{STRANGER.verifier_key}'") == 1

    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("REFUSED (signer_unknown): ")


@pytest.mark.parametrize(
    ("name", "code"),
    [
        ("receipt.json", "receipt_malformed"),
        ("result.json", "result_mismatch"),
        ("log.jsonl", "root_mismatch"),
    ],
)
def test_verify_last_byte_altered_is_refused_by_name(
    folder: Path, capsys: pytest.CaptureFixture[str], name: str, code: str
) -> None:
    file = folder / name
    data = bytearray(file.read_bytes())
    data[-3] ^= 1
    file.write_bytes(data)

    assert run(WHOLE) == 1
    assert capsys.readouterr().err.startswith(f"REFUSED ({code}): ")


@pytest.mark.parametrize("name", ["receipt.json", "result.json", "log.jsonl"])
def test_verify_any_byte_altered_is_refused(folder: Path, name: str) -> None:
    original = (folder / name).read_bytes()
    for copy in altered(original, masks=(0x01,)):
        (folder / name).write_bytes(copy)
        with pytest.raises(LedgerError):
            verify_files(
                folder / "receipt.json",
                KEY,
                result=folder / "result.json",
                log=folder / "log.jsonl",
            )


def test_verify_log_of_another_history_is_refused(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Both files are truly signed; together they show that the node told two histories."""
    other = make_log(9, lambda n: make_entry(n, case_id="another"))
    (folder / "log.jsonl").write_bytes(other.export())

    assert run(WHOLE) == 1
    assert "root_mismatch" in capsys.readouterr().err


def test_verify_log_older_than_the_receipt_is_refused(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "log.jsonl").write_bytes(make_log(6).export())

    assert run(WHOLE) == 1
    assert "log_incomplete" in capsys.readouterr().err


def test_verify_part_of_a_log_says_which_part_is_not_proved(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "log.jsonl").write_bytes(make_log(9).export(start=4))

    assert run(WHOLE) == 0

    out = capsys.readouterr().out
    assert "every entry from 4 to 8" in out
    assert "the first 4 entries" in out


def test_verify_log_with_an_endless_line_is_refused(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "log.jsonl").write_bytes(b"x" * 3_000_000)

    assert run(WHOLE) == 1
    assert "log_malformed" in capsys.readouterr().err


def test_verify_prints_no_control_characters(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Else an entry could repaint the reader's terminal into «VERIFIED»."""
    log = make_log(1, lambda n: make_entry(n, subject_id="\x1b[2J\u202eq", case_id=None))
    (folder / "receipt.json").write_bytes(dump_receipt(log.receipt(0)))

    assert run("verify receipt.json --key node.vkey") == 0

    out = capsys.readouterr().out
    assert "\x1b" not in out
    assert "\u202e" not in out
    assert "about query \ufffd[2J\ufffdq," in out


def test_proved_of_an_act_of_the_node_itself(folder: Path) -> None:
    log = make_log(
        1,
        lambda n: make_entry(
            n, type="log:checked", actor=None, organisation=None, case_id=None, payload={}
        ),
    )
    (folder / "receipt.json").write_bytes(dump_receipt(log.receipt(0, content_sha256=None)))

    findings = verify_files(folder / "receipt.json", KEY)

    assert proved(findings)[1].endswith("by the node itself.")
    assert not any("--result" in sentence for sentence in not_proved(findings))


def test_read_key_of_a_file_whose_name_looks_like_a_key(folder: Path) -> None:
    (folder / "c++.vkey").write_text(str(KEY), "utf-8")

    assert read_key("c++.vkey") == KEY


def test_read_key_longer_than_a_file_name_is_a_malformed_key() -> None:
    with pytest.raises(KeyMalformed):
        read_key("a+b+" + "c" * 5000)


def test_read_key_of_no_file_names_it(folder: Path) -> None:
    with pytest.raises(ConfigInvalid, match=r"absent\.vkey"):
        read_key("absent.vkey")

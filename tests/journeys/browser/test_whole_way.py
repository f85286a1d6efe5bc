"""The main job in one browser, over the real sandbox: publish, query, receive, verify."""

from __future__ import annotations

import io
import json
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from playwright.sync_api import Page, expect

from exchange.audit.signing import verifier_key
from exchange.catalogue import sandbox
from ledger.errors import LedgerError
from ledger.receipt import load_receipt, verify_receipt
from sandbox.errors import SandboxUnavailable
from sandbox.launcher import Daemon
from tests.factories.walk import House, make_house
from tests.journeys.browser.conftest import SignIn

pytestmark = pytest.mark.sandboxed
PATIENCE_SECONDS = 60.0


@pytest.fixture
def width() -> int:
    return 1280


@pytest.fixture
def house(
    transactional_db: None, tmp_path: Path, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> Iterator[House]:
    vault, socket = tmp_path / "vault", tmp_path / "s.sock"
    vault.mkdir(mode=0o700)
    command = [sys.executable, "-m", "sandbox", "--socket", str(socket)]
    with (tmp_path / "log").open("wb") as log:
        process = subprocess.Popen(
            [*command, "--vault", str(vault), "--workers", "1"], stdout=log, stderr=log
        )
    daemon, until = Daemon(socket), time.monotonic() + PATIENCE_SECONDS
    try:
        while True:
            try:
                daemon.health()
                break
            except SandboxUnavailable:
                assert process.poll() is None, (tmp_path / "log").read_text()
                assert time.monotonic() < until, (tmp_path / "log").read_text()
                time.sleep(0.2)
        settings.VAULT_DIR = vault
        monkeypatch.setattr(sandbox, "daemon", lambda: daemon)
        yield make_house()
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(timeout=30)


def _rows() -> list[tuple[int, str, int, int]]:
    chance = random.Random(7)
    rows = []
    for number in range(2000):
        kind = "H" if number < 4 else chance.choice("LLLMM")
        rows.append((number, kind, chance.randrange(3, 77), int(chance.random() < 0.1)))
    return rows


def _publish(page: Page, file: Path) -> None:
    page.goto("/publish/")
    page.get_by_label("Title").fill("Milling runs")
    page.get_by_label("Name in queries").fill("runs")
    page.get_by_label("File", exact=True).set_input_files(file)
    page.get_by_role("button", name="Upload and read").click()
    page.get_by_label("Role of run_id").select_option("unit_key")
    page.get_by_label("Role of kind").select_option("dimension")
    page.get_by_label("Role of torque").select_option("measure")
    page.get_by_label("Step of torque").fill("5")
    page.get_by_label("Role of failure").select_option("label")
    page.get_by_role("button", name="Continue to the policy").click()
    page.get_by_role("link", name="Labelled subset").click()
    page.get_by_role("button", name="Set this policy and continue").click()
    page.get_by_text("Community Data License Agreement, Permissive 2.0").click()
    page.get_by_role("button", name="Continue to the review").click()
    page.locator("button[type=submit]", has_text="Publish").click()
    expect(page.get_by_text("Published. It is in the catalogue now.")).to_be_visible()


def _ask(page: Page, link: str) -> None:
    page.goto("/catalogue/")
    page.get_by_role("link", name="Milling runs").click()
    page.get_by_role("link", name=link).click()
    page.get_by_label("Purpose").select_option("predictive-maintenance")
    page.get_by_label("Legal basis").select_option("not-personal")
    page.get_by_label("Why you need it").fill("To plan the upkeep of mills.")
    page.get_by_label("We accept").check()
    page.get_by_role("button", name="Send the request").click()


def _download(page: Page) -> tuple[bytes, bytes]:
    with page.expect_download() as content:
        page.get_by_role("button", name="Download").click()
    with page.expect_download() as receipt:
        page.get_by_role("link", name="Receipt").first.click()
    return Path(content.value.path()).read_bytes(), Path(receipt.value.path()).read_bytes()


def test_whole_way_from_a_file_to_verified_answers_and_rows(
    house: House, sign_in: SignIn, worker: None, tmp_path: Path
) -> None:
    """Where nothing is withheld counts are those of the rows; a changed byte is refused."""
    rows, file = _rows(), tmp_path / "runs.csv"
    lines = [",".join(map(str, row)) for row in rows]
    file.write_text("\n".join(["run_id,kind,torque,failure", *lines]) + "\n")
    page = sign_in(house.steward)
    page.set_default_timeout(PATIENCE_SECONDS * 1000)
    _publish(page, file)

    page = sign_in(house.builder)
    _ask(page, "Ask for access")
    page.get_by_role("link", name="Open the grant").click()
    page.get_by_role("link", name="Write a query").click()
    page.get_by_label("SQL").fill("SELECT *\nFROM runs")
    page.get_by_role("button", name="Check").click()
    expect(page.locator("#check")).to_contain_text("row_level_output")
    page.get_by_role("link", name="Line 1, column 8").first.click()
    expect(page.get_by_label("SQL")).to_be_focused()
    page.get_by_label("SQL").fill("SELECT kind, count(*) AS n FROM runs GROUP BY kind")
    page.get_by_role("button", name="Run").click()
    page.get_by_role("button", name="Show the result").click()
    expect(page.locator("td.withheld").first).to_be_visible()
    content, receipt = _download(page)

    answer = {row[0]: row[1] for row in json.loads(content)["rows"] if row[0]}
    counts = Counter(row[1] for row in rows)
    assert answer == {kind: counts[kind] for kind in "LM"}
    verify_receipt(load_receipt(receipt), verifier_key(), content)
    changed = content.replace(b'"n"', b'"m"', 1)
    with pytest.raises(LedgerError):
        verify_receipt(load_receipt(receipt), verifier_key(), changed)

    _ask(page, "Ask for rows")
    page = sign_in(house.reviewer)
    page.goto("/inbox/")
    page.get_by_role("link", name="Decide").click()
    page.get_by_label("Approve").check()
    page.get_by_role("button", name="Record my decision").click()

    page = sign_in(house.builder)
    page.get_by_role("link", name="Get rows").click()
    page.get_by_label("We receive these rows").check()
    page.get_by_role("button", name="Make the package").click()
    expect(page.get_by_role("heading", name="In pandas")).to_be_visible()
    package, receipt = _download(page)

    table = pq.read_table(io.BytesIO(package))
    assert table.column_names == ["kind", "torque", "failure"]
    assert sorted(map(tuple, zip(*table.to_pydict().values(), strict=True))) == sorted(
        row[1:] for row in rows
    )
    verify_receipt(load_receipt(receipt), verifier_key(), package)

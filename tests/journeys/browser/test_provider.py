"""A steward publishes a dataset, as somebody new to it would."""

from __future__ import annotations

from pathlib import Path

import pytest
from playwright.sync_api import expect

from exchange.catalogue.models import Offer, PolicyVersion
from tests.factories import walk
from tests.factories.walk import House
from tests.journeys.browser.conftest import SignIn


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    path = tmp_path / "runs.csv"
    path.write_text(walk.RUNS)
    return path


def test_steward_publishes_a_file(
    house: House, sign_in: SignIn, worker: None, runs: Path
) -> None:
    page = sign_in(house.steward)
    page.get_by_role("main").get_by_role("link", name="Publish a dataset").first.click()
    page.get_by_label("Title").fill("Milling runs")
    page.get_by_label("Name in queries").fill("runs")
    page.get_by_label("File", exact=True).set_input_files(runs)
    page.get_by_role("button", name="Upload and read").click()

    page.get_by_label("Role of id").select_option("unit_key")
    page.get_by_label("Role of failure").select_option("label")
    page.get_by_role("button", name="Continue to the policy").click()

    page.get_by_role("link", name="Labelled subset").click()
    expect(page.locator("#words")).to_contain_text("Single rows may leave")
    page.get_by_role("button", name="Set this policy and continue").click()

    page.get_by_text("Community Data License Agreement, Permissive 2.0").click()
    page.get_by_role("button", name="Continue to the review").click()

    expect(page.get_by_role("heading", name="Check it, then publish")).to_be_visible()
    page.get_by_role("button", name="Publish").click()

    expect(page.get_by_text("Published. It is in the catalogue now.")).to_be_visible()
    assert Offer.objects.get().licence == "CDLA-Permissive-2.0"


def test_upload_of_a_wrong_file_says_so_in_place(
    house: House, sign_in: SignIn, worker: None, tmp_path: Path
) -> None:
    wrong = tmp_path / "runs.xlsx"
    wrong.write_text("no table")
    page = sign_in(house.steward)
    page.goto("/publish/")
    page.get_by_label("Title").fill("Milling runs")
    page.get_by_label("File", exact=True).set_input_files(wrong)
    page.get_by_role("button", name="Upload and read").click()

    summary = page.locator("[data-error-summary]")
    expect(summary).to_contain_text("upload_format_unknown")
    expect(summary).to_be_focused()


def test_policy_fault_is_found_at_its_line(
    house: House, sign_in: SignIn, worker: None
) -> None:
    version = walk.uploaded(house, walk.registered(house))
    page = sign_in(house.steward)
    page.goto(f"/versions/{version.pk}/columns/")
    page.get_by_role("button", name="Continue to the policy").click()
    editor = page.get_by_label("Policy document")
    editor.fill(walk.policy_text().replace("role: label", "role: king"))

    expect(page.locator("#words")).to_contain_text("policy_unknown_term")
    page.get_by_role("link", name="Go to line 9").click()
    chosen = editor.evaluate("e => e.value.slice(e.selectionStart, e.selectionEnd)")
    page.get_by_role("button", name="Set this policy and continue").click()

    assert "role: king" in chosen
    expect(page.locator(".at-fault")).to_have_text("9")
    assert not PolicyVersion.objects.exists()


def test_publish_by_keyboard_alone(
    house: House, sign_in: SignIn, worker: None, width: int
) -> None:
    if width < 1000:
        pytest.skip("phones have no tab key")
    page = sign_in(house.steward)
    page.goto("/publish/")
    page.keyboard.press("Tab")
    expect(page.get_by_role("link", name="Skip to main content")).to_be_focused()
    page.keyboard.press("Enter")
    page.keyboard.press("Tab")
    expect(page.get_by_label("Title")).to_be_focused()
    ring = page.evaluate("getComputedStyle(document.activeElement).outlineStyle")
    assert ring == "solid"

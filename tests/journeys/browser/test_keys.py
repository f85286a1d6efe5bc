"""A steward looks after keys in a browser: rotates one, destroys one, is asked first."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from exchange.keys.models import KeyState, OrganisationKey
from exchange.queries.shredding import keys_of
from tests.factories.walk import House, granted, offered
from tests.journeys.browser.conftest import SignIn


def picture(page: Page, name: str) -> None:
    if folder := os.environ.get("BONDED_TEST_PICTURES"):
        width = page.viewport_size["width"] if page.viewport_size else 0
        page.screenshot(path=Path(folder) / f"{name}-{width}.png", full_page=True)


@pytest.mark.usefixtures("worker")
def test_steward_rotates_and_destroys(house: House, sign_in: SignIn) -> None:
    version = granted(house).version
    page = sign_in(house.steward)

    page.goto("/keys/")
    picture(page, "keys")
    page.get_by_role("button", name="Rotate this key").click()
    expect(page.get_by_text("A new key is being made")).to_be_visible()
    page.get_by_role("button", name=f"Rotate {version}", exact=True).click()
    expect(page.get_by_text("The files are being written anew")).to_be_visible()
    picture(page, "keys-rotating")

    page.goto(f"/versions/{version.pk}/key/destroy/")
    page.get_by_role("button", name="Destroy for good").click()
    expect(page.get_by_role("alert")).to_contain_text("Type the words")
    page.get_by_label("Type milling-runs 1 to confirm").fill("milling-runs")
    page.get_by_role("button", name="Destroy for good").click()
    expect(page.get_by_role("alert")).to_contain_text("nothing was destroyed")
    picture(page, "keys-destroy")
    page.get_by_label("Type milling-runs 1 to confirm").fill("milling-runs 1")
    page.get_by_role("button", name="Destroy for good").click()
    expect(page.get_by_text("Nobody can read these rows any more")).to_be_visible()
    picture(page, "keys-destroyed")

    assert not keys_of(version).filter(state=KeyState.ACTIVE).exists()
    assert OrganisationKey.objects.get(state=KeyState.ACTIVE).generation == 2


def test_page_speaks_chinese_and_fits(house: House, sign_in: SignIn) -> None:
    offered(house)
    page = sign_in(house.steward)
    page.set_extra_http_headers({"Accept-Language": "zh-CN"})

    page.goto("/keys/")

    expect(page.get_by_role("heading", name="密钥", exact=True)).to_be_visible()
    picture(page, "keys-zh")

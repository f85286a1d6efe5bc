"""A provider reads what a policy lets be learned, and what a new version changes."""

from __future__ import annotations

import os
from pathlib import Path

from playwright.sync_api import Page, expect

from exchange.catalogue.services import set_policy
from tests.factories import walk
from tests.factories.walk import House
from tests.journeys.browser.conftest import SignIn

# Where somebody wants to look at the pages: a folder for their pictures.
PICTURES = os.environ.get("BONDED_TEST_PICTURES", "")


def _keep(page: Page, name: str, width: int) -> None:
    if PICTURES:
        page.screenshot(path=Path(PICTURES, f"{name}-{width}.png"), full_page=True)


def test_policy_is_read_column_by_column_and_compared(
    page: Page, house: House, sign_in: SignIn, width: int
) -> None:
    offer = walk.offered(house)
    text = walk.policy_text(cap=9).replace("min_units: 10", "min_units: 20")
    set_policy(dataset=offer.dataset, text=text, by=house.steward)
    sign_in(house.steward)

    page.goto(f"/datasets/{offer.dataset_id}/policy/2/")
    column = page.locator("details.learning", has_text="torque")
    column.locator("summary").click()
    expect(column.get_by_text("Not protected against").first).to_be_visible()
    _keep(page, "policy", width)
    column.get_by_role("link", name="Policy line").click()
    expect(page.locator(".listing-line:target")).to_contain_text("torque")

    page.get_by_role("link", name="What changed since version 1").click()
    expect(page.get_by_text("1 change lets more be learned")).to_be_visible()
    expect(page.get_by_text("A group needs 20 units instead of 10.")).to_be_visible()
    _keep(page, "compare", width)

    with page.expect_download() as started:
        page.goto(f"/datasets/{offer.dataset_id}/policy/2/")
        page.get_by_role("link", name="Download as ODRL").click()
    assert started.value.suggested_filename == "milling-runs-policy-2.jsonld"


def test_grant_says_what_it_lets_be_learned(
    page: Page, house: House, sign_in: SignIn, width: int
) -> None:
    grant = walk.granted(house)
    sign_in(house.builder)

    page.goto(f"/grants/{grant.pk}/")

    expect(page.get_by_text("What this grant lets be learned")).to_be_visible()
    _keep(page, "grant", width)


def test_refusal_leads_to_the_line_of_the_policy(
    page: Page, house: House, sign_in: SignIn, width: int
) -> None:
    query = walk.answered(house, walk.granted(house))
    reason = {
        "code": "constant_off_grid",
        "message": "`runs.torque` may be compared only with constants on its grid 5",
        "hint": "Use `torque < c` or `torque >= c`, c a multiple of 5.",
        "line": 1,
        "column": 40,
        "offset": 39,
        "policy_path": "tables.runs.columns.torque",
    }
    type(query).objects.filter(pk=query.pk).update(state="refused", reasons=[reason])
    sign_in(house.builder)

    page.goto(f"/queries/{query.pk}/")
    _keep(page, "refused", width)
    page.get_by_role("link", name="Policy line").click()

    expect(page.locator(".listing-line:target")).to_contain_text("torque")
    _keep(page, "policy-of-a-consumer", width)


def test_new_policy_is_read_against_the_old_one_before_it_is_offered(
    page: Page, house: House, sign_in: SignIn, width: int
) -> None:
    offer = walk.offered(house)
    text = walk.policy_text().replace("min_units: 10", "min_units: 4")
    sign_in(house.steward)

    page.goto(f"/versions/{offer.version_id}/policy/")
    page.get_by_label("Policy document").fill(text)
    expect(page.get_by_text("at least 4 units")).to_be_visible()
    _keep(page, "policy-step", width)
    page.get_by_role("button", name="Set this policy and continue").click()
    page.get_by_role("button", name="Continue to the review").click()

    expect(page.get_by_text("A group needs 4 units instead of 10.")).to_be_visible()
    _keep(page, "review-step", width)

"""A model builder asks, queries, reads and downloads; reviewers and a regulator look on."""

from __future__ import annotations

import json
from pathlib import Path

from playwright.sync_api import Page, expect

from exchange.agreements.models import Grant
from exchange.audit.models import AuditEvent
from exchange.parties.models import Kind, Role
from ledger.receipt import load_receipt
from tests.factories import walk
from tests.factories.parties import OrganisationFactory, member
from tests.factories.walk import House
from tests.journeys.browser.conftest import SignIn


def _menu(page: Page, width: int, name: str) -> None:
    if width < 1000:
        page.get_by_role("button", name="Menu").click()
    page.get_by_role("navigation", name="Main").get_by_role("link", name=name).click()


def _editor(page: Page, sql: str) -> None:
    page.get_by_label("SQL").fill(sql)


def test_builder_goes_from_the_catalogue_to_a_result(
    house: House, sign_in: SignIn, width: int, worker: None, tmp_path: Path
) -> None:
    walk.offered(house)
    page = sign_in(house.builder)
    _menu(page, width, "Catalogue")
    page.get_by_label("Search").fill("milling")
    page.get_by_role("button", name="Search").click()
    page.get_by_role("link", name="Milling runs").click()
    page.get_by_role("link", name="Ask for access").click()
    page.get_by_label("Purpose").select_option("predictive-maintenance")
    page.get_by_label("Legal basis").select_option("not-personal")
    page.get_by_label("Why you need it").fill("To plan the upkeep of mills.")
    page.get_by_label("We accept").check()
    page.get_by_role("button", name="Send the request").click()
    page.get_by_role("link", name="Open the grant").click()
    page.get_by_role("link", name="Write a query").click()

    _editor(page, "SELECT *\nFROM runs")
    page.get_by_role("button", name="Check").click()
    expect(page.locator("#check")).to_contain_text("This query is refused")
    assert page.locator("#check .reason").count() == 4

    _editor(page, walk.COUNT_BY_TYPE)
    page.get_by_role("button", name="Check").click()
    expect(page.locator("#check")).to_contain_text("This query may run")
    page.get_by_role("button", name="Run").click()

    page.get_by_role("button", name="Show the result").click()
    expect(page.locator("td.withheld").first).to_have_text("withheld")
    with page.expect_download() as result:
        page.get_by_role("button", name="Download").click()
    with page.expect_download() as receipt:
        page.get_by_role("link", name="Receipt").first.click()

    assert json.loads(Path(result.value.path()).read_bytes())["suppressed"] == 1
    assert load_receipt(Path(receipt.value.path()).read_bytes()).content_sha256
    assert AuditEvent.objects.filter(type="release:downloaded").count() == 2


def test_builder_receives_labelled_rows_after_two_reviewers(
    house: House, sign_in: SignIn, width: int, worker: None
) -> None:
    access = walk.asked(house, walk.offered(house, subset=2), kind="subset")
    for reviewer in (house.reviewer, house.second_reviewer):
        page = sign_in(reviewer)
        _menu(page, width, "Inbox")
        page.get_by_role("link", name="Decide").click()
        page.get_by_label("Approve").check()
        page.get_by_role("button", name="Record my decision").click()
        expect(page.get_by_text("Your approval is recorded.")).to_be_visible()
    grant = Grant.objects.get(request=access)

    page = sign_in(house.builder)
    page.get_by_role("link", name="Get rows").click()
    page.get_by_label("torque").uncheck()
    page.get_by_label("We receive these rows").check()
    page.get_by_role("button", name="Make the package").click()

    expect(page.get_by_role("heading", name="In pandas")).to_be_visible()
    expect(page.locator("#snippet")).to_contain_text("read_parquet")
    assert grant.queries.get().columns == ["type", "failure"]


def test_regulator_follows_a_case_to_its_proof(
    house: House, sign_in: SignIn, width: int, worker: None
) -> None:
    query = walk.answered(house, walk.granted(house))
    regulator = member(
        OrganisationFactory(slug="regulator", name="Regulator", kind=Kind.REGULATOR),
        Role.REGULATOR,
    )
    page = sign_in(regulator)
    _menu(page, width, "Case files")
    page.get_by_role("link", name="Milling runs").click()
    expect(page.get_by_text("The policy granted the request")).to_be_visible()
    page.locator(".timeline details").first.locator("summary").click()
    page.get_by_role("link", name="Record and proof").first.click()
    expect(page.get_by_text("Leaf hash")).to_be_visible()
    with page.expect_download() as receipt:
        page.get_by_role("link", name="Receipt").click()

    assert load_receipt(Path(receipt.value.path()).read_bytes()).index >= 0
    assert str(query.grant.case_id) in page.content()

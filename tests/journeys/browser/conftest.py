"""A real Chromium against a live server; work is done as a worker would, in a thread."""

from __future__ import annotations

import os
import shutil
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from django.db import connections
from playwright.sync_api import Browser, Page, sync_playwright

from exchange.audit.sequencer import seal_all
from exchange.parties.models import User
from exchange.queries.releases import open_covered
from tests.factories import walk
from tests.factories.fixtures import daemon
from tests.factories.parties import PASSWORD
from tests.factories.walk import House, make_house

__all__ = ["daemon"]

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or ""
SignIn = Callable[[User], Page]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    here = Path(__file__).parent
    for item in items:
        if here in item.path.parents:
            item.add_marker(pytest.mark.browser)
            if not CHROMIUM:
                item.add_marker(pytest.mark.skip(reason="no Chromium on this machine"))


@pytest.fixture(scope="session")
def chromium() -> Iterator[Browser]:
    # Playwright's own loop runs in this thread; the tests read rows from it on purpose.
    os.environ["DJANGO_ALLOW_ASYNC_UNSAFE"] = "true"
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=CHROMIUM, args=["--no-sandbox"]
        )
        yield browser
        browser.close()
    os.environ.pop("DJANGO_ALLOW_ASYNC_UNSAFE", None)


@pytest.fixture
def house(transactional_db: None, daemon: Any) -> House:
    return make_house()


@pytest.fixture(params=[1280, 390], ids=["wide", "narrow"])
def width(request: pytest.FixtureRequest) -> int:
    return int(request.param)


@pytest.fixture
def page(chromium: Browser, live_server: Any, width: int) -> Iterator[Page]:
    """A page on which a script error, a refused file or a sideways scroll is a failure."""
    context = chromium.new_context(
        viewport={"width": width, "height": 900}, base_url=live_server.url
    )
    context.set_default_timeout(10_000)
    page = context.new_page()
    faults: list[str] = []
    page.on("pageerror", lambda error: faults.append(str(error)))
    page.on(
        "console",
        lambda message: (
            faults.append(message.text)
            if message.type == "error" and "422" not in message.text
            else None
        ),
    )
    page.on("load", lambda loaded: faults.extend(_sideways(loaded)))
    yield page
    context.close()
    assert faults == []


def _sideways(page: Page) -> list[str]:
    wide, seen = page.evaluate(
        "[document.documentElement.scrollWidth, document.documentElement.clientWidth]"
    )
    return [f"{page.url} is {wide} px wide in {seen}"] if wide > seen else []


@pytest.fixture
def sign_in(page: Page) -> SignIn:
    def go(user: User) -> Page:
        user.set_password(PASSWORD)
        user.save()
        page.context.clear_cookies()
        page.goto("/login/")
        page.get_by_label("User name").fill(user.username)
        page.get_by_label("Password").fill(PASSWORD)
        page.get_by_role("button", name="Sign in").click()
        page.wait_for_url("**/")
        return page

    return go


@pytest.fixture
def worker() -> Iterator[None]:
    """Does waiting work, seals the log and opens releases until the test is over."""
    over = threading.Event()

    def work() -> None:
        while not over.wait(0.2):
            walk.perform_all()
            seal_all()
            open_covered()
        connections.close_all()

    thread = threading.Thread(target=work)
    thread.start()
    yield
    over.set()
    thread.join()

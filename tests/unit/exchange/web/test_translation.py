"""The Chinese pages: every string of ours is translated, and the compiled file is fresh."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import polib  # type: ignore[import-untyped]
import pytest
from django.conf import settings
from django.test import Client
from django.urls import reverse
from django.utils import translation

FOLDER = Path(settings.BASE_DIR, "locale", "zh_Hans", "LC_MESSAGES")
PO = polib.pofile(str(FOLDER / "django.po"))
KNOWN = {entry.msgid: entry for entry in PO}
_PLACE = re.compile(r"%\(\w+\)[sd]")
_TRANS = re.compile(r"{%\s*trans\s+(?:\"([^\"]+)\"|'([^']+)')")
_CALLS = {"_", "gettext", "gettext_lazy", "ngettext"}


def _in_templates() -> Iterator[str]:
    for path in Path(settings.BASE_DIR, "templates").rglob("*.html"):
        for double, single in _TRANS.findall(path.read_text()):
            yield double or single


def _in_code() -> Iterator[str]:
    for path in Path(settings.BASE_DIR, "exchange", "web").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and getattr(node.func, "id", "") in _CALLS:
                first = node.args[0]
                if isinstance(first, ast.Constant):
                    yield str(first.value)


def test_every_string_of_the_pages_is_in_the_translation() -> None:
    missing = sorted({*_in_templates(), *_in_code()} - KNOWN.keys())

    assert missing == []


@pytest.mark.parametrize("msgid", sorted(KNOWN))
def test_translation_is_whole_and_keeps_its_places(msgid: str) -> None:
    entry = KNOWN[msgid]
    text = entry.msgstr_plural[0] if entry.msgid_plural else entry.msgstr

    assert text
    assert not entry.fuzzy
    assert set(_PLACE.findall(text)) == set(_PLACE.findall(entry.msgid))


def test_compiled_translation_is_that_of_the_text() -> None:
    def content(entries: Any) -> dict[str, Any]:
        return {e.msgid: (e.msgstr, dict(e.msgstr_plural)) for e in entries}

    assert content(polib.mofile(str(FOLDER / "django.mo"))) == content(PO)


@pytest.fixture
def english_afterwards() -> Iterator[None]:
    yield
    translation.activate("en")


def test_page_speaks_the_readers_language(db: None, english_afterwards: None) -> None:
    response = Client().get(
        reverse("parties:sign_in"), headers={"Accept-Language": "zh-CN,zh;q=0.9"}
    )

    page = response.content.decode()
    assert '<html lang="zh-hans"' in page
    assert "数据不动" in page


def test_language_chosen_on_a_page_stays(db: None, english_afterwards: None) -> None:
    client: Any = Client()

    response = client.post(
        reverse("home:language"),
        {"language": "zh-hans", "next": reverse("parties:sign_in")},
    )

    assert response.url == reverse("parties:sign_in")
    assert "数据不动" in client.get(response.url).content.decode()

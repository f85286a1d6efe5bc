"""What holds of every template and of the headers of every page."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from django.conf import settings
from django.test import Client
from django.urls import reverse

TEMPLATES = sorted(Path(settings.BASE_DIR, "templates").rglob("*.html"))
_INLINE = (
    re.compile(r"<script(?![^>]*\bsrc=)", re.I),
    re.compile(r"<style\b", re.I),
    re.compile(r"\sstyle\s*=", re.I),
    re.compile(r"\son[a-z]+\s*=\s*[\"']", re.I),
    re.compile(r"javascript:", re.I),
    re.compile(r"\bhx-on", re.I),
)
_REMOTE = re.compile(r"(?:src|href)=\"(?:https?:)?//", re.I)


@pytest.mark.parametrize("path", TEMPLATES, ids=lambda p: str(p.relative_to(p.parents[1])))
def test_template_has_nothing_inline_and_nothing_from_outside(path: Path) -> None:
    text = path.read_text()

    assert not [rule.pattern for rule in _INLINE if rule.search(text)]
    assert not _REMOTE.search(text)


@pytest.mark.parametrize("path", TEMPLATES, ids=lambda p: str(p.relative_to(p.parents[1])))
def test_template_leaves_no_word_untranslated(path: Path) -> None:
    """What is left when markup, tags and translated words are taken away is punctuation."""
    if path.name == "500.html":  # rendered without Django's translation, on purpose
        return
    text = re.sub(r"{% blocktrans.*?{% endblocktrans %}", "", path.read_text(), flags=re.S)
    text = re.sub(r"<pre.*?</pre>|<title>.*?</title>", "", text, flags=re.S)
    text = re.sub(r"{%.*?%}|{{.*?}}|<[^>]*>|&\w+;", " ", text, flags=re.S)

    words = [word for word in re.findall(r"[A-Za-z]{3,}", text) if word != "Bonded"]

    assert words == []


def test_page_policy_allows_no_inline_script_or_style(db: None) -> None:
    response = Client().get(reverse("parties:sign_in"))

    policy = response.headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert "nonce-" not in policy
    assert "frame-ancestors 'none'" in policy
    assert "http" not in policy


def test_stylesheets_ask_nothing_of_other_hosts() -> None:
    for path in Path(settings.BASE_DIR, "exchange/web/static").rglob("*.css"):
        addresses = re.findall(r"url\((?!data:|\"data:|'data:)([^)]*)\)", path.read_text())
        assert addresses == [], path.name

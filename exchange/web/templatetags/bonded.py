"""Three filters of the templates: code in sentences, short digests, sizes."""

from __future__ import annotations

import re

from django import template
from django.utils.html import escape
from django.utils.safestring import SafeString, mark_safe

from exchange.web.presenters import size_words

register = template.Library()
_CODE = re.compile(r"`([^`]+)`")


@register.filter
def codes(sentence: object) -> SafeString:
    """The sentence escaped, with what stands in `backticks` as code."""
    escaped = str(escape(str(sentence)))
    return mark_safe(_CODE.sub(r"<code>\1</code>", escaped))  # noqa: S308 - escaped above


@register.filter
def short(digest: object) -> str:
    """The first twelve characters of a digest or identifier."""
    text = str(digest)
    return f"{text[:12]}…" if len(text) > 13 else text


@register.filter
def size(count: int) -> str:
    return size_words(int(count or 0))

"""Filters of the templates: code in sentences, short digests, sizes, days and times."""

from __future__ import annotations

import re
from datetime import datetime

from django import template
from django.template.defaultfilters import date
from django.utils.html import escape
from django.utils.safestring import SafeString, mark_safe
from django.utils.translation import gettext as _

from exchange.web.event_words import size_words

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


@register.filter
def day(at: datetime | None) -> str:
    # Translators: a date as Django's `date` filter formats it
    return date(at, _("j M Y"))


@register.filter
def moment(at: datetime | None) -> str:
    # Translators: a date and time as Django's `date` filter formats it
    return date(at, _("j M Y, H:i"))

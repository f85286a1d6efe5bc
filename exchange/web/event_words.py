"""The words of an audit event's payload, and the sentences that are made of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from django.utils.functional import Promise
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from exchange.web.rules import purpose_words

Payload = Mapping[str, Any]
Say = Callable[[str, Payload], str]


def size_words(count: int) -> str:
    """Bytes as people read them, in powers of 1,000."""
    if count < 1000:
        return ngettext("%(n)d byte", "%(n)d bytes", count) % {"n": count}
    for unit, factor in (("kB", 10**3), ("MB", 10**6)):
        if count < factor * 1000:
            return f"{count / factor:.1f} {unit}"
    return f"{count / 10**9:.1f} GB"


def sentence_of(text: str | Promise, **words: str) -> str:
    sentence = str(text) % words
    return sentence[:1].upper() + sentence[1:]


def says(text: Promise, **words: Callable[[Payload], str]) -> Say:
    """A sentence with the actor's name as `who` and the words taken from the payload."""

    def say(who: str, payload: Payload) -> str:
        found = {name: word(payload) for name, word in words.items()}
        return sentence_of(text, who=who, **found)

    return say


def plain_word(key: str) -> Callable[[Payload], str]:
    return lambda payload: text_of(payload.get(key, ""))


def size(key: str = "bytes") -> Callable[[Payload], str]:
    return lambda payload: size_words(int(payload.get(key) or 0))


def day(key: str) -> Callable[[Payload], str]:
    return lambda payload: str(payload.get(key, ""))[:10]


def purpose(payload: Payload) -> str:
    found = purpose_words(str(payload.get("purpose", "")))
    return found[:1].lower() + found[1:]


def choice(choices: Mapping[str, Any], key: str) -> Callable[[Payload], str]:
    """The label of a closed choice; a value from elsewhere stands as it is."""

    def word(payload: Payload) -> str:
        value = str(payload.get(key, ""))
        return str(choices.get(value, value))

    return word


def rows(payload: Payload) -> str:
    count = int(payload.get("rows") or 0)
    return ngettext("%(n)s row", "%(n)s rows", count) % {"n": f"{count:,}"}


def withheld(payload: Payload) -> str:
    count = int(payload.get("suppressed") or 0)
    if not count:
        return _("nothing withheld")
    return ngettext(
        "something withheld in %(n)d row", "something withheld in %(n)d rows", count
    ) % {"n": count}


def text_of(value: Any) -> str:
    if isinstance(value, bool):
        return _("yes") if value else _("no")
    if isinstance(value, list | tuple):
        return ", ".join(text_of(item) for item in value)
    if isinstance(value, dict):
        if "code" in value:
            return str(value["code"])
        return "; ".join(f"{key} {text_of(item)}" for key, item in value.items())
    return str(value)

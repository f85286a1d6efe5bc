"""A part of an ODRL document with its JSON path: what is asked of it, and what came."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from decimal import Decimal
from difflib import get_close_matches
from typing import Any, NoReturn

from policies.composing import MAX_DOCUMENT_CHARACTERS
from policies.errors import PolicySyntaxError, UnknownTerm
from policies.nodes import is_name
from policies.odrl import terms

# ODRL says the same in up to twenty times the characters: whatever is written can be read.
MAX_ODRL_CHARACTERS = 24 * MAX_DOCUMENT_CHARACTERS
_KEY = re.compile(r"[A-Za-z_]\w*", re.ASCII)
_DECIMAL = re.compile(r"-?[0-9]{1,100}(?:\.[0-9]{1,100})?", re.ASCII)
_DAYS = re.compile(r"P([0-9]{1,9})D", re.ASCII)
_KINDS: dict[type, str] = {
    dict: "an object", list: "a list", str: "text", bool: "true or false",
    int: "a number", Decimal: "a number", type(None): "nothing",
}  # fmt: skip


def read_json(text: str) -> Item:
    """Read one JSON document; raises PolicySyntaxError on any that is broken or too long.

    A key that stands twice is refused: of two readers each could believe another one.
    """
    if len(text) > MAX_ODRL_CHARACTERS:
        raise PolicySyntaxError(
            f"an ODRL document has at most {MAX_ODRL_CHARACTERS} characters, "
            f"this one has {len(text)}",
            path="$",
            hint="Describe one dataset per document.",
        )
    try:
        found = json.loads(
            text,
            parse_float=Decimal,
            parse_int=_whole,
            parse_constant=_not_finite,
            object_pairs_hook=_object,
        )
    except json.JSONDecodeError as error:
        raise PolicySyntaxError(
            "the text is no JSON document",
            line=error.lineno,
            column=error.colno,
            path="$",
            hint="Check the quotes, commas and brackets at this place.",
        ) from error
    except RecursionError as error:
        raise PolicySyntaxError(
            "the document is nested too deeply",
            path="$",
            hint="Write it flat, as exported.",
        ) from error
    return Item(found, "$")


def _whole(text: str) -> int:
    if len(text) > 30:
        raise PolicySyntaxError(
            "the document holds a number of more than 30 digits",
            path="$",
            hint="Write limits as whole or xsd:decimal numbers.",
        )
    return int(text)


def _not_finite(_: str) -> NoReturn:
    raise PolicySyntaxError(
        "the document holds NaN or Infinity, which JSON does not know",
        path="$",
        hint="Leave the limit out where there is none.",
    )


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise PolicySyntaxError(
            "a key of the document stands twice in one object",
            path="$",
            hint="Keep one of the two.",
        )
    return found


class Item:
    """One value at a JSON path such as `$.permission[2].constraint[0].operator`."""

    def __init__(self, value: Any, path: str) -> None:
        self._value = value
        self.path = path

    def fault(self, message: str, hint: str = "") -> PolicySyntaxError:
        """Make the error that this is not what it should be."""
        return PolicySyntaxError(
            f"`{self.path}` {message}",
            path=self.path,
            hint=hint or "Export a policy of this node to see the form.",
        )

    def unknown(self, what: str, term: str, known: Sequence[str]) -> UnknownTerm:
        """Make the error that a term here is none of the profile's."""
        shown = "".join(sign if sign.isprintable() else "?" for sign in term[:60])
        near = get_close_matches(term[:60], known, n=1)
        meant = f"Did you mean `{near[0]}`? " if near else ""
        return UnknownTerm(
            f"`{self.path}` has the unknown {what} `{shown}`",
            path=self.path,
            hint=f"{meant}The profile {terms.PROFILE} knows here: {', '.join(known)}.",
        )

    @property
    def came(self) -> str:
        """What the value is, in words, never the value."""
        return _KINDS[type(self._value)]

    @property
    def is_list(self) -> bool:
        """Whether it is a list."""
        return isinstance(self._value, list)

    @property
    def is_object(self) -> bool:
        """Whether it is an object."""
        return isinstance(self._value, dict)

    def keys(self) -> list[str]:
        """Return the keys of an object; raises on anything else."""
        if not isinstance(self._value, dict):
            raise self.fault(f"must be an object, {self.came} came")
        return list(self._value)

    def only(self, *known: str) -> None:
        """Check that the object has no key but `known`."""
        for key in self.keys():
            if key not in known:
                raise self._at(key).unknown("key", key, known)

    def _at(self, key: str) -> Item:
        step = f".{key}" if _KEY.fullmatch(key) else f"[{json.dumps(key[:60])}]"
        return Item(self._value.get(key), f"{self.path}{step}")

    def child(self, key: str) -> Item | None:
        """Return the value of that key, or None."""
        return self._at(key) if key in self.keys() else None

    def require(self, key: str) -> Item:
        """Return the value of that key; raises where it is missing."""
        found = self.child(key)
        if found is None:
            raise self.fault(f"lacks `{key}`")
        return found

    def elements(self) -> Iterator[Item]:
        """Yield the elements of a list; in JSON-LD a value by itself is a list of one."""
        if not isinstance(self._value, list):
            yield self
            return
        for index, value in enumerate(self._value):
            yield Item(value, f"{self.path}[{index}]")

    def is_equal(self, value: object) -> bool:
        """Whether it is exactly `value`."""
        return type(self._value) is type(value) and self._value == value

    def text(self) -> str:
        """Return a text; raises on anything else."""
        if not isinstance(self._value, str):
            raise self.fault(f"must be text, {self.came} came")
        if any("\ud800" <= sign <= "\udfff" for sign in self._value):
            raise self.fault("holds half a character, which no text can hold")
        return self._value

    def name(self) -> str:
        """Return a text that can be a name in a policy."""
        text = self.text()
        if not is_name(text):
            raise self.fault("must be a name of 1 to 128 printable characters")
        return text

    def term(self) -> str:
        """Return a term without ODRL's prefix; a full IRI, or `{"@id": ...}`, will do."""
        text = self._id() if self.is_object else self.text()
        for space in ("odrl:", terms.ODRL_NAMESPACE):
            text = text.removeprefix(space)
        if text.startswith(terms.NAMESPACE):
            return "bonded:" + text.removeprefix(terms.NAMESPACE)
        return text

    def _id(self) -> str:
        self.only("@id")
        return self.require("@id").text()

    def iri(self) -> str | None:
        """Return the address of `{"@id": address}`; None for a plain value."""
        return self._id() if self.is_object else None

    def flag(self) -> bool:
        """Return true or false; raises on anything else."""
        if not isinstance(self._value, bool):
            raise self.fault(f"must be true or false, {self.came} came")
        return self._value

    def whole(self) -> int:
        """Return a whole number; raises on anything else."""
        if type(self._value) is not int:
            raise self.fault(f"must be a whole number, {self.came} came")
        return self._value

    def number(self) -> str:
        """Return the digits of a number, plain or of the type xsd:decimal."""
        if not self.is_object:
            if type(self._value) in (int, Decimal):
                return (
                    f"{self._value:f}" if type(self._value) is Decimal else str(self._value)
                )
            raise self.fault(f"must be a number, {self.came} came")
        text = self._typed("decimal")
        if not _DECIMAL.fullmatch(text):
            raise self.fault("must be a decimal number in plain digits")
        return text

    def days(self) -> int:
        """Return the whole days of a duration such as `P90D`."""
        match = _DAYS.fullmatch(self._typed("duration") if self.is_object else self.text())
        if match is None:
            raise self.fault("must be a duration of whole days", "Write it as `P90D`.")
        return int(match[1])

    def _typed(self, kind: str) -> str:
        self.only("@value", "@type")
        if self.require("@type").text() not in (f"xsd:{kind}", terms.XSD + kind):
            raise self.fault(f"must be a value of the type xsd:{kind}")
        return self.require("@value").text()

"""Rendering: one layout, one error summary, the menu of whoever is signed in."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from django.forms import BaseForm
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.urls import reverse
from django.utils.functional import Promise
from django.utils.translation import gettext as _

from exchange.errors import ExchangeError
from exchange.web.shell import shell_for
from policies.errors import PolicyError
from sandbox.errors import SandboxError

AnyError = ExchangeError | PolicyError | SandboxError
ERRORS = (ExchangeError, PolicyError, SandboxError)


@dataclass(frozen=True, slots=True)
class Problem:
    """One line of the error summary: what is wrong, where, and the way forward."""

    text: str
    href: str = ""
    hint: str = ""
    code: str = ""
    area: str = ""  # id of the editor that `line` is in
    line: int | None = None


@dataclass(frozen=True, slots=True)
class Crumb:
    label: str
    url: str


def crumb(label: str | Promise, name: str, *args: object) -> Crumb:
    return Crumb(str(label), reverse(name, args=args))


def problem_of(error: AnyError, *, area: str = "") -> Problem:
    """The summary's line for an error; `area` is the field in which its line counts."""
    line = getattr(error, "line", None)
    text = error.message
    column = getattr(error, "column", None)
    if isinstance(error, PolicyError) and line is not None and column is not None:
        # In a document a column is a place; in an upload it has a name.
        text = _("Line %(line)s, column %(column)s: %(text)s") % {
            "line": line,
            "column": column,
            "text": text,
        }
    elif line is not None and not area and column is not None:
        text = _("Line %(line)s, column “%(column)s”: %(text)s") % {
            "line": line,
            "column": column,
            "text": text,
        }
    elif line is not None:
        text = _("Line %(line)s: %(text)s") % {"line": line, "text": text}
    return Problem(
        text=text,
        href=f"#{area}" if area else "",
        hint=error.hint,
        code=error.code,
        area=area,
        line=line if area else None,
    )


def problems_of(*forms: BaseForm) -> list[Problem]:
    """Every error of the bound forms, in the order of their fields, linked to the field."""
    problems = []
    for form in forms:
        if not form.is_bound:
            continue
        for name, errors in form.errors.items():
            field = form[name] if name in form.fields else None
            where = (field.id_for_label or field.auto_id) if field is not None else ""
            problems += [
                Problem(text=str(error), href=f"#{where}" if where else "")
                for error in errors
            ]
    return problems


def render_fragment(request: HttpRequest, template: str, **context: Any) -> HttpResponse:
    """A part of a page for a script that asked for it: no layout, no menu."""
    return render(request, template, context)


def render_page(
    request: HttpRequest,
    template: str,
    *,
    here: str = "",
    crumbs: Sequence[Crumb] = (),
    problems: Iterable[Problem] = (),
    http_status: int | None = None,
    **context: Any,
) -> HttpResponse:
    """The page in the layout. With problems the status is 422, so that scripts can tell."""
    found = list(problems)
    return render(
        request,
        template,
        {
            "shell": shell_for(request.user, here=here),
            "crumbs": crumbs,
            "problems": found,
            **context,
        },
        status=http_status or (422 if found else 200),
    )

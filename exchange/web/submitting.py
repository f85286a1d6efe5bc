"""A form that submits under a grant: what was sent goes to the service, or comes back."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from django.http import HttpResponseRedirect
from django.shortcuts import redirect

from exchange.queries.models import Query
from exchange.web.access import UserRequest
from exchange.web.forms import Form
from exchange.web.page import ERRORS, Problem, problem_of, problems_of


def submitted(
    request: UserRequest, form: Form, submit: Callable[[dict[str, Any]], Query]
) -> HttpResponseRedirect | list[Problem]:
    """Go to the query that `submit` made of a sent form, or say what stands against it."""
    problems: list[Problem] = []
    if request.method == "POST":
        if form.is_valid():
            try:
                return redirect("queries:detail", submit(form.cleaned_data).pk)
            except ERRORS as error:
                problems.append(problem_of(error))
        problems += problems_of(form)
    return problems

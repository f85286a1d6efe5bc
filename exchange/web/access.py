"""What every page does first: who is there, and what an error becomes."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any, cast

from django.contrib.auth.decorators import login_required
from django.http import HttpRequest, HttpResponse, StreamingHttpResponse
from django.utils.translation import gettext as _

from exchange.errors import ExchangeError, Forbidden, Invalid, NotFound, Unavailable
from exchange.parties.models import User
from exchange.web.page import problem_of, render_page
from sandbox.errors import SandboxError

Answer = HttpResponse | StreamingHttpResponse
View = Callable[..., Answer]


class UserRequest(HttpRequest):
    """A request whose sender is signed in."""

    user: User


def signed_in(view: View) -> View:
    """Ask for a sign-in first; turn an error the view did not expect into its page."""

    @wraps(view)
    def guarded(request: HttpRequest, *args: Any, **kwargs: Any) -> Answer:
        try:
            answer = view(cast(UserRequest, request), *args, **kwargs)
        except (ExchangeError, SandboxError) as error:
            answer = error_page(request, error)
        # Whoever uses this machine next must not find the page in its cache.
        answer.headers.setdefault("Cache-Control", "private, no-store")
        return answer

    return login_required(guarded)


def error_page(request: HttpRequest, error: ExchangeError | SandboxError) -> HttpResponse:
    if isinstance(error, NotFound):
        status, heading = 404, _("We cannot find that")
    elif isinstance(error, Forbidden):
        status, heading = 403, _("You cannot do this")
    elif isinstance(error, Invalid):
        status, heading = 400, _("This cannot be read")
    elif isinstance(error, Unavailable | SandboxError):
        status, heading = 503, _("A part of this node is not answering")
    else:
        status, heading = 409, _("That did not happen")
    return render_page(
        request,
        "error.html",
        heading=heading,
        problem=problem_of(error),
        error_status=status,
        http_status=status,
    )


def not_found(request: HttpRequest, exception: Exception) -> HttpResponse:  # noqa: ARG001 - called by name
    return error_page(
        request,
        NotFound(
            _("Nothing is at this address, or it is not for you to see."),
            hint=_("Check the address, or start from the catalogue or your home page."),
        ),
    )


def forbidden(request: HttpRequest, exception: Exception) -> HttpResponse:  # noqa: ARG001 - called by name
    return error_page(
        request,
        Forbidden(
            _("Your roles do not include this act."),
            hint=_("An administrator of your organisation can grant you another role."),
        ),
    )


def bad_request(request: HttpRequest, exception: Exception) -> HttpResponse:  # noqa: ARG001 - called by name
    if not hasattr(request, "user"):
        # Refused before anybody was recognised, as for a foreign Host: no page can be made.
        return HttpResponse("Bad request\n", status=400, content_type="text/plain")
    return error_page(
        request,
        Invalid(
            _("The request is malformed, or has more fields than this node reads."),
            code="request_malformed",
            hint=_("Go back, load the page again and send it once more."),
        ),
    )


def csrf_failure(request: HttpRequest, reason: str = "") -> HttpResponse:  # noqa: ARG001 - called by name
    return error_page(
        request,
        Forbidden(
            _("This form is too old to be accepted, or it came from another site."),
            code="csrf_failed",
            hint=_("Go back, load the page again and send it once more."),
        ),
    )

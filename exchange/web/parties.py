"""Sign in and out; a person's access tokens."""

from __future__ import annotations

from django import forms
from django.contrib.auth import login, logout
from django.contrib.auth.forms import AuthenticationForm
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, resolve_url
from django.urls import reverse
from django.utils import timezone
from django.utils.http import url_has_allowed_host_and_scheme
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy
from django.views.decorators.cache import never_cache
from django.views.decorators.debug import sensitive_post_parameters
from django.views.decorators.http import require_http_methods, require_POST

from exchange.errors import ExchangeError, NotFound
from exchange.parties.models import Scope
from exchange.parties.services import issue_token, revoke_token
from exchange.web.access import UserRequest, signed_in
from exchange.web.forms import Form, sent
from exchange.web.page import Problem, problem_of, problems_of, render_page


class SignInForm(Form, AuthenticationForm):
    username = forms.CharField(
        label=gettext_lazy("User name"),
        max_length=150,
        widget=forms.TextInput(
            attrs={
                "autocomplete": "username",
                "autocapitalize": "none",
                "spellcheck": "false",
            }
        ),
        error_messages={"required": gettext_lazy("Enter your user name")},
    )
    password = forms.CharField(
        label=gettext_lazy("Password"),
        strip=False,
        widget=forms.PasswordInput(attrs={"autocomplete": "current-password"}),
        error_messages={"required": gettext_lazy("Enter your password")},
    )
    error_messages = {
        "invalid_login": gettext_lazy(
            "No account has this user name and password. Capitals count in both."
        ),
        "inactive": gettext_lazy("This account is closed. Ask your administrator."),
    }


def _after_sign_in(request: HttpRequest) -> str:
    wanted = request.POST.get("next", request.GET.get("next", ""))
    safe = url_has_allowed_host_and_scheme(
        wanted, allowed_hosts={request.get_host()}, require_https=request.is_secure()
    )
    return wanted if safe else resolve_url("home:home")


@never_cache
@sensitive_post_parameters("password")
@require_http_methods(["GET", "HEAD", "POST"])
def sign_in(request: HttpRequest) -> HttpResponse:
    if request.user.is_authenticated:
        return redirect(_after_sign_in(request))
    form = SignInForm(request, data=sent(request))
    if request.method == "POST" and form.is_valid():
        login(request, form.get_user())
        return redirect(_after_sign_in(request))
    return render_page(
        request,
        "parties/sign_in.html",
        form=form,
        next=request.POST.get("next", request.GET.get("next", "")),
        problems=problems_of(form),
    )


def locked_out(request: HttpRequest, *_args: object, **_kwargs: object) -> HttpResponse:
    """After too many failures: the same words whether or not the account exists."""
    problem = Problem(
        text=_("Too many failed attempts with this user name. Sign-in is paused."),
        hint=_("Wait 15 minutes and try again, or ask your administrator."),
        code="sign_in_paused",
    )
    return render_page(
        request,
        "parties/sign_in.html",
        form=SignInForm(request),
        problems=[problem],
        http_status=429,
    )


@require_POST
def sign_out(request: HttpRequest) -> HttpResponse:
    logout(request)
    return redirect("parties:sign_in")


class TokenForm(Form):
    name = forms.CharField(
        label=gettext_lazy("What it is for"),
        max_length=100,
        help_text=gettext_lazy("For example: training job on the cluster"),
        error_messages={"required": gettext_lazy("Say what the token is for")},
    )
    scopes = forms.MultipleChoiceField(
        label=gettext_lazy("What it may do"),
        help_text=gettext_lazy("Never more than you may do yourself."),
        widget=forms.CheckboxSelectMultiple,
        error_messages={"required": gettext_lazy("Choose at least one thing it may do")},
    )
    days = forms.TypedChoiceField(
        label=gettext_lazy("Expires after"),
        coerce=int,
        initial=30,
        choices=[
            (7, gettext_lazy("7 days")),
            (30, gettext_lazy("30 days")),
            (90, gettext_lazy("90 days")),
            (365, gettext_lazy("1 year")),
        ],
    )

    def __init__(self, *args: object, **kwargs: object) -> None:
        super().__init__(*args, **kwargs)
        field = self.fields["scopes"]
        assert isinstance(field, forms.MultipleChoiceField)
        field.choices = [(str(scope), scope_words(scope)) for scope in Scope]


def scope_words(scope: Scope | str) -> str:
    return {
        Scope.CATALOGUE_READ: _("Read the catalogue"),
        Scope.DATASETS_WRITE: _("Register, upload and publish datasets"),
        Scope.REQUESTS_WRITE: _("Ask for access"),
        Scope.REQUESTS_DECIDE: _("Decide requests and queries"),
        Scope.QUERIES_WRITE: _("Submit queries"),
        Scope.RELEASES_READ: _("Download results and subsets"),
        Scope.EVIDENCE_READ: _("Read the audit log, case files and receipts"),
        Scope.PARTIES_WRITE: _("Manage organisations and members"),
        Scope.KEYS_WRITE: _("Rotate and destroy keys"),
    }[Scope(scope)]


@never_cache
@signed_in
def tokens(request: UserRequest) -> HttpResponse:
    form = TokenForm(sent(request))
    problems: list[Problem] = []
    secret = issued = None
    if request.method == "POST":
        if form.is_valid():
            try:
                issued, secret = issue_token(
                    user=request.user,
                    name=form.cleaned_data["name"],
                    scopes=form.cleaned_data["scopes"],
                    expires_in_days=form.cleaned_data["days"],
                    by=request.user,
                )
                form = TokenForm()
            except ExchangeError as error:
                problems.append(problem_of(error))
        problems += problems_of(form)
    now = timezone.now()
    return render_page(
        request,
        "parties/tokens.html",
        here="parties:tokens",
        form=form,
        problems=problems,
        secret=secret,
        issued=issued,
        address=request.build_absolute_uri(reverse("api:datasets")),
        tokens=[
            {
                "token": token,
                "scopes": [scope_words(scope) for scope in token.scopes],
                "is_usable": token.revoked_at is None and token.expires_at > now,
                "is_expired": token.revoked_at is None and token.expires_at <= now,
            }
            for token in request.user.api_tokens.all()
        ],
    )


@require_POST
@signed_in
def revoke(request: UserRequest, public_id: str) -> HttpResponse:
    token = request.user.api_tokens.filter(public_id=public_id).first()
    if token is None:
        raise NotFound(_("You have no such token."), hint=_("See the list of your tokens."))
    revoke_token(token=token, by=request.user)
    return redirect("parties:tokens")

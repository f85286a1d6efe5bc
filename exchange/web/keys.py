"""Keys: the state of each, rotation, and destruction with a typed confirmation.

What a page shows is a state, a generation, an age and the name of a provider. Who may do
what is asked by the services; the pages only offer it.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from django import forms
from django.contrib import messages
from django.core.paginator import Paginator
from django.http import HttpResponse
from django.shortcuts import redirect
from django.urls import reverse
from django.utils.translation import gettext as _
from django.views.decorators.http import require_http_methods, require_POST

from exchange.catalogue.keywork import rotate_soon
from exchange.catalogue.models import DatasetVersion
from exchange.catalogue.rekeying import rekey_version
from exchange.catalogue.selectors import version_visible_to
from exchange.errors import Invalid
from exchange.keys.permissions import (
    check_may_end_keys,
    check_may_manage_keys,
    may_manage_keys,
)
from exchange.keys.selectors import (
    counts_by_purpose,
    newest_master,
    organisation_key_state,
    organisation_seen_by,
    organisations_seen_by,
)
from exchange.keys.standing import standing
from exchange.parties.models import Organisation, User
from exchange.parties.permissions import can_administer
from exchange.queries.models import Release
from exchange.queries.shredding import (
    keys_of,
    queries_on,
    shred_organisation,
    shred_version,
    words_for_version,
)
from exchange.queries.states import ReleaseState
from exchange.web.access import UserRequest, signed_in
from exchange.web.filters import kept
from exchange.web.forms import Form, sent
from exchange.web.key_rows import (
    key_rows,
    organisation_status,
    provider_words,
    purpose_rows,
)
from exchange.web.page import Problem, crumb, problem_of, problems_of, render_page

PAGE_SIZE = 30


class ConfirmForm(Form):
    """The words that are typed before something is gone for good."""

    words = forms.CharField(
        max_length=200,
        widget=forms.TextInput(
            attrs={"autocomplete": "off", "autocapitalize": "none", "spellcheck": "false"}
        ),
    )

    def __init__(self, wanted: str, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["words"].label = _("Type %(words)s to confirm") % {"words": wanted}
        self.fields["words"].error_messages["required"] = _(
            "Type the words; nothing is destroyed without them"
        )


def _chosen(user: User, slug: str) -> tuple[Organisation | None, list[Organisation]]:
    seen = list(organisations_seen_by(user))
    named = [organisation for organisation in seen if organisation.slug == slug]
    own = [o for o in seen if o == user.organisation]
    return next(iter((*named, *own, *seen)), None), seen


@signed_in
def listing(request: UserRequest) -> HttpResponse:
    """The keys of one organisation, under the node's master key."""
    organisation, seen = _chosen(request.user, request.GET.get("organisation", ""))
    if organisation is None:
        return render_page(request, "keys/list.html", here="keys:list", organisation=None)
    state = organisation_key_state(organisation)
    may_manage = may_manage_keys(request.user, organisation)
    versions = (
        DatasetVersion.objects.filter(dataset__organisation=organisation)
        .select_related("dataset", "data_key__organisation_key", "staged_key", "source_key")
        .order_by("dataset__title", "dataset_id", "-number")
    )
    page = Paginator(versions, PAGE_SIZE).get_page(request.GET.get("page"))
    problem = standing.problem()
    return render_page(
        request,
        "keys/list.html",
        here="keys:list",
        organisation=organisation,
        seen=seen,
        keep=kept(request),
        state=state,
        status=organisation_status(state),
        provider=provider_words(state.provider),
        master=newest_master(),
        key_problem=problem_of(problem) if problem is not None else None,
        page=page,
        rows=key_rows(list(page)),
        purposes=purpose_rows(counts_by_purpose(organisation)),
        may_manage=may_manage,
        may_end=can_administer(request.user, organisation),
    )


@require_POST
@signed_in
def rotate(request: UserRequest, slug: str) -> HttpResponse:
    organisation = _seen(request.user, slug)
    rotate_soon(organisation=organisation, by=request.user)
    return _done(
        request,
        organisation,
        _("A new key is being made. What lies under the old one stays readable meanwhile."),
    )


@require_POST
@signed_in
def rotate_version(request: UserRequest, version_id: str) -> HttpResponse:
    version = version_visible_to(request.user, version_id)
    rekey_version(version=version, by=request.user)
    return _done(
        request,
        version.dataset.organisation,
        _("The files are being written anew. Queries go on; the old key ends with them."),
    )


@require_http_methods(["GET", "HEAD", "POST"])
@signed_in
def destroy_version(request: UserRequest, version_id: str) -> HttpResponse:
    """Say what becomes unreadable, and destroy it once that is typed."""
    version = version_visible_to(request.user, version_id)
    check_may_manage_keys(request.user, version.dataset.organisation)

    def about() -> dict[str, Any]:
        released = Release.objects.filter(query__grant__offer__tables__version=version)
        return {
            "version": version,
            "files": version.files.count(),
            "keys": keys_of(version).filter(state="active").count(),
            "grants": version.grants.filter(revoked_at=None).count(),
            "under_way": queries_on(version).count(),
            "releases": released.exclude(state=ReleaseState.SHREDDED).distinct().count(),
        }

    return _destroying(
        request,
        version.dataset.organisation,
        words=words_for_version(version),
        act=partial(shred_version, version=version),
        done=_("The key is destroyed. Nobody can read these rows any more."),
        template="keys/destroy_version.html",
        about=about,
    )


@require_http_methods(["GET", "HEAD", "POST"])
@signed_in
def destroy_organisation(request: UserRequest, slug: str) -> HttpResponse:
    """The end of everything an organisation holds here, once its name is typed."""
    organisation = _seen(request.user, slug)
    check_may_end_keys(request.user, organisation)

    def about() -> dict[str, Any]:
        counts = counts_by_purpose(organisation)
        return {"purposes": purpose_rows([count for count in counts if count.active])}

    return _destroying(
        request,
        organisation,
        words=organisation.slug,
        act=partial(shred_organisation, organisation=organisation),
        done=_("The organisation's key is destroyed."),
        template="keys/destroy_organisation.html",
        about=about,
    )


def _destroying(
    request: UserRequest,
    organisation: Organisation,
    *,
    words: str,
    act: Callable[..., object],
    done: str,
    template: str,
    about: Callable[[], dict[str, Any]],
) -> HttpResponse:
    """`act` once `words` are typed; until then the page that says what would end."""
    form = ConfirmForm(words, sent(request))
    problems: list[Problem] = problems_of(form)
    if request.method == "POST" and form.is_valid():
        try:
            act(confirmation=form.cleaned_data["words"], by=request.user)
        except Invalid:
            problems = _differing(form)
        else:
            return _done(request, organisation, done)
    return render_page(
        request,
        template,
        here="keys:list",
        crumbs=[crumb(_("Keys"), "keys:list")],
        problems=problems,
        form=form,
        organisation=organisation,
        **about(),
    )


def _done(request: UserRequest, organisation: Organisation, sentence: str) -> HttpResponse:
    messages.success(request, sentence, extra_tags="ok")
    return redirect(f"{reverse('keys:list')}?organisation={organisation.slug}")


def _differing(form: ConfirmForm) -> list[Problem]:
    form.add_error("words", _("The words differ; nothing was destroyed."))
    return problems_of(form)


def _seen(user: User, slug: str) -> Organisation:
    named = Organisation.objects.filter(slug=slug).first()
    return organisation_seen_by(user, named.public_id if named else slug)

"""Ask for access, decide on it, and the grants that come of it."""

from __future__ import annotations

from typing import Any

from django import forms
from django.contrib import messages
from django.core.paginator import Paginator
from django.http import HttpResponse
from django.shortcuts import redirect
from django.utils import timezone
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy
from django.views.decorators.http import require_POST

from exchange.agreements import selectors, services
from exchange.agreements.models import AccessRequest
from exchange.agreements.states import LegalBasis, NegotiationState, RuleKind
from exchange.catalogue.models import Offer
from exchange.catalogue.selectors import dataset_visible_to, open_offer
from exchange.errors import Conflict, ExchangeError
from exchange.parties.models import Organisation
from exchange.parties.permissions import can_review
from exchange.queries.selectors import queries_to_review, queries_visible_to
from exchange.web.access import UserRequest, signed_in
from exchange.web.filters import kept
from exchange.web.forms import Form
from exchange.web.page import Problem, crumb, problem_of, problems_of, render_page
from exchange.web.rules import purpose_choices, purpose_words, rule_cards, rules_of_kind
from exchange.web.standing import standing_of
from exchange.web.statuses import grant_status, query_status, request_status
from policies.document import SubsetRule
from policies.vocabulary import find_licence

PAGE_SIZE = 20


class AccessForm(Form):
    consumer = forms.ModelChoiceField(
        label=gettext_lazy("On behalf of"),
        queryset=Organisation.objects.none(),
        empty_label=None,
    )
    purpose = forms.ChoiceField(
        label=gettext_lazy("Purpose"),
        help_text=gettext_lazy(
            "The policy offers these. The grant is good for this one only."
        ),
        error_messages={"required": gettext_lazy("Choose a purpose")},
    )
    legal_basis = forms.ChoiceField(
        label=gettext_lazy("Legal basis"),
        choices=[("", gettext_lazy("Choose…")), *LegalBasis.choices],
        error_messages={"required": gettext_lazy("Choose the legal basis")},
    )
    columns = forms.MultipleChoiceField(
        label=gettext_lazy("Columns"),
        widget=forms.CheckboxSelectMultiple,
        required=False,
        help_text=gettext_lazy("Ask for what you need. Reviewers look at this first."),
    )
    justification = forms.CharField(
        label=gettext_lazy("Why you need it"),
        widget=forms.Textarea(attrs={"rows": 4}),
        max_length=4000,
        help_text=gettext_lazy(
            "The provider reads this. The public log holds only a salted commitment to it."
        ),
        error_messages={"required": gettext_lazy("Say why you need it")},
    )
    duration_days = forms.IntegerField(
        label=gettext_lazy("For how many days"),
        min_value=1,
        max_value=3660,
        initial=90,
        error_messages={
            "required": gettext_lazy("Say for how many days"),
            "invalid": gettext_lazy("Write a whole number of days"),
        },
    )
    accept = forms.BooleanField(
        label=gettext_lazy("Licence"),
        error_messages={
            "required": gettext_lazy("Accept the licence, or leave the request")
        },
    )

    def __init__(
        self,
        *args: Any,
        rules: list[Any],
        consumers: tuple[Organisation, ...],
        **kwargs: Any,
    ) -> None:
        super().__init__(*args, **kwargs)
        fields: dict[str, Any] = dict(self.fields)
        fields["consumer"].queryset = Organisation.objects.filter(
            pk__in=[organisation.pk for organisation in consumers]
        )
        if len(consumers) == 1:
            fields["consumer"].initial = consumers[0]
            fields["consumer"].widget = forms.HiddenInput()
        fields["purpose"].choices = [
            ("", gettext_lazy("Choose…")),
            *purpose_choices(rules),
        ]
        columns = [
            column
            for rule in rules
            if isinstance(rule, SubsetRule)
            for column in rule.columns
        ]
        if columns:
            fields["columns"].choices = [(name, name) for name in dict.fromkeys(columns)]
            fields["columns"].initial = list(dict.fromkeys(columns))
        else:
            del self.fields["columns"]


def _offer_of(request: UserRequest, dataset_id: str) -> Offer:
    dataset = dataset_visible_to(request.user, dataset_id)
    offer = open_offer(dataset)
    if offer is None:
        raise Conflict(
            _("“%(dataset)s” is not on offer now.") % {"dataset": dataset.title},
            code="offer_closed",
            hint=_(
                "Its provider may publish a new version. The catalogue shows what is on offer."
            ),
        )
    return offer


@signed_in
def ask(request: UserRequest, dataset_id: str, kind: str) -> HttpResponse:
    """The request form for one kind of rule of the dataset's open offer."""
    offer = _offer_of(request, dataset_id)
    policy = offer.policy_version.policy
    rules = rules_of_kind(policy, kind)
    consumers = standing_of(request.user).where("request_access")
    if not rules or not consumers:
        raise Conflict(
            _("This cannot be asked for.")
            if not rules
            else _("Your roles do not include asking for access."),
            code="nothing_to_request",
            hint=_("The dataset's page says what its policy offers, and to whom."),
        )
    licence = rules[0].licence if isinstance(rules[0], SubsetRule) else offer.licence
    form = AccessForm(request.POST or None, rules=rules, consumers=consumers)
    problems: list[Problem] = []
    if request.method == "POST":
        if form.is_valid():
            data = form.cleaned_data
            try:
                access = services.request_access(
                    offer=offer,
                    consumer=data["consumer"],
                    kind=kind,
                    purpose=data["purpose"],
                    legal_basis=data["legal_basis"],
                    justification=data["justification"],
                    duration_days=data["duration_days"],
                    columns=data.get("columns", ()),
                    accepted_licence=licence,
                    by=request.user,
                )
                return redirect("agreements:detail", access.pk)
            except ExchangeError as error:
                problems.append(problem_of(error))
        problems += problems_of(form)
    return render_page(
        request,
        "agreements/ask.html",
        here="catalogue:list",
        crumbs=[
            crumb(_("Catalogue"), "catalogue:list"),
            crumb(offer.dataset.title, "catalogue:detail", offer.dataset_id),
        ],
        problems=problems,
        form=form,
        offer=offer,
        kind=kind,
        cards=[
            card
            for card in rule_cards(policy, licence=offer.licence)
            if card["kind"] == kind
        ],
        licence=licence,
        licence_words=find_licence(licence),
        is_automatic=all(rule.approval.is_automatic for rule in rules),
    )


def _related(requests: Any) -> Any:
    return requests.select_related(
        "offer__dataset__organisation", "offer__version", "consumer", "requested_by"
    )


@signed_in
def listing(request: UserRequest) -> HttpResponse:
    page = Paginator(
        _related(selectors.requests_visible_to(request.user)).select_related("grant"),
        PAGE_SIZE,
    ).get_page(request.GET.get("page"))
    now = timezone.now()
    return render_page(
        request,
        "agreements/list.html",
        here="agreements:list",
        page=page,
        keep=kept(request),
        rows=[
            {
                "request": access,
                "purpose": purpose_words(access.purpose),
                "status": request_status(access),
                "grant": getattr(access, "grant", None),
                "grant_status": grant_status(access.grant, now)
                if hasattr(access, "grant")
                else None,
            }
            for access in page
        ],
    )


@signed_in
def inbox(request: UserRequest) -> HttpResponse:
    """What waits for this person's word, oldest first."""
    return render_page(
        request,
        "agreements/inbox.html",
        here="agreements:inbox",
        requests=_related(selectors.requests_to_decide(request.user)).order_by(
            "created_at"
        ),
        queries=queries_to_review(request.user)
        .select_related("grant__offer__dataset", "grant__consumer", "submitted_by")
        .order_by("submitted_at"),
        may_review=standing_of(request.user).may("review"),
    )


class DecisionForm(Form):
    decision = forms.ChoiceField(
        label=gettext_lazy("Your decision"),
        widget=forms.RadioSelect,
        choices=[("approve", gettext_lazy("Approve")), ("reject", gettext_lazy("Reject"))],
        error_messages={"required": gettext_lazy("Choose approve or reject")},
    )
    note = forms.CharField(
        label=gettext_lazy("Note"),
        required=False,
        widget=forms.Textarea(attrs={"rows": 3}),
        max_length=4000,
        help_text=gettext_lazy("The requester reads it. A rejection needs one."),
    )

    def clean(self) -> dict[str, Any]:
        data = super().clean() or {}
        if data.get("decision") == "reject" and not data.get("note", "").strip():
            self.add_error(
                "note", _("Say why, so that the requester knows the way forward")
            )
        return data


def why_not_decide(request: UserRequest, access: AccessRequest) -> str:
    """In words, why this person has no say here, or "" where they have one."""
    user, provider = request.user, access.offer.dataset.organisation
    if access.state != NegotiationState.REQUESTED:
        return ""
    if access.requested_by_id == user.pk:
        return _(
            "Four eyes: you made this request, so it is decided by others. "
            "Reviewers of %(provider)s have been asked."
        ) % {"provider": provider}
    if access.consumer in standing_of(user).organisations:
        return _(
            "Four eyes: nobody of %(consumer)s may decide what %(consumer)s receives. "
            "Reviewers of %(provider)s have been asked."
        ) % {"consumer": access.consumer, "provider": provider}
    if not can_review(user, provider):
        return _("Reviewers of %(provider)s decide this request.") % {"provider": provider}
    if any(decision.reviewer_id == user.pk for decision in access.decisions.all()):
        return _("You have decided already; another reviewer's word is still missing.")
    return ""


@signed_in
def detail(request: UserRequest, request_id: str) -> HttpResponse:
    """A request, the words given on it, and the form for who may give one."""
    access = selectors.request_visible_to(request.user, request_id)
    form = DecisionForm(request.POST or None)
    problems: list[Problem] = []
    if request.method == "POST":
        if form.is_valid():
            approve = form.cleaned_data["decision"] == "approve"
            try:
                services.decide_request(
                    request=access,
                    approve=approve,
                    note=form.cleaned_data["note"],
                    by=request.user,
                )
                messages.success(
                    request,
                    _("Your approval is recorded.")
                    if approve
                    else _("Your rejection is recorded."),
                    extra_tags="ok",
                )
                return redirect("agreements:detail", access.pk)
            except ExchangeError as error:
                problems.append(problem_of(error))
        problems += problems_of(form)
    waiting = access.state == NegotiationState.REQUESTED
    obstacle = why_not_decide(request, access)
    return render_page(
        request,
        "agreements/detail.html",
        here="agreements:inbox" if waiting and not obstacle else "agreements:list",
        crumbs=[crumb(_("Requests and grants"), "agreements:list")],
        problems=problems,
        form=form,
        access=access,
        purpose=purpose_words(access.purpose),
        status=request_status(access),
        rule=rule_cards_for(access),
        decisions=access.decisions.select_related("reviewer", "reviewer_organisation"),
        missing=max(0, access.reviewers_needed - access.approvals),
        obstacle=obstacle,
        may_decide=waiting and not obstacle,
        may_withdraw=waiting
        and access.consumer in standing_of(request.user).where("request_access"),
        grant=getattr(access, "grant", None),
    )


def rule_cards_for(access: AccessRequest) -> dict[str, Any]:
    policy = access.offer.policy_version.policy
    cards = rule_cards(policy, licence=access.offer.licence)
    return [card for card in cards if card["kind"] == access.kind][access.rule_index]


@require_POST
@signed_in
def withdraw(request: UserRequest, request_id: str) -> HttpResponse:
    access = selectors.request_visible_to(request.user, request_id)
    services.withdraw_request(request=access, by=request.user)
    messages.success(request, _("The request is withdrawn."), extra_tags="ok")
    return redirect("agreements:detail", access.pk)


@signed_in
def grant(request: UserRequest, grant_id: str) -> HttpResponse:
    """A grant: its terms, what was run under it, and the way on."""
    found = selectors.grant_visible_to(request.user, grant_id)
    standing = standing_of(request.user)
    now = timezone.now()
    queries = (
        queries_visible_to(request.user)
        .filter(grant=found)
        .select_related("submitted_by")
        .order_by("-submitted_at")[:20]
    )
    return render_page(
        request,
        "agreements/grant.html",
        here="agreements:list",
        crumbs=[crumb(_("Requests and grants"), "agreements:list")],
        grant=found,
        purpose=purpose_words(found.purpose),
        status=grant_status(found, now),
        is_active=found.is_active(now),
        is_subset=found.kind == RuleKind.SUBSET,
        rule=rule_cards_for(found.request),
        queries=[{"query": query, "status": query_status(query)} for query in queries],
        may_query=found.is_active(now)
        and found.consumer in standing.where("submit_queries"),
        may_revoke=found.revoked_at is None
        and found.ends_at > now
        and can_review(request.user, found.provider),
    )


@require_POST
@signed_in
def revoke(request: UserRequest, grant_id: str) -> HttpResponse:
    found = selectors.grant_visible_to(request.user, grant_id)
    services.revoke_grant(grant=found, note=request.POST.get("note", ""), by=request.user)
    messages.success(
        request, _("The grant is revoked. Nothing runs under it any more."), extra_tags="ok"
    )
    return redirect("agreements:grant", found.pk)

"""The form with which access is asked for."""

from __future__ import annotations

from typing import Any

from django import forms
from django.http import HttpResponse
from django.shortcuts import redirect
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from exchange.agreements import services
from exchange.agreements.states import LegalBasis
from exchange.catalogue.models import Offer
from exchange.catalogue.policy_views import policy_view
from exchange.catalogue.selectors import dataset_visible_to, open_offer
from exchange.errors import Conflict, ExchangeError
from exchange.parties.models import Organisation
from exchange.web.access import UserRequest, signed_in
from exchange.web.forms import Form, sent
from exchange.web.page import Problem, crumb, problem_of, problems_of, render_page
from exchange.web.rules import purpose_choices, rule_cards, rules_of_kind
from exchange.web.standing import standing_of
from policies.document import SubsetRule
from policies.vocabulary import find_licence


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
        help_text=gettext_lazy("Ask for what you need; with none chosen you ask for all."),
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
            hint=_("A new version may come. The catalogue shows what is on offer."),
        )
    return offer


@signed_in
def ask(request: UserRequest, dataset_id: str, kind: str) -> HttpResponse:
    """The request form for one kind of rule of the dataset's open offer."""
    offer = _offer_of(request, dataset_id)
    policy = offer.policy_version.policy
    shown = policy_view(request.user, offer.policy_version).policy
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
    form = AccessForm(sent(request), rules=rules, consumers=consumers)
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
            for card in rule_cards(shown, licence=offer.licence)
            if card["kind"] == kind
        ],
        licence=licence,
        licence_words=find_licence(licence),
        is_automatic=all(rule.approval.is_automatic for rule in rules),
    )

"""The filters above lists. They come by GET, so that a filtered list has an address."""

from __future__ import annotations

from django import forms
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils.translation import gettext_lazy

from exchange.audit.events import EventType
from exchange.catalogue.models import Dataset
from exchange.web.forms import Form


def kept(request: HttpRequest) -> str:
    """The query string without its page, ready to have one appended."""
    query = request.GET.copy()
    query.pop("page", None)
    return f"{query.urlencode()}&" if query else ""


class CatalogueFilter(Form):
    q = forms.CharField(
        label=gettext_lazy("Search"),
        required=False,
        max_length=200,
        widget=forms.TextInput(attrs={"type": "search"}),
    )
    keyword = forms.CharField(label=gettext_lazy("Keyword"), required=False, max_length=60)
    provider = forms.CharField(
        label=gettext_lazy("Provider"), required=False, widget=forms.Select
    )

    def offer_providers(self, datasets: QuerySet[Dataset]) -> None:
        choices = datasets.values_list("organisation__slug", "organisation__name")
        widget = self.fields["provider"].widget
        assert isinstance(widget, forms.Select)
        widget.choices = [
            ("", gettext_lazy("All providers")),
            *choices.distinct().order_by("organisation__name"),
        ]


class AuditFilter(Form):
    q = forms.CharField(
        label=gettext_lazy("Person, case or identifier"),
        required=False,
        max_length=100,
        widget=forms.TextInput(attrs={"type": "search"}),
    )
    subject = forms.ChoiceField(label=gettext_lazy("About"), required=False)
    organisation = forms.CharField(
        label=gettext_lazy("Organisation"), required=False, widget=forms.Select
    )
    since = forms.DateField(
        label=gettext_lazy("From"),
        required=False,
        widget=forms.DateInput(attrs={"type": "date"}),
        error_messages={"invalid": gettext_lazy("Write the date as year-month-day")},
    )
    until = forms.DateField(
        label=gettext_lazy("To"),
        required=False,
        widget=forms.DateInput(attrs={"type": "date"}),
        error_messages={"invalid": gettext_lazy("Write the date as year-month-day")},
    )

    def __init__(self, *args: object, **kwargs: object) -> None:
        super().__init__(*args, **kwargs)
        field = self.fields["subject"]
        assert isinstance(field, forms.ChoiceField)
        field.choices = [("", gettext_lazy("Everything")), *_SUBJECTS]

    def offer_organisations(self, names: dict[str, str]) -> None:
        widget = self.fields["organisation"].widget
        assert isinstance(widget, forms.Select)
        widget.choices = [("", gettext_lazy("All organisations")), *names.items()]


_WORDS = {
    "dataset": gettext_lazy("Datasets"),
    "upload": gettext_lazy("Uploads"),
    "version": gettext_lazy("Dataset versions"),
    "policy": gettext_lazy("Policies"),
    "request": gettext_lazy("Access requests"),
    "grant": gettext_lazy("Grants"),
    "query": gettext_lazy("Queries"),
    "run": gettext_lazy("Runs"),
    "release": gettext_lazy("Releases"),
    "key": gettext_lazy("Keys"),
    "login": gettext_lazy("Sign-ins"),
    "token": gettext_lazy("Access tokens"),
    "party": gettext_lazy("Parties"),
    "membership": gettext_lazy("Roles"),
    "log": gettext_lazy("Log checks"),
}
_SUBJECTS = [
    (subject, _WORDS[subject])
    for subject in dict.fromkeys(e.split(":")[0] for e in EventType)
]

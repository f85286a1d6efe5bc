"""The forms of the way to a published dataset."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from decimal import Decimal, InvalidOperation
from typing import Any

from django import forms
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from exchange.catalogue.models import Column
from exchange.parties.models import Organisation
from exchange.web.forms import EditorInput, Form
from policies.document import Role
from policies.engine_types import kind_of
from policies.vocabulary import LICENCES


class DatasetForm(Form):
    organisation = forms.ModelChoiceField(
        label=gettext_lazy("Published by"),
        queryset=Organisation.objects.none(),
        empty_label=None,
    )
    title = forms.CharField(
        label=gettext_lazy("Title"),
        max_length=200,
        help_text=gettext_lazy("What the rows are about, in a few words."),
        error_messages={"required": gettext_lazy("Give the dataset a title")},
    )
    description = forms.CharField(
        label=gettext_lazy("Description"),
        required=False,
        max_length=4000,
        widget=forms.Textarea(attrs={"rows": 3}),
        help_text=gettext_lazy(
            "Where the data comes from, what a row is, what it is good for."
        ),
    )
    keywords = forms.CharField(
        label=gettext_lazy("Keywords"),
        required=False,
        max_length=300,
        help_text=gettext_lazy("Separated by commas."),
    )
    table_name = forms.RegexField(
        label=gettext_lazy("Name in queries"),
        regex=r"^[a-z][a-z0-9_]*$",
        required=False,
        max_length=63,
        help_text=gettext_lazy(
            "Small letters, digits and underscores. Left empty, it is made from the title."
        ),
        error_messages={
            "invalid": gettext_lazy("Use small letters, digits and underscores only")
        },
    )

    def __init__(
        self, *args: Any, organisations: tuple[Organisation, ...], **kwargs: Any
    ) -> None:
        super().__init__(*args, **kwargs)
        field: Any = self.fields["organisation"]
        field.queryset = Organisation.objects.filter(pk__in=[o.pk for o in organisations])
        if len(organisations) == 1:
            field.initial = organisations[0]
            field.widget = forms.HiddenInput()

    def clean_keywords(self) -> list[str]:
        words = self.cleaned_data["keywords"].replace("，", ",").split(",")
        return list(dict.fromkeys(word.strip() for word in words if word.strip()))


class FileForm(Form):
    file = forms.FileField(
        label=gettext_lazy("File"),
        max_length=255,
        help_text=gettext_lazy(
            "CSV or Parquet. It is sealed on its way in and opened only in the sandbox."
        ),
        error_messages={
            "required": gettext_lazy("Choose a CSV or Parquet file"),
            "empty": gettext_lazy("The file is empty; choose one with rows"),
        },
    )
    format = forms.ChoiceField(
        label=gettext_lazy("Format"),
        required=False,
        choices=[
            ("", gettext_lazy("By the file's name")),
            ("csv", "CSV"),
            ("parquet", "Parquet"),
        ],
    )
    delimiter = forms.ChoiceField(
        label=gettext_lazy("Separator"),
        required=False,
        choices=[
            ("", gettext_lazy("Find out")),
            (",", gettext_lazy("Comma")),
            (";", gettext_lazy("Semicolon")),
            ("\t", gettext_lazy("Tab")),
            ("|", gettext_lazy("Vertical bar")),
        ],
    )
    encoding = forms.ChoiceField(
        label=gettext_lazy("Encoding"),
        required=False,
        choices=[
            ("", gettext_lazy("Find out")),
            ("utf-8", "UTF-8"),
            ("utf-16", "UTF-16"),
            ("gb18030", "GB18030"),
            ("latin-1", "Latin-1"),
        ],
    )
    no_header = forms.BooleanField(
        label=gettext_lazy("The first line holds data, not names"), required=False
    )

    def clean_delimiter(self) -> str:
        return str(self.data.get("delimiter", ""))


ROLE_CHOICES = [
    ("dimension", gettext_lazy("Group and filter")),
    ("measure", gettext_lazy("Aggregate")),
    ("dimension+measure", gettext_lazy("Group and aggregate")),
    ("label", gettext_lazy("Label to predict")),
    ("unit_key", gettext_lazy("Says who is protected")),
    ("row_key", gettext_lazy("Keeps a record together")),
    ("hidden", gettext_lazy("Hidden")),
]


class RolesForm(Form):
    """One role and one grid for each column, proposed by the profile."""

    def __init__(
        self,
        *args: Any,
        columns: Sequence[Column],
        chosen: Mapping[str, Any] | None,
        **kwargs: Any,
    ) -> None:
        super().__init__(*args, **kwargs)
        self._columns = columns
        for column in columns:
            known = (chosen or {}).get(column.name, {})
            role = forms.ChoiceField(
                label=_("Role of %(column)s") % {"column": column.name},
                choices=ROLE_CHOICES,
                initial=known.get("role") or _proposed(column),
            )
            grid = forms.CharField(
                label=_("Step of %(column)s") % {"column": column.name},
                required=False,
                max_length=32,
                initial=known.get("grid", column.proposed_grid),
            )
            role.widget.attrs = {"class": "form-select form-select-sm"}
            grid.widget.attrs = {
                "class": "form-control form-control-sm",
                "inputmode": "decimal",
            }
            for field in (role, grid):
                field.widget.attrs["aria-label"] = field.label
            self.fields[f"role_{column.position}"] = role
            if is_number(column):
                self.fields[f"grid_{column.position}"] = grid

    def clean(self) -> dict[str, Any]:
        data = super().clean() or {}
        for column in self._columns:
            name = f"grid_{column.position}"
            if data.get(name) and not _is_positive(data[name]):
                self.add_error(
                    name,
                    _("%(column)s: write the step as a number above 0")
                    % {"column": column.name},
                )
            if "measure" in data.get(f"role_{column.position}", "") and not is_number(
                column
            ):
                self.add_error(
                    f"role_{column.position}",
                    _("%(column)s holds no numbers to aggregate; group by it")
                    % {"column": column.name},
                )
        return data

    def roles(self) -> dict[str, dict[str, str]]:
        return {
            column.name: {
                "role": self.cleaned_data[f"role_{column.position}"],
                "grid": self.cleaned_data.get(f"grid_{column.position}", ""),
            }
            for column in self._columns
        }

    def rows(self) -> list[dict[str, Any]]:
        return [
            {
                "column": column,
                "role": self[f"role_{column.position}"],
                "grid": self[f"grid_{column.position}"] if is_number(column) else None,
                "null_percent": column.null_share * 100,
            }
            for column in self._columns
        ]


def is_number(column: Column) -> bool:
    return kind_of(column.type).is_number


def _proposed(column: Column) -> str:
    roles = set(column.proposed_roles)
    if {"dimension", "measure"} <= roles:
        return "dimension+measure"
    known = {str(role) for role in Role}
    return next((role for role in column.proposed_roles if role in known), "hidden")


def _is_positive(text: str) -> bool:
    try:
        return Decimal(text.strip()) > 0
    except InvalidOperation:
        return False


class PolicyForm(Form):
    text = forms.CharField(
        label=gettext_lazy("Policy document"),
        max_length=512 * 1024,
        strip=False,
        widget=EditorInput(attrs={"rows": 32}),
        error_messages={
            "required": gettext_lazy("The policy is empty; start from a template")
        },
    )


class LicenceForm(Form):
    licence = forms.ChoiceField(
        label=gettext_lazy("Licence"),
        widget=forms.RadioSelect,
        choices=[
            *((known.identifier, known.identifier) for known in LICENCES),
            ("other", gettext_lazy("Another licence")),
        ],
        error_messages={"required": gettext_lazy("Choose a licence")},
    )
    other = forms.CharField(
        label=gettext_lazy("SPDX identifier of the other licence"),
        required=False,
        max_length=100,
        help_text=gettext_lazy("For example MIT, or LicenseRef- and a name of your own."),
    )
    attribution = forms.CharField(
        label=gettext_lazy("How to name the source"), required=False, max_length=500
    )
    terms = forms.CharField(
        label=gettext_lazy("Further terms"),
        required=False,
        max_length=10_000,
        widget=forms.Textarea(attrs={"rows": 4}),
        help_text=gettext_lazy(
            "Shown to everyone who asks for access, and accepted with it."
        ),
    )

    def clean(self) -> dict[str, Any]:
        data = super().clean() or {}
        if data.get("licence") == "other" and not data.get("other", "").strip():
            self.add_error("other", _("Write the identifier of the licence"))
        return data

    def cards(self) -> list[dict[str, Any]]:
        chosen = self["licence"].value()
        return [
            {
                "value": known.identifier,
                "title": known.title,
                "sentence": known.sentence,
                "is_chosen": chosen == known.identifier,
            }
            for known in LICENCES
        ]

    @staticmethod
    def identifier(data: Mapping[str, Any]) -> str:
        chosen = data["other"] if data["licence"] == "other" else data["licence"]
        return str(chosen).strip()

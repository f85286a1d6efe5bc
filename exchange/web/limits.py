"""The form of what one run under a grant may use."""

from __future__ import annotations

from typing import Any

from django import forms
from django.utils.functional import Promise
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from exchange.agreements.limits import LEAST, node_defaults, node_maxima
from exchange.web.forms import Form

LABELS: dict[str, Promise] = {
    "seconds": gettext_lazy("Seconds of one run"),
    "memory_mb": gettext_lazy("Memory of one run, in MB"),
    "output_mb": gettext_lazy("Size of one result, in MB"),
}


class LimitsForm(Form):
    """A number for each limit; an empty field leaves it to the node."""

    seconds = forms.IntegerField(required=False)
    memory_mb = forms.IntegerField(required=False)
    output_mb = forms.IntegerField(required=False)

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        defaults, maxima = node_defaults().words(), node_maxima().words()
        for name, field in self.fields.items():
            assert isinstance(field, forms.IntegerField)
            field.label = str(LABELS[name])
            field.min_value, field.max_value = LEAST[name], maxima[name]
            field.widget.attrs.update(
                min=LEAST[name],
                max=maxima[name],
                inputmode="numeric",
                placeholder=str(defaults[name]),
            )
            field.help_text = _(
                "From %(least)d to %(most)d. Left empty, this node's %(default)d holds."
            ) % {"least": LEAST[name], "most": maxima[name], "default": defaults[name]}

    def clean(self) -> dict[str, Any]:
        data = super().clean() or {}
        maxima = node_maxima().words()
        for name, value in list(data.items()):
            if value is not None and not LEAST[name] <= value <= maxima[name]:
                self.add_error(
                    name,
                    _("Choose a number from %(least)d to %(most)d")
                    % {"least": LEAST[name], "most": maxima[name]},
                )
        return data

"""The base of all forms: our field markup, Bootstrap's classes on the widgets."""

from __future__ import annotations

from typing import Any

from django import forms
from django.forms.renderers import DjangoTemplates
from django.http import HttpRequest, QueryDict
from django.template.loader import get_template


def sent(request: HttpRequest) -> QueryDict | None:
    """What a form was sent with; None when it was only asked for."""
    return request.POST if request.method == "POST" else None


class Renderer(DjangoTemplates):
    """Fields from `templates/_components`, widgets from Django itself."""

    form_template_name = "_components/form.html"
    field_template_name = "_components/field.html"

    def get_template(self, template_name: str) -> Any:
        if template_name.startswith("_components/"):
            return get_template(template_name)
        return super().get_template(template_name)


class Form(forms.Form):
    default_renderer = Renderer
    required_css_class = "required"

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        kwargs.setdefault("label_suffix", "")
        super().__init__(*args, **kwargs)
        for field in self.fields.values():
            field.widget.use_required_attribute = lambda _initial: False
            _dress(field.widget)


def _dress(widget: forms.Widget) -> None:
    if isinstance(widget, forms.RadioSelect | forms.CheckboxSelectMultiple):
        return
    if isinstance(widget, forms.CheckboxInput):
        kind = "form-check-input"
    elif isinstance(widget, forms.Select):
        kind = "form-select"
    else:
        kind = "form-control"
    widget.attrs["class"] = f"{widget.attrs.get('class', '')} {kind}".strip()


class EditorInput(forms.Textarea):
    """A code editor: a textarea that wraps nothing and corrects nothing."""

    def __init__(self, attrs: dict[str, Any] | None = None) -> None:
        plain = {
            "rows": 14,
            "spellcheck": "false",
            "autocapitalize": "off",
            "autocomplete": "off",
            "wrap": "off",
        }
        super().__init__(attrs={**plain, **(attrs or {})})

"""The way back from what is under a grant."""

from __future__ import annotations

from django.utils.translation import gettext as _

from exchange.agreements.models import Grant
from exchange.web.page import Crumb, crumb


def grant_crumbs(grant: Grant) -> list[Crumb]:
    return [
        crumb(_("Requests and grants"), "agreements:list"),
        crumb(grant.version.dataset.title, "agreements:grant", grant.pk),
    ]

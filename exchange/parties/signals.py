"""Logins, told by Django's signals, written into the log. Nothing else happens here."""

from __future__ import annotations

from typing import Any

from django.contrib.auth.signals import user_logged_in, user_login_failed
from django.db import transaction
from django.dispatch import receiver

from exchange.audit.actors import NOBODY, Private
from exchange.audit.events import EventType
from exchange.audit.services import record
from exchange.parties.models import User


# An event that cannot be written raises here, inside login(): the session is then never
# saved, and so the login did not happen.
@receiver(user_logged_in, dispatch_uid="parties.login_succeeded")
def record_login(user: User, **_: Any) -> None:
    with transaction.atomic():
        record(type=EventType.LOGIN_SUCCEEDED, actor=user, subject=user, method="password")


@receiver(user_login_failed, dispatch_uid="parties.login_failed")
def record_failed_login(credentials: dict[str, Any], **_: Any) -> None:
    # Whatever was typed as a name may be a password: it is committed to, not written.
    typed = str(credentials.get("username", ""))[:150]
    with transaction.atomic():
        record(
            type=EventType.LOGIN_FAILED,
            actor=NOBODY,
            subject=("login", "unknown"),
            reason="credentials",
            username=Private(typed),
        )

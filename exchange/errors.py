"""What the exchange says when it does not do what was asked.

ExchangeError
├── Unauthenticated   nobody we know, or a credential that no longer holds
├── Forbidden         known, and not allowed
├── NotFound          not there, or not for this reader (the two look alike on purpose)
├── Invalid           what came is not what was expected
├── Conflict          the state of things does not allow it now
├── Refused           a rule of the exchange says no, whatever the state
├── LimitReached      a cap is used up for now
└── Unavailable       a part of the node is missing or down
"""

from __future__ import annotations


class ExchangeError(Exception):
    """Nothing was done. `code` is API; `message` says what came; `hint` the way forward."""

    code = "exchange_error"

    def __init__(self, message: str, *, hint: str = "", code: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        if code is not None:
            self.code = code


class Unauthenticated(ExchangeError):
    code = "unauthenticated"


class Forbidden(ExchangeError):
    code = "forbidden"


class NotFound(ExchangeError):
    code = "not_found"


class Invalid(ExchangeError):
    code = "invalid"


class Conflict(ExchangeError):
    code = "conflict"


class Refused(ExchangeError):
    code = "refused"


class LimitReached(ExchangeError):
    code = "limit_reached"


class Unavailable(ExchangeError):
    code = "unavailable"

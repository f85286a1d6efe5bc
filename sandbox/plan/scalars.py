"""Engine values as what a message carries."""

from __future__ import annotations

import datetime
import math
from decimal import Decimal

from sandbox.protocol import Scalar


def scalar(value: object) -> Scalar:
    """Return a value as one that JSON carries: dates as ISO text, no NaN or infinity."""
    if value is None or isinstance(value, (bool, int, str)):
        return value
    if isinstance(value, Decimal):
        return (
            int(value)
            if value == value.to_integral_value() and value.as_tuple().exponent == 0
            else float(value)
        )
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, (datetime.date, datetime.datetime)):
        return value.isoformat()
    return str(value)

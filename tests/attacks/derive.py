"""What answers tell together: a secret as it stands, or by adding and taking away."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from tests.attacks.oracle import value_of

# Small secrets are met by chance among many differences: the smaller, the fewer cells.
MOST_COMBINED = ((1000, 12), (20, 4))


def tells(secret: Any, rows: Iterable[Sequence[Any]]) -> bool:
    """Whether `secret` is among the cells, or is a sum of some of them with signs."""
    cells = [value_of(cell) for row in rows for cell in row]
    secret = value_of(secret)
    if isinstance(secret, str):
        return any(isinstance(cell, str) and secret in cell for cell in cells)
    numbers = [
        float(cell)
        for cell in cells
        if isinstance(cell, (int, float)) and not isinstance(cell, bool)
    ]
    if any(math.isclose(number, secret, rel_tol=1e-9) for number in numbers):
        return True
    most = next((most for least, most in MOST_COMBINED if abs(secret) >= least), 0)
    found = sorted({number for number in numbers if abs(number) >= 1}, key=abs)
    return most > 0 and _is_combined(float(secret), found[-most:])


def _is_combined(secret: float, numbers: Sequence[float]) -> bool:
    sums = np.zeros(1)
    for number in numbers:
        sums = np.concatenate([sums, sums + number, sums - number])
    return bool(np.any(np.abs(sums - secret) <= 1e-6))

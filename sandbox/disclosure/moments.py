"""Averages, deviations and regressions from exact sums of powers, as the engine gives them.

Everything up to the last step is exact, so that nothing is lost where a variance is the
small difference of two large sums. What has no value (a variance of one row) is NULL.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from fractions import Fraction

# Two columns follow from each other where less than this share of a variance is left.
LEFT_BY_A_LINE = Fraction(1, 10**9)
_LEFT, _OF = LEFT_BY_A_LINE.numerator, LEFT_BY_A_LINE.denominator
Exact = int | Fraction


@dataclass(slots=True)
class Moments:
    """Rows and sums: `x`, `xx`, `xxx`, `xxxx` of one measure, `x`, `y`, ... of two."""

    n: int = 0
    sums: dict[str, Fraction] = field(default_factory=dict)

    def add(self, name: str, amount: Fraction) -> None:
        """Add to a sum."""
        self.sums[name] = self.sums.get(name, Fraction(0)) + amount

    def __getitem__(self, name: str) -> Fraction:
        return self.sums.get(name, Fraction(0))

    def of_pair(self) -> tuple[Fraction, ...]:
        """Return n and the five sums of a pair, as `is_line` takes them."""
        return (Fraction(self.n), *(self[name] for name in ("x", "y", "xx", "yy", "xy")))

    def spread(self, one: str, other: str) -> Fraction:
        """Return the sum of products of deviations from the averages."""
        return self[one + other] - self[one] * self[other] / self.n


def is_line(n: Exact, x: Exact, y: Exact, xx: Exact, yy: Exact, xy: Exact) -> bool:
    """Whether one of two measures follows from the other: no variance is left by a line.

    Both measures may be given in any units of their own; whole numbers are quickest.
    """
    if n == 0:
        return False
    first, second = n * xx - x * x, n * yy - y * y
    return _OF * (n * xy - x * y) ** 2 >= (_OF - _LEFT) * first * second


def computed(function: str, moments: Moments) -> int | float | None:
    """Return the value of an aggregate; requires at least one row.

    Whole sums stay whole; others leave as the nearest double, as the engine's would.
    """
    if function == "count":
        return moments.n
    if function == "sum":
        total = moments["x"]
        return total.numerator if total.denominator == 1 else float(total)
    return _FUNCTIONS[function](moments)


def _average(m: Moments) -> float | None:
    return float(m["x"] / m.n)


def _variance(m: Moments) -> float | None:
    return float(m.spread("x", "x") / (m.n - 1)) if m.n > 1 else None


def _variance_of_all(m: Moments) -> float | None:
    return float(m.spread("x", "x") / m.n)


def _deviation(m: Moments) -> float | None:
    return math.sqrt(m.spread("x", "x") / (m.n - 1)) if m.n > 1 else None


def _deviation_of_all(m: Moments) -> float | None:
    return math.sqrt(m.spread("x", "x") / m.n)


def _error_of_average(m: Moments) -> float | None:
    # The engine divides the deviation of all, not that of a sample.
    return math.sqrt(m.spread("x", "x")) / m.n


def _skewness(m: Moments) -> float | None:
    n, mean, second = m.n, m["x"] / m.n, m.spread("x", "x") / m.n
    if n <= 2 or second == 0:
        return None
    third = m["xxx"] / n - 3 * mean * m["xx"] / n + 2 * mean**3
    deviation = math.sqrt(second)
    return math.sqrt(n * (n - 1)) / (n - 2) * float(third) / deviation**3


def _tails(m: Moments) -> Fraction | None:
    n, mean, second = m.n, m["x"] / m.n, m.spread("x", "x") / m.n
    if second == 0:
        return None
    fourth = m["xxxx"] / n - 4 * mean * m["xxx"] / n + 6 * mean**2 * m["xx"] / n
    return (fourth - 3 * mean**4) / second**2


def _kurtosis_of_all(m: Moments) -> float | None:
    ratio = _tails(m)
    return None if m.n <= 1 or ratio is None else float(ratio - 3)


def _kurtosis(m: Moments) -> float | None:
    n, ratio = m.n, _tails(m)
    if n <= 3 or ratio is None:
        return None
    return float(Fraction(n - 1, (n - 2) * (n - 3)) * ((n + 1) * ratio - 3 * (n - 1)))


def _covariance(m: Moments) -> float | None:
    return float(m.spread("x", "y") / (m.n - 1)) if m.n > 1 else None


def _correlation(m: Moments) -> float | None:
    squares = m.spread("x", "x") * m.spread("y", "y")
    # The engine divides by zero here, and in the slope.
    return float(m.spread("x", "y")) / math.sqrt(squares) if squares else math.nan


def _determination(m: Moments) -> float | None:
    across, down = m.spread("x", "x"), m.spread("y", "y")
    if across == 0:
        return None
    return float(m.spread("x", "y") ** 2 / (across * down)) if down else 1.0


def _slope(m: Moments) -> float | None:
    across = m.spread("x", "x")
    return float(m.spread("x", "y") / across) if across else math.nan


def _intercept(m: Moments) -> float | None:
    across = m.spread("x", "x")
    if across == 0:
        return None
    return float(m["y"] / m.n - m.spread("x", "y") / across * m["x"] / m.n)


_FUNCTIONS: dict[str, Callable[[Moments], float | None]] = {
    "avg": _average,
    "var_samp": _variance,
    "var_pop": _variance_of_all,
    "stddev_samp": _deviation,
    "stddev_pop": _deviation_of_all,
    "sem": _error_of_average,
    "skewness": _skewness,
    "kurtosis": _kurtosis,
    "kurtosis_pop": _kurtosis_of_all,
    "covar_samp": _covariance,
    "covar_pop": lambda m: float(m.spread("x", "y") / m.n),
    "corr": _correlation,
    "regr_r2": _determination,
    "regr_slope": _slope,
    "regr_intercept": _intercept,
    "regr_sxx": lambda m: float(m.spread("x", "x")),
    "regr_syy": lambda m: float(m.spread("y", "y")),
    "regr_sxy": lambda m: float(m.spread("x", "y")),
}

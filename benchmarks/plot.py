"""A log-log plot as SVG, and the slope of a straight line through its points."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from html import escape

Point = tuple[float, float]

_WIDTH, _HEIGHT, _LEFT, _TOP, _RIGHT, _BOTTOM = 640, 420, 70, 40, 170, 50
_COLOURS = ("#1b5e9b", "#c2410c", "#2f7d32", "#7b3fa0", "#555555")


def slope(points: Sequence[Point]) -> float:
    """Return the exponent of the power law that fits best (least squares of logarithms).

    Requires two points with different x, all coordinates above 0.
    """
    xs, ys = ([math.log(point[axis]) for point in points] for axis in (0, 1))
    middle_x, middle_y = sum(xs) / len(xs), sum(ys) / len(ys)
    spread = sum((x - middle_x) ** 2 for x in xs)
    return (
        sum((x - middle_x) * (y - middle_y) for x, y in zip(xs, ys, strict=True)) / spread
    )


def log_log(
    series: Mapping[str, Sequence[Point]], *, title: str, x_name: str, y_name: str
) -> str:
    """Return the drawing; each series is named at its last point, dashes have slope 1."""
    points = [point for line in series.values() for point in line]
    scale_x = _Scale([x for x, _ in points], _LEFT, _WIDTH - _RIGHT)
    scale_y = _Scale([y for _, y in points], _HEIGHT - _BOTTOM, _TOP)
    named_space, box = "http://www.w3.org/2000/svg", f"0 0 {_WIDTH} {_HEIGHT}"
    parts = [
        f'<svg xmlns="{named_space}" viewBox="{box}" font-family="sans-serif">',
        f'<rect width="{_WIDTH}" height="{_HEIGHT}" fill="white"/>',
        _text(_LEFT, 22, title, size=15),
        _text((_LEFT + _WIDTH - _RIGHT) / 2, _HEIGHT - 12, x_name),
        _text(8, _TOP - 8, y_name),
    ]
    for value in scale_x.ticks():
        at = scale_x(value)
        parts.append(_line((at, _TOP), (at, _HEIGHT - _BOTTOM), "#e5e5e5"))
        parts.append(_text(at - 6, _HEIGHT - _BOTTOM + 18, f"{value:g}"))
    for value in scale_y.ticks():
        at = scale_y(value)
        parts.append(_line((_LEFT, at), (_WIDTH - _RIGHT, at), "#e5e5e5"))
        parts.append(_text(22, at + 4, f"{value:g}"))
    for number, (name, line) in enumerate(series.items()):
        colour = _COLOURS[number % len(_COLOURS)]
        placed = [(scale_x(x), scale_y(y)) for x, y in line]
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in placed)
        parts.append(
            f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2"/>'
        )
        parts += [
            f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3.5" fill="{colour}"/>'
            for x, y in placed
        ]
        (x0, y0), x1 = line[0], line[-1][0]
        straight = (scale_x(x1), scale_y(y0 * x1 / x0))
        parts.append(_line(placed[0], straight, colour, dashed=True))
        parts.append(_text(placed[-1][0] + 8, placed[-1][1] + 4, name, colour=colour))
    return "\n".join([*parts, "</svg>", ""])


class _Scale:
    """Values to places, by their logarithm, with some room at both ends."""

    def __init__(self, values: Sequence[float], start: float, end: float) -> None:
        self._low, self._high = min(values) * 0.8, max(values) * 1.25
        self._start, self._end = start, end

    def __call__(self, value: float) -> float:
        share = math.log(value / self._low) / math.log(self._high / self._low)
        return self._start + share * (self._end - self._start)

    def ticks(self) -> list[float]:
        lowest, highest = (
            math.floor(math.log10(self._low)),
            math.ceil(math.log10(self._high)),
        )
        every = [m * 10.0**e for e in range(lowest, highest + 1) for m in (1, 3)]
        return [value for value in every if self._low <= value <= self._high]


def _text(x: float, y: float, text: str, *, size: int = 12, colour: str = "#222") -> str:
    place = f'x="{x:.1f}" y="{y:.1f}"'
    return f'<text {place} font-size="{size}" fill="{colour}">{escape(text)}</text>'


def _line(a: Point, b: Point, colour: str, *, dashed: bool = False) -> str:
    dashes = ' stroke-dasharray="4 4"' if dashed else ""
    return (
        f'<line x1="{a[0]:.1f}" y1="{a[1]:.1f}" x2="{b[0]:.1f}" y2="{b[1]:.1f}"'
        f' stroke="{colour}"{dashes}/>'
    )

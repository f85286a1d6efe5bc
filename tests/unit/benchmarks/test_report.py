from __future__ import annotations

import json
import math
from pathlib import Path

import pytest

from benchmarks.plot import log_log, slope
from benchmarks.report import Report, Row, geometric_mean


@pytest.mark.parametrize(
    ("row", "met"),
    [
        (Row("a", "b", 3.0, "ms"), None),
        (Row("a", "b", 3.0, "ms", target="<= 3"), True),
        (Row("a", "b", 3.0, "ms", target=">= 3.1"), False),
        (Row("a", "b", 3.0, "ms", 2.0, 1.5, "<= 1.5"), True),
        (Row("a", "b", 1.0, "ms", 0.5, 2.0, "<= 1.5"), False),
    ],
)
def test_is_met_judges_the_ratio_before_the_value(row: Row, *, met: bool | None) -> None:
    assert row.is_met is met


def test_report_shows_and_saves_what_it_was_told(tmp_path: Path) -> None:
    report = Report("name")
    report.compare("case", "min", 0.2, 0.1, "<= 1.5")
    report.note("words")

    report.save(tmp_path / "out.json")

    assert "<= 1.5 MISSED" in report.show()
    assert report.show().endswith("words")
    saved = json.loads((tmp_path / "out.json").read_text())
    assert saved["rows"][0]["ratio"] == pytest.approx(2.0)
    assert saved["notes"] == ["words"]


def test_geometric_mean_of_a_ratio_and_its_inverse_is_one() -> None:
    assert geometric_mean([4.0, 0.25]) == pytest.approx(1.0)


def test_slope_finds_the_exponent_of_a_power_law() -> None:
    assert slope([(x, 5 * math.pow(x, 1.3)) for x in (1, 3, 10)]) == pytest.approx(1.3)


def test_log_log_draws_each_point_and_escapes_names() -> None:
    drawn = log_log({"a<b": [(1, 1), (10, 12)]}, title="t", x_name="x", y_name="y")

    assert drawn.count("<circle") == 2
    assert ">a&lt;b<" in drawn

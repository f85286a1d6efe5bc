"""What DEVELOPERS.md says is what there is."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[3]
TEXT = (ROOT / "DEVELOPERS.md").read_text()


def test_every_setting_of_the_environment_has_its_line_and_no_other() -> None:
    modules = (ROOT / "exchange" / "settings").glob("*.py")
    code = "".join(path.read_text() for path in sorted(modules))
    read = re.findall(r"env\.\w+\(\s*\"([A-Z0-9_]+)\"", code)
    told = re.findall(r"^\| `([A-Z0-9_]+)` \|", TEXT, re.MULTILINE)

    assert len(read) > 15
    assert set(told) == set(read)
    assert len(told) == len(set(told))


def test_every_command_told_of_exists() -> None:
    told = set(re.findall(r"manage\.py (\w+)", TEXT))
    apps = (ROOT / "exchange").glob("*/management/commands/*.py")

    assert told - {path.stem for path in apps} == {"simulate"}

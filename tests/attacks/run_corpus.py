"""Verdicts by class for every corpus, side by side with those expected.

The control of the hostile classes is the honest share: who refuses everything is safe and
of no use.
"""

from __future__ import annotations

import json
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.report import Report, Row
from policies.codec import load_policy
from sandbox.simulate import Session, Simulator
from tests.attacks import corpora
from tests.attacks.oracle import Question, compare
from tests.attacks.worlds import WORLDS, Stand, stand

TARGETS = {"honest": 0.97, "hostile": 1.0}


@dataclass(frozen=True, slots=True)
class Verdict:
    """One query, what it was to get and what it got."""

    corpus: str
    kind: str
    id: str
    expected: str
    came: str
    codes: tuple[str, ...] = ()
    fault: str = ""  # a value that the plain engine does not confirm

    @property
    def is_right(self) -> bool:
        """Whether the verdict is one of those allowed and no value is wrong."""
        return not self.fault and self.came in corpora.ALLOWED[self.expected]


@dataclass(slots=True)
class Tally:
    """The verdicts of one class."""

    came: Counter[str] = field(default_factory=Counter)
    right: int = 0

    @property
    def count(self) -> int:
        """How many were asked."""
        return self.came.total()


def run(out: Path | None) -> None:
    """Ask every query of every corpus and print what came."""
    with tempfile.TemporaryDirectory() as folder:
        verdicts = [*_own(Path(folder)), *_shared()]
    report = Report("attacks corpus")
    shown = _tables(verdicts, report)
    sys.stdout.write("\n".join(shown) + "\n")
    if out is not None:
        data = asdict(report) | {"verdicts": [asdict(verdict) for verdict in verdicts]}
        out.write_text(json.dumps(data, indent=1, default=str), encoding="utf-8")


# --- asking


def _own(folder: Path) -> Iterator[Verdict]:
    stands = {name: stand(name, folder / name, planted=True) for name in WORLDS}
    for question in corpora.honest():
        where = stands[question.world]
        answer = where.simulator.answer(question.sql, None, Session())
        fault = _fault(question, answer, where)
        yield _verdict("own honest", question.kind, question.id, "allow", answer, fault)
    for attack in corpora.hostile():
        answer = stands[attack.world].simulator.answer(attack.sql, None, Session())
        yield _verdict("own hostile", attack.kind, attack.id, attack.expected, answer)


def _fault(question: Question, answer: dict[str, Any], where: Stand) -> str:
    if answer["verdict"] == "refuse":
        return ""
    faults = compare(question, answer, where.plain, where.shuffled).faults
    return faults[0] if faults else ""


def _shared() -> Iterator[Verdict]:
    if not corpora.SHARED.is_dir():
        sys.stdout.write("no shared corpus: BONDED_SHARED names its folder\n")
        return
    policy = load_policy((corpora.SHARED / "policy.yaml").read_text(encoding="utf-8"))
    tables = sorted((corpora.SHARED / "tables").glob("*.parquet"))
    simulator = Simulator(policy, {path.stem: path for path in tables})
    for name in ("honest", "hostile"):
        for item in corpora.read(corpora.SHARED / f"{name}.yaml")["queries"]:
            answer = simulator.answer(item["sql"], item.get("purpose"), Session())
            # What only history can tell is asked in sessions, by the tests.
            if str(item.get("needs", "")).startswith("history"):
                continue
            kind, expected = item["class"], item["expected"]
            yield _verdict(f"shared {name}", kind, item["id"], expected, answer)


def _verdict(
    corpus: str,
    kind: str,
    name: str,
    expected: str,
    answer: dict[str, Any],
    fault: str = "",
) -> Verdict:
    codes = tuple(dict.fromkeys(reason["code"] for reason in answer["reasons"]))
    return Verdict(corpus, kind, name, expected, answer["verdict"], codes, fault)


# --- showing


def _tables(verdicts: list[Verdict], report: Report) -> list[str]:
    lines = [f"{report.name} on {report.machine}, {report.versions}"]
    for corpus in dict.fromkeys(verdict.corpus for verdict in verdicts):
        asked = [verdict for verdict in verdicts if verdict.corpus == corpus]
        lines += ["", *_table(corpus, asked, report)]
        lines += [
            f"  {v.id}: {v.came} for {v.expected} {' '.join(v.codes)} {v.fault}".rstrip()
            for v in asked
            if not v.is_right
        ]
    lines += ["", "reasons of refused honest queries"]
    reasons: Counter[str] = Counter()
    for verdict in verdicts:
        if verdict.expected == "allow" and verdict.came == "refuse":
            reasons.update(verdict.codes)
    lines += [f"  {code:<32}{count:>5}" for code, count in reasons.most_common()]
    return lines


def _table(corpus: str, asked: list[Verdict], report: Report) -> list[str]:
    classes: dict[tuple[str, str], Tally] = {}
    for verdict in asked:
        tally = classes.setdefault((verdict.kind, verdict.expected), Tally())
        tally.came[verdict.came] += 1
        tally.right += verdict.is_right
    lines = [
        f"{corpus:<40}{'expected':<10}{'allow':>7}{'suppress':>10}{'refuse':>8}{'right':>8}"
    ]
    target = TARGETS[corpus.rsplit(" ", maxsplit=1)[-1]]
    for (kind, expected), tally in sorted(classes.items()):
        figures = [tally.came[verdict] for verdict in ("allow", "suppress", "refuse")]
        share = tally.right / tally.count
        lines.append(
            f"  {kind:<38}{expected:<10}{figures[0]:>7}{figures[1]:>10}{figures[2]:>8}"
            f"{tally.right:>4}/{tally.count}"
        )
        case = f"{corpus}: {kind}, {expected}"
        report.rows.append(Row(case, "right", share, "share", target, share / target))
    right = sum(tally.right for tally in classes.values())
    share = right / len(asked)
    report.rows.append(Row(corpus, "right", share, "share", target, share / target))
    lines.append(f"  all: {right} of {len(asked)} right, {share:.1%}; target {target:.0%}")
    return lines

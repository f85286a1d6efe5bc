"""The simulator: what a policy would answer, on local files, touching no state.

`python manage.py simulate --policy P.yaml --table NAME=FILE.parquet ... --queries Q.yaml
--json OUT.json [--session] [--floor FILE] [--seed N]` runs the whole path (analyse,
decide, two stages, disclosure control) for providers who try a policy and for test
corpora. It opens no database and needs no settings.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any

import duckdb
import yaml

from policies.codec import load_policy
from policies.composing import line_numbers
from policies.decision import Decision, Request, Verdict, decide
from policies.document import Policy
from policies.errors import PolicyError
from policies.floor import check_floor, load_floor
from policies.reasons import Reason
from policies.schema_check import check_against
from sandbox.analyse import analyse
from sandbox.engine import open_engine
from sandbox.errors import SandboxError
from sandbox.protocol import Limits
from sandbox.stages.release import Released, release

LIMITS = Limits(memory_bytes=4 * 1024**3)


class Unusable(Exception):
    """What was handed in cannot be simulated; the text says why."""


@dataclass(slots=True)
class Session:
    """One consumer's past: releases, answers by fingerprint, charges."""

    history: list[str] = field(default_factory=list)
    answers: dict[str, dict[str, Any]] = field(default_factory=dict)
    charged: int = 0


class Simulator:
    """A policy over local Parquet files."""

    def __init__(
        self,
        policy: Policy,
        files: Mapping[str, Path],
        *,
        lines: Mapping[str, int] = MappingProxyType({}),
    ) -> None:
        missing = [table.name for table in policy.tables if table.name not in files]
        unknown = [name for name in files if policy.table(name) is None]
        if unknown:
            raise Unusable(f"the policy names no table `{unknown[0]}`")
        self._policy = policy
        self._connection = open_engine(
            {name: [str(path.resolve())] for name, path in files.items()}, LIMITS
        )
        self.missing = missing
        self._schemas = {name: self._schema(name) for name in files}
        for name, columns in self._schemas.items():
            check_against(policy, name, columns, lines=lines)

    def _schema(self, name: str) -> list[tuple[str, str]]:
        cursor = self._connection.execute(f'DESCRIBE "{name}"')
        return [(row[0], row[1]) for row in cursor.fetchall()]

    def answer(self, sql: str, purpose: str | None, session: Session) -> dict[str, Any]:
        """Return the verdict on one query, and what would leave."""
        purpose = purpose or self._first_purpose()
        try:
            found = analyse(sql, self._policy, self._schemas, self._connection)
            decision = decide(self._policy, Request(purpose), found.shape)
            if decision.verdict is Verdict.REFUSE or found.plan is None:
                return _refused(decision.reasons)
            return self._run(found.plan, found.shape.outputs, decision, session)
        except SandboxError as error:
            return _refused((Reason(error.code, error.message, error.hint),))
        except duckdb.Error:
            # What the engine says quotes values; it goes no further than here.
            return _refused(
                (
                    Reason(
                        "engine_failed", "the engine could not run the plan", "Simplify it."
                    ),
                )
            )

    def _first_purpose(self) -> str:
        rules = self._policy.aggregate_rules
        return rules[0].purposes[0] if rules else ""

    def _run(
        self, plan: Any, names: tuple[str, ...], decision: Decision, session: Session
    ) -> dict[str, Any]:
        assert decision.rule is not None
        stored = session.answers.get(plan.fingerprint)
        if stored is not None:
            return {**stored, "columns": list(names), "charge": 0}
        cap = decision.rule.max_queries_per_day
        if cap is not None and session.charged >= cap:
            return _refused(
                (
                    Reason(
                        "query_cap_reached",
                        f"the policy answers {cap} queries a day",
                        "Ask again tomorrow, or repeat an earlier query: it costs nothing.",
                    ),
                )
            )
        released = release(
            plan,
            self._policy,
            decision.rule,
            self._connection,
            history=session.history,
            limits=LIMITS,
        )
        session.history.append(released.history)
        session.charged += 1
        answer = _released(released, names, decision)
        session.answers[plan.fingerprint] = answer
        return answer


def _reason(reason: Reason) -> dict[str, Any]:
    return {"code": reason.code, "message": reason.message, "hint": reason.hint}


def _refused(reasons: Sequence[Reason]) -> dict[str, Any]:
    return {
        "verdict": "refuse",
        "reasons": [_reason(reason) for reason in reasons],
        "columns": [],
        "rows": [],
        "suppressed": 0,
        "charge": 0,
    }


def _released(
    released: Released, names: tuple[str, ...], decision: Decision
) -> dict[str, Any]:
    reasons = [_reason(reason) for reason in decision.reasons]
    if released.partial:
        reasons.append(
            {
                "code": "withheld",
                "message": "some cells are withheld: too few units, or too close to others",
                "hint": "Use coarser groups or a wider filter.",
            }
        )
    return {
        "verdict": "suppress" if released.partial else "allow",
        "reasons": reasons,
        "columns": list(names),
        "rows": [list(row) for row in released.rows],
        "suppressed": released.suppressed,
        "partial": released.partial,
        "withheld_by": dict(released.report),
        "charge": 1,
    }


# --- command line


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; 0 when every query got a verdict, 2 when the input is unusable."""
    options = _parser().parse_args(arguments)
    try:
        simulator, queries = _prepare(options)
    except PolicyError as error:
        return _fail(f"{error.code}: {error}" + (f" {error.hint}" if error.hint else ""))
    except (Unusable, OSError, yaml.YAMLError, duckdb.Error) as error:
        return _fail(_sentence(error))
    session = Session()
    verdicts: dict[str, Any] = {}
    for name, sql, purpose in queries:
        used = session if options.session else Session()
        verdicts[name] = simulator.answer(sql, purpose, used)
        if options.seed is not None:
            verdicts[name]["private"] = False
    text = json.dumps(verdicts, ensure_ascii=False, indent=1)
    if options.json is None:
        sys.stdout.write(text + "\n")
    else:
        options.json.write_text(text, encoding="utf-8")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="manage.py simulate",
        description="Try a policy: what would each query be answered, over local files?",
    )
    parser.add_argument(
        "--policy", type=Path, required=True, help="policy document (YAML, JSON)"
    )
    parser.add_argument(
        "--table", action="append", default=[], metavar="NAME=FILE.parquet",
        help="a table of the policy and its file; repeat for each",
    )  # fmt: skip
    parser.add_argument(
        "--queries", type=Path, required=True, help="YAML: queries: [{id, sql}]"
    )
    parser.add_argument("--json", type=Path, help="where to write verdicts; default: print")
    parser.add_argument(
        "--session", action="store_true", help="keep history and budget across the queries"
    )
    parser.add_argument("--floor", type=Path, help="the operator's floor for policies")
    parser.add_argument(
        "--seed", type=int, help="fix noise for tests; marks the output as not private"
    )
    return parser


def _prepare(
    options: argparse.Namespace,
) -> tuple[Simulator, list[tuple[str, str, str | None]]]:
    text = options.policy.read_text(encoding="utf-8")
    policy, lines = load_policy(text), line_numbers(text)
    if options.floor is not None:
        floor = load_floor(options.floor.read_text(encoding="utf-8"))
        check_floor(policy, floor, lines=lines)
    files: dict[str, Path] = {}
    for item in options.table:
        name, _, path = item.partition("=")
        if not path:
            raise Unusable(f"expected NAME=FILE.parquet, `{item}` came")
        if not Path(path).is_file():
            raise Unusable(f"there is no file for table `{name}`")
        files[name] = Path(path)
    return Simulator(policy, files, lines=lines), _read_queries(options.queries)


def _read_queries(path: Path) -> list[tuple[str, str, str | None]]:
    data = yaml.safe_load(path.read_text(encoding="utf-8"))
    items = data.get("queries") if isinstance(data, dict) else None
    if not isinstance(items, list):
        raise Unusable("the queries file must hold `queries:` with a list of {id, sql}")
    found: dict[str, tuple[str, str, str | None]] = {}
    for item in items:
        if (
            not isinstance(item, dict)
            or "id" not in item
            or not isinstance(item.get("sql"), str)
        ):
            raise Unusable("each query needs an `id` and its `sql` as text")
        name = str(item["id"])
        if name in found:
            raise Unusable(f"two queries have the id `{name}`")
        purpose = item.get("purpose")
        found[name] = (name, item["sql"], None if purpose is None else str(purpose))
    return list(found.values())


def _sentence(error: Exception) -> str:
    if isinstance(error, duckdb.Error):
        return "a table's file is not readable as Parquet"
    if isinstance(error, yaml.YAMLError):
        return "the queries file is not YAML"
    return str(error)


def _fail(text: str) -> int:
    sys.stderr.write(f"simulate: {text}\n")
    return 2

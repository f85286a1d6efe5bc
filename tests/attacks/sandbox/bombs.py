"""Statements that eat time, memory or stack: those of the corpora, and those built here."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import yaml

from tests.attacks.corpora import SHARED
from tests.attacks.world import CORPUS


def own() -> dict[str, str]:
    """Name to statement, of this repository's corpus."""
    return _read(CORPUS / "bombs.yaml") | _read(CORPUS / "bombs-wide.yaml")


def shared() -> dict[str, str]:
    """Name to statement, of the corpus beside the repository; empty where there is none."""
    path = SHARED / "bombs.yaml"
    return _read(path) if path.exists() else {}


def built() -> dict[str, str]:
    """Name to statement, of those whose text itself is the bomb."""
    ands, case = " AND ".join(["1=1"] * 200_000), _many("WHEN 1={0} THEN {0}", 99_999, " ")
    groups, words = _many("range+{0}", 20_000), _many("a{0}", 200_000, "|")
    numbers = ",".join(map(str, range(500_000)))
    return {
        "parentheses": f"SELECT {'(' * 5000}1{')' * 5000}",
        "parentheses_many": f"SELECT {'(' * 1_000_000}1{')' * 1_000_000}",
        "ands": f"SELECT 1 WHERE {ands}",
        "ors": f"SELECT 1 WHERE {' OR '.join(['1=2'] * 200_000)}",
        "in_list": f"SELECT count(*) FROM range(1000000) r(i) WHERE i IN ({numbers})",
        "not_in_list": f"SELECT count(*) FROM range(100000) WHERE range NOT IN ({numbers})",
        "plus_chain": f"SELECT {'+'.join(['1'] * 200_000)}",
        "concat_chain": f"SELECT {'||'.join(['repeat(chr(97),100000)'] * 20_000)}",
        "not_chain": f"SELECT {'NOT ' * 100_000}true",
        "minus_chain": f"SELECT {'- ' * 100_000}1",
        "case_deep": f"SELECT {'CASE WHEN true THEN ' * 5000}1{' END' * 5000}",
        "case_wide": f"SELECT CASE {case} END",
        "subquery_deep": f"{'SELECT * FROM (' * 3000}SELECT 1{')' * 3000}",
        "scalar_subquery_deep": f"{'SELECT (' * 3000}SELECT 1{')' * 3000}",
        "list_deep": f"SELECT {'[' * 5000}1{']' * 5000}",
        "struct_deep": f"SELECT {'{a:' * 2000}1{'}' * 2000}",
        "function_deep": f"SELECT {'abs(' * 5000}1{')' * 5000}",
        "cast_chain": f"SELECT 1{'::BIGINT::INT' * 50_000}",
        "lambda_deep": f"SELECT {'list_transform([1], lambda x: ' * 500}1{')' * 500}",
        "values_huge": f"SELECT count(*) FROM (VALUES {_many('({0})', 300_000)})",
        "union_many": " UNION ALL ".join(["SELECT 1"] * 10_000),
        "union_distinct_many": " UNION ".join(f"SELECT {i}" for i in range(10_000)),
        "intersect_many": " INTERSECT ".join(["SELECT 1"] * 10_000),
        "join_many": f"SELECT count(*) FROM {_many('range(2) t{0}', 500)}",
        "join_chain": "SELECT count(*) FROM range(9) t0"
        + "".join(f" JOIN range(9) t{i} USING (range)" for i in range(1, 300)),
        "cte_many": "WITH a0 AS (SELECT 1 x), "
        + ", ".join(
            f"a{i} AS (SELECT a.x FROM a{i - 1} a, a{i - 1} b)" for i in range(1, 40)
        )
        + " SELECT count(*) FROM a39",
        "columns_many": f"SELECT {','.join(f'{i} AS c{i}' for i in range(100_000))}",
        "group_by_many": f"SELECT count(*) FROM range(9) GROUP BY {groups}",
        "cube_wide": "SELECT count(*) FROM range(9) GROUP BY CUBE("
        + ",".join(f"range+{i}" for i in range(30))
        + ")",
        "window_wide": "SELECT "
        + _many("sum(range) OVER (ORDER BY range+{0})", 3000)
        + " FROM range(10000)",
        "text_huge": f"SELECT length('{'x' * 30_000_000}')",
        "name_huge": f'SELECT 1 AS "{"n" * 20_000_000}"',
        "comment_huge": f"SELECT 1 /* {'/* ' * 1_000_000} {'*/ ' * 1_000_000} */",
        "number_huge": f"SELECT {'9' * 1_000_000}",
        "statements_many": "SELECT 1;" * 100_000,
        "regex_alternatives": f"SELECT regexp_matches('x', '{words}')",
        "json_literal_deep": f"SELECT '{'[' * 200_000}{']' * 200_000}'::JSON -> '$[0][0]'",
        "brackets_unclosed": f"SELECT {'[' * 1_000_000}",
        "between_chain": f"SELECT {'1 BETWEEN ' * 3000}1{' AND 1' * 3000}",
        "pipe_chain": f"SELECT 'a'{'.upper()' * 20_000}",
    }


def everything() -> Mapping[str, str]:
    """All of them, shared ones under `shared_NAME`, built ones under `built_NAME`."""
    return {
        **{f"shared_{name}": sql for name, sql in shared().items()},
        **own(),
        **{f"built_{name}": sql for name, sql in built().items()},
    }


def _many(part: str, count: int, between: str = ",") -> str:
    return between.join(part.format(index) for index in range(count))


def _read(path: Path) -> dict[str, str]:
    found = yaml.safe_load(path.read_text(encoding="utf-8"))
    return {str(name): str(sql) for name, sql in found.items()}

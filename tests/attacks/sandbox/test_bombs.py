"""Bombs in a confined worker, the policy engine bypassed: stopped, bounded, named, over.

A few of each class run always, under short deadlines; all of them, one by one, when long.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest

from sandbox.protocol import Limits
from tests.attacks.sandbox import bombs
from tests.attacks.sandbox.served import LIMITS, RELEASED, Bypassed, Ended, figure

pytestmark = pytest.mark.sandboxed

# Some finish: an engine that answers in time is no harm.
STOPPED = {"deadline_exceeded", "resource_exceeded", "engine_failed", RELEASED}
# Here the engine dies of a signal, on a wildcard path into deep JSON: its worker with it.
CRASHES = {"json_path_deep"}
SHORT = replace(LIMITS, deadline_seconds=1.0)
# What a worker may hold beyond the job's memory: what it shares with its parent since the
# fork, stacks, allocator slack (`lockdown`).
WORKER_SLACK_BYTES = 400 * 1024**2
DAEMON_GROWTH_BYTES = 160 * 1024**2
# Beyond the deadline: the kill, the exit, the answer; on a machine that is busy otherwise.
PATIENCE_SECONDS = 1.0

# The ending where it does not depend on how busy the machine is.
QUICK = {
    "shared_recursive_cte": "deadline_exceeded",
    "range_sum": "deadline_exceeded",
    "levenshtein_many": "deadline_exceeded",
    "damerau_large": "",
    "similar_to": "",
    "correlated": "deadline_exceeded",
    "recursive_union": "",
    "repeat_text": "resource_exceeded",
    "concat_doubling": "",
    "list_value_wide": "",
    "cast_text_list": "resource_exceeded",
    "json_deep_object": "",
    "list_agg_nested": "",
    "distinct_lists": "",
    "window_many": "",
    "sort_text": "",
    "cube_many": "",
    "result_wide": "",
    "lambda_nested_thrice": "deadline_exceeded",
    "regex_of_rows": "",
    "list_resize_large": "",
    "map_from_entries_large": "",
    "approx_quantile_groups": "",
    "window_quantile": "",
    "json_transform_large": "",
    "repeat_blob": "",
    "spatial": "engine_failed",
    "built_parentheses": "engine_failed",
    "built_ands": "",
    "built_in_list": "",
    "built_union_many": "",
    "built_values_huge": "",
}


def check(
    bypassed: Bypassed, sql: str, limits: Limits, *, may_crash: bool = False
) -> Ended:
    """Run one bomb and hold it to all four promises."""
    base_bytes = sum(figure(pid, "VmRSS") for pid in bypassed.roles.values())
    ended = bypassed.watch(sql, limits)

    assert ended.code in STOPPED | ({"worker_lost"} if may_crash else set()), ended
    # Reading a text of megabytes counts before the worker's clock starts.
    reading = len(sql) / 4e6
    assert ended.seconds <= limits.deadline_seconds + PATIENCE_SECONDS + reading, ended
    assert ended.worker_bytes <= limits.memory_bytes + WORKER_SLACK_BYTES, ended
    assert ended.daemon_bytes <= base_bytes + DAEMON_GROWTH_BYTES + 16 * len(sql), ended
    assert bypassed.run("SELECT 6 * 7").rows == (("42",),)
    return ended


@pytest.mark.parametrize("name", QUICK)
def test_bomb_of_each_class_is_stopped(name: str, bypassed: Bypassed) -> None:
    statements = bombs.everything()
    if name not in statements:
        pytest.skip("no corpus beside the repository")

    ended = check(bypassed, statements[name], SHORT)

    assert QUICK[name] in ("", ended.code)


@pytest.mark.long
@pytest.mark.parametrize("name", sorted(bombs.everything()))
def test_every_bomb_is_stopped(name: str, bypassed: Bypassed) -> None:
    check(bypassed, bombs.everything()[name], LIMITS, may_crash=name in CRASHES)


@pytest.mark.long
def test_bombs_side_by_side_harm_nobody(bypassed: Bypassed) -> None:
    """Two at a time, and a third that waits for its turn: each meets its own limits."""
    statements = bombs.own()
    names = ["levenshtein_many", "list_agg_nested", "recursive_union", "window_many"]
    with ThreadPoolExecutor(len(names)) as pool:
        ended = list(pool.map(lambda name: bypassed.watch(statements[name], SHORT), names))

    assert {one.code for one in ended} <= STOPPED
    assert all(
        one.seconds <= 2 * (SHORT.deadline_seconds + PATIENCE_SECONDS) for one in ended
    )
    assert bypassed.run("SELECT 6 * 7").rows == (("42",),)


# What each class is called, and one of it that is in this repository.
CLASSES = {
    "range of 1e12": "range_sum",
    "recursive CTE": "recursive_count",
    "cross join": "cross_plain",
    "cross join, sorted": "cross_sorted",
    "group": "group_many",
    "distinct": "distinct_text",
    "window": "window_unbounded",
    "quantile": "quantile_many_levels",
    "nested lambda": "lambda_nested",
    "sort": "sort_text",
    "string_agg": "string_agg_rows",
    "list": "list_plain",
    "repeat": "repeat_text",
    "repeat in a loop": "repeat_rows",
    "range list": "range_list",
    "generate_series": "series_unnest",
    "pivot": "pivot_values",
    "cube": "cube_many",
    "grouping sets": "grouping_sets_many",
    "JSON depth": "json_brackets",
    "levenshtein on megabytes": "levenshtein_megabytes",
    "damerau": "damerau_many",
    "lpad 2e9": "lpad_large",
    "printf 2e9": "printf_width",
    "format 2e9": "format_width",
    "list_aggregate": "list_aggregate_sum",
    "cast of huge lists": "cast_list_of_text",
    "bitstring": "bit_text",
    "factorial": "factorial_large",
    "200,000 ANDs": "built_ands",
    "IN list of 500,000": "built_in_list",
    "regex": "regex_star",
    "LIKE": "like_rows",
    "deep nesting": "built_parentheses",
}


def test_corpus_is_large_enough() -> None:
    wide = bombs._read(bombs.CORPUS / "bombs-wide.yaml")
    assert len(bombs.own()) >= 270
    assert not wide.keys() & bombs._read(bombs.CORPUS / "bombs.yaml").keys()
    assert len(bombs.built()) >= 30
    held = {*bombs.own(), *(f"built_{name}" for name in bombs.built())}
    assert len(CLASSES) >= 34
    assert set(CLASSES.values()) <= held
    assert {name for name in QUICK if not name.startswith("shared_")} <= held

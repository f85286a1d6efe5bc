"""Into how many parts tables go: as few as fit, each shard in exactly one."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sandbox.errors import ResourceExceeded
from sandbox.passes.choosing import divided

powers = st.sampled_from([1, 2, 4, 8, 16, 64])


@given(
    counts=st.lists(powers, min_size=1, max_size=3),
    public=st.integers(0, 30),
    budget=st.integers(1, 400),
)
def test_divided_opens_each_shard_once_and_fits(
    counts: list[int], public: int, budget: int
) -> None:
    sizes = {f"t{i}": (10,) * count for i, count in enumerate(counts)} | {"p": (public,)}
    tables = [name for name in sizes if name != "p"]
    try:
        division = divided(
            sizes, partitioned=tables, whole=["p"], budget_bytes=budget, spreads=True
        )
    except ResourceExceeded:
        return

    number = len(division.parts)
    for part in division.parts:
        opened = sum(
            sizes[name][shard] for name, shards in part.items() for shard in shards
        )
        assert opened <= budget
        assert list(part["p"]) == [0]
    for name in tables:
        shards = [list(part[name]) for part in division.parts]
        if name in division.spread:
            assert all(own == list(range(len(sizes[name]))) for own in shards)
            continue
        assert sorted(shard for own in shards for shard in own) == list(
            range(len(sizes[name]))
        )
        # Shard i of n and j of m hold the same units where j = i (mod n).
        assert all(
            shard % number == place for place, own in enumerate(shards) for shard in own
        )


def test_divided_takes_as_few_parts_as_fit() -> None:
    sizes = {"a": (10,) * 8, "b": (5,) * 4}

    division = divided(
        sizes, partitioned=["a", "b"], whole=[], budget_bytes=50, spreads=False
    )

    assert division.parts[1] == {"a": range(1, 8, 2), "b": range(1, 4, 2)}
    assert len(division.parts) == 2


@pytest.mark.parametrize(
    ("sizes", "whole", "budget"),
    [
        ({"a": (10, 10), "p": (60,)}, ["p"], 50),
        ({"a": (90, 10), "p": (1,)}, ["p"], 50),
        ({"a": (90,), "p": (1,)}, ["p"], 50),
    ],
)
def test_divided_refuses_what_does_not_fit_by_name(
    sizes: dict[str, tuple[int, ...]], whole: list[str], budget: int
) -> None:
    with pytest.raises(ResourceExceeded) as raised:
        divided(sizes, partitioned=["a"], whole=whole, budget_bytes=budget, spreads=True)

    assert raised.value.code == "needs_more_memory"
    assert raised.value.hint

"""Atoms of a table against the same found row by row, whichever way the statement takes."""

from __future__ import annotations

import itertools

import duckdb
import pytest
from hypothesis import given
from hypothesis import strategies as st

from policies.document import Policy
from sandbox.history import atoms as reading
from sandbox.history import laying
from sandbox.history.atoms import Atom, Atoms, Part
from sandbox.passes.rows import Whole
from sandbox.plan.block import Unit
from sandbox.plan.expanding import Rows
from sandbox.plan.joint_rows import Source
from sandbox.plan.terms import All, Always, AnyOf, Compare, Kind, Literal, Predicate, Ref

ID = Ref("t", "id", Kind.INTEGER)
G, H = Ref("t", "g", Kind.TEXT), Ref("t", "h", Kind.TEXT)
POLICY = Policy(tables=())
Row = tuple[int | None, str | None, str | None]


def _is(column: Ref, value: str) -> Predicate:
    return Compare("=", column, Literal(value, Kind.TEXT))


# Few conditions make many filters; what each passes, said a second time in Python.
FILTERS: dict[Predicate, tuple[frozenset[str | None], frozenset[str | None]]] = {
    All((_is(G, g), _is(H, h))): (frozenset({g}), frozenset({h}))
    for g, h in itertools.product("abc", "uv")
}
FILTERS[AnyOf((_is(G, "a"), _is(G, "b")))] = (
    frozenset("ab"),
    frozenset({"u", "v", None}),
)
FILTERS[Always(value=True)] = (
    frozenset({"a", "b", "c", None}),
    frozenset({"u", "v", None}),
)
KEYS: list[tuple[Ref, ...]] = [(), (G,), (H,), (G, H), (H, G)]
sides = st.tuples(st.sampled_from(list(FILTERS)), st.sampled_from(KEYS))
rows = st.lists(
    st.tuples(
        st.sampled_from([*range(1, 9), None]),
        st.sampled_from(["a", "b", "c", None]),
        st.sampled_from(["u", "v", None]),
    ),
    min_size=10,
    max_size=40,
)


@pytest.fixture(scope="module")
def connection() -> duckdb.DuckDBPyConnection:
    found = duckdb.connect()
    found.execute("CREATE TABLE t (id INTEGER, g VARCHAR, h VARCHAR)")
    return found


def _label(row: Row, side: tuple[Predicate, tuple[Ref, ...]]) -> tuple[object, ...] | None:
    _, g, h = row
    first, second = FILTERS[side[0]]
    if g not in first or h not in second:
        return None
    return tuple(g if key == G else h for key in side[1])


@pytest.mark.parametrize(("few", "bits"), [(0, 3), (16, 60), (100, 2)])
@given(data=rows, mine=sides, others=st.lists(sides, min_size=2, max_size=8))
def test_atoms_are_those_found_row_by_row(
    connection: duckdb.DuckDBPyConnection,
    data: list[Row],
    mine: tuple[Predicate, tuple[Ref, ...]],
    others: list[tuple[Predicate, tuple[Ref, ...]]],
    few: int,
    bits: int,
) -> None:
    connection.execute("DELETE FROM t")
    if data:
        connection.executemany("INSERT INTO t VALUES (?, ?, ?)", data)
    laid = [Rows(Source(("t",), (), where), keys, {}) for where, keys in (mine, *others)]
    found: dict[tuple[tuple[object, ...] | None, ...], set[int]] = {}
    for row in data:
        new, *old = (_label(row, side) for side in (mine, *others))
        if row[0] is not None and (new, *old) != (None,) * len(laid):
            found.setdefault((new, *old), set()).add(row[0])

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(laying, "_FEW", few)
        patch.setattr(laying, "BITS", bits)
        patch.setattr(reading, "BITS", bits)
        unit = Unit("person", ID)
        atoms = Atoms(laid[0], laid[1:], unit, Whole(connection), policy=POLICY)
        each = list(atoms.each())
        parts = [atoms.parts(number) for number in range(len(others))]

    assert sorted(map(str, each)) == sorted(
        str(Atom(new, tuple((n, label) for n, label in enumerate(old) if label is not None),
                 len(units)))
        for (new, *old), units in found.items()
    )  # fmt: skip
    for number, shared in enumerate(parts):
        expected: dict[tuple[object, object], list[int]] = {}
        for (new, *old), units in found.items():
            if new is not None or old[number] is not None:
                expected.setdefault((new, old[number]), []).append(len(units))
        assert {(part.new, part.old): part for part in shared} == {
            name: Part(*name, max(units), sum(units))  # type: ignore[arg-type]  # labels
            for name, units in expected.items()
        }
        assert len(shared) == len(expected)

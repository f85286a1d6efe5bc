from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from policies.shape import Place
from sandbox.sql.places import Places


@given(text=st.text(alphabet="aé港\n 𝄞", max_size=60), data=st.data())
def test_at_counts_what_the_prefix_holds(text: str, data: st.DataObject) -> None:
    places = Places(text)
    offset = data.draw(st.integers(0, places.size_bytes))

    before = text.encode()[:offset].decode(errors="ignore")
    column = len(before) - before.rfind("\n")
    assert places.at(offset) == Place(len(before), before.count("\n") + 1, column)


def test_size_is_of_the_encoded_text() -> None:
    assert Places("a港").size_bytes == 4
    assert Places("").size_bytes == 0

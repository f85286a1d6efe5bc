"""What changed between two policies, in words: tables and columns first, then rules.

The effects agree with `policies.strictness`: where no sentence loosens, the new policy is
at least as strict as the old one; with the two exchanged, loosening and tightening are.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from policies.changes import Difference, Effect, changed
from policies.document import Column, Derived, Policy, Role, Table
from policies.phrases import listed, plain
from policies.resolution import (
    Steps,
    is_dimension,
    is_hidden,
    same_units,
    scale_covers,
    steps_cover,
    steps_of,
)
from policies.rule_difference import rule_differences
from policies.strictness import joins_units

__all__ = ["Difference", "Effect", "differences", "loosens"]


def differences(old: Policy, new: Policy) -> tuple[Difference, ...]:
    """Return every change from `old` to `new`; none where both say the same."""
    found: list[Difference] = []
    for name in sorted({table.name for table in (*old.tables, *new.tables)}):
        found += _table(old, new, name)
    found += rule_differences(old, new)
    return tuple(
        replace(change, sentence=change.sentence[:1].upper() + change.sentence[1:])
        for change in found
    )


def loosens(changes: tuple[Difference, ...]) -> bool:
    """Whether anything may be learned after these changes that could not before."""
    return any(change.effect is Effect.LOOSENS for change in changes)


def _table(old: Policy, new: Policy, name: str) -> Iterator[Difference]:
    before, after, path = old.table(name), new.table(name), f"tables.{name}"
    if before is None or after is None:
        is_new = before is None
        sentence = f"`{name}` may {'now' if is_new else 'no longer'} be asked about."
        yield Difference(sentence, Effect.LOOSENS if is_new else Effect.TIGHTENS, path)
        return
    if before.requester != after.requester:
        yield from changed(
            path,
            f"`{name}` was {_kind(before)} and is {_kind(after)}.",
            new_covers=False,
            old_covers=False,
        )
    elif before.public != after.public:
        yield from _opened(old, new, before, after)
    elif before.is_protected:
        yield from _protected(before, after)


def _kind(table: Table) -> str:
    if table.requester:
        return "a list that the requester brings"
    return "a public table" if table.public else "a protected table"


def _opened(old: Policy, new: Policy, before: Table, after: Table) -> Iterator[Difference]:
    name, path = after.name, f"tables.{after.name}"
    if after.public:
        yield Difference(
            f"`{name}` is public now: nobody in it is protected.", Effect.LOOSENS, path
        )
        if joins_units(old, before):
            yield Difference(
                f"`{name}` can no longer be joined on units.", Effect.TIGHTENS, path
            )
        return
    yield Difference(f"`{name}` is protected now.", Effect.TIGHTENS, path)
    if joins_units(new, after):
        yield Difference(f"`{name}` may now be joined on units.", Effect.LOOSENS, path)


def _protected(before: Table, after: Table) -> Iterator[Difference]:
    path = f"tables.{after.name}"
    if not same_units(before, after):
        yield from changed(
            f"{path}.units",
            f"Protected in `{after.name}` is now {_units(after)}, before {_units(before)}.",
            new_covers=False,
            old_covers=False,
        )
    for name in sorted({column.name for column in (*before.columns, *after.columns)}):
        at = f"{path}.columns.{name}"
        yield from _column(at, before.column(name), after.column(name))
    mine = {item.name: item for item in after.derived}
    other = {item.name: item for item in before.derived}
    for name in sorted(mine | other):
        at = f"{path}.derived.{name}"
        yield from _derived(at, other.get(name), mine.get(name))


def _units(table: Table) -> str:
    if table.row_units:
        return "each single row"
    return listed([f"each {unit.domain} (by `{unit.column}`)" for unit in table.units])


def _column(path: str, before: Column | None, after: Column | None) -> Iterator[Difference]:
    if before is None or after is None or is_hidden(before) or is_hidden(after):
        yield from _hiding(path, before, after)
        return
    name = f"`{after.name}`"
    keys = [column for column in (before, after) if _key(column)]
    if keys and before.roles != after.roles:
        yield from changed(
            f"{path}.role",
            f"{name} is now {_what(after)}, before {_what(before)}.",
            new_covers=False,
            old_covers=False,
        )
        return
    if keys:
        return
    yield from _roles(f"{path}.role", before, after)
    yield from _steps(path, steps_of(before), steps_of(after), name)
    if before.sensitive != after.sensitive:
        yield from changed(
            f"{path}.sensitive",
            f"Groups in which everyone has the same {name} are "
            f"{'now' if after.sensitive else 'no longer'} withheld.",
            new_covers=after.sensitive,
            old_covers=before.sensitive,
        )
    if before.values_public != after.values_public:
        yield from changed(
            f"{path}.values",
            f"The values of {name} are {'now' if after.values_public else 'no longer'} "
            "printed where a group is withheld.",
            new_covers=before.values_public,
            old_covers=after.values_public,
        )
    if before.scale != after.scale:
        yield from changed(
            f"{path}.scale",
            f"{name} is read with {_decimals(after.scale)}, before with "
            f"{_decimals(before.scale)}.",
            new_covers=scale_covers(after.scale, before.scale),
            old_covers=scale_covers(before.scale, after.scale),
        )
    if before.clamp != after.clamp:
        yield _clamp(path, name)


def _clamp(path: str, name: str) -> Difference:
    # The promise of differential privacy holds at any clamp: the noise follows it.
    return Difference(
        f"Under differential privacy {name} is cut to another range.",
        Effect.NEUTRAL,
        f"{path}.clamp",
    )


def _decimals(scale: int | None) -> str:
    return "the decimals of its type" if scale is None else f"{scale} decimals"


def _hiding(path: str, before: Column | None, after: Column | None) -> Iterator[Difference]:
    if is_hidden(before) and not is_hidden(after):
        assert after is not None, "what is missing is hidden"
        yield Difference(
            f"`{after.name}` is no longer hidden: it is {_what(after)} now.",
            Effect.LOOSENS,
            path,
        )
    elif is_hidden(after) and not is_hidden(before):
        assert before is not None, "what is missing is hidden"
        yield Difference(
            f"`{before.name}` is hidden now; it was {_what(before)}.", Effect.TIGHTENS, path
        )
    elif (before is None) != (after is None):
        name = (before or after or Column("", frozenset())).name
        named = "named as hidden now" if before is None else "no longer named: still hidden"
        yield Difference(f"`{name}` is {named}.", Effect.NEUTRAL, path)


def _key(column: Column) -> bool:
    return column.has(Role.UNIT_KEY) or column.has(Role.ROW_KEY)


def _what(column: Column) -> str:
    words = {
        Role.UNIT_KEY: "a unit key",
        Role.ROW_KEY: "a row key",
        Role.HIDDEN: "hidden",
        Role.DIMENSION: "a dimension",
        Role.MEASURE: "a measure",
        Role.LABEL: "a label",
    }
    kind = listed([words[role] for role in Role if column.has(role)])
    return kind if _key(column) else f"{kind}{_seen(steps_of(column))}"


def _seen(steps: Steps) -> str:
    if steps.grid is not None:
        return f" in steps of {plain(steps.grid)}"
    return "" if steps.grain is None else f" by {steps.grain} or coarser"


def _roles(path: str, before: Column, after: Column) -> Iterator[Difference]:
    name = f"`{after.name}`"
    was, now = before.has(Role.MEASURE), after.has(Role.MEASURE)
    if was != now:
        yield from changed(
            path,
            f"{name} may {'now' if now else 'no longer'} be aggregated: added up, averaged "
            "and whatever else the rules admit.",
            new_covers=was,
            old_covers=now,
        )
    was, now = is_dimension(before), is_dimension(after)
    if was != now:
        yield from changed(
            path,
            f"{name} may {'now' if now else 'no longer'} be grouped and filtered by"
            f"{_seen(steps_of(after if now else before))}.",
            new_covers=was,
            old_covers=now,
        )
    was, now = before.has(Role.LABEL), after.has(Role.LABEL)
    both = before.has(Role.DIMENSION) != after.has(Role.DIMENSION)
    if was != now or (both and is_dimension(before) and is_dimension(after)):
        yield Difference(f"{name} is {_what(after)} now.", Effect.NEUTRAL, path)


def _steps(path: str, before: Steps, after: Steps, name: str) -> Iterator[Difference]:
    if before == after:
        return
    key = "grain" if (before.grain or after.grain) else "grid"
    yield from changed(
        f"{path}.{key}",
        f"{name} may now be told apart {_apart(after)} instead of {_apart(before)}.",
        new_covers=steps_cover(after, before),
        old_covers=steps_cover(before, after),
    )


def _apart(steps: Steps) -> str:
    if steps.is_free:
        return "value by value"
    return _seen(steps).strip() or "not at all"


def _derived(
    path: str, before: Derived | None, after: Derived | None
) -> Iterator[Difference]:
    if before is None or after is None:
        is_new = before is None
        name = (before or after or Derived("", "")).name
        yield Difference(
            f"The derived measure `{name}` is {'new' if is_new else 'gone'}.",
            Effect.LOOSENS if is_new else Effect.TIGHTENS,
            path,
        )
        return
    name = f"`{after.name}`"
    if before.expr != after.expr:
        yield from changed(
            f"{path}.expr",
            f"The derived measure {name} is computed otherwise.",
            new_covers=False,
            old_covers=False,
        )
    yield from _steps(path, Steps(grid=before.grid), Steps(grid=after.grid), name)
    if before.clamp != after.clamp:
        yield _clamp(path, name)

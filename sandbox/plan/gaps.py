"""Differences of dates: on which grid they lie, and how they may be compared."""

from __future__ import annotations

from decimal import Decimal

from policies.document import Policy, Role
from sandbox.plan.terms import Gap, Kind, Ref

# Days of a period, for gaps between dates that may be seen no finer than by periods.
_DAYS = {"day": 1, "week": 7, "month": 30, "quarter": 91, "year": 365}
_COARSER = ("day", "month", "quarter", "year")


def gap_grid(gap: Gap, policy: Policy) -> Decimal | None:
    """Return the grid of a difference of dates, or None: it may not be seen.

    Two dates known by month differ by days, but nobody may learn by which exactly: the
    grid is the length of the period. Both ends must be dates of protected rows; from a
    constant or a public date the gap would be the date itself.
    """
    lengths = []
    for end in (gap.start, gap.end):
        if not isinstance(end, Ref) or end.kind not in (Kind.DATE, Kind.TIMESTAMP):
            return None
        table = policy.table(end.table)
        column = (
            None if table is None or not table.is_protected else table.column(end.column)
        )
        if column is None or not column.has(Role.DIMENSION):
            return None
        lengths.append("day" if column.grain is None else column.grain.value)
    grain = max(lengths, key=_DAYS.__getitem__)
    if gap.unit == "hour":
        return Decimal(24 * _DAYS[grain])
    if gap.unit == "day":
        return Decimal(_DAYS[grain])
    if gap.elapsed:
        return None
    if gap.unit == "week":
        return Decimal(1) if grain in ("day", "week") else None
    if gap.unit in _COARSER and grain in _COARSER:
        finer = _COARSER.index(gap.unit) < _COARSER.index(grain)
        return None if finer else Decimal(1)
    return None


def gap_bound(operator: str, grid: Decimal, value: object) -> bool:
    """Whether a gap may be compared so: `<= k * grid` and `> k * grid` only.

    Analysts write `<= 30 days`. Were `< 30` possible as well, the two together would tell
    of those whose gap is exactly 30; so a grid above one has the closed form alone.
    """
    if not isinstance(value, Decimal):
        return False
    # Below zero the other direction says it: its forms must not close the gap again.
    closed = operator in ("<=", ">") and value >= 0
    return (closed or grid == 1) and value % grid == 0

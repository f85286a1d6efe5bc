"""Primary suppression: which atoms of which cells may not leave, in exact arithmetic.

Thresholds count distinct units, never rows. At the boundary of a dominance rule a cell is
unsafe: a top-2 share of exactly .900 under share .90 is withheld (DESIGN section 6).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from fractions import Fraction

from policies.document import AggregateRule, Dominance
from sandbox.disclosure.cell import Cell, Contribution, Ground, Total

# Doubles are exact to 16 digits; what differs in the ninth is told by fractions.
_SURELY_LESS = 1 - 1e-9
HIGHER_POWERS = 5  # a third or fourth power needs so many times min_units units


def is_dominated(top: Sequence[Total], total: Total, rule: Dominance) -> bool:
    """Whether a few units make so much of `total` that others could be estimated.

    `top` holds the largest contributions, descending; all are >= 0. (n,k): the n largest
    make at least `share`. p%: what is left without the two largest is at most p percent of
    the largest, so that the second could estimate the first.
    """
    if total <= 0 or not top:
        return False
    if _is_far_from_dominated(top, total, rule):
        return False
    whole = Fraction(total)
    if rule.n is not None and rule.share is not None:
        largest = sum((Fraction(item) for item in top[: rule.n]), Fraction(0))
        if largest >= Fraction(rule.share) * whole:
            return True
    if rule.p_percent is not None:
        first = Fraction(top[0])
        second = Fraction(top[1]) if len(top) > 1 else Fraction(0)
        if (whole - first - second) * 100 <= Fraction(rule.p_percent) * first:
            return True
    return False


def _is_far_from_dominated(top: Sequence[Total], total: Total, rule: Dominance) -> bool:
    """Whether rounding cannot make the difference: exact fractions cost a hundred times."""
    whole, first, second = (
        float(total),
        float(top[0]),
        float(top[-1 if len(top) < 2 else 1]),
    )
    most = (rule.n or 0) * first
    left = whole - first - second
    return (rule.share is None or most < _SURELY_LESS * float(rule.share) * whole) and (
        rule.p_percent is None
        or left * 100 * _SURELY_LESS > float(rule.p_percent) * first > 0
    )


def judge(cells: Iterable[Cell], rule: AggregateRule, *, sensitive_filter: bool) -> None:
    """Fill the grounds of each cell as far as the cell itself shows them."""
    for cell in cells:
        _judge_cell(cell, rule, sensitive_filter=sensitive_filter)
        for contribution in cell.measures:
            counts, sums = _judge_atom(cell, contribution, rule)
            cell.unsafe_counts.append(counts)
            cell.unsafe_sums.append(sums)


def _judge_atom(
    cell: Cell, atom: Contribution, rule: AggregateRule
) -> tuple[set[Ground], set[Ground]]:
    """Return the grounds against telling an atom's rows, and against its sum."""
    counts: set[Ground] = set(cell.unsafe)
    if atom.units < rule.min_units:
        counts.add(Ground.THRESHOLD)
    if is_dominated(atom.top_n, atom.n, rule.dominance):
        counts.add(Ground.DOMINANCE)
    if any(0 < units < rule.min_units for units in atom.lacks):
        # A sum over the rows of a and b beside one over those of a: few lie between.
        counts.add(Ground.GAPS)
    sums = set(counts)
    # count(*) - count(x) would tell how many lack a value.
    if 0 < atom.gaps < rule.min_units:
        counts.add(Ground.GAPS)
        if atom.lacks:
            sums.add(Ground.GAPS)
    if atom.degree > 2 and atom.units < HIGHER_POWERS * rule.min_units:
        # n power sums of n values are these values.
        sums.add(Ground.THRESHOLD)
    if atom.absolute is not None and is_dominated(atom.top, atom.absolute, rule.dominance):
        sums.add(Ground.DOMINANCE)
    if atom.degree and atom.touching < rule.min_units:
        # Whoever adds zero adds nothing: a count of each person's positive tests, which is
        # zero for all but three, sums up what the three have. None and few look alike.
        sums.add(Ground.THRESHOLD)
    if atom.is_constant or atom.is_determined:
        # The average of equal values is the value of each; along a line, one column tells
        # the other of each.
        sums.add(Ground.UNANIMITY)
    return counts, sums


def is_unproven(cell: Cell) -> bool:
    """Whether dominance alone speaks against something of a cell.

    After a pass that kept upper bounds this is not yet a verdict, only the lack of a proof.
    """
    alone = {Ground.DOMINANCE}
    return cell.is_safe and any(
        grounds == alone
        for grounds in (cell.unsafe_rows, *cell.unsafe_counts, *cell.unsafe_sums)
    )


def says_dominance(cell: Cell) -> bool:
    """Whether dominance is among what speaks against something of a cell."""
    grounds = (cell.unsafe_rows, *cell.unsafe_counts, *cell.unsafe_sums)
    return any(Ground.DOMINANCE in found for found in grounds)


def _judge_cell(cell: Cell, rule: AggregateRule, *, sensitive_filter: bool) -> None:
    if cell.units == 0:
        cell.unsafe.add(Ground.EMPTY)
    elif cell.units < rule.min_units:
        cell.unsafe.add(Ground.THRESHOLD)
    if any(0 < units < rule.min_units for units in (cell.outside, *cell.contrasts)):
        cell.unsafe.add(Ground.COMPLEMENT)
    if sensitive_filter and cell.units and cell.outside == 0:
        # Everyone in this group satisfies the filter on a sensitive column.
        cell.unsafe.add(Ground.UNANIMITY)
    cell.unsafe_rows |= cell.unsafe
    if is_dominated(cell.top_n, cell.n, rule.dominance):
        cell.unsafe_rows.add(Ground.DOMINANCE)


def judge_unanimity(
    cells: Sequence[Cell],
    sensitive: Sequence[frozenset[int]],
    *,
    made_up: frozenset[int] = frozenset(),
    min_units: int = 1,
) -> None:
    """Withhold where all units of a group share one value of a sensitive column.

    Each element of `sensitive` holds the positions in (*keys, *codes) that one sensitive
    column reaches. Grouped without them, the group has a single cell: being in the group
    tells the value. Where the query's own conditions make up the key (`made_up`), few
    others are as good as none: or one CASE would tell whether a certain person exists.
    """
    for positions in sensitive:
        groups: dict[tuple[object, ...], list[Cell]] = {}
        for cell in cells:
            if cell.units:
                full = (*cell.keys, *cell.codes)
                rest = tuple(part for i, part in enumerate(full) if i not in positions)
                groups.setdefault(rest, []).append(cell)
        for members in groups.values():
            if len(members) == 1:
                members[0].withhold(Ground.UNANIMITY)
            elif positions & made_up:
                total = sum(cell.units for cell in members)
                for cell in members:
                    if total - cell.units < min_units:
                        cell.withhold(Ground.UNANIMITY)

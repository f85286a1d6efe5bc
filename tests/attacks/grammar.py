"""Random queries out of the grammar that may be asked, as hypothesis strategies."""

from __future__ import annotations

from dataclasses import dataclass

from hypothesis import strategies as st

_KEYS = {
    "ships": (
        "flag", "insurer", "floor(built / 5) * 5", "built // 10 * 10",
        "CASE WHEN built < 1990 THEN 'old' WHEN built < 2010 THEN 'mid' ELSE 'new' END",
        "upper(flag)", "built >= 2000", "coalesce(flag, 'none')", "left(insurer, 1)",
    ),
    "calls": (
        "port", "cargo", "date_trunc('month', arrived)", "year(arrived)", "detained",
        "strftime(arrived, '%Y-%m')", "floor(delay_hours / 10) * 10",
    ),
    "machines": ("type", "mode", "failure", "floor(torque / 10) * 10", "wear // 50"),
}  # fmt: skip
_CONDITIONS = {
    "ships": (
        "flag = 'Norway'", "flag <> 'Malta'", "flag IN ('Panama', 'Greece', 'Malta')",
        "built >= 1990", "built < 2010", "built BETWEEN 1980 AND 2004", "tonnage < 50000",
        "insurer LIKE 'N%'", "NOT (flag = 'Greece' AND built < 2000)", "flag IS NOT NULL",
        "wage >= 5000", "(flag = 'Malta' OR insurer = 'Gard')", "flag > 'L'",
    ),
    "calls": (
        "cargo = 'oil'", "arrived >= DATE '2023-06-01'", "arrived < '2024-03-01'",
        "detained", "NOT detained", "delay_hours < 20", "port IN ('Bergen', 'Sines')",
        "month(arrived) <= 6",
    ),
    "machines": (
        "type = 'L'", "torque >= 40", "wear < 200", "failure", "mode IS NULL",
        "mode = 'heat'", "type <> 'H'",
    ),
}  # fmt: skip
_MEASURES = {
    "ships": ("tonnage", "wage", "built", "draught"),
    "calls": ("delay_hours",),
    "machines": ("torque", "wear"),
}
_STATISTICS = (
    "stddev", "stddev_pop", "var_samp", "var_pop", "sem", "skewness", "kurtosis",
    "kurtosis_pop",
)  # fmt: skip
_OF_PAIRS = (
    "corr", "covar_samp", "covar_pop", "regr_slope", "regr_intercept", "regr_r2",
    "regr_count", "regr_avgx", "regr_avgy", "regr_sxx", "regr_syy", "regr_sxy",
)  # fmt: skip
_UNITS = {"ships": ("imo",), "calls": ("imo", "agent_id"), "machines": ()}


@dataclass(frozen=True)
class Asked:
    """A query and which of its outputs are keys and plain counts."""

    table: str
    keys: tuple[str, ...]
    conditions: tuple[str, ...]
    aggregates: tuple[str, ...]
    having: str = ""

    @property
    def sql(self) -> str:
        """The query, ordered by its keys."""
        names = [f"{key} AS g{i}" for i, key in enumerate(self.keys)]
        values = [f"{item} AS v{i}" for i, item in enumerate(self.aggregates)]
        text = f"SELECT {', '.join(names + values)} FROM {self.table}"
        if self.conditions:
            text += f" WHERE {' AND '.join(self.conditions)}"
        if self.keys:
            text += f" GROUP BY {', '.join(f'g{i}' for i in range(len(self.keys)))}"
        if self.having:
            text += f" HAVING {self.having}"
        return text

    @property
    def counts(self) -> tuple[int, ...]:
        """The positions of outputs that are counts as they stand."""
        return tuple(
            len(self.keys) + i
            for i, item in enumerate(self.aggregates)
            if item.startswith("count(") and " / " not in item and "*" not in item[8:]
        )


def _aggregates(table: str) -> st.SearchStrategy[str]:
    measure = st.sampled_from(_MEASURES[table])
    condition = st.sampled_from(_CONDITIONS[table])
    found = [
        st.just("count(*)"),
        measure.map("count({})".format),
        measure.map("sum({})".format),
        measure.map("avg({})".format),
        condition.map("count(*) FILTER (WHERE {})".format),
        st.builds("sum({}) FILTER (WHERE {})".format, measure, condition),
        st.builds("avg(CASE WHEN {1} THEN {0} END)".format, measure, condition),
        condition.map("sum(CASE WHEN {} THEN 1 ELSE 0 END)".format),
        condition.map("avg(({})::INT)".format),
        condition.map("count(*) FILTER (WHERE {}) * 100.0 / count(*)".format),
        measure.map("sum({}) / count(*) + 1".format),
        st.builds("{}({})".format, st.sampled_from(_STATISTICS), measure),
        st.builds("{}({}, {})".format, st.sampled_from(_OF_PAIRS), measure, measure),
        st.builds("stddev_pop({}) FILTER (WHERE {})".format, measure, condition),
        st.builds("sum({} * {})".format, measure, measure),
        st.builds("avg({} / 4 - 2 * {} + 1)".format, measure, measure),
        st.builds("sum(coalesce({}, 0))".format, measure),
        condition.map("count_if({})".format),
        condition.map("sum({})".format),
    ]
    if _UNITS[table]:
        found.append(st.sampled_from(_UNITS[table]).map("count(DISTINCT {})".format))
    return st.one_of(found)


@st.composite
def asked(draw: st.DrawFn) -> Asked:
    """Draw a query of the grammar over one table of the world."""
    table = draw(st.sampled_from(sorted(_KEYS)))
    keys = draw(st.lists(st.sampled_from(_KEYS[table]), max_size=2, unique=True))
    conditions = draw(
        st.lists(st.sampled_from(_CONDITIONS[table]), max_size=2, unique=True)
    )
    aggregates = draw(st.lists(_aggregates(table), min_size=1, max_size=3, unique=True))
    having = draw(st.sampled_from(("", "", "count(*) >= 30")))
    return Asked(table, tuple(keys), tuple(conditions), tuple(aggregates), having)

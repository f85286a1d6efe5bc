"""Random queries of the wider grammar over the clinic, and the same with one thing spoilt.

Each is put together of a source (tables, CTEs, joins, semi joins, what is counted per
person), a grouping, aggregates, and what is done with the result.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from hypothesis import strategies as st

PER_PERSON = (
    "(SELECT patient_id, count(*) AS n, sum(cost) AS spend, max(los_days) AS longest "
    "FROM visits GROUP BY patient_id) s"
)
FIRST_VISIT = (
    "(SELECT patient_id, department, cost, los_days FROM visits QUALIFY row_number() OVER "
    "(PARTITION BY patient_id ORDER BY visit_date, department, cost, los_days) = 1) f"
)
_VISIT_KEYS = ("department", "date_trunc('quarter', visit_date)", "year(visit_date)")


@dataclass(frozen=True, slots=True)
class Source:
    """Where rows come from, and what may be said of them."""

    text: str
    keys: tuple[str, ...]
    measures: tuple[str, ...]
    conditions: tuple[str, ...]
    unit: str
    hidden: str = ""
    off_grid: tuple[str, ...] = ()
    with_: str = ""


_PATIENT = Source(
    "patients",
    (
        "city", "diagnosis", "floor(age / 10) * 10", "age >= 65", "upper(left(city, 1))",
        "coalesce(diagnosis, 'none')", "CASE WHEN age < 40 THEN 'a' ELSE 'b' END",
    ),
    ("age", "income"),
    (
        "city IN ('Arden', 'Brook', 'Crane')", "age >= 30", "income < 80000",
        "diagnosis = 'flu'", "NOT (city = 'Dover' AND age < 50)", "city <> 'Elmer'",
        "diagnosis IS NOT NULL",
    ),
    "id",
    "name",
    ("age >= 33", "income < 51234", "income BETWEEN 40000 AND 50001", "age = 41"),
)  # fmt: skip
_VISIT = Source(
    "visits",
    (*_VISIT_KEYS, "floor(cost / 1000) * 1000", "los_days > 2"),
    ("cost", "los_days"),
    (
        "department <> 'GP'", "visit_date >= DATE '2024-07-01'", "cost >= 500",
        "los_days >= 1", "department IN ('ER', 'ICU')", "year(visit_date) = 2024",
    ),
    "patient_id",
    "visit_id",
    ("cost >= 123", "visit_date >= DATE '2024-03-05'", "cost = 512", "cost < 777.5"),
)  # fmt: skip


def _qualified(source: Source, alias: str) -> Source:
    """Return what may be said of `source`, when its table is `alias` in a join."""
    names = ("city", "diagnosis", "age", "income", "department", "visit_date", "cost",
             "los_days", "name", "visit_id")  # fmt: skip

    def renamed(text: str) -> str:
        for name in names:
            text = text.replace(name, f"{alias}.{name}")
        return text

    return replace(
        source,
        keys=tuple(map(renamed, source.keys)),
        measures=tuple(map(renamed, source.measures)),
        conditions=tuple(map(renamed, source.conditions)),
        off_grid=tuple(map(renamed, source.off_grid)),
        unit=f"{alias}.{source.unit}",
        hidden=f"{alias}.{source.hidden}",
    )


def _both(text: str) -> Source:
    one, other = _qualified(_PATIENT, "p"), _qualified(_VISIT, "v")
    return Source(
        text,
        one.keys + other.keys,
        one.measures + other.measures,
        one.conditions + other.conditions,
        "p.id",
        "p.name",
        one.off_grid + other.off_grid,
    )


@st.composite
def sources(draw: st.DrawFn) -> Source:
    """Draw a source of rows."""
    plain = draw(st.sampled_from((_PATIENT, _VISIT)))
    inner = draw(st.sampled_from(plain.conditions))
    of_visits = draw(st.sampled_from(_VISIT.conditions))
    person = _qualified(_PATIENT, "p")
    return draw(
        st.sampled_from(
            (
                plain,
                replace(plain, text=f"(SELECT * FROM {plain.text} WHERE {inner}) t"),
                replace(
                    plain,
                    text="t",
                    with_=f"WITH t AS (SELECT * FROM {plain.text} WHERE {inner}) ",
                ),
                replace(
                    plain,
                    text="u",
                    with_=f"WITH t AS (FROM {plain.text}), "
                    f"u AS (SELECT * FROM t WHERE {inner}) ",
                ),
                _both("patients p JOIN visits v ON v.patient_id = p.id"),
                replace(
                    person,
                    text="patients p JOIN cohort c ON c.patient_id = p.id",
                    keys=(*person.keys, "c.arm"),
                ),
                replace(
                    person,
                    text="patients p LEFT JOIN cohort c ON c.patient_id = p.id",
                    keys=(*person.keys, "coalesce(c.arm, 'none')"),
                ),
                replace(
                    _PATIENT, text="patients JOIN cities USING (city)",
                    keys=(*_PATIENT.keys, "region"),
                ),
                replace(
                    person,
                    text="patients p",
                    conditions=(
                        f"p.id IN (SELECT patient_id FROM visits WHERE {of_visits})",
                        "EXISTS (SELECT 1 FROM visits v WHERE v.patient_id = p.id)",
                        "NOT EXISTS (SELECT 1 FROM cohort c WHERE c.patient_id = p.id)",
                        "p.id NOT IN (SELECT patient_id FROM cohort WHERE arm = 'treated')",
                    ),
                ),
                Source(
                    PER_PERSON,
                    ("least(n, 6)", "floor(spend / 1000) * 1000", "n >= 4", "longest >= 5"),
                    ("n", "spend", "longest"),
                    ("n >= 2", "spend >= 1000", "longest < 6"),
                    "patient_id",
                    off_grid=("spend >= 1234", "n >= 2.5"),
                ),
                replace(
                    person,
                    text=f"patients p JOIN {PER_PERSON} ON s.patient_id = p.id",
                    keys=(*person.keys, "least(s.n, 6)", "s.spend >= 3000"),
                    measures=(*person.measures, "s.n", "s.spend"),
                    conditions=(*person.conditions, "s.n >= 2"),
                ),
                replace(
                    _VISIT,
                    text=FIRST_VISIT,
                    keys=("department", "los_days > 2"),
                    conditions=("department <> 'GP'", "cost >= 500"),
                    off_grid=("cost >= 123",),
                    hidden="",
                ),
            )
        )
    )  # fmt: skip


@dataclass(frozen=True, slots=True)
class Wide:
    """A query in its parts."""

    source: Source
    keys: tuple[str, ...]
    conditions: tuple[str, ...]
    aggregates: tuple[str, ...]
    grouping: str  # how the keys are written
    after: str  # what is done with the result
    is_grouped: bool = True

    @property
    def inner(self) -> str:
        """The aggregation itself."""
        keys = [f"{key} AS g{i}" for i, key in enumerate(self.keys)]
        values = [f"{item} AS v{i}" for i, item in enumerate(self.aggregates)]
        text = f"SELECT {', '.join(keys + values)} FROM {self.source.text}"
        if self.conditions:
            text += f" WHERE {' AND '.join(self.conditions)}"
        if self.keys and self.is_grouped:
            names = [f"g{i}" for i in range(len(self.keys))]
            written = {
                "names": ", ".join(names),
                "ordinals": ", ".join(str(i + 1) for i in range(len(names))),
                "ALL": "ALL",
                "rollup": f"ROLLUP ({', '.join(self.keys)})",
                "cube": f"CUBE ({', '.join(self.keys)})",
                "sets": f"GROUPING SETS (({', '.join(self.keys)}), ())",
            }
            text += f" GROUP BY {written[self.grouping]}"
        return text

    @property
    def sql(self) -> str:
        """The whole query."""
        inner = self.inner
        order = ", ".join(f"g{i} NULLS LAST" for i in range(len(self.keys))) or "v0"
        match self.after:
            case "having":
                inner += " HAVING count(*) >= 30"
            case "top":
                inner += f" ORDER BY {order} LIMIT 3"
            case "window":
                inner = (
                    "SELECT *, v0 * 1.0 / sum(v0) OVER () AS share, "
                    f"rank() OVER (ORDER BY v0 DESC) AS place FROM ({inner}) r"
                )
            case "running":
                inner = (
                    f"SELECT *, sum(v0) OVER (ORDER BY {order}) AS running FROM ({inner}) r"
                )
            case "outer":
                inner = f"SELECT count(*) AS c, avg(v0) AS a, max(v0) AS m FROM ({inner}) r"
            case "scalar":
                inner = (
                    f"SELECT v0, v0 - (SELECT count(*) FROM cohort) AS d FROM ({inner}) r"
                )
            case "filter":
                inner = f"SELECT * FROM ({inner}) r WHERE v0 >= 50"
            case "union":
                inner = f"SELECT v0 FROM ({inner}) r UNION ALL SELECT count(*) FROM cohort"
        return self.source.with_ + inner


def _aggregates(source: Source) -> st.SearchStrategy[str]:
    measure = st.sampled_from(source.measures)
    condition = st.sampled_from(source.conditions)
    return st.one_of(
        measure.map("sum({})".format),
        measure.map("avg({})".format),
        measure.map("count({})".format),
        measure.map("stddev_samp({})".format),
        measure.map("var_pop({})".format),
        st.builds("sum({} * {})".format, measure, measure),
        st.builds("sum({}) / count(*) + 1".format, measure),
        condition.map("count(*) FILTER (WHERE {})".format),
        st.builds("avg(CASE WHEN {1} THEN {0} END)".format, measure, condition),
        condition.map("avg(({})::INT)".format),
        st.just(f"count(DISTINCT {source.unit})"),
    )


@st.composite
def wide(draw: st.DrawFn) -> Wide:
    """Draw a query that must be answered."""
    source = draw(sources())
    keys = draw(st.lists(st.sampled_from(source.keys), max_size=2, unique=True))
    conditions = draw(st.lists(st.sampled_from(source.conditions), max_size=2, unique=True))
    # A subquery may stand in WHERE, not inside an aggregate.
    plain = tuple(c for c in source.conditions if "SELECT" not in c) or ("TRUE",)
    aggregates = draw(
        st.lists(_aggregates(replace(source, conditions=plain)), max_size=2, unique=True)
    )
    grouping = draw(st.sampled_from(("names", "ordinals", "ALL", "rollup", "cube", "sets")))
    after = draw(
        st.sampled_from(
            (
                "",
                "",
                "having",
                "top",
                "window",
                "running",
                "outer",
                "scalar",
                "filter",
                "union",
            )
        )
    )
    return Wide(
        source, tuple(keys), tuple(conditions), ("count(*)", *aggregates), grouping, after
    )


_VALUES = ("min", "max", "first", "mode", "list", "mad")


@st.composite
def spoilt(draw: st.DrawFn) -> str:
    """Draw a query in which one thing is spoilt, so that it must be refused."""
    query = draw(wide().filter(lambda query: query.source.text != "patients p"))
    source = query.source
    measure = draw(st.sampled_from(source.measures))
    value = f"{draw(st.sampled_from(_VALUES))}({measure})"
    ways = [
        replace(query, aggregates=("count(*)", value)),
        replace(query, aggregates=("count(*)", f"sum({source.unit})")),
        replace(query, keys=(source.unit, *query.keys[:1])),
        _from(query, f"(SELECT * FROM {source.text} LIMIT 1000) t"),
        _from(query, f"(SELECT * FROM {source.text} USING SAMPLE 50%) t"),
        replace(
            query,
            keys=query.keys or source.keys[:1],
            grouping="names", is_grouped=False, after="",
        ),
    ]  # fmt: skip
    ways += [
        replace(query, conditions=(*query.conditions, condition))
        for condition in source.off_grid
    ]
    if source.hidden:
        condition = f"{source.hidden} IS NOT NULL"
        ways += [
            replace(query, keys=(source.hidden, *query.keys[:1])),
            replace(query, conditions=(*query.conditions, condition)),
        ]
    ways += 3 * [
        replace(query, source=replace(source, text=text))
        for text in _without_the_unit(source.text)
        if text != source.text
    ]
    return draw(st.sampled_from(ways)).sql


def _without_the_unit(text: str) -> Iterator[str]:
    """Yield a source whose per-person step forgets the person."""
    yield text.replace("PARTITION BY patient_id ", "")
    yield text.replace("PARTITION BY patient_id ", "PARTITION BY department ")
    yield text.replace(
        "SELECT patient_id, count", "SELECT department AS patient_id, count"
    ).replace("GROUP BY patient_id", "GROUP BY department")


def _from(query: Wide, text: str) -> Wide:
    """Return the query over another FROM, with keys and conditions of bare columns only."""
    plain = _PATIENT if " visits" not in text and "patients" in text else _VISIT
    table = text.replace(query.source.text, plain.text)
    return replace(
        query,
        source=replace(plain, text=table, with_=""),
        keys=plain.keys[:1],
        conditions=(),
        aggregates=("count(*)", f"avg({plain.measures[0]})"),
    )

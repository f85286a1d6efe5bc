"""The reviewed allow-list of functions: nothing else reaches the engine.

A scalar function stands here only if it cannot fail on any row, cannot grow its result
beyond its arguments, and gives the same for the same (no clock, chance or state).
"""

from __future__ import annotations

from sandbox.plan.terms import Kind

# name -> (our name, kinds of the arguments, result). "any" is one kind throughout; what
# ends in ? may be missing.
SCALARS: dict[str, tuple[str, tuple[str, ...], Kind | None]] = {
    "upper": ("upper", ("text",), Kind.TEXT),
    "ucase": ("upper", ("text",), Kind.TEXT),
    "lower": ("lower", ("text",), Kind.TEXT),
    "lcase": ("lower", ("text",), Kind.TEXT),
    "trim": ("trim", ("text",), Kind.TEXT),
    "ltrim": ("ltrim", ("text",), Kind.TEXT),
    "rtrim": ("rtrim", ("text",), Kind.TEXT),
    "left": ("left", ("text", "count"), Kind.TEXT),
    "right": ("right", ("text", "count"), Kind.TEXT),
    "substr": ("substr", ("text", "count", "count?"), Kind.TEXT),
    "substring": ("substr", ("text", "count", "count?"), Kind.TEXT),
    "length": ("length", ("text",), Kind.INTEGER),
    "len": ("length", ("text",), Kind.INTEGER),
    "replace": ("replace", ("text", "short", "short"), Kind.TEXT),
    "starts_with": ("starts_with", ("text", "short"), Kind.BOOLEAN),
    "prefix": ("starts_with", ("text", "short"), Kind.BOOLEAN),
    "suffix": ("suffix", ("text", "short"), Kind.BOOLEAN),
    "ends_with": ("suffix", ("text", "short"), Kind.BOOLEAN),
    "contains": ("contains", ("text", "short"), Kind.BOOLEAN),
    "||": ("||", ("text", "text"), Kind.TEXT),
    "concat": ("concat", ("text", "text"), Kind.TEXT),
    "concat_ws": ("concat_ws", ("short", "text"), Kind.TEXT),
    "strip_accents": ("strip_accents", ("text",), Kind.TEXT),
    "reverse": ("reverse", ("text",), Kind.TEXT),
    "split_part": ("split_part", ("text", "short", "count"), Kind.TEXT),
    **dict.fromkeys(
        ("position", "instr", "strpos"), ("instr", ("text", "short"), Kind.INTEGER)
    ),
    "regexp_matches": ("regexp_matches", ("text", "short", "short?"), Kind.BOOLEAN),
    "regexp_full_match": ("regexp_full_match", ("text", "short", "short?"), Kind.BOOLEAN),
    "regexp_extract": ("regexp_extract", ("text", "short", "count?"), Kind.TEXT),
    "regexp_replace": (
        "regexp_replace",
        ("text", "short", "short", "short?"),
        Kind.TEXT,
    ),
    "least": ("least", ("any", "any"), None),
    "greatest": ("greatest", ("any", "any"), None),
    "coalesce": ("coalesce", ("any", "any"), None),
    "ifnull": ("coalesce", ("any", "any"), None),
    "nullif": ("nullif", ("any", "any"), None),
}

# name -> (family of the policy, plan function)
AGGREGATES: dict[str, tuple[str, str]] = {
    "count_star": ("count", "count"),
    "count": ("count", "count"),
    "count_if": ("count", "count"),
    "countif": ("count", "count"),
    "sum": ("sum", "sum"),
    "avg": ("avg", "avg"),
    "mean": ("avg", "avg"),
    "stddev": ("stddev", "stddev_samp"),
    "stddev_samp": ("stddev", "stddev_samp"),
    "stddev_pop": ("stddev", "stddev_pop"),
    "sem": ("stddev", "sem"),
    "variance": ("variance", "var_samp"),
    "var_samp": ("variance", "var_samp"),
    "var_pop": ("variance", "var_pop"),
    "skewness": ("skewness", "skewness"),
    "kurtosis": ("kurtosis", "kurtosis"),
    "kurtosis_pop": ("kurtosis", "kurtosis_pop"),
    "approx_count_distinct": ("approx_count_distinct", "count_distinct"),
}

# Of two measures, y and x: name -> (family, plan function)
PAIRS: dict[str, tuple[str, str]] = {
    "covar_samp": ("covar", "covar_samp"),
    "covar_pop": ("covar", "covar_pop"),
    "corr": ("corr", "corr"),
    "regr_slope": ("regr", "regr_slope"),
    "regr_intercept": ("regr", "regr_intercept"),
    "regr_r2": ("regr", "regr_r2"),
    "regr_sxx": ("regr", "regr_sxx"),
    "regr_syy": ("regr", "regr_syy"),
    "regr_sxy": ("regr", "regr_sxy"),
    "regr_count": ("regr", "count"),
    "regr_avgx": ("regr", "avg"),
    "regr_avgy": ("regr", "avg"),
}

# Interpolated over bins of the provider's grid; the second argument is the level.
QUANTILES = frozenset({"median", "quantile", "quantile_cont", "approx_quantile"})

# Aggregates that the engine knows and this analyser never answers: named, so that their
# refusal can say what they are.
RETURNS_A_VALUE = frozenset(
    {
        "quantile_disc",
        "min", "max", "first", "last", "any_value", "arbitrary", "mode", "mad",
        "min_by", "max_by", "arg_min", "arg_max", "argmin", "argmax", "approx_top_k",
        "list", "array_agg", "string_agg", "group_concat", "listagg", "histogram",
        "bool_and", "bool_or", "bit_and", "bit_or", "bit_xor", "product", "entropy",
        "reservoir_quantile", "arg_min_null", "arg_max_null", "histogram_exact", "map",
        "fsum", "kahan_sum", "sumkahan", "favg", "geomean", "weighted_avg", "wavg",
        "bitstring_agg",
    }
)  # fmt: skip

# What to ask instead, where one thing fits.
INSTEAD = {
    "min": "Use quantile_cont(x, 0.05), interpolated over bins, or counts per bin.",
    "max": "Use quantile_cont(x, 0.95), interpolated over bins, or counts per bin.",
    "quantile_disc": "Use quantile_cont(x, q), interpolated over bins.",
    "mode": "Use counts per group or bin, ORDER BY count(*) DESC LIMIT 1.",
    "mad": "Use stddev, or the difference of two quantiles.",
    "histogram": "Group by bins: floor(x / w) * w, count(*).",
    "bool_or": "Use count(*) FILTER (WHERE condition).",
    "bool_and": "Use avg(condition::INT).",
    "weighted_avg": "Use sum(x * w) / sum(w).",
    "wavg": "Use sum(x * w) / sum(w).",
    "fsum": "Use sum, which is exact.",
    "kahan_sum": "Use sum, which is exact.",
    "sumkahan": "Use sum, which is exact.",
    "favg": "Use avg, which is exact.",
}


def is_aggregate(name: str) -> bool:
    """Whether a function name is an aggregate, answered or not."""
    return (
        name in AGGREGATES or name in PAIRS or name in QUANTILES or name in RETURNS_A_VALUE
    )

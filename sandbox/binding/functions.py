"""The reviewed allow-list of functions: nothing else reaches the engine.

A scalar function stands here only if it cannot fail on any row, cannot grow its result
beyond its arguments, and gives the same for the same (no clock, chance or state).
"""

from __future__ import annotations

from sandbox.plan.terms import Kind

# name -> (our name, kinds of the arguments, result). "any" is one kind throughout.
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
    "substr": ("substr", ("text", "count", "count"), Kind.TEXT),
    "substring": ("substr", ("text", "count", "count"), Kind.TEXT),
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
    "coalesce": ("coalesce", ("any", "any"), None),
    "ifnull": ("coalesce", ("any", "any"), None),
    "nullif": ("nullif", ("any", "any"), None),
}

# name -> (family of the policy, plan function)
AGGREGATES: dict[str, tuple[str, str]] = {
    "count_star": ("count", "count"),
    "count": ("count", "count"),
    "sum": ("sum", "sum"),
    "avg": ("avg", "avg"),
    "mean": ("avg", "avg"),
}

# Aggregates that the engine knows and this analyser does not answer (yet, or ever):
# named, so that their refusal can say what they are.
RETURNS_A_VALUE = frozenset(
    {
        "min", "max", "first", "last", "any_value", "arbitrary", "mode", "median", "mad",
        "min_by", "max_by", "arg_min", "arg_max", "argmin", "argmax", "quantile",
        "quantile_cont", "quantile_disc", "approx_quantile", "approx_top_k", "list",
        "array_agg", "string_agg", "group_concat", "listagg", "histogram", "bool_and",
        "bool_or", "bit_and", "bit_or", "bit_xor", "product", "entropy",
        "reservoir_quantile", "arg_min_null", "arg_max_null", "histogram_exact", "map",
        "sem", "fsum", "kahan_sum", "sumkahan", "favg", "geomean", "weighted_avg", "wavg",
        "bitstring_agg",
    }
)  # fmt: skip
STATISTICS = frozenset(
    {
        "stddev", "stddev_samp", "stddev_pop", "variance", "var_samp", "var_pop",
        "covar_samp", "covar_pop", "corr", "regr_slope", "regr_intercept", "regr_r2",
        "regr_count", "regr_avgx", "regr_avgy", "regr_sxx", "regr_syy", "regr_sxy",
        "skewness", "kurtosis", "kurtosis_pop", "approx_count_distinct",
    }
)  # fmt: skip


def is_aggregate(name: str) -> bool:
    """Whether a function name is an aggregate, answered or not."""
    return name in AGGREGATES or name in RETURNS_A_VALUE or name in STATISTICS

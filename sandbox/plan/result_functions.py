"""The allow-lists of stage 2: functions, aggregates and windows over controlled cells."""

from __future__ import annotations

INFIX = frozenset({"+", "-", "*", "/", "//", "%", "||", "=", "<>", "<", "<=", ">", ">="})
FUNCTIONS = frozenset(
    {
        "round", "floor", "ceil", "ceiling", "abs", "sign", "sqrt", "ln", "log", "log10",
        "log2", "exp", "power", "pow", "coalesce", "ifnull", "nullif", "greatest", "least",
        "upper", "lower", "trim", "left", "right", "length", "concat", "if", "isnan",
        "year", "quarter", "month", "day", "date_trunc", "date_part", "datepart",
        "date_diff", "datediff", "strftime", "substr", "substring", "replace",
        "trunc", "mod", "isfinite", "isinf", "cbrt", "monthname", "dayname", "starts_with",
        "contains", "ends_with", "suffix", "prefix", "concat_ws", "divide", "multiply",
        "add", "subtract", "to_days", "to_months", "to_years", "last_day", "week",
        "ucase", "lcase", "ltrim", "rtrim", "even", "pi", "dayofweek", "isodow",
        "dayofyear", "weekday", "format", "printf", "lpad", "rpad", "round_even", "degrees",
        "radians", "sin", "cos", "tan", "atan", "atan2", "make_date", "to_weeks",
        "dayofmonth", "isoyear", "weekofyear", "yearweek", "split_part", "strip_accents",
        "reverse", "instr", "position", "strpos",
    }
)  # fmt: skip
LOGIC = frozenset({"and", "or", "not", "is_null", "in", "negate"})
LIKES = {"~~": "LIKE", "!~~": "NOT LIKE", "~~*": "ILIKE", "!~~*": "NOT ILIKE"}
CAST_TYPES = frozenset(
    {
        "TINYINT", "SMALLINT", "INTEGER", "BIGINT", "HUGEINT", "DOUBLE", "FLOAT", "VARCHAR",
        "BOOLEAN", "DATE", "DECIMAL", "TIMESTAMP", "UTINYINT", "USMALLINT", "UINTEGER",
        "UBIGINT", "INTERVAL",
    }
)  # fmt: skip
# Over controlled rows every aggregate is post-processing; these are known to need no state,
# order or memory beyond their input.
RESULT_AGGREGATES = frozenset(
    {
        "count", "count_star", "sum", "avg", "mean", "min", "max", "stddev", "stddev_samp",
        "stddev_pop", "variance", "var_samp", "var_pop", "median", "quantile_cont",
        "quantile_disc", "quantile", "covar_samp", "covar_pop", "corr", "regr_slope",
        "regr_intercept", "regr_r2", "regr_count", "skewness", "kurtosis", "bool_and",
        "bool_or", "mode", "any_value", "arg_max", "arg_min", "max_by", "min_by",
        "count_if", "product", "geomean", "entropy", "mad", "approx_count_distinct",
        "regr_avgx",
        "regr_avgy", "regr_sxx", "regr_syy", "regr_sxy", "first", "last", "arbitrary",
    }
)  # fmt: skip
RANKS = frozenset(
    {"row_number", "rank", "dense_rank", "percent_rank", "cume_dist", "ntile"}
)
SHIFTS = frozenset(
    {"lag", "lead", "first_value", "last_value", "nth_value", "first", "last"}
)

"""The fixed lines of the starting policies, as a steward reads them."""

ADVICE = """\
# It was made from the profile of the upload. Read each line and change what does not
# fit before you publish: what this document does not allow is refused.
version: 1
tables:
"""
UNITS = """\
    # Who is protected. A group is shown only if enough units contribute to it.
"""
ROW_UNITS = """\
    # `row`: each row is a unit. Where several rows are about one person, machine or
    # firm, name its column instead: units: [{domain: person, column: person_id}]
    units: row
"""
KEY_UNITS = """\
    # Rows with the same key are one unit. Tables of one domain can be joined on it.
    units: [{domain: %s, column: %s}]
"""
ROLES = """\
    # What queries may do with each column; one that is not named is hidden.
    #   dimension  group and filter      measure  sum, average; compare on its grid
    #   unit_key   count and join        label    what models learn to predict
    #   hidden     nothing               row_key  join only
    # Add `sensitive: true` where the one value that a whole group shares is a secret,
    # and `values: public` where the list of values is no secret, as with countries.
    # A `grid` is the step of bins and comparisons, a `grain` the finest period of dates,
    # a `scale` the number of decimals that are kept.
"""
AGGREGATE = """\

rules:
  - kind: aggregate
    # safe: thresholds and withheld groups, for few questions. It is not proof against
    # someone who may ask very many: keep the cap of queries low.
    mode: safe
    # The fewest units in a group that is shown.
    min_units: 10
    # Withhold a group where the 2 largest units make up 90 %% of a total, or where the
    # second largest could guess the largest to within 10 %%.
    dominance: {n: 2, share: 0.90, p_percent: 10}
    # What this node computes today; further ones of the policy language are refused.
    aggregates: [count, count_distinct, sum, avg]
    # What for. Each purpose may stand in one aggregate rule only.
    purposes:
%s
"""
AUTOMATIC = """\
    # Nobody looks first. To have people look: approval: {reviewers: 1}
    approval: automatic
    max_queries_per_day: 100
"""
REVIEWED = """\
    # How many of your reviewers look at each query before it runs.
    approval: {reviewers: 1}
    max_queries_per_day: 20
"""
SUBSET = """\
  - kind: subset
    # These columns leave row by row. Take out what the recipient's model does not need.
    columns:
%s
%s
    # To let only some rows leave: row_filter: "type = 'L'"
    max_rows: 5000
    licence: %s
    purposes:
%s
    # How many of your reviewers approve each request; two where rows are sensitive.
    approval: {reviewers: 1}
    expires_after_days: 90
"""

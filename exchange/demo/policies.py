"""The two providers' policies, written as a provider would: with the reasons."""

from __future__ import annotations

MACHINING = """\
version: 1
tables:
  machining:
    # A machine is one workshop's: what is released never rests on fewer than ten of them.
    units: [{domain: machine, column: machine_id}]
    columns:
      machine_id: {role: unit_key}
      site: {role: dimension}
      # Three types, printed in every catalogue: naming them tells nobody anything.
      product_type: {role: dimension, values: public}
      # Not public: that somebody cuts a rare alloy is itself worth knowing.
      material: {role: dimension}
      shift: {role: dimension, values: public}
      # By month, so that no single order can be told from its date.
      started_on: {role: dimension, grain: month}
      # Numbers are compared only at these steps: no narrowing down to one run.
      spindle_rpm: {role: measure, grid: 100, clamp: [0, 5000]}
      torque_nm: {role: measure, grid: 5, clamp: [0, 120]}
      tool_wear_min: {role: measure, grid: 10, clamp: [0, 300]}
      temperature_k: {role: measure, grid: 1, clamp: [290, 330]}
      failure: {role: label}
rules:
  # Aggregates for anyone who plans upkeep, at once: the limits protect, not a person.
  - kind: aggregate
    min_units: 10
    dominance: {n: 2, share: 0.85, p_percent: 10}
    aggregates: [count, count_distinct, sum, avg]
    purposes: [predictive-maintenance]
    approval: automatic
    max_queries_per_day: 200
  # Rows to train on: the mass product only, no site, no material, no date; machines under
  # a pseudonym; and one of our people looks at each request.
  - kind: subset
    columns: [machine_id, product_type, spindle_rpm, torque_nm, tool_wear_min,
              temperature_k, failure]
    label: failure
    row_filter: "product_type = 'L'"
    max_rows: 5000
    licence: CDLA-Permissive-2.0
    pseudonymise: [machine_id]
    purposes: [predictive-maintenance]
    approval: {reviewers: 1}
"""

PORT_CALLS = """\
version: 1
tables:
  port_calls:
    # A ship stands for its owner: ten ships at least behind every number.
    units: [{domain: vessel, column: vessel_id}]
    columns:
      vessel_id: {role: unit_key}
      # Not public: which tiny ports were called at stays with the owners of few ships.
      port: {role: dimension}
      terminal: {role: dimension}
      cargo: {role: dimension}
      arrived_on: {role: dimension, grain: month}
      waiting_hours: {role: measure, grid: 2, clamp: [0, 500]}
      berth_hours: {role: measure, grid: 5, clamp: [0, 500]}
      gross_tonnage: {role: measure, grid: 10000, clamp: [0, 500000]}
      weather: {role: dimension, values: public}
      delayed: {role: label}
rules:
  # Each request and each query is seen by a person of the authority before it runs.
  - kind: aggregate
    min_units: 10
    dominance: {n: 2, share: 0.85, p_percent: 10}
    aggregates: [count, count_distinct, sum, avg]
    purposes: [logistics-planning]
    approval: {reviewers: 1}
    max_queries_per_day: 50
"""

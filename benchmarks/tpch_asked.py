"""TPC-H's questions as a model builder would put them under `tpch_policy.yaml`.

Joins are written with ON, products are the policy's derived measures, comparisons stand on
their grid; two dates are compared as a difference; a nation is told by its key where two
nations meet (FRANCE is 6, GERMANY 7, BRAZIL 2; q7, q8), in q22 in place of the telephone
number, which is hidden. q9 leaves the public supply cost out (its sum would tell a count).
q13 leaves the hidden comment and customers without orders out. The others ask for single
customers, orders or pairs of them, or for public tables alone.
"""

from __future__ import annotations

ASKED: dict[str, str] = {
    "q1": """
SELECT l_returnflag, l_linestatus, sum(l_quantity) AS sum_qty,
       sum(l_extendedprice) AS sum_base_price, sum(net_price) AS sum_disc_price,
       sum(charge) AS sum_charge, avg(l_quantity) AS avg_qty,
       avg(l_extendedprice) AS avg_price, avg(l_discount) AS avg_disc,
       count(*) AS count_order
FROM lineitem
WHERE l_shipdate <= DATE '1998-09-02'
GROUP BY l_returnflag, l_linestatus
ORDER BY l_returnflag, l_linestatus
""",
    "q4": """
SELECT o_orderpriority, count(*) AS order_count
FROM orders
WHERE o_orderdate >= DATE '1993-07-01' AND o_orderdate < DATE '1993-10-01'
  AND o_orderkey IN (SELECT l_orderkey FROM lineitem
                     WHERE l_receiptdate - l_commitdate > 0)
GROUP BY o_orderpriority
ORDER BY o_orderpriority
""",
    "q5": """
SELECT n_name, sum(net_price) AS revenue
FROM customer
JOIN orders ON c_custkey = o_custkey
JOIN lineitem ON l_orderkey = o_orderkey
JOIN supplier ON l_suppkey = s_suppkey AND c_nationkey = s_nationkey
JOIN nation ON s_nationkey = n_nationkey
JOIN region ON n_regionkey = r_regionkey
WHERE r_name = 'ASIA'
  AND o_orderdate >= DATE '1994-01-01' AND o_orderdate < DATE '1995-01-01'
GROUP BY n_name
ORDER BY revenue DESC
""",
    "q6": """
SELECT sum(rebate) AS revenue
FROM lineitem
WHERE l_shipdate >= DATE '1994-01-01' AND l_shipdate < DATE '1995-01-01'
  AND l_discount >= 0.05 AND l_discount < 0.08 AND l_quantity < 24
""",
    "q7": """
SELECT s_nationkey, c_nationkey, year(l_shipdate) AS l_year, sum(net_price) AS revenue
FROM lineitem
JOIN orders ON o_orderkey = l_orderkey
JOIN customer ON c_custkey = o_custkey
JOIN supplier ON s_suppkey = l_suppkey
WHERE ((s_nationkey = 6 AND c_nationkey = 7) OR (s_nationkey = 7 AND c_nationkey = 6))
  AND l_shipdate >= DATE '1995-01-01' AND l_shipdate < DATE '1997-01-01'
GROUP BY s_nationkey, c_nationkey, l_year
ORDER BY s_nationkey, c_nationkey, l_year
""",
    "q8": """
SELECT year(o_orderdate) AS o_year,
       sum(CASE WHEN s_nationkey = 2 THEN net_price ELSE 0 END) / sum(net_price)
           AS mkt_share
FROM lineitem
JOIN orders ON l_orderkey = o_orderkey
JOIN customer ON o_custkey = c_custkey
JOIN supplier ON s_suppkey = l_suppkey
JOIN part ON p_partkey = l_partkey
JOIN nation ON c_nationkey = n_nationkey
JOIN region ON n_regionkey = r_regionkey
WHERE r_name = 'AMERICA' AND p_type = 'ECONOMY ANODIZED STEEL'
  AND o_orderdate >= DATE '1995-01-01' AND o_orderdate < DATE '1997-01-01'
GROUP BY o_year
ORDER BY o_year
""",
    "q9": """
SELECT n_name AS nation, year(o_orderdate) AS o_year, sum(net_price) AS sum_revenue
FROM lineitem
JOIN orders ON o_orderkey = l_orderkey
JOIN part ON p_partkey = l_partkey
JOIN supplier ON s_suppkey = l_suppkey
JOIN nation ON s_nationkey = n_nationkey
WHERE p_name LIKE '%green%'
GROUP BY n_name, o_year
ORDER BY n_name, o_year DESC
""",
    "q12": """
SELECT l_shipmode,
       sum(CASE WHEN o_orderpriority IN ('1-URGENT', '2-HIGH') THEN 1 ELSE 0 END)
           AS high_line_count,
       sum(CASE WHEN o_orderpriority NOT IN ('1-URGENT', '2-HIGH') THEN 1 ELSE 0 END)
           AS low_line_count
FROM orders
JOIN lineitem ON o_orderkey = l_orderkey
WHERE l_shipmode IN ('MAIL', 'SHIP')
  AND l_receiptdate - l_commitdate > 0 AND l_commitdate - l_shipdate > 0
  AND l_receiptdate >= DATE '1994-01-01' AND l_receiptdate < DATE '1995-01-01'
GROUP BY l_shipmode
ORDER BY l_shipmode
""",
    "q13": """
SELECT c_count, count(*) AS custdist
FROM (SELECT o_custkey, count(*) AS c_count FROM orders GROUP BY o_custkey) AS c_orders
GROUP BY c_count
ORDER BY custdist DESC, c_count DESC
""",
    "q14": """
SELECT 100.00 * sum(CASE WHEN p_type LIKE 'PROMO%' THEN net_price ELSE 0 END)
       / sum(net_price) AS promo_revenue
FROM lineitem
JOIN part ON l_partkey = p_partkey
WHERE l_shipdate >= DATE '1995-09-01' AND l_shipdate < DATE '1995-10-01'
""",
    "q15": """
WITH revenue AS (
    SELECT l_suppkey AS supplier_no, sum(net_price) AS total_revenue
    FROM lineitem
    WHERE l_shipdate >= DATE '1996-01-01' AND l_shipdate < DATE '1996-04-01'
    GROUP BY l_suppkey)
SELECT s_suppkey, s_name, s_address, s_phone, total_revenue
FROM supplier
JOIN revenue ON s_suppkey = supplier_no
WHERE total_revenue = (SELECT max(total_revenue) FROM revenue)
ORDER BY s_suppkey
""",
    "q19": """
SELECT sum(net_price) AS revenue
FROM lineitem
JOIN part ON p_partkey = l_partkey
WHERE l_shipmode IN ('AIR', 'AIR REG') AND l_shipinstruct = 'DELIVER IN PERSON'
  AND ((p_brand = 'Brand#12' AND p_container IN ('SM CASE', 'SM BOX', 'SM PACK', 'SM PKG')
        AND l_quantity >= 1 AND l_quantity < 12 AND p_size >= 1 AND p_size <= 5)
    OR (p_brand = 'Brand#23'
        AND p_container IN ('MED BAG', 'MED BOX', 'MED PKG', 'MED PACK')
        AND l_quantity >= 10 AND l_quantity < 21 AND p_size >= 1 AND p_size <= 10)
    OR (p_brand = 'Brand#34' AND p_container IN ('LG CASE', 'LG BOX', 'LG PACK', 'LG PKG')
        AND l_quantity >= 20 AND l_quantity < 31 AND p_size >= 1 AND p_size <= 15))
""",
    "q22": """
SELECT c_nationkey, count(*) AS numcust, sum(c_acctbal) AS totacctbal
FROM customer
WHERE c_nationkey IN (3, 21, 13, 19, 20, 8, 7)
  AND c_acctbal >= (SELECT avg(c_acctbal) FROM customer
                    WHERE c_acctbal >= 0 AND c_nationkey IN (3, 21, 13, 19, 20, 8, 7))
  AND c_custkey NOT IN (SELECT o_custkey FROM orders)
GROUP BY c_nationkey
ORDER BY c_nationkey
""",
}

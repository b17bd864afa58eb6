-- A number that changes when the sets may: the count of the rows that users made, and the sum of what each is hashed
-- to. Temporary relations are left out: who has one stays with the primary, and they come and go too often. Sums wrap
-- in numeric, which does not.
SELECT 's', pg_catalog.sum(1)::pg_catalog.text, pg_catalog.sum(pg_catalog.hashtextextended(r.row, 0))::pg_catalog.text, '', ''
FROM (
    SELECT 'p' || p.oid || ' ' || p.xmin FROM pg_catalog.pg_proc p WHERE p.oid >= 16384
    UNION ALL
    SELECT 'c' || c.oid || ' ' || c.xmin || ' ' || c.relname FROM pg_catalog.pg_class c
    WHERE c.oid >= 16384 AND c.relkind NOT IN ('i', 'I', 't') AND c.relpersistence <> 't'
    UNION ALL
    SELECT 'i' || i.inhrelid || ' ' || i.inhparent FROM pg_catalog.pg_inherits i
    UNION ALL
    SELECT 'r' || r.oid || ' ' || r.xmin FROM pg_catalog.pg_rewrite r WHERE r.oid >= 16384
    UNION ALL
    SELECT 'l' || l.oid || ' ' || l.xmin FROM pg_catalog.pg_policy l WHERE l.oid >= 16384
    UNION ALL
    SELECT 't' || t.oid || ' ' || t.xmin FROM pg_catalog.pg_type t
    WHERE t.oid >= 16384 AND (t.typtype IN ('d', 'r') OR t.typtype = 'b' AND t.typelem = 0)
    UNION ALL
    SELECT 'k' || k.oid || ' ' || k.xmin FROM pg_catalog.pg_constraint k WHERE k.oid >= 16384 AND k.contypid <> 0
    UNION ALL
    SELECT 'o' || o.oid || ' ' || o.xmin FROM pg_catalog.pg_operator o WHERE o.oid >= 16384
    UNION ALL
    SELECT 'a' || a.oid || ' ' || a.xmin FROM pg_catalog.pg_cast a WHERE a.oid >= 16384
    UNION ALL
    SELECT 'g' || g.aggfnoid::pg_catalog.oid || ' ' || g.xmin FROM pg_catalog.pg_aggregate g WHERE g.aggfnoid >= 16384
    UNION ALL
    SELECT 'w' || w.oid || ' ' || w.xmin FROM pg_catalog.pg_trigger w WHERE w.oid >= 16384 AND NOT w.tgisinternal
    UNION ALL
    SELECT 'd' || d.oid || ' ' || d.xmin FROM pg_catalog.pg_attrdef d WHERE d.oid >= 16384
    UNION ALL
    SELECT 'm' || m.oid || ' ' || m.xmin FROM pg_catalog.pg_amproc m WHERE m.oid >= 16384
) AS r(row)

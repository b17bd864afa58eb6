-- What a database's catalog says of names, for any role that may log in. Five columns of text in each row:
--   o  class  oid  name  flags      an object; flags: s suspect, b made by initdb, u one argument is enough
--   e  class  oid  class  oid       an edge: the first uses the second
--   h  label                        nothing can be proven here, and why
-- Classes: f function, o operator, r relation, t type. Everything is named with its schema, and the session's
-- search_path is pg_catalog alone, which decides the operators. Nothing here takes a lock on a user's relation.
WITH
-- Expressions that a text does not show, and which object runs them: views, row security, domains' checks, defaults
-- of functions' arguments, their bodies.
expressions AS MATERIALIZED (
    SELECT 'r' AS class, r.ev_class AS oid, r.ev_action::pg_catalog.text AS tree
    FROM pg_catalog.pg_rewrite r WHERE r.ev_type = '1'
    UNION ALL
    SELECT 'r', p.polrelid, p.polqual::pg_catalog.text
    FROM pg_catalog.pg_policy p WHERE p.polqual IS NOT NULL
    UNION ALL
    SELECT 't', c.contypid, c.conbin::pg_catalog.text
    FROM pg_catalog.pg_constraint c WHERE c.contypid <> 0 AND c.conbin IS NOT NULL
    UNION ALL
    SELECT 'f', p.oid, p.proargdefaults::pg_catalog.text
    FROM pg_catalog.pg_proc p WHERE p.proargdefaults IS NOT NULL
    UNION ALL
    -- The body of a function that is kept as a tree (BEGIN ATOMIC, from 14 on).
    SELECT 'f', p.oid, pg_catalog.to_jsonb(p) ->> 'prosqlbody'
    FROM pg_catalog.pg_proc p WHERE p.oid >= 16384 AND pg_catalog.to_jsonb(p) ->> 'prosqlbody' IS NOT NULL
),
-- current_setting('app.user'), of a constant with a dot in it behind the four bytes of its length, is no use of that
-- function: such a setting is the session's own, wherever it runs.
trees AS MATERIALIZED (
    SELECT e.class, e.oid, e.tree,
        (pg_catalog.strpos(e.tree, ' :funcid 2077 ') > 0 OR pg_catalog.strpos(e.tree, ' :funcid 3294 ') > 0) AND e.tree !~
            ':funcid (2077|3294) (?![^{}]*:args \(\{CONST [^{}]*:constvalue [0-9]+ \[( [0-9]+){4}[ 0-9]* 46 )'
            AS tree_is_own
    FROM expressions e
),
-- A node is written as {NAME :field value :field value}. A tree is cut at its fields; a name that holds a cut as well adds a
-- piece, and hides none.
fields AS (
    SELECT DISTINCT t.class, t.oid, t.tree_is_own, pg_catalog.split_part(p.piece, ' ', 1) AS field,
        pg_catalog.substring(pg_catalog.split_part(p.piece, ' ', 2), '^[1-9][0-9]*')::pg_catalog.oid AS used
    FROM trees t, LATERAL pg_catalog.unnest(pg_catalog.string_to_array(t.tree, ' :')) AS p(piece)
    WHERE pg_catalog.split_part(p.piece, ' ', 1) IN ('funcid', 'opfuncid', 'aggfnoid', 'winfnoid', 'tsmhandler', 'opno',
        'eqop', 'sortop', 'relid', 'resulttype', 'row_typeid')
),
used AS (
    SELECT f.class, f.oid, f.field, f.used
    FROM fields f
    WHERE f.used IS NOT NULL AND NOT (f.tree_is_own AND f.field = 'funcid' AND f.used IN (2077, 3294))
),
-- Types of users, and what they are made of.
members AS (
    SELECT t.oid AS type, t.typbasetype AS member FROM pg_catalog.pg_type t WHERE t.typbasetype >= 16384
    UNION ALL
    SELECT t.oid, t.typelem FROM pg_catalog.pg_type t WHERE t.typelem >= 16384
    UNION ALL
    SELECT r.rngtypid, r.rngsubtype FROM pg_catalog.pg_range r WHERE r.rngsubtype >= 16384
    UNION ALL
    SELECT r.rngmultitypid, r.rngsubtype FROM pg_catalog.pg_range r WHERE r.rngsubtype >= 16384
),
attributes AS (
    SELECT DISTINCT a.attrelid AS relation, a.atttypid AS type
    FROM pg_catalog.pg_attribute a WHERE a.atttypid >= 16384 AND NOT a.attisdropped
),
edges AS (
    SELECT u.class, u.oid,
        CASE WHEN u.field IN ('opno', 'eqop', 'sortop') THEN 'o'
            WHEN u.field = 'relid' THEN 'r'
            WHEN u.field IN ('resulttype', 'row_typeid') THEN 't'
            ELSE 'f' END AS other_class,
        u.used AS other
    FROM used u
    WHERE u.field NOT IN ('opno', 'eqop', 'sortop', 'resulttype', 'row_typeid') OR u.used >= 16384
    UNION ALL
    SELECT 'o', o.oid, 'f', o.oprcode::pg_catalog.oid
    FROM pg_catalog.pg_operator o WHERE o.oid >= 16384 AND o.oprcode <> 0
    UNION ALL
    SELECT 'f', a.aggfnoid::pg_catalog.oid, 'f', f.oid
    FROM pg_catalog.pg_aggregate a,
        LATERAL pg_catalog.unnest(ARRAY[a.aggtransfn, a.aggfinalfn, a.aggcombinefn, a.aggserialfn, a.aggdeserialfn,
            a.aggmtransfn, a.aggminvtransfn, a.aggmfinalfn]::pg_catalog.oid[]) AS f(oid)
    WHERE a.aggfnoid >= 16384 AND f.oid <> 0
    UNION ALL
    SELECT DISTINCT 'f', p.oid, 't', t.oid
    FROM pg_catalog.pg_proc p, LATERAL pg_catalog.unnest(p.proargtypes::pg_catalog.oid[] || p.prorettype) AS t(oid)
    WHERE p.oid >= 16384 AND t.oid >= 16384
    UNION ALL
    SELECT 't', m.type, 't', m.member FROM members m
    UNION ALL
    SELECT 'r', a.relation, 't', a.type FROM attributes a
    UNION ALL
    SELECT DISTINCT 't', c.reltype, 'r', c.oid
    FROM attributes a JOIN pg_catalog.pg_class c ON c.oid = a.relation WHERE c.reltype <> 0
    UNION ALL
    -- A table's rows may lie in its partitions and heirs.
    SELECT 'r', i.inhparent, 'r', i.inhrelid FROM pg_catalog.pg_inherits i
),
objects AS (
    SELECT 'f' AS class, p.oid, p.proname AS name,
        -- A body that is a string is not read; these words in it are enough to doubt its label.
        p.provolatile = 'v' OR p.prokind = 'p' OR p.oid >= 16384 AND p.prosrc ~* '\m(pg_is_in_recovery|in_hot_standby\M|'
            'transaction_read_only\M|pg_last_wal_|pg_stat_|pg_locks\M|pg_settings\M|pg_backend_pid|inet_(server|client)_|'
            'pg_postmaster_|pg_(try_)?advisory_|nextval|setval|currval|lastval|txid_|pg_current_)' AS suspect,
        p.pronargs >= 1 AND p.pronargs - p.pronargdefaults <= 1 AS single
    FROM pg_catalog.pg_proc p
    UNION ALL
    SELECT 'o', o.oid, o.oprname, false, false FROM pg_catalog.pg_operator o WHERE o.oid >= 16384
    UNION ALL
    SELECT 'r', c.oid, c.relname, c.relkind IN ('S', 'f') OR c.relpersistence <> 'p', false
    FROM pg_catalog.pg_class c
    WHERE c.relkind IN ('S', 'f', 'v') OR c.relpersistence <> 'p' AND c.relkind NOT IN ('i', 'I', 't')
        OR c.relkind IN ('r', 'p', 'm', 'c')
            AND (c.oid < 16384 OR EXISTS (SELECT FROM edges e WHERE e.class = 'r' AND e.oid = c.oid))
    UNION ALL
    SELECT 't', t.oid, t.typname, false, false
    FROM pg_catalog.pg_type t
    WHERE t.oid >= 16384 AND (t.typtype IN ('d', 'r', 'm') OR t.typelem <> 0 OR t.typrelid <> 0
        AND EXISTS (SELECT FROM edges e WHERE e.class = 't' AND e.oid = t.oid))
),
volatile AS (
    SELECT p.oid FROM pg_catalog.pg_proc p WHERE p.provolatile = 'v'
),
hard_off AS (
    SELECT 'volatile_cast' AS label WHERE EXISTS
        (SELECT FROM pg_catalog.pg_cast c JOIN volatile v ON v.oid = c.castfunc)
    UNION ALL
    SELECT 'volatile_type' WHERE EXISTS
        (SELECT FROM volatile v WHERE v.oid IN (SELECT pg_catalog.unnest(ARRAY[t.typinput, t.typoutput, t.typreceive,
            t.typsend, t.typmodin, t.typmodout]::pg_catalog.oid[]) FROM pg_catalog.pg_type t))
    UNION ALL
    SELECT 'volatile_support' WHERE EXISTS
        (SELECT FROM pg_catalog.pg_amproc a JOIN volatile v ON v.oid = a.amproc)
        OR EXISTS (SELECT FROM pg_catalog.pg_range r JOIN volatile v ON v.oid IN (r.rngcanonical, r.rngsubdiff))
)
SELECT 'o', o.class, o.oid::pg_catalog.text, o.name::pg_catalog.text,
    CASE WHEN o.suspect THEN 's' ELSE '' END || CASE WHEN o.oid < 16384 THEN 'b' ELSE '' END
        || CASE WHEN o.single THEN 'u' ELSE '' END
FROM objects o
UNION ALL
SELECT 'e', e.class, e.oid::pg_catalog.text, e.other_class, e.other::pg_catalog.text FROM edges e
UNION ALL
SELECT 'h', h.label, '', '', '' FROM hard_off h

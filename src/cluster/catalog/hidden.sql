-- What functions leave in a session without a word of it in the statement that calls them, read from their bodies. Rows:
--   x  kind  name  letters  ''      f a function of that name; r a relation, whoever uses it; w one, whoever writes to it
-- Letters: a session advisory locks, l LISTEN, t temporary tables, p PREPARE, h WITH HOLD, s settings, f other functions of
-- the session. A word in a comment of /* */ or in a string counts as well: it may be run from there.
WITH RECURSIVE
-- A comment is no word of a body. set_config for its transaction leaves nothing, as far as that can be seen. What is cheap
-- to see goes before what is not.
plain AS MATERIALIZED (
    SELECT p.oid, pg_catalog.lower(p.proname::pg_catalog.text) AS name,
        CASE WHEN pg_catalog.strpos(p.prosrc, '--') > 0
            THEN pg_catalog.regexp_replace(pg_catalog.lower(p.prosrc), '--[^\n]*', '', 'g')
            ELSE pg_catalog.lower(p.prosrc) END AS body
    FROM pg_catalog.pg_proc p JOIN pg_catalog.pg_language l ON l.oid = p.prolang
    WHERE p.oid >= 16384 AND l.lanname NOT IN ('c', 'internal') AND pg_catalog.length(p.prosrc) < 1000000
),
bodies AS MATERIALIZED (
    SELECT p.oid, p.name,
        CASE WHEN p.body LIKE '%set_config%'
            THEN pg_catalog.regexp_replace(p.body,
                '\mset_config\s*\(([^()]|\(([^()]|\([^()]*\))*\))*,\s*(is_local\s*=>\s*)?true\s*\)', '', 'g')
            ELSE p.body END AS body
    FROM plain p
),
own AS MATERIALIZED (
    SELECT b.oid, b.name,
        CASE WHEN b.body LIKE '%advisory_lock%' AND b.body ~ '\mpg_(try_)?advisory_lock' THEN 'a' ELSE '' END
        || CASE WHEN b.body LIKE '%listen%' AND b.body ~ '\mlisten\s+["a-z_%]' THEN 'l' ELSE '' END
        || CASE WHEN b.body LIKE '%temp%' AND b.body ~ '\mtemp(orary)?\M|\mpg_temp' THEN 't' ELSE '' END
        || CASE WHEN b.body LIKE '%prepare%' AND b.body ~ '(^|[;''$]|\m(begin|then|else|loop)\M)\s*prepare\s+["a-z_%]'
            THEN 'p' ELSE '' END
        || CASE WHEN b.body LIKE '%hold%' AND b.body ~ '\mwith\s+hold\M' THEN 'h' ELSE '' END
        || CASE WHEN b.body LIKE '%set_config%' OR b.body LIKE '%set%' AND b.body ~
            ('(^|[;''$]|\m(begin|then|else|loop)\M)\s*(set|reset)\s+(?!(local|constraints|transaction)\M)["a-z_%]')
            THEN 's' ELSE '' END
        || CASE WHEN b.body ~ '\m(setseed|set_limit|dblink_connect(_u)?|pg_replication_origin_session_setup)\s*\(|\mload\s+'''
            THEN 'f' ELSE '' END AS letters
    FROM bodies b
),
-- Bodies that are kept as trees, and call PostgreSQL's own by number.
trees AS (
    SELECT p.oid, pg_catalog.lower(p.proname::pg_catalog.text) AS name,
        CASE WHEN t.tree ~ ':funcid (2880|2881|2882|2883|2884|2886|2887|2888|2889|2890|2891) ' THEN 'a' ELSE '' END
        || CASE WHEN t.tree LIKE '%:funcid 2078 %' THEN 's' ELSE '' END
        || CASE WHEN t.tree LIKE '%:funcid 1599 %' THEN 'f' ELSE '' END AS letters
    FROM pg_catalog.pg_proc p, LATERAL (SELECT pg_catalog.to_jsonb(p) ->> 'prosqlbody') AS t (tree)
    WHERE p.oid >= 16384 AND t.tree IS NOT NULL
),
direct AS MATERIALIZED (
    SELECT o.oid, o.name, o.letters FROM own o WHERE o.letters <> ''
    UNION ALL
    SELECT t.oid, t.name, t.letters FROM trees t WHERE t.letters <> ''
),
-- Whoever calls one of them, by its name; where there are too many to look at all pairs, nobody is looked at.
affordable AS (
    SELECT (SELECT pg_catalog.count(*) FROM direct) * (SELECT pg_catalog.count(*) FROM bodies) < 500000 AS so
),
reached (oid, name, letters, depth) AS (
    SELECT d.oid, d.name, d.letters, 0 FROM direct d
    UNION
    SELECT b.oid, b.name, r.letters, r.depth + 1
    FROM reached r JOIN bodies b ON b.oid <> r.oid AND pg_catalog.strpos(b.body, r.name || '(') > 0
    WHERE r.depth < 4 AND (SELECT a.so FROM affordable a)
),
hidden AS MATERIALIZED (
    SELECT r.oid, r.name, pg_catalog.string_agg(DISTINCT r.letters, '') AS letters FROM reached r GROUP BY r.oid, r.name
),
-- What runs them unseen: triggers and defaults for those who write, views and row security for all.
users AS (
    SELECT 'w' AS kind, t.tgrelid AS relation, h.letters
    FROM pg_catalog.pg_trigger t JOIN hidden h ON h.oid = t.tgfoid
    UNION ALL
    SELECT CASE d.classid WHEN 'pg_catalog.pg_attrdef'::pg_catalog.regclass THEN 'w' ELSE 'r' END,
        COALESCE(f.adrelid, r.ev_class, l.polrelid), h.letters
    FROM hidden h
        JOIN pg_catalog.pg_depend d ON d.refclassid = 'pg_catalog.pg_proc'::pg_catalog.regclass AND d.refobjid = h.oid
        LEFT JOIN pg_catalog.pg_attrdef f
            ON d.classid = 'pg_catalog.pg_attrdef'::pg_catalog.regclass AND f.oid = d.objid
        LEFT JOIN pg_catalog.pg_rewrite r
            ON d.classid = 'pg_catalog.pg_rewrite'::pg_catalog.regclass AND r.oid = d.objid
        LEFT JOIN pg_catalog.pg_policy l
            ON d.classid = 'pg_catalog.pg_policy'::pg_catalog.regclass AND l.oid = d.objid
    WHERE COALESCE(f.adrelid, r.ev_class, l.polrelid) IS NOT NULL
)
SELECT 'x', 'f', h.name, h.letters, '' FROM hidden h
UNION ALL
SELECT 'x', u.kind, pg_catalog.lower(c.relname::pg_catalog.text), u.letters, ''
FROM users u JOIN pg_catalog.pg_class c ON c.oid = u.relation

//! [pure] Whether a text is one statement that only reads, or opens or ends a transaction; everything else is the
//! primary's, with the reason.
//!
//! [`Access::Read`] is a proof by words, not a guess by a first one. The text is one statement that begins with
//! SELECT, VALUES, TABLE, WITH, or COPY … TO STDOUT; it holds none of the words that every write, row lock and SELECT
//! INTO must hold; every name before a parenthesis is a function that the [`Catalog`] knows to be safe, or grammar; no
//! name and no operator leads to something that the catalog knows to be tainted; and [`classify`] finds nothing that
//! would touch the session. In doubt it is the primary's.

use memchr::{memchr, memmem};

use super::catalog::Catalog;
use super::classify::{Statement, classify};
use super::copy;
use super::lexer::{Kind, Lexer, Lexical, Token};
use super::modes::Modes;
use super::query::Scan;
use super::setting::{Reported, operands};
use super::within::{self, Within};

/// What a text asks for.
#[derive(Copy, Clone, Debug, PartialEq, Eq, Hash)]
pub enum Access {
    /// Exactly one statement, and it is proven to do no more than read.
    Read,
    /// No statement.
    Empty,
    /// BEGIN or START TRANSACTION, alone.
    Begin(Modes),
    /// SET TRANSACTION, alone, but not its SNAPSHOT.
    SetTransaction(Modes),
    /// COMMIT, END, ROLLBACK or ABORT, alone, of the whole transaction, and without a next one chained to it.
    End,
    /// A statement that lives with its transaction, alone: where that may run, it may.
    Within(Within),
    Primary(Why),
}

/// Why a text must run on the primary.
#[derive(Copy, Clone, Debug, PartialEq, Eq, Hash)]
pub enum Why {
    /// The database has something that no text shows; the catalog says what.
    CatalogOff,
    /// It says `pgweir: primary` in a comment.
    Comment,
    Explain,
    MultiStatement,
    /// The database's catalog is not known now.
    NoCatalog,
    /// It asks for what each instance answers for itself.
    PerNode,
    /// It may leave or read something in the session.
    SessionState,
    Set,
    Show,
    TaintedOperator,
    TaintedRelation,
    /// It calls a function that is not known to be safe.
    UnknownFunction,
    /// Its tokens, or the session's encoding or kind of strings, cannot be read with certainty.
    Unreadable,
    /// Any other statement that is neither a query nor a write.
    Utility,
    WriteKeyword,
}

impl Why {
    pub const ALL: [Why; 15] = [
        Why::CatalogOff,
        Why::Comment,
        Why::Explain,
        Why::MultiStatement,
        Why::NoCatalog,
        Why::PerNode,
        Why::SessionState,
        Why::Set,
        Why::Show,
        Why::TaintedOperator,
        Why::TaintedRelation,
        Why::UnknownFunction,
        Why::Unreadable,
        Why::Utility,
        Why::WriteKeyword,
    ];

    pub fn label(self) -> &'static str {
        match self {
            Why::CatalogOff => "catalog_off",
            Why::Comment => "comment",
            Why::Explain => "explain",
            Why::MultiStatement => "multi_statement",
            Why::NoCatalog => "no_catalog",
            Why::PerNode => "per_node",
            Why::SessionState => "session_state",
            Why::Set => "set",
            Why::Show => "show",
            Why::TaintedOperator => "tainted_operator",
            Why::TaintedRelation => "tainted_relation",
            Why::UnknownFunction => "unknown_function",
            Why::Unreadable => "unreadable",
            Why::Utility => "utility",
            Why::WriteKeyword => "write_keyword",
        }
    }
}

/// Reads a text as the session with these settings would, in the database with this catalog. Linear in the text.
pub fn access(text: &[u8], lexical: Lexical, catalog: Option<&Catalog>) -> Access {
    if !lexical.standard_conforming_strings || lexical.opaque_encoding || memchr(0, text).is_some() {
        return Access::Primary(Why::Unreadable);
    }
    let access = judge(text, lexical, catalog).unwrap_or_else(Access::Primary);
    match access {
        Access::Empty | Access::Primary(_) => access,
        _ if wants_primary(text, lexical) => Access::Primary(Why::Comment),
        _ => access,
    }
}

fn judge(text: &[u8], lexical: Lexical, catalog: Option<&Catalog>) -> Result<Access, Why> {
    let mut lexer = Lexer::new(text, lexical);
    let mut before = lexer.clone();
    let first = loop {
        match lexer.next() {
            None => return Ok(Access::Empty),
            Some(token) if !token.is_punct(b";") => break token,
            Some(_) => before = lexer.clone(),
        }
    };
    let access = match Verb::of(first) {
        Verb::Query => {
            let mut scan = Scan::new(catalog)?;
            scan.query(&mut before)?;
            return session_read(&scan, text, lexical);
        }
        Verb::Copy => {
            let mut scan = Scan::new(catalog)?;
            copy::judge(&mut scan, &mut lexer)?;
            return session_read(&scan, text, lexical);
        }
        Verb::Cursor => {
            if first.is_word(b"DECLARE") {
                within::declare(&mut Scan::new(catalog)?, &mut lexer)?;
            } else {
                within::operands(&mut lexer)?;
            }
            return session_within(Within::Cursor, text, lexical);
        }
        Verb::Savepoint => {
            within::operands(&mut lexer)?;
            return session_within(Within::Savepoint, text, lexical);
        }
        Verb::End if first.is_word(b"ROLLBACK") && goes_back(&mut lexer) => {
            within::operands(&mut lexer)?;
            return session_within(Within::Savepoint, text, lexical);
        }
        Verb::Begin => begin(first, &mut lexer).ok_or(Why::Utility)?,
        Verb::End => end(&mut lexer).ok_or(Why::Utility)?,
        Verb::Set => set_transaction(&mut lexer).ok_or(Why::Set)?,
        Verb::Primary(why) => return Err(why),
    };
    nothing_more(&mut lexer)?;
    Ok(access)
}

/// The last word on what is a read by its own tokens: a text that may touch the session is none. Where no name is one
/// that [`classify`] stops at, there is nothing for it to find in a query.
fn session_read(scan: &Scan<'_, '_>, text: &[u8], lexical: Lexical) -> Result<Access, Why> {
    let is_read = || classify(text, lexical, Reported::default()) == Statement::READ;
    if !scan.is_remarkable() {
        debug_assert!(is_read(), "{}", String::from_utf8_lossy(text));
        return Ok(Access::Read);
    }
    if is_read() { Ok(Access::Read) } else { Err(Why::SessionState) }
}

/// The same for one that is none: its names may be ones that the session stops at.
fn session_within(within: Within, text: &[u8], lexical: Lexical) -> Result<Access, Why> {
    let taint = classify(text, lexical, Reported::default()).taint;
    if taint.is_none() { Ok(Access::Within(within)) } else { Err(Why::SessionState) }
}

/// After ROLLBACK: whether it is one TO a savepoint. The lexer stands behind TO then, and where it was if not.
fn goes_back(rest: &mut Lexer<'_>) -> bool {
    let mut ahead = rest.clone();
    let _noise = passes(&mut ahead, b"WORK") || passes(&mut ahead, b"TRANSACTION");
    let goes_back = passes(&mut ahead, b"TO");
    if goes_back {
        *rest = ahead;
    }
    goes_back
}

/// What a statement is by its first token.
enum Verb {
    Begin,
    Copy,
    Cursor,
    End,
    Query,
    Savepoint,
    Set,
    Primary(Why),
}

impl Verb {
    fn of(first: Token<'_>) -> Verb {
        const VERBS: [(&[u8], Verb); 24] = [
            (b"SELECT", Verb::Query),
            (b"WITH", Verb::Query),
            (b"INSERT", Verb::Primary(Why::WriteKeyword)),
            (b"UPDATE", Verb::Primary(Why::WriteKeyword)),
            (b"DELETE", Verb::Primary(Why::WriteKeyword)),
            (b"BEGIN", Verb::Begin),
            (b"COMMIT", Verb::End),
            (b"VALUES", Verb::Query),
            (b"TABLE", Verb::Query),
            (b"COPY", Verb::Copy),
            (b"MERGE", Verb::Primary(Why::WriteKeyword)),
            (b"START", Verb::Begin),
            (b"END", Verb::End),
            (b"ROLLBACK", Verb::End),
            (b"ABORT", Verb::End),
            (b"SET", Verb::Set),
            (b"SHOW", Verb::Primary(Why::Show)),
            (b"EXPLAIN", Verb::Primary(Why::Explain)),
            (b"DECLARE", Verb::Cursor),
            (b"FETCH", Verb::Cursor),
            (b"MOVE", Verb::Cursor),
            (b"CLOSE", Verb::Cursor),
            (b"SAVEPOINT", Verb::Savepoint),
            (b"RELEASE", Verb::Savepoint),
        ];
        match first.kind {
            Kind::Punct if first.text == b"(" => return Verb::Query,
            Kind::Broken | Kind::UnicodeQuoted => return Verb::Primary(Why::Unreadable),
            Kind::Word if first.is_word(b"RESET") => return Verb::Primary(Why::Set),
            _ => {}
        }
        VERBS.into_iter().find(|(word, _)| first.is_word(word)).map_or(Verb::Primary(Why::Utility), |(_, verb)| verb)
    }
}

/// After BEGIN or START.
fn begin(first: Token<'_>, rest: &mut Lexer<'_>) -> Option<Access> {
    let transaction = passes(rest, b"TRANSACTION");
    if first.is_word(b"START") && !transaction {
        return None;
    }
    if !transaction {
        passes(rest, b"WORK");
    }
    let modes = if ends(rest) { Modes::default() } else { Modes::parse(rest)? };
    Some(Access::Begin(modes))
}

/// After COMMIT, END, ROLLBACK or ABORT.
fn end(rest: &mut Lexer<'_>) -> Option<Access> {
    let _noise = passes(rest, b"WORK") || passes(rest, b"TRANSACTION");
    if passes(rest, b"AND") {
        return (passes(rest, b"NO") && passes(rest, b"CHAIN") && ends(rest)).then_some(Access::End);
    }
    ends(rest).then_some(Access::End)
}

/// After SET. `SET transaction = …` fails in `parse`, as `SET TRANSACTION SNAPSHOT` does.
fn set_transaction(rest: &mut Lexer<'_>) -> Option<Access> {
    let _scope = passes(rest, b"LOCAL") || passes(rest, b"SESSION");
    if !passes(rest, b"TRANSACTION") {
        return None;
    }
    Modes::parse(rest).map(Access::SetTransaction)
}

/// Takes the word if it comes next.
pub(super) fn passes(rest: &mut Lexer<'_>, word: &[u8]) -> bool {
    let found = rest.clone().next().is_some_and(|token| token.is_word(word));
    if found {
        rest.next();
    }
    found
}

/// Whether the statement ends here.
fn ends(rest: &Lexer<'_>) -> bool {
    matches!(operands(rest), [None])
}

/// Only semicolons may follow.
pub(super) fn nothing_more(rest: &mut Lexer<'_>) -> Result<(), Why> {
    match rest.find(|token| !token.is_punct(b";")) {
        None => Ok(()),
        Some(Token { kind: Kind::Broken, .. }) => Err(Why::Unreadable),
        Some(_) => Err(Why::MultiStatement),
    }
}

/// Whether a comment says `pgweir: primary`. Comments are what lies between tokens.
fn wants_primary(text: &[u8], lexical: Lexical) -> bool {
    const HINT: &[u8] = b"pgweir:";
    let says = |gap: &[u8]| {
        memmem::find_iter(gap, HINT).any(|at| {
            let after = gap.get(at + HINT.len()..).unwrap_or_default().trim_ascii_start();
            after.get(..7).is_some_and(|word| word.eq_ignore_ascii_case(b"primary"))
        })
    };
    if memmem::find(text, HINT).is_none() {
        return false;
    }
    let mut end = 0;
    let mut said = false;
    for token in Lexer::new(text, lexical) {
        said |= text.get(end..token.start).is_some_and(says);
        end = token.start + token.text.len();
    }
    said || text.get(end..).is_some_and(says)
}

/// Whether, behind any number of parentheses, a query's word comes next. The lexer stays where it is.
pub(super) fn opens_query(lexer: &Lexer<'_>) -> Result<(), Why> {
    let Some(first) = lexer.clone().find(|token| !token.is_punct(b"(")) else { return Err(Why::Utility) };
    match Verb::of(first) {
        Verb::Query => Ok(()),
        Verb::Primary(why) => Err(why),
        _ => Err(Why::Utility),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sql::catalog::Class;
    use crate::sql::catalog::sample::Sample;
    use crate::sql::modes::Isolation;
    use proptest::prelude::*;

    fn ask(catalog: &Catalog, text: &str) -> Access {
        access(text.as_bytes(), Lexical::STANDARD, Some(catalog))
    }

    #[track_caller]
    fn all(expected: Access, texts: &[&str]) {
        let catalog = Sample::usual().build();
        for text in texts {
            assert_eq!(ask(&catalog, text), expected, "{text}");
        }
    }

    #[track_caller]
    fn primary(why: Why, texts: &[&str]) {
        all(Access::Primary(why), texts);
    }

    #[test]
    fn reads() {
        all(
            Access::Read,
            &[
                "SELECT 1",
                "  /* a */ select 1 ; -- b\n;",
                ";SELECT 1",
                "SELECT abalance FROM pgbench_accounts WHERE aid = $1",
                "VALUES (1, 2), (3, 4)",
                "TABLE t",
                "(SELECT 1) UNION ALL ((SELECT 2))",
                "((TABLE t))",
                "SELECT * FROM t WHERE a IN (1, 2) AND EXISTS (SELECT 1) OR NOT (b)",
                "SELECT count(*) FILTER (WHERE a), sum(b) OVER (PARTITION BY (c) ORDER BY d) FROM t GROUP BY (c)",
                "SELECT row_number() OVER w FROM t WINDOW w AS (PARTITION BY a)",
                "SELECT CAST(a AS numeric(10, 2)), b::varchar(3), c::timestamp(3) with time zone, d::decimal(3)",
                "SELECT cast(a AS text), EXTRACT(year FROM b), coalesce(c, 1), nullif(d, e), greatest(1, 2), left(f, 1)",
                "SELECT trim(both ('x') from (a)), substring(a from (1) for (2)), overlay(a placing (b) from 1), position('a' in (b))",
                "SELECT pg_catalog.abs(1), \"abs\"(2), ABS (3), pg_catalog.\"abs\"(4), a . b . c",
                "SELECT x.a FROM generate_series(1, 3) AS x(a)",
                "SELECT * FROM t AS x (a, b) JOIN u AS y(c) ON (a = c)",
                "SELECT * FROM (VALUES (1, 2)) AS v (a, b)",
                "SELECT * FROM (VALUES (1, 2)) v (a, b), generate_series(1, 2) writer(c) WHERE (a) AND abs(c) IN (b)",
                "SELECT * FROM generate_series(1, 3) WITH ORDINALITY x(a, b), unnest('{}') WITH ORDINALITY AS y(c, d)",
                "WITH x(a) AS (SELECT 1), y(b) AS (VALUES (2)) TABLE y",
                "WITH x (a, \"b\") AS (SELECT 1, 2), y(c) AS NOT MATERIALIZED (SELECT 3) SELECT * FROM x, y",
                "WITH RECURSIVE x(n) AS (VALUES (1) UNION ALL SELECT n + 1 FROM x) SELECT * FROM x",
                "WITH a AS MATERIALIZED (SELECT 1), b (c) AS (WITH d (e) AS (SELECT 2) SELECT e FROM d) TABLE b",
                "SELECT random(), clock_timestamp(), pg_sleep(1), now(), CURRENT_TIMESTAMP(3)",
                "SELECT current_setting('app.user'), pg_catalog.current_setting('a.b', true), current_setting ( 'x.y' )",
                "SELECT \"update\", 'INSERT', $$nextval('s')$$, E'\\'nextval(' FROM t -- nextval(",
                "SELECT writer FROM writer WHERE writer.id = 1 AND nextval IS NULL",
                "SELECT version FROM t WHERE t.version = 2",
                "SELECT 1 AS sets, a @@@ b FROM good_view",
                "SELECT a[1:2], array[1, 2], ARRAY(SELECT 1), ROW(1, 2), (a).b, d.* FROM d",
                "SELECT * FROM t WHERE (a, b) = ANY (SELECT 1, 2) AND c LIKE ('x') ESCAPE ('y') AND f BETWEEN (1) AND (2)",
                "SELECT a FROM t ORDER BY (a) LIMIT (1) OFFSET (2)",
                "SELECT xmlelement(name b, xmlattributes(a AS c), xmlforest(a, xmlconcat(d))), xmlpi(name e) FROM t",
                "SELECT x.* FROM t, XMLTABLE(xmlnamespaces('u' AS n), '/r' PASSING xmlparse(DOCUMENT a) COLUMNS b int) AS x",
                "SELECT a AT TIME ZONE ('UTC'), interval(3) '1s', a OPERATOR(pg_catalog.+) b",
                "SELECT a FROM ONLY (t) CROSS JOIN LATERAL (SELECT 1) AS l(x) JOIN u USING (id)",
                "SELECT 1 FROM t GROUP BY GROUPING SETS ((a), ROLLUP (b), CUBE (c)) HAVING (count(*)) > 1",
                "COPY (SELECT * FROM t) TO STDOUT",
                "copy (VALUES (1), (abs(2))) to stdout with (format csv, force_quote (a, b)) ;",
                "COPY ((SELECT 1)) TO STDOUT (FORMAT binary)",
                "COPY t TO STDOUT",
                "COPY public.t (a, \"b\") TO STDOUT CSV HEADER",
                "COPY BINARY t TO STDOUT",
            ],
        );
    }

    #[test]
    fn writes_and_locks() {
        primary(
            Why::WriteKeyword,
            &[
                "INSERT INTO t VALUES (1)",
                "update t set a = 1",
                "DELETE FROM t",
                "MERGE INTO t USING u ON true WHEN MATCHED THEN DO NOTHING",
                "SELECT * FROM t FOR UPDATE",
                "SELECT * FROM t for/**/update",
                "SELECT * FROM t FOR NO KEY UPDATE SKIP LOCKED",
                "SELECT * FROM t FOR SHARE OF t",
                "SELECT * FROM t FOR KEY SHARE",
                "SELECT 1 FOR UPDATE",
                "SELECT * INTO x FROM t",
                "SELECT 1 AS a INTO TEMP b",
                "WITH x AS (INSERT INTO t VALUES (1) RETURNING a) SELECT * FROM x",
                "WITH x AS (DELETE FROM t WHERE false) SELECT 1",
                "WITH x AS (SELECT 1) UPDATE t SET a = 1",
                "SELECT t.update FROM t",
                "SELECT a AS share FROM t",
                "(INSERT INTO t VALUES (1))",
                "COPY (INSERT INTO t VALUES (1) RETURNING a) TO STDOUT",
                "COPY (DELETE FROM t RETURNING a) TO STDOUT",
                "COPY t FROM STDIN",
                "COPY t (a, b) FROM '/x'",
            ],
        );
    }

    #[test]
    fn functions() {
        primary(
            Why::UnknownFunction,
            &[
                "SELECT nowhere(1)",
                "SELECT nextval('s')",
                "SELECT \"nextval\" ('s')",
                "SELECT pg_catalog . nextval /* a */ ('s')",
                "SELECT pg_advisory_xact_lock(1)",
                "SELECT pg_notify('a', 'b')",
                "SELECT x.over_loaded(1)",
                "SELECT abs(writer(1))",
                "SELECT * FROM writer(1)",
                "SELECT * FROM t, LATERAL writer(t.a) AS w(x)",
                "SELECT * FROM writer(1) AS (x int)",
                "WITH a AS (SELECT 1) SELECT * FROM a, writer(b) AS (x int)",
                "WITH a AS (SELECT 1) SELECT * FROM a, writer(b) AS materialized (x)",
                "SELECT DISTINCT ON (a) writer(b) FROM t",
                "SELECT 1 OPERATOR(pg_catalog.+) writer(b) FROM t",
                "SELECT * FROM t x ORDER BY a USING operator(pg_catalog.<), (b) + writer(a)",
                "SELECT (a), writer(b) FROM t",
                "SELECT (a) = writer(b) FROM t",
                "SELECT * FROM t WHERE (a) AND writer(b)",
                "SELECT * FROM t JOIN u ON (a) WHERE writer(b)",
                "WITH a AS (SELECT 1) SELECT * FROM a, writer(b) AS (values int)",
                "SELECT CASE WHEN (a) THEN writer(b) END FROM t",
                "SELECT (a).writer FROM t",
                "SELECT t.writer FROM t",
                "SELECT (t).writer FROM t",
                "SELECT (t).\"writer\" FROM t",
                "SELECT ('s'::regclass).nextval",
                "SELECT t . /* a */ writer",
                "SELECT nested(1)",
                "SELECT \"CURRENT_SETTING\"('a.b')",
                "SELECT \"in\"(1), \"select\"(2)",
                "SELECT x.in(1)",
                "SELECT pg_catalog.coalesce(1)",
                "SELECT treat(1 AS nextval)",
                "SELECT * FROM t TABLESAMPLE system (1)",
                "VALUES (nextval('s'))",
                "COPY (SELECT writer(1)) TO STDOUT",
                "SELECT mod_für(1)",
                "SELECT set_config('a.b', 'c', true)",
                "SELECT abs (1), Abs\u{a0}(2)",
            ],
        );
        primary(
            Why::PerNode,
            &[
                "SELECT pg_backend_pid()",
                "SELECT pg_is_in_recovery()",
                "SELECT txid_current()",
                "SELECT query_to_xml('select nextval(1)', true, true, '')",
                "SELECT version()",
                "SELECT pg_size_pretty(pg_database_size('x'))",
                "SELECT current_setting('work_mem')",
                "SELECT current_setting('a' || '.b')",
                "SELECT current_setting('a.b' || 'c')",
                "SELECT current_setting($1)",
                "SELECT current_setting(E'a.b')",
                "SELECT current_setting(x.y)",
                "SELECT current_setting('transaction_read_only')",
                "SELECT * FROM pg_locks",
                "SELECT * FROM pg_catalog.pg_stat_activity",
                "TABLE pg_stats",
                "SELECT * FROM \"pg_locks\"",
            ],
        );
    }

    #[test]
    fn relations_types_and_operators() {
        primary(
            Why::TaintedRelation,
            &[
                "SELECT * FROM bad_view",
                "SELECT * FROM public.BAD_VIEW",
                "SELECT * FROM outer_view",
                "SELECT last_value FROM seq",
                "SELECT * FROM \"Quoted Seq\"",
                "TABLE unlogged_t",
                "COPY unlogged_t TO STDOUT",
                "COPY (TABLE foreign_t) TO STDOUT",
                "SELECT 1::bad_domain",
                "SELECT cast(1 AS bad_domain)",
                "SELECT bad_domain '1'",
                "SELECT a FROM t AS seq(a)",
                "SELECT '{1}'::bad_domain[]",
            ],
        );
        primary(
            Why::TaintedOperator,
            &[
                "SELECT t ### 1 FROM t",
                "SELECT ###1",
                "SELECT a OPERATOR(public.###) b",
                "COPY (SELECT 1 ### 2) TO STDOUT",
            ],
        );
        all(Access::Read, &["SELECT a @ ### b".replace("###", "#").as_str(), "SELECT '###', \"###\""]);
    }

    #[test]
    fn session_state() {
        let mut sample = Sample::usual();
        sample.user(Class::Function, "pg_temp_function");
        let catalog = sample.build();
        for text in ["SELECT * FROM pg_temp.t", "SELECT pg_temp_function(1)", "COPY pg_temp_3.t TO STDOUT"] {
            assert_eq!(ask(&catalog, text), Access::Primary(Why::SessionState), "{text}");
        }
        for text in ["SELECT pg_advisory_lock(1)", "SELECT lastval(), currval('s')", "SELECT setseed(0)"] {
            assert_eq!(ask(&catalog, text), Access::Primary(Why::UnknownFunction), "{text}");
        }
    }

    #[test]
    fn first_words() {
        primary(Why::Show, &["SHOW work_mem", "show transaction_read_only"]);
        primary(Why::Explain, &["EXPLAIN SELECT 1", "EXPLAIN (ANALYZE) SELECT 1"]);
        primary(
            Why::Set,
            &[
                "SET work_mem = 1",
                "SET LOCAL a.b = 1",
                "RESET ALL",
                "SET ROLE x",
                "SET SESSION CHARACTERISTICS AS TRANSACTION READ ONLY",
                "SET TRANSACTION SNAPSHOT '1'",
                "SET transaction_read_only = on",
                "SET TRANSACTION",
                "SET TRANSACTION READ ONLY,",
            ],
        );
        primary(
            Why::Utility,
            &[
                "CREATE TABLE t (a int)",
                "LOCK TABLE t IN ACCESS SHARE MODE",
                "CALL p()",
                "DO $$ $$",
                "LISTEN a",
                "FETCH c (1)",
                "DECLARE c CURSOR WITH HOLD FOR SELECT 1",
                "DECLARE c CURSOR WITHOUT FOR SELECT 1",
                "DECLARE c SELECT 1",
                "DECLARE CURSOR FOR SELECT 1",
                "DECLARE c CURSOR FOR EXECUTE p",
                "PREPARE p AS SELECT 1",
                "EXECUTE p",
                "CHECKPOINT",
                "DISCARD ALL",
                "SAVEPOINT a(1)",
                "COMMIT PREPARED 'x'",
                "ROLLBACK PREPARED 'x'",
                "PREPARE TRANSACTION 'x'",
                "COMMIT AND CHAIN",
                "ROLLBACK WORK AND CHAIN",
                "BEGIN NONSENSE",
                "START READ ONLY",
                "BEGIN READ ONLY,",
                "BEGIN ISOLATION LEVEL",
                "BEGIN TRANSACTION WORK",
                "COPY t TO '/x'",
                "COPY t TO PROGRAM 'x'",
                "COPY (SELECT 1) TO '/x'",
                "COPY (SELECT 1) TO PROGRAM 'rm'",
                "COPY (SELECT 1; SELECT 2) TO STDOUT",
                "COPY (SELECT 1",
                "COPY t",
                "COPY",
                "(",
                "\"select\" 1",
                "1",
                "ALTER SYSTEM RESET ALL",
            ],
        );
    }

    #[test]
    fn what_lives_with_its_transaction() {
        all(
            Access::Within(Within::Cursor),
            &[
                "DECLARE c CURSOR FOR SELECT 1",
                "declare \"c\" binary insensitive no scroll cursor without hold for (table t);",
                "FETCH c",
                "FETCH FORWARD 10 FROM c ;",
                "FETCH BACKWARD -1 IN \"c\"",
                "MOVE ALL c",
                "CLOSE c",
                "CLOSE ALL",
            ],
        );
        all(
            Access::Within(Within::Savepoint),
            &["SAVEPOINT a", "RELEASE a", "RELEASE SAVEPOINT a;", "ROLLBACK TO a", "ROLLBACK WORK TO SAVEPOINT a"],
        );
        primary(
            Why::WriteKeyword,
            &["DECLARE c CURSOR FOR SELECT * FROM t FOR UPDATE", "DECLARE c CURSOR FOR DELETE FROM t"],
        );
        primary(Why::UnknownFunction, &["DECLARE c CURSOR FOR SELECT nextval('s')"]);
        primary(Why::TaintedRelation, &["DECLARE c CURSOR FOR TABLE bad_view"]);
        primary(
            Why::MultiStatement,
            &["DECLARE c CURSOR FOR SELECT 1; SELECT 2", "FETCH c; FETCH c", "SAVEPOINT a; SELECT 1"],
        );
        primary(Why::SessionState, &["FETCH pg_temp", "SAVEPOINT pg_temp", "DECLARE pg_temp CURSOR FOR SELECT 1"]);
    }

    #[test]
    fn one_statement_only() {
        primary(
            Why::MultiStatement,
            &[
                "SELECT 1; SELECT 2",
                "SELECT 1;; DELETE FROM t",
                "BEGIN; SELECT 1",
                "COMMIT; BEGIN",
                "SET TRANSACTION READ ONLY; SELECT 1",
                "COPY t TO STDOUT; SELECT 1",
            ],
        );
        all(Access::Empty, &["", " ; -- a\n;", "/* pgweir: primary */"]);
    }

    #[test]
    fn what_cannot_be_read() {
        primary(
            Why::Unreadable,
            &[
                "SELECT 'a",
                "SELECT U&\"a\"",
                "SELECT 1; '",
                "SELECT \0",
                "SELECT 'a\0'",
                "BEGIN; \"",
                "\\d",
                "COPY t TO STDOUT; $a",
            ],
        );
        let catalog = Sample::usual().build();
        for lexical in [
            Lexical { standard_conforming_strings: false, ..Lexical::STANDARD },
            Lexical { opaque_encoding: true, ..Lexical::STANDARD },
        ] {
            assert_eq!(access(b"SELECT 1", lexical, Some(&catalog)), Access::Primary(Why::Unreadable));
        }
    }

    #[test]
    fn without_a_catalog_nothing_is_a_read() {
        for text in ["SELECT 1", "TABLE t", "COPY t TO STDOUT"] {
            assert_eq!(access(text.as_bytes(), Lexical::STANDARD, None), Access::Primary(Why::NoCatalog), "{text}");
        }
        assert_eq!(access(b"BEGIN", Lexical::STANDARD, None), Access::Begin(Modes::default()));
        let mut sample = Sample::new();
        sample.user(Class::Operator, "!=");
        assert_eq!(ask(&sample.build(), "SELECT 1"), Access::Primary(Why::CatalogOff));
    }

    #[test]
    fn without_a_databases_own_catalog_only_postgresqls_names_are_known() {
        let stock = Catalog::stock();
        for text in [
            "SELECT count(*), max(a), lower(b) FROM t WHERE c = ANY($1) ORDER BY now()",
            "SELECT relname FROM pg_catalog.pg_class JOIN pg_namespace n ON true",
            "SELECT current_setting('app.user')",
            "COPY t TO STDOUT",
        ] {
            assert_eq!(ask(&stock, text), Access::Read, "{text}");
        }
        for (text, why) in [
            ("SELECT own(1)", Why::UnknownFunction),
            ("SELECT nextval('s')", Why::UnknownFunction),
            ("SELECT * FROM pg_locks", Why::PerNode),
            ("SELECT pg_is_in_recovery()", Why::PerNode),
            ("SELECT (t).pg_advisory_lock FROM t", Why::PerNode),
            ("SELECT last_value FROM s", Why::PerNode),
            ("SELECT current_setting('work_mem')", Why::PerNode),
            ("SELECT setseed(0)", Why::UnknownFunction),
            ("UPDATE t SET a = 1", Why::WriteKeyword),
        ] {
            assert_eq!(ask(&stock, text), Access::Primary(why), "{text}");
        }
    }

    #[test]
    fn comments() {
        primary(
            Why::Comment,
            &[
                "/* pgweir: primary */ SELECT 1",
                "SELECT /*pgweir:primary*/ 1",
                "SELECT 1 -- pgweir:  PRIMARY",
                "SELECT 1; /* a /* pgweir: primary */ */",
                "BEGIN READ ONLY /* pgweir: primary */",
                "/* pgweir: what */ SELECT 1 /* pgweir: primary */",
            ],
        );
        all(
            Access::Read,
            &[
                "SELECT '/* pgweir: primary */'",
                "SELECT \"pgweir: primary\"",
                "SELECT 1 /* pgweir: standby */ -- primary",
            ],
        );
    }

    #[test]
    fn transactions() {
        let modes = |read_only, isolation, deferrable| Modes { read_only, isolation, deferrable };
        let only = modes(Some(true), None, None);
        for (text, expected) in [
            ("BEGIN", Modes::default()),
            ("begin work;", Modes::default()),
            ("START TRANSACTION", Modes::default()),
            ("BEGIN TRANSACTION READ ONLY", only),
            ("START TRANSACTION READ ONLY;;", only),
            ("BEGIN READ WRITE, READ ONLY", only),
            ("BEGIN READ ONLY READ WRITE", modes(Some(false), None, None)),
            ("BEGIN ISOLATION LEVEL SERIALIZABLE", modes(None, Some(Isolation::Serializable), None)),
            (
                "BEGIN WORK ISOLATION LEVEL REPEATABLE READ, READ ONLY, NOT DEFERRABLE",
                modes(Some(true), Some(Isolation::RepeatableRead), Some(false)),
            ),
            (
                "BEGIN ISOLATION LEVEL READ COMMITTED READ ONLY DEFERRABLE",
                modes(Some(true), Some(Isolation::ReadCommitted), Some(true)),
            ),
            (
                "/* a */ BEGIN/**/ISOLATION LEVEL READ UNCOMMITTED -- b",
                modes(None, Some(Isolation::ReadUncommitted), None),
            ),
        ] {
            all(Access::Begin(expected), &[text]);
        }
        for text in
            ["SET TRANSACTION READ ONLY", "set local transaction read only;", "SET SESSION TRANSACTION READ ONLY"]
        {
            all(Access::SetTransaction(only), &[text]);
        }
        all(
            Access::End,
            &[
                "COMMIT",
                "END;",
                "ROLLBACK WORK",
                "abort transaction",
                "COMMIT AND NO CHAIN",
                "ROLLBACK TRANSACTION AND NO CHAIN ;",
            ],
        );
    }

    #[test]
    fn labels_are_distinct() {
        let labels: std::collections::HashSet<_> = Why::ALL.iter().map(|why| why.label()).collect();
        assert_eq!(labels.len(), Why::ALL.len());
    }

    #[test]
    fn hostile_texts_stay_linear() {
        let catalog = Sample::usual().build();
        for unit in [
            "(",
            "SELECT ",
            "abs(",
            "x(a,",
            ",x(a)",
            "WITH x(a) AS (SELECT ",
            "a.",
            "current_setting('a.b'),",
            "/*pgweir: */ ",
            "pgweir:",
            ";",
            "AS x(",
            "READ ONLY ",
            "''",
        ] {
            for head in ["", "SELECT ", "WITH ", "COPY (SELECT ", "BEGIN ", "COPY "] {
                ask(&catalog, &format!("{head}{}", unit.repeat(300_000 / unit.len())));
            }
        }
    }

    const PIECES: &[&str] = &[
        "SELECT",
        "WITH",
        "AS",
        "FROM",
        "VALUES",
        "TABLE",
        "COPY",
        "TO",
        "STDOUT",
        "BEGIN",
        "READ",
        "ONLY",
        "SET",
        "LOCAL",
        "TRANSACTION",
        "INSERT",
        "INTO",
        "UPDATE",
        "SHARE",
        "abs",
        "nextval",
        "writer",
        "t",
        "bad_view",
        "###",
        "current_setting",
        "'a.b'",
        "set_config",
        "pg_temp",
        "pg_advisory_lock",
        "setseed",
        "CREATE",
        "REPLACE",
        "TEMP",
        "DECLARE",
        "HOLD",
        "(",
        ")",
        ",",
        ";",
        ".",
        "1",
        "$1",
        "\"abs\"",
        "/* pgweir: primary */",
        "--\n",
        "'",
        "U&\"x\"",
        "$$b$$",
        "é",
        "RECURSIVE",
        "lastval",
        "IN",
        "currval",
        "DISCARD",
        "ALL",
        "RESET",
        "DO",
        "LISTEN",
        "true",
        "=",
        "END",
        "AND",
        "CHAIN",
    ];

    fn soup() -> impl Strategy<Value = String> {
        let head = prop::sample::select(
            &["", "SELECT ", "(SELECT ", "COPY (SELECT ", "WITH x AS (SELECT 1) SELECT ", ";;TABLE "][..],
        );
        let pieces = prop::collection::vec(prop::sample::select(PIECES), 0..12);
        let apart = prop::sample::select(&[" ", "", "/**/"][..]);
        (head, pieces, apart).prop_map(|(head, pieces, apart)| format!("{head}{}", pieces.join(apart)))
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2000))]

        #[test]
        fn no_bytes_panic(text in prop::collection::vec(any::<u8>(), 0..300), standard: bool) {
            let lexical = Lexical { standard_conforming_strings: standard, ..Lexical::STANDARD };
            access(&text, lexical, Some(&Sample::usual().build()));
        }

        #[test]
        fn a_read_touches_no_session_and_writes_nothing(text in soup()) {
            if ask(&Sample::usual().build(), &text) == Access::Read {
                let statement = classify(text.as_bytes(), Lexical::STANDARD, Reported::default());
                prop_assert_eq!(statement, Statement::READ);
                for token in Lexer::new(text.as_bytes(), Lexical::STANDARD) {
                    let bad = [&b"INSERT"[..], b"UPDATE", b"INTO", b"SHARE"].iter().any(|word| token.is_word(word));
                    prop_assert!(!bad && token.text != b"###" && token.text != b"bad_view", "{}", text);
                }
            }
        }

        #[test]
        fn what_is_added_makes_no_read_of_what_was_none(text in soup(), more in soup()) {
            let catalog = Sample::usual().build();
            let parts = [ask(&catalog, &text), ask(&catalog, &more)];
            // An open string would take the other text in.
            let readable = parts[0] != Access::Primary(Why::Unreadable);
            if readable && ask(&catalog, &format!("{text} ;{more}")) == Access::Read {
                prop_assert!(parts.iter().all(|part| matches!(part, Access::Read | Access::Empty)), "{} ;{}", text, more);
            }
        }
    }
}

//! [pure] What a statement's text may do to the state of the session that runs it.
//!
//! One pass over the tokens, each statement of the text in turn: its first word decides what kind it is, and a few
//! words and function names count wherever they stand, because an EXPLAIN, a CTE or a COPY may carry them. In
//! doubt it taints; it never says less than the text shows. Whether a text may run on a standby is not asked here.

use memchr::memchr;

use super::lexer::{Kind, Lexer, Lexical, Token};
use super::names::{Name, Verb, look_up};
use super::setting::{self, Reported, operands};
use super::taint::{Taint, Taints};

/// A text of exactly one statement that the proxy may want to answer or follow itself.
#[derive(Copy, Clone, Debug, Default, PartialEq, Eq, Hash)]
pub enum Special<'a> {
    #[default]
    None,
    /// The name as written; [`fold_identifier`](super::fold_identifier) makes it PostgreSQL's.
    Deallocate(&'a [u8]),
    DeallocateAll,
    DiscardAll,
    /// Alone, or behind others that leave nothing and touch no transaction, as drivers' pools reset a session.
    ResetAll,
}

/// Whether a text, once sent and not answered, may have committed something in an open transaction.
#[derive(Copy, Clone, Debug, Default, PartialEq, Eq, Hash)]
pub enum End {
    /// What it does stands or falls with the transaction.
    #[default]
    Open,
    /// COMMIT, END, PREPARE TRANSACTION, the ends of prepared ones, CALL, DO, or several statements.
    Commits,
    /// ROLLBACK or ABORT, alone.
    RollsBack,
    /// One that begins or marks a transaction, and changes nothing by itself.
    Harmless,
}

/// What a text is.
#[derive(Copy, Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Statement<'a> {
    /// The strongest thing that the text may leave in the session.
    pub taint: Option<Taint>,
    /// All that it may leave.
    pub taints: Taints,
    pub special: Special<'a>,
    /// Nothing but blanks, comments and semicolons.
    pub empty: bool,
    /// How many statements that are not empty. The body of a `BEGIN ATOMIC` counts as several.
    pub statements: usize,
    /// A statement begins, ends or marks a transaction, or prepares one.
    pub transaction: bool,
    /// What the text does to the transaction that it stands in.
    pub end: End,
    /// A statement may change the catalog: DDL, DO, CALL.
    pub catalog: bool,
    /// A statement may name a prepared one ([`mentions`](super::mentions())).
    pub names: bool,
}

impl Statement<'_> {
    /// What every text is that [`access`](super::access()) calls a read.
    pub const READ: Statement<'static> = Statement {
        taint: None,
        taints: Taints::NONE,
        special: Special::None,
        empty: false,
        statements: 1,
        transaction: false,
        end: End::Open,
        catalog: false,
        names: false,
    };

    /// It may leave these as well. DDL that names a function does not run it.
    pub fn add(&mut self, taints: Taints) {
        if self.catalog && !self.taints.contains(Taint::Call) {
            return;
        }
        self.taints = self.taints.with(taints);
        for taint in taints.iter() {
            self.taint = stronger(self.taint, taint);
        }
    }
}

/// Reads a text as the session with these settings would.
pub fn classify(text: &[u8], lexical: Lexical, reported: Reported) -> Statement<'_> {
    let mut scan = Scan::new(reported);
    if memchr(0, text).is_some() || lexical.opaque_encoding && !text.is_ascii() {
        scan.taint(Taint::Unreadable);
    }
    let mut lexer = Lexer::new(text, lexical);
    while let Some(token) = lexer.next() {
        scan.step(token, &lexer);
    }
    scan.finish()
}

/// What the next token's meaning depends on.
struct Scan<'a> {
    reported: Reported,
    statement: Statement<'a>,
    place: Place,
    before: Before,
    /// Open parentheses; a semicolon inside them separates a rule's actions.
    depth: usize,
    /// The word UPDATE stood in this statement.
    update: bool,
    /// What the last statement is if it turns out to be the only one, and what all such taint if not.
    alone: Special<'a>,
    in_company: Option<Taint>,
    companions: Taints,
    /// Nothing but RESET ALL taints in company.
    only_resets: bool,
}

/// Where in a statement the scan is.
#[derive(Copy, Clone, PartialEq, Eq)]
enum Place {
    /// Before it.
    Start,
    /// Behind the parentheses that open it: it is counted, its first word is yet to come.
    Opened,
    /// In one that may say WITH HOLD.
    Cursor,
    Inside,
}

/// The token just before.
#[derive(Copy, Clone, PartialEq, Eq)]
enum Before {
    Other,
    Dot,
    Word(Name),
    /// INSERT or MERGE as a first word: what follows its INTO is a table's name, were it `temp`.
    Insert,
}

impl<'a> Scan<'a> {
    fn new(reported: Reported) -> Self {
        Self {
            reported,
            statement: Statement::default(),
            place: Place::Start,
            before: Before::Other,
            depth: 0,
            update: false,
            alone: Special::None,
            in_company: None,
            companions: Taints::NONE,
            only_resets: true,
        }
    }

    fn taint(&mut self, taint: Taint) {
        self.statement.taint = stronger(self.statement.taint, taint);
        self.statement.taints = self.statement.taints.with(Taints::of(&[taint]));
    }

    /// Reads one token; `rest` stands behind it.
    #[inline]
    fn step(&mut self, token: Token<'a>, rest: &Lexer<'a>) {
        let before = std::mem::replace(&mut self.before, Before::Other);
        if token.kind == Kind::Punct {
            return self.punct(token.text, before, rest);
        }
        let place = self.enter(Place::Inside);
        match token.kind {
            Kind::Word if matches!(place, Place::Start | Place::Opened) => self.first(token, rest),
            Kind::Word | Kind::Quoted => self.name(token, before),
            Kind::UnicodeQuoted | Kind::Broken => self.taint(Taint::Unreadable),
            _ => {}
        }
    }

    /// Leaves a statement's start, counting it; says where the scan was.
    fn enter(&mut self, place: Place) -> Place {
        let was = self.place;
        if was == Place::Start {
            self.statement.statements += 1;
            self.alone = Special::None;
        }
        if matches!(was, Place::Start | Place::Opened) {
            self.place = place;
        }
        was
    }

    fn punct(&mut self, text: &[u8], before: Before, rest: &Lexer<'a>) {
        match text {
            b";" => {
                self.place = if self.depth == 0 { Place::Start } else { Place::Opened };
                self.update = false;
            }
            b"(" => {
                self.enter(Place::Opened);
                self.depth += 1;
                self.called(before, rest);
            }
            b")" => {
                self.enter(Place::Inside);
                self.depth = self.depth.saturating_sub(1);
            }
            b"." => {
                self.enter(Place::Inside);
                self.before = Before::Dot;
            }
            _ => _ = self.enter(Place::Inside),
        }
    }

    /// A statement's first word.
    fn first(&mut self, token: Token<'a>, rest: &Lexer<'a>) {
        match Verb::of(token.text) {
            Verb::Other => self.name(token, Before::Other),
            Verb::Catalog => {
                self.statement.catalog = true;
                self.statement.names |= token.is_word(b"CREATE");
                self.name(token, Before::Other);
            }
            Verb::Cursor => {
                self.place = Place::Cursor;
                self.statement.names |= token.is_word(b"EXPLAIN");
            }
            Verb::Execute => self.statement.names = true,
            Verb::Insert => self.before = Before::Insert,
            Verb::Transaction => {
                self.statement.transaction = true;
                self.ends(end_of(token, rest));
            }
            Verb::Taint(taint) => {
                if matches!(taint, Taint::Do | Taint::Call) {
                    self.statement.catalog = true;
                    self.ends(End::Commits);
                }
                self.taint(taint);
            }
            Verb::Prepare => self.prepare(rest),
            Verb::Deallocate => {
                self.statement.names = true;
                self.alone(deallocate(rest), Some(Taint::Deallocate));
            }
            Verb::Discard if setting::is_all(rest) => self.alone(Special::DiscardAll, None),
            Verb::Discard => {}
            Verb::Reset if setting::is_all(rest) => self.alone(Special::ResetAll, Some(Taint::Reset)),
            Verb::Reset => self.taint(setting::reset(rest)),
            Verb::Set => {
                if let Some(taint) = setting::set(rest.clone(), self.reported) {
                    self.taint(taint);
                }
            }
        }
    }

    /// PREPARE TRANSACTION takes a string; a prepared statement may be called `transaction`.
    fn prepare(&mut self, rest: &Lexer<'_>) {
        match operands(rest) {
            [Some(word), Some(id)] if word.is_word(b"TRANSACTION") && id.kind == Kind::Str => {
                self.statement.transaction = true;
                self.ends(End::Commits);
            }
            _ => {
                self.statement.names = true;
                self.taint(Taint::Prepare);
            }
        }
    }

    /// Of several the one that may commit counts.
    fn ends(&mut self, end: End) {
        if self.statement.end != End::Commits {
            self.statement.end = end;
        }
    }

    fn alone(&mut self, special: Special<'a>, in_company: Option<Taint>) {
        self.alone = special;
        if let Some(taint) = in_company {
            self.in_company = stronger(self.in_company, taint);
            self.companions = self.companions.with(Taints::of(&[taint]));
            self.only_resets &= special == Special::ResetAll;
        }
    }

    /// A word or a quoted name anywhere but first.
    fn name(&mut self, token: Token<'_>, before: Before) {
        let name = look_up(token);
        match (name, before) {
            (Name::Other, _) | (Name::Into, Before::Insert) => return,
            (Name::PgTemp, _) => self.taint(Taint::TempTable),
            (Name::Temp, Before::Word(Name::Create | Name::Replace | Name::Scope | Name::Into)) => {
                self.taint(Taint::TempTable);
            }
            (Name::Hold, Before::Word(Name::With)) if self.place == Place::Cursor => self.taint(Taint::HoldCursor),
            (Name::Update, _) => self.update = true,
            (Name::PgSettings, _) if self.update => self.taint(Taint::SetConfig),
            // `(1).pg_advisory_lock` calls it as well.
            (Name::Function(taint), Before::Dot) => self.taint(taint),
            _ => {}
        }
        self.before = Before::Word(name);
    }

    /// An opening parenthesis behind a name.
    fn called(&mut self, before: Before, arguments: &Lexer<'_>) {
        match before {
            Before::Word(Name::Function(taint)) => self.taint(taint),
            Before::Word(Name::SetConfig) if !is_local(arguments.clone()) => self.taint(Taint::SetConfig),
            _ => {}
        }
    }

    fn finish(self) -> Statement<'a> {
        let mut statement = self.statement;
        statement.empty = statement.statements == 0;
        if statement.statements > 1 {
            statement.end = End::Commits;
        }
        let reset = self.alone == Special::ResetAll && self.only_resets && !statement.transaction;
        if (statement.statements == 1 && statement.taint != Some(Taint::Unreadable))
            || (reset && statement.taint.is_none())
        {
            statement.special = self.alone;
        }
        if let (Special::None, Some(taint)) = (statement.special, self.in_company) {
            statement.taint = stronger(statement.taint, taint);
            statement.taints = statement.taints.with(self.companions);
        }
        statement
    }
}

fn stronger(one: Option<Taint>, other: Taint) -> Option<Taint> {
    Some(one.map_or(other, |one| one.min(other)))
}

/// What a statement of `Verb::Transaction` does.
fn end_of(verb: Token<'_>, rest: &Lexer<'_>) -> End {
    let words: [_; 3] = operands(rest);
    let says = |word: &[u8]| words.iter().flatten().any(|token: &Token<'_>| token.is_word(word));
    let (prepared, to) = (says(b"PREPARED"), says(b"TO"));
    match () {
        () if [&b"COMMIT"[..], b"END"].iter().any(|word| verb.is_word(word)) => End::Commits,
        () if verb.is_word(b"ROLLBACK") && prepared => End::Commits,
        () if (verb.is_word(b"ROLLBACK") && !to) || verb.is_word(b"ABORT") => End::RollsBack,
        () => End::Harmless,
    }
}

/// Judges what follows the word DEALLOCATE.
fn deallocate<'a>(rest: &Lexer<'a>) -> Special<'a> {
    let name = match operands(rest) {
        [Some(prepare), Some(name), None] if prepare.is_word(b"PREPARE") => name,
        [Some(name), None, _] => name,
        _ => return Special::None,
    };
    match name.kind {
        Kind::Word if name.is_word(b"ALL") => Special::DeallocateAll,
        Kind::Word | Kind::Quoted => Special::Deallocate(name.text),
        _ => Special::None,
    }
}

/// Whether a call of `set_config` is for the transaction alone: three arguments, the last the plain word TRUE. A
/// `set_config` among the arguments ends the search, which keeps the whole linear.
fn is_local(arguments: Lexer<'_>) -> bool {
    let mut depth = 0_usize;
    let mut commas = 0;
    // Tokens in this argument, and whether the first of them is TRUE.
    let (mut tokens, mut truth) = (0_usize, false);
    for token in arguments {
        match (token.kind, token.text) {
            (Kind::Punct, b",") if depth == 0 => {
                commas += 1;
                (tokens, truth) = (0, false);
                continue;
            }
            (Kind::Punct, b")") if depth == 0 => return commas == 2 && tokens == 1 && truth,
            (Kind::Punct, b"(" | b"[") => depth += 1,
            (Kind::Punct, b")" | b"]") => depth = depth.saturating_sub(1),
            (Kind::Punct, b";") | (Kind::Broken, _) => return false,
            (Kind::Word | Kind::Quoted, _) if look_up(token) == Name::SetConfig => return false,
            _ => {}
        }
        truth = tokens == 0 && token.is_word(b"TRUE");
        tokens += 1;
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn read(text: &str) -> Statement<'_> {
        classify(text.as_bytes(), Lexical::STANDARD, Reported::default())
    }

    #[track_caller]
    fn taints(taint: Option<Taint>, texts: &[&str]) {
        for text in texts {
            assert_eq!(read(text).taint, taint, "{text}");
        }
    }

    #[test]
    fn what_leaves_nothing() {
        taints(
            None,
            &[
                "",
                "SELECT 1",
                "SELECT abalance FROM pgbench_accounts WHERE aid = $1",
                "UPDATE t SET a = 1, role = 2 WHERE setting = 'SET x = 1'",
                "INSERT INTO t (temp, hold) VALUES ($1, 'LISTEN') ON CONFLICT (a) DO UPDATE SET b = 1",
                "INSERT INTO temp VALUES (1)",
                "MERGE INTO temp USING s ON (true) WHEN MATCHED THEN DO NOTHING",
                "CREATE TABLE weather (temp int, local text)",
                "CREATE TABLE t (id serial) ; ALTER TABLE t SET (fillfactor = 70); ALTER ROLE r SET work_mem = '1MB'",
                "CREATE FUNCTION f() RETURNS int LANGUAGE sql SET search_path = x AS $$ SET a = 1; LISTEN b $$",
                "CREATE RULE r AS ON INSERT TO t DO ALSO (NOTIFY a; DELETE FROM b)",
                "SELECT 'SET a = 1; LISTEN b', \"listen\", E'\\'; SET x = 1 --'",
                "SELECT 1 -- ; SET a = 1\n",
                "SELECT /* ; SET /* x */ = 1; */ 1",
                "WITH hold AS (SELECT 1) SELECT * FROM hold",
                "BEGIN; DECLARE c CURSOR FOR SELECT 1; FETCH c; DECLARE d CURSOR WITHOUT HOLD FOR SELECT 1; CLOSE c; COMMIT",
                "COPY t FROM STDIN (FORMAT csv)",
                "UNLISTEN *",
                "NOTIFY a, 'x'",
                "DISCARD PLANS",
                "DISCARD TEMP",
                "DISCARD SEQUENCES",
                "SELECT 1; DISCARD ALL",
                "EXECUTE q(1)",
                "PREPARE TRANSACTION 'x'",
                "COMMIT PREPARED 'x'",
                "IMPORT FOREIGN SCHEMA s FROM SERVER x INTO y",
                "SECURITY LABEL ON TABLE t IS 'x'",
                "SELECT * FROM pg_settings FOR SHARE",
                "SELECT nextval('s'), setval('s', 1), lo_create(0)",
                "SELECT pg_advisory_xact_lock(1), pg_try_advisory_xact_lock_shared(2), pg_advisory_unlock(1)",
                "SELECT set_config('app.user', $1, true)",
                "SELECT pg_catalog.set_config('a.b', f(ARRAY[1,2], (3, 4)), TRUE), set_config('c.d', 'x', true)",
                "SELECT set_config FROM t",
                "SELECT lastval, t.setseedling, currvalue(1) FROM t",
                "EXPLAIN (ANALYZE, COSTS OFF) SELECT 1",
                "VACUUM t",
                "SHOW work_mem",
                "SET LOCAL work_mem = '1MB'",
                "set local role admin",
                "SET LOCAL search_path = a, 'b'",
                "SET TRANSACTION ISOLATION LEVEL SERIALIZABLE READ ONLY",
                "SET SESSION TRANSACTION READ ONLY",
                "SET TRANSACTION SNAPSHOT '00000003-0000001B-1'",
                "SET CONSTRAINTS ALL DEFERRED",
                "SET application_name = 'x'",
                "SET application_name TO x",
                "SET SESSION client_encoding = 'UTF8'",
                "set datestyle=iso,dmy",
                "SET \"TimeZone\" TO 'UTC'",
                "SET intervalstyle TO iso_8601",
                "SET standard_conforming_strings = on",
                "SET default_transaction_read_only = on",
                "SET TIME ZONE 'Europe/Berlin'",
                "SET SESSION TIME ZONE INTERVAL '+02:00' HOUR TO MINUTE",
                "SET TIME ZONE -7",
                "SET NAMES 'latin1'",
            ],
        );
    }

    #[test]
    fn what_ends_a_transaction() {
        for (end, texts) in [
            (
                End::Commits,
                &["commit", "END", "COMMIT PREPARED 'x'", "rollback prepared 'x'", "prepare transaction 'x'", "DO ''"]
                    [..],
            ),
            (End::Commits, &["call p()", "select 1; select 2", "begin; rollback", "COMMIT AND CHAIN"]),
            (End::RollsBack, &["rollback", "ABORT", "/* x */ rollback work ;", "rollback and chain"]),
            (End::Harmless, &["begin", "start transaction read only", "savepoint a", "release a", "rollback to a"]),
            (End::Harmless, &["rollback work to savepoint a"]),
            (End::Open, &["select 1", "insert into commit values (1)", "", "set local x = 1"]),
        ] {
            for text in texts {
                assert_eq!(read(text).end, end, "{text}");
            }
        }
    }

    #[test]
    fn what_may_change_the_catalog() {
        for text in [
            "CREATE TABLE t ()",
            "/* x */ alter table t add c int",
            "SELECT 1; DROP VIEW v",
            "DO $$ begin end $$",
            "CALL p()",
            "import foreign schema s from server x into y",
            "CREATE TEMP TABLE t ()",
        ] {
            assert!(read(text).catalog, "{text}");
        }
        for text in
            ["SELECT 'create'", "INSERT INTO t VALUES (1)", "COMMIT", "ABORT", "SELECT alter FROM drop", "dropp x"]
        {
            assert!(!read(text).catalog, "{text}");
        }
    }

    #[test]
    fn set_and_reset() {
        taints(
            Some(Taint::Set),
            &[
                "SET work_mem = '1MB'",
                "/* a */ sEt/**/work_mem -- b\n TO 1",
                "SELECT 1; SET statement_timeout = 0",
                ";;SET x.y = 1",
                "SET SESSION x = 1",
                "SET SESSION CHARACTERISTICS AS TRANSACTION READ ONLY",
                "SET local.x = 1",
                "SET LOCAL = 1",
                "SET session.x = 1",
                "SET time.zone = 1",
                "SET transaction.x TO 1",
                "SET timezone.x = 'UTC'",
                "SET search_path = a, b",
                "SET SCHEMA 'a'",
                "SET scram_iterations = 5000",
                "SET XML OPTION DOCUMENT",
                "SET application_name FROM CURRENT",
                "SET",
                "SET SESSION",
                "SET ;",
            ],
        );
        taints(
            Some(Taint::Reset),
            &[
                "RESET work_mem",
                "RESET TIME ZONE",
                "SET work_mem TO DEFAULT",
                "SET timezone = DEFAULT",
                "SET TIME ZONE LOCAL",
                "SET TIME ZONE DEFAULT",
                "SET NAMES",
                "SET NAMES DEFAULT; SELECT 1",
            ],
        );
        taints(
            Some(Taint::Role),
            &[
                "SET ROLE admin",
                "SET SESSION ROLE NONE",
                "SET role = x",
                "SET \"Role\" TO x",
                "SET SESSION AUTHORIZATION DEFAULT",
                "SET session_authorization TO x",
                "SET LOCAL SESSION AUTHORIZATION x",
                "SET LOCAL session_authorization = x",
                "RESET ROLE",
                "RESET SESSION AUTHORIZATION",
                "RESET session_authorization",
            ],
        );
        taints(
            Some(Taint::SetConfig),
            &[
                "SELECT set_config('a', 'b', false)",
                "SELECT \"pg_catalog\" . \"set_config\" /* */ ('a', 'b', $1)",
                "SELECT set_config('a', 'b', 't')",
                "SELECT set_config('a', 'b', \"true\")",
                "SELECT set_config('a', 'b', not true)",
                "SELECT set_config('a', 'b', true and false)",
                "SELECT set_config(is_local => false, setting_name => 'a', new_value => true)",
                "SELECT set_config(set_config('a', 'b', true), set_config('a', 'b', false), true)",
                "SELECT set_config('a', 'b', true), set_config('a', 'b', false)",
                "SELECT set_config('a', 'b', true",
                "WITH x AS (UPDATE pg_catalog.pg_settings SET setting = 1 RETURNING 1) SELECT 1",
                "SELECT set_limit(0.5)",
            ],
        );
    }

    #[test]
    fn what_the_server_reports_is_followed() {
        let all = Reported { search_path: true, scram_iterations: true };
        for (text, taint) in [
            ("SET search_path = a, 'b'", None),
            ("SET SCHEMA 'a'", None),
            ("SET scram_iterations TO 5000", None),
            ("SET search_path TO DEFAULT", Some(Taint::Reset)),
            ("SET search_path = 'PG_Temp'", Some(Taint::Set)),
            ("SET search_path = 'pg_'\n'temp'", Some(Taint::Set)),
            ("SET search_path = E'pg\\x5ftemp'", Some(Taint::Set)),
            ("SET search_path = pg_temp", Some(Taint::TempTable)),
            ("SET LOCAL search_path = 'pg_temp'", Some(Taint::TempTable)),
        ] {
            assert_eq!(classify(text.as_bytes(), Lexical::STANDARD, all).taint, taint, "{text}");
        }
    }

    #[test]
    fn what_stays_in_the_session() {
        let rows: [(Taint, &[&str]); 11] = [
            (
                Taint::Prepare,
                &["PREPARE q AS SELECT 1", "PREPARE transaction AS SELECT 1", "PREPARE transaction(int) AS SELECT $1"],
            ),
            (Taint::Listen, &["LISTEN a", "BEGIN; LISTEN a; SET x = 1; COMMIT"]),
            (Taint::Load, &["LOAD 'auto_explain'"]),
            (
                Taint::HoldCursor,
                &["DECLARE c SCROLL CURSOR WITH HOLD FOR SELECT 1", "declare c cursor with/**/hold for values (1)"],
            ),
            (Taint::Do, &["DO $$ BEGIN END $$", "DO LANGUAGE plpgsql 'x'"]),
            (Taint::Call, &["CALL p(1)", "BEGIN; CALL p()"]),
            (
                Taint::TempTable,
                &[
                    "CREATE TEMP TABLE t (a int)",
                    "CREATE GLOBAL TEMPORARY TABLE t (a int)",
                    "CREATE OR REPLACE TEMP VIEW v AS SELECT 1",
                    "CREATE LOCAL /* */ TEMP SEQUENCE s",
                    "EXPLAIN ANALYZE CREATE TEMP TABLE t AS SELECT 1",
                    "CREATE SCHEMA s CREATE TEMP TABLE t (a int)",
                    "SELECT 1 AS a INTO TEMP t",
                    "WITH x AS (SELECT 1) SELECT * INTO LOCAL TEMPORARY t FROM x",
                    "SELECT insert INTO TEMP t FROM x",
                    "CREATE TABLE pg_temp.t (a int)",
                    "CREATE TABLE \"pg_temp_3\".t (a int)",
                    "SELECT 1INTO TEMP t",
                ],
            ),
            (
                Taint::AdvisoryLock,
                &[
                    "SELECT pg_advisory_lock(1)",
                    "SELECT 1 WHERE pg_catalog.pg_try_advisory_lock_shared(1, 2)",
                    "COPY (SELECT \"pg_advisory_lock\"(1)) TO STDOUT",
                    "SELECT (1::bigint).pg_advisory_lock",
                    "SELECT currval('s'), pg_advisory_lock(1)",
                    "SELECT '\\', pg_advisory_lock(1) --'",
                ],
            ),
            (Taint::SetSeed, &["SELECT setseed(0.5)", "SELECT (0.5::float8).setseed"]),
            (
                Taint::SessionFunction,
                &["SELECT dblink_connect('c', 'x')", "SELECT dblink_connect_u('c')", "SELECT pg_backup_start('x')"],
            ),
            (Taint::Currval, &["SELECT currval('s')", "INSERT INTO t VALUES (lastval())"]),
        ];
        for (taint, texts) in rows {
            taints(Some(taint), texts);
        }
    }

    #[test]
    fn what_cannot_be_read() {
        taints(
            Some(Taint::Unreadable),
            &["SELECT 'a", "/* SELECT 1", "SELECT U&\"\\0061\"", "SELECT 1\0", "SELECT $a$ 1", "\\d"],
        );
        taints(Some(Taint::Unreadable), &["SET x = 1; SELECT $$", "DEALLOCATE U&\"a\""]);
        let sjis = Lexical { opaque_encoding: true, ..Lexical::STANDARD };
        assert_eq!(classify(b"SELECT '\x83\x5c'", sjis, Reported::default()).taint, Some(Taint::Unreadable));
        assert_eq!(classify(b"SELECT 'a'", sjis, Reported::default()).taint, None);
        let off = Lexical { standard_conforming_strings: false, ..Lexical::STANDARD };
        let hidden = classify(b"SELECT '\\', pg_advisory_lock(1) --'", off, Reported::default());
        assert_eq!(hidden.taint, None);
    }

    #[test]
    fn specials() {
        for (text, special) in [
            ("DEALLOCATE q", Special::Deallocate(b"q")),
            ("deallocate prepare \"Q 1\" ; -- x", Special::Deallocate(b"\"Q 1\"")),
            ("DEALLOCATE prepare", Special::Deallocate(b"prepare")),
            ("DEALLOCATE \"all\"", Special::Deallocate(b"\"all\"")),
            (" ;DEALLOCATE/**/ALL;;", Special::DeallocateAll),
            ("DEALLOCATE PREPARE ALL", Special::DeallocateAll),
            ("DISCARD ALL", Special::DiscardAll),
            ("reset all;", Special::ResetAll),
            ("SELECT pg_advisory_unlock_all();\nCLOSE ALL;\nUNLISTEN *;\nRESET ALL;", Special::ResetAll),
            ("RESET ALL; RESET ALL", Special::ResetAll),
            ("RESET ALL; SELECT 1", Special::None),
            ("COMMIT; RESET ALL", Special::None),
            ("DEALLOCATE ALL; RESET ALL", Special::None),
            ("RESET TimeZone; RESET ALL", Special::None),
            ("LISTEN a; RESET ALL", Special::None),
            ("DISCARD TEMP", Special::None),
            ("DISCARD ALL x", Special::None),
            ("SELECT 1; DISCARD ALL", Special::None),
            ("DEALLOCATE U&\"a\"", Special::None),
            ("DEALLOCATE ALL; '", Special::None),
        ] {
            assert_eq!(read(text).special, special, "{text}");
        }
        taints(None, &["DEALLOCATE q", "DEALLOCATE ALL", "DISCARD ALL", "RESET ALL"]);
        taints(Some(Taint::Deallocate), &["DEALLOCATE q; SELECT 1", "SELECT 1; DEALLOCATE ALL", "DEALLOCATE a b"]);
        taints(None, &["CLOSE ALL; RESET ALL"]);
        taints(Some(Taint::Reset), &["RESET ALL; SELECT 1", "BEGIN; RESET ALL"]);
        taints(Some(Taint::Reset), &["RESET ALL; DEALLOCATE ALL", "DEALLOCATE ALL; RESET ALL"]);
    }

    #[test]
    fn counts() {
        for (text, statements, transaction) in [
            ("", 0, false),
            (" ; /* a */ ;-- b", 0, false),
            ("SELECT 1", 1, false),
            ("(SELECT 1);", 1, false),
            ("((SELECT 1) UNION (SELECT 2)); (VALUES (1))", 2, false),
            ("CREATE RULE r AS ON INSERT TO t DO (SELECT 1; SELECT 2)", 1, false),
            ("BEGIN; INSERT INTO t VALUES (1); COMMIT", 3, true),
            ("start transaction read only", 1, true),
            ("SAVEPOINT a", 1, true),
            ("RELEASE a", 1, true),
            ("ROLLBACK TO a", 1, true),
            ("END", 1, true),
            ("ABORT", 1, true),
            ("PREPARE TRANSACTION 'x'", 1, true),
            ("SELECT begin, commit FROM t", 1, false),
        ] {
            let statement = read(text);
            assert_eq!((statement.statements, statement.transaction), (statements, transaction), "{text}");
            assert_eq!(statement.empty, statements == 0, "{text}");
        }
    }

    #[test]
    fn hostile_texts_stay_linear() {
        for unit in [
            "set_config(",
            "SET SESSION ",
            ";SET a = 'x'",
            "(",
            "DEALLOCATE ",
            "'a'\n",
            "$a",
            "pg_temp.",
            "/*",
            "1_",
            "SET search_path = ",
        ] {
            let text = unit.repeat(1_000_000 / unit.len());
            read(&text);
        }
    }

    /// Pieces that lex and classify to something, so that soups of them reach deep.
    const PIECES: &[&str] = &[
        "SET",
        "LOCAL",
        "SESSION",
        "TIME",
        "ZONE",
        "DEFAULT",
        "RESET",
        "ALL",
        "DEALLOCATE",
        "PREPARE",
        "TRANSACTION",
        "DISCARD",
        "work_mem",
        "timezone",
        "search_path",
        "=",
        "TO",
        ".",
        "(",
        ")",
        ",",
        ";",
        "true",
        "set_config",
        "\"set_config\"",
        "pg_temp",
        "pg_advisory_lock",
        "UPDATE",
        "pg_settings",
        "CREATE",
        "TEMP",
        "INSERT",
        "INTO",
        "temp",
        "DECLARE",
        "WITH",
        "HOLD",
        "'a'",
        "E'\\''",
        "$$b$$",
        "1",
        "1e5",
        "$1",
        "+-",
        "@-",
        "::",
        "U&\"x\"",
        "'",
        "currval",
        "ROLE",
        "e",
        "u",
        "&",
        "é",
        "\n",
        "--\n",
        " ",
        "/**/",
    ];

    fn soup() -> impl Strategy<Value = String> {
        prop::collection::vec(prop::sample::select(PIECES), 0..25).prop_map(|pieces| pieces.join(""))
    }

    fn spaced_soup() -> impl Strategy<Value = String> {
        prop::collection::vec(prop::sample::select(PIECES), 0..25).prop_map(|pieces| pieces.join(" "))
    }

    /// The same text with a blank or a comment between all tokens.
    fn spread(text: &str, between: &str) -> String {
        let tokens: Vec<_> = Lexer::new(text.as_bytes(), Lexical::STANDARD).map(|token| token.text).collect();
        let tokens: Vec<_> =
            tokens.iter().map(|text| std::str::from_utf8(text).expect("tokens end at ASCII")).collect();
        format!("{between}{}", tokens.join(between))
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2000))]

        #[test]
        fn no_bytes_panic(text in prop::collection::vec(any::<u8>(), 0..300), standard: bool) {
            let lexical = Lexical { standard_conforming_strings: standard, ..Lexical::STANDARD };
            let statement = classify(&text, lexical, Reported::default());
            prop_assert_eq!(statement.empty, statement.statements == 0);
        }

        #[test]
        fn blanks_and_comments_change_nothing(text in prop_oneof![soup(), spaced_soup()]) {
            let plain = read(&text);
            for between in [" ", "\t/* ; SET x = 1 /* ' */ */", " -- '; LISTEN a\n/**/"] {
                let text = spread(&text, between);
                prop_assert_eq!(read(&text), plain, "{}", text);
            }
        }

        #[test]
        fn a_statement_more_never_hides_a_taint(text in spaced_soup(), more in spaced_soup()) {
            let both = format!("{text};{more}");
            let (one, both) = (read(&text).taint, read(&both).taint);
            // An open string would take the other text in, and may close there.
            let one = one.filter(|one| *one != Taint::Unreadable);
            prop_assert!(one.is_none_or(|one| both.is_some_and(|both| both <= one)), "{:?} {:?}", one, both);
        }
    }
}

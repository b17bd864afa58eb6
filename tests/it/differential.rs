//! The same conversation twice: through pgweir, where three clients share servers, and straight to PostgreSQL, where
//! each client has a server to itself. No client may be able to tell which one it is.
//!
//! Conversations are random and follow from their seed, which a failure names.

use std::collections::BTreeMap;

use crate::support::wire::{Frame, say};
use crate::support::*;

const CLIENTS: usize = 3;
const STEPS: usize = 60;

/// xorshift64*: the same numbers for the same seed, everywhere.
struct Dice(u64);

impl Dice {
    fn new(seed: u64) -> Dice {
        Dice(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        usize::try_from(self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33).expect("31 bits") % limit
    }

    fn one_of<'a>(&mut self, all: &[&'a str]) -> &'a str {
        all[self.below(all.len())]
    }
}

/// Beside `repeated`, the unnamed statement is used behind its own Parse only: after a Parse that a server skipped, pgweir knows of none,
/// while a server has the one before.
const NAMES: &[&str] = &["a", "b", "c"];
const PORTALS: &[&str] = &["", "", "", "p"];

/// Statements for either protocol.
const TEXTS: &[&str] = &[
    "",
    "SELECT 1",
    "SELECT 2, 'two'",
    "SELECT generate_series(1, 4)",
    "SELECT * FROM diff_table ORDER BY 1 LIMIT 3",
    "INSERT INTO diff_table VALUES (5) RETURNING n",
    "SELEC",
    "SELECT 1/(length(current_setting('TimeZone')) * 0)",
    "SELECT no_such_column",
    "BEGIN",
    "BEGIN",
    "COMMIT",
    "COMMIT",
    "ROLLBACK",
    "ROLLBACK",
    "SAVEPOINT s",
    "ROLLBACK TO s",
    "COMMIT AND CHAIN",
    "SHOW TimeZone",
    "SHOW DateStyle",
    "SHOW application_name",
    "SHOW standard_conforming_strings",
    "SELECT 'a\\b'",
    "SELECT current_setting('DateStyle'), current_setting('IntervalStyle')",
    "SET TimeZone = 'Asia/Tokyo'",
    "SET TimeZone TO 'America/Lima'",
    "SET LOCAL TimeZone = 'Africa/Cairo'",
    "SET DateStyle = 'German, DMY'",
    "SET application_name = 'diff'",
    "RESET ALL",
    "RESET TimeZone",
    "SET DateStyle TO DEFAULT",
    "SET work_mem = '9MB'",
    "SET work_mem TO '8MB'",
    "SET work_mem = 'much'",
    "SET LOCAL work_mem = '7MB'",
    "RESET work_mem",
    "SHOW work_mem",
    "SHOW work_mem",
    "SELECT set_config('lock_timeout', '7s', false)",
    "SHOW lock_timeout",
    "SET search_path = \"user\", public, 'Other'",
    "SET search_path = pg_catalog",
    "SHOW search_path",
    "SET app.id = 'seven'",
    "RESET app.id",
    "SELECT coalesce(current_setting('app.id', true), '')",
    "SET SESSION CHARACTERISTICS AS TRANSACTION ISOLATION LEVEL REPEATABLE READ",
    "SHOW transaction_isolation",
    "COPY (SELECT generate_series(1, 3)) TO STDOUT",
    "DO $$ BEGIN RAISE NOTICE 'n'; END $$",
    "DROP TABLE IF EXISTS no_such_table",
];

/// What pins: rarer, since a pinned client shares nothing any more.
const PINNING: &[&str] = &[
    "SELECT set_config('work_mem', '6' || 'MB', false)",
    "SHOW work_mem",
    "CREATE TEMP TABLE diff_temp (n int)",
    "CREATE TEMP TABLE diff_passing (n int) ON COMMIT DROP",
    "SELECT count(*) FROM diff_temp",
    "DROP TABLE IF EXISTS diff_temp",
    "DISCARD TEMP",
    "PREPARE q AS SELECT 'q'; SELECT 1",
    "DEALLOCATE q; PREPARE q AS SELECT 'other q'",
    "SELECT pg_advisory_lock_shared(7)",
    "SELECT pg_advisory_unlock_shared(7)",
    "SELECT pg_advisory_unlock_all()",
    "LISTEN diff_channel",
    "UNLISTEN *",
    "SELECT pg_listening_channels()",
    "DECLARE diff_cursor CURSOR WITH HOLD FOR SELECT generate_series(1, 3)",
    "FETCH diff_cursor",
    "CLOSE ALL",
    "RESET TimeZone",
    "SET standard_conforming_strings = off",
];

/// Prepared statements by SQL. What `q` and `r` are is theirs and the protocol's; an EXECUTE of any other name may be of a
/// command that is followed, and is not found then.
const BY_SQL: &[&str] = &[
    "PREPARE q AS SELECT 'q'",
    "PREPARE q (int) AS SELECT $1 + 1",
    "PREPARE r AS SELECT * FROM diff_table ORDER BY 1 LIMIT 2",
    "PREPARE r AS INSERT INTO diff_table VALUES (6) RETURNING n",
    "PREPARE r AS SELECT no_such_column",
    "PREPARE r AS SELEC",
    "EXECUTE q",
    "EXECUTE q(7)",
    "EXECUTE q(no_such_column)",
    "EXPLAIN (COSTS OFF) EXECUTE q",
    "EXECUTE r",
    "EXECUTE r",
    "EXECUTE nobody",
];

/// Those of the protocol that SQL executes.
const PLAIN: &[&str] = &["SELECT 'plain'", "SELECT $1::int + 2", "SELECT generate_series(1, 3)", "SELECT 1/0"];

/// Who the client is, and what it may do then.
const ROLES: &[&str] = &[
    "SET ROLE diff_one",
    "SET ROLE diff_one",
    "SET ROLE diff_two",
    "SET SESSION ROLE 'diff_two'",
    "SET role = diff_one",
    "SET LOCAL ROLE diff_two",
    "SET ROLE NONE",
    "SET ROLE diff_nobody",
    "SET ROLE postgres",
    "RESET ROLE",
    "SET role TO DEFAULT",
    "SELECT set_config('role', 'diff_two', false)",
    "SHOW role",
    "SELECT current_user, session_user",
    "SELECT current_user, session_user",
    "SELECT n FROM diff_secret",
    "SELECT n FROM diff_secret",
    "INSERT INTO diff_secret VALUES (7)",
    "SELECT has_table_privilege('diff_secret', 'SELECT')",
    "RESET ALL",
    "RESET SESSION AUTHORIZATION",
];

/// Those that a superuser's rights are needed for; they pin.
const AUTHORIZATIONS: &[&str] = &[
    "SET SESSION AUTHORIZATION diff_one",
    "SET SESSION AUTHORIZATION diff_two",
    "SET LOCAL SESSION AUTHORIZATION diff_two",
    "SET SESSION AUTHORIZATION DEFAULT",
    "RESET SESSION AUTHORIZATION",
    "SET session_authorization TO diff_one",
    "DISCARD TEMP",
    "SHOW session_authorization",
    "SHOW is_superuser",
];

/// By the simple protocol only. In the extended one a named DEALLOCATE is never refused, and what comes
/// behind DISCARD ALL in its batch is refused under shared names.
const SIMPLE: &[&str] = &[
    "DEALLOCATE ALL",
    "DEALLOCATE a",
    "DEALLOCATE b",
    "DEALLOCATE q",
    "DEALLOCATE q",
    "DEALLOCATE r",
    "DISCARD ALL",
    "BEGIN; EXECUTE q; EXECUTE r",
    "EXECUTE r; EXECUTE q(1)",
];

const PARAMETRIC: &[&str] = &["SELECT $1::int + 1", "SELECT $1::text || $1::text", "SELECT 10 / $1::int"];

fn text(dice: &mut Dice) -> &'static str {
    match dice.below(17) {
        0 => dice.one_of(PINNING),
        1 | 2 => dice.one_of(BY_SQL),
        3 | 4 => dice.one_of(ROLES),
        5 if dice.below(2) == 0 => dice.one_of(AUTHORIZATIONS),
        _ => dice.one_of(TEXTS),
    }
}

/// A text, unless it names a prepared statement.
fn without_names(text: &str) -> &str {
    if ["PREPARE", "EXECUTE"].iter().any(|word| text.contains(word)) { "" } else { text }
}

fn extended(dice: &mut Dice) -> Vec<u8> {
    let name = dice.one_of(NAMES);
    let portal = dice.one_of(PORTALS);
    match dice.below(13) {
        10 => say::parse(dice.one_of(&["q", "r"]), dice.one_of(PLAIN)),
        11 => {
            let name = dice.one_of(&["q", "r"]);
            [say::bind(portal, name, if dice.below(2) == 0 { &[] } else { &["7"] }), say::execute(portal, 0)].concat()
        }
        12 => say::close(b'S', dice.one_of(&["q", "r"])),
        0 => [say::parse("", text(dice)), say::bind("", "", &[]), say::execute("", 0)].concat(),
        9 => [say::parse("", dice.one_of(PARAMETRIC)), say::describe(b'S', ""), say::bind(portal, "", &["7"])].concat(),
        // Known to differ: PostgreSQL describes a named EXECUTE as it was at its Parse, whatever it executes by now.
        1 => say::parse(name, without_names(text(dice))),
        2 => say::parse(name, dice.one_of(PARAMETRIC)),
        3 => say::bind(portal, name, if dice.below(2) == 0 { &[] } else { &["7"] }),
        4 => say::execute(portal, u32::try_from(dice.below(3)).expect("few")),
        5 => say::describe(b'S', name),
        6 => say::describe(b'P', portal),
        7 => say::close(if dice.below(2) == 0 { b'S' } else { b'P' }, name),
        _ => say::flush(),
    }
}

/// What a driver sends that prepares nothing, in few texts, so that they are shared.
fn repeated(dice: &mut Dice) -> Vec<u8> {
    let (sql, parameters) = match dice.below(6) {
        0 => ("SELECT * FROM diff_table ORDER BY 1 LIMIT 3", &[][..]),
        1 => ("INSERT INTO diff_table VALUES (6) RETURNING n", &[][..]),
        2 => ("SELECT current_setting('TimeZone'), '2024-01-02 12:00'::timestamptz", &[][..]),
        3 => ("SELECT $1::int + 1", &["7"][..]),
        4 => ("SELECT $1::text || $1::text", &["7"][..]),
        _ => ("SELECT $1::int + 1", &[][..]),
    };
    let describe = if dice.below(3) == 0 { say::describe(b'P', "") } else { Vec::new() };
    let before = if dice.below(3) == 0 { say::describe(b'S', "") } else { Vec::new() };
    let bind = say::bind("", "", parameters);
    [say::parse("", sql), before, bind, describe, say::execute("", 0), say::sync()].concat()
}

/// Some messages, and how many ReadyForQuery they ask for. In a failed transaction only simple queries: a server that
/// does not know a statement cannot be taught it there.
fn turn(dice: &mut Dice, failed: bool) -> (Vec<u8>, usize) {
    match dice.below(if failed { 5 } else { 12 }) {
        0 if dice.below(4) == 0 => (say::query(dice.one_of(SIMPLE)), 1),
        0..5 => (say::query(text(dice)), 1),
        5 => (say::query(&format!("{}; {}", text(dice), text(dice))), 1),
        6 => ([say::query("COPY diff_table FROM STDIN"), say::copy_data(b"1\n"), say::copy_done()].concat(), 1),
        7 => {
            // Batches that do not lean on one another: what a refused one taught is not known before its answer.
            let batches = 2 + dice.below(3);
            let mut run = || say::run(without_names(text(dice)));
            let one = |_| [run(), run(), say::sync()].concat();
            ((0..batches).map(one).collect::<Vec<_>>().concat(), batches)
        }
        10 | 11 => (repeated(dice), 1),
        _ => {
            let messages: Vec<_> = (0..1 + dice.below(6)).map(|_| extended(dice)).collect();
            ([messages.concat(), say::sync()].concat(), 1)
        }
    }
}

/// One side of a conversation.
struct Side {
    wire: Wire,
    /// What it was told of its settings. That it is told again what it knows is no difference.
    parameters: BTreeMap<String, String>,
    /// It is in a failed transaction.
    failed: bool,
}

impl Side {
    fn new(wire: Wire) -> Side {
        let mut side = Side { wire, parameters: BTreeMap::new(), failed: false };
        let greeting = std::mem::take(&mut side.wire.greeting);
        greeting.iter().filter(|frame| frame.tag == b'S').for_each(|frame| side.note(frame));
        side
    }

    fn note(&mut self, frame: &Frame) {
        let mut parts = frame.body.split(|&byte| byte == 0).map(|part| String::from_utf8_lossy(part).into_owned());
        if let (Some(name), Some(value)) = (parts.next(), parts.next()) {
            self.parameters.insert(name, value);
        }
    }

    async fn answers(&mut self, count: usize) -> Vec<String> {
        let mut all = Vec::new();
        for _ in 0..count {
            let frames = self.wire.answers().await;
            self.failed = frames.last().is_some_and(|frame| frame.body == b"E");
            let ended = frames.last().is_none_or(|frame| frame.tag != b'Z');
            for frame in &frames {
                match frame.tag {
                    b'S' => self.note(frame),
                    _ => all.push(seen(frame)),
                }
            }
            if ended {
                all.push("end".to_owned());
                break;
            }
        }
        all
    }
}

/// What a client can see of an answer.
fn seen(frame: &Frame) -> String {
    match frame.tag {
        b'E' | b'N' => format!("{frame} {}", frame.field(b'M')),
        b't' | b'T' => format!("{frame}{:?}", frame.body.len()),
        _ => frame.to_string(),
    }
}

async fn converse(proxy: &Proxy, pg: &Servers, user: &str, seed: u64) {
    let parameters = [("user", user), ("database", "test1"), ("application_name", "diff start")];
    let mut pairs = Vec::new();
    for _ in 0..CLIENTS {
        let through = Wire::login_with(proxy, say::V3_0, &parameters).await;
        let straight = Wire::login_direct(pg.primary, &pg.password, &parameters).await;
        pairs.push((Side::new(through), Side::new(straight)));
    }
    let mut dice = Dice::new(seed);
    let mut told: Vec<Vec<String>> = vec![Vec::new(); CLIENTS];
    for step in 0..STEPS {
        let client = dice.below(CLIENTS);
        let (through, straight) = &mut pairs[client];
        let (bytes, count) = turn(&mut dice, straight.failed);
        through.wire.send(&bytes).await;
        straight.wire.send(&bytes).await;
        let shown = String::from_utf8_lossy(&bytes).replace('\0', "·");
        told[client].push(shown);
        let expected = straight.answers(count).await;
        let got = through.answers(count).await;
        let of = format!("{user}, seed {seed}, step {step}, client {client} said {:#?}", told[client]);
        assert_eq!(got, expected, "{of}");
        assert_eq!(through.parameters, straight.parameters, "{of}");
    }
}

/// A superuser, two roles, and tables that not all of them may read.
fn ground(password: &str) -> String {
    let roles = ["diff_one", "diff_two", "diff_super"].map(|name| {
        format!(
            "DO $$ BEGIN CREATE ROLE {name}; EXCEPTION WHEN duplicate_object OR unique_violation THEN NULL; END $$;\n"
        )
    });
    format!(
        "{}ALTER ROLE diff_super SUPERUSER LOGIN PASSWORD '{password}'; GRANT diff_one, diff_two TO app;
         CREATE TABLE IF NOT EXISTS diff_table (n int); GRANT ALL ON diff_table TO app, diff_one;
         CREATE TABLE IF NOT EXISTS diff_secret (n int); GRANT SELECT ON diff_secret TO diff_one;",
        roles.concat()
    )
}

async fn nobody_can_tell(pg: Servers) {
    let direct = pg.direct("test1").await;
    direct.batch_execute(&ground(&pg.password)).await.expect("tables and roles");
    for (first, user) in [(1_u64, "app"), (1_000, "app"), (2_000, "diff_super")] {
        // Three servers for three clients: each of them may hold one, and they trade places.
        let size = if first == 1_000 { "\nmax_prepared_statements = 2" } else { "" };
        // What RESET leads back to is the server's own login, so that it has to be the same.
        let setup = Setup::new(&pg).database("test1", "application_name = 'diff start'");
        let setup = setup.users(&format!("\"app\" \"{0}\"\n\"diff_super\" \"{0}\"\n", pg.password));
        let proxy = setup.global(&format!("default_pool_size = 3\nshare_unnamed_after = 2{size}")).start().await;
        let seeds = std::env::var("PGWEIR_TEST_SEEDS").ok().and_then(|seeds| seeds.parse().ok()).unwrap_or(40);
        for seed in first..first + seeds {
            converse(&proxy, &pg, user, seed).await;
        }
    }
}

tests! {
    on both: [nobody_can_tell],
    on 15: []
}

//! psql: what people type, and what it exits with.

use std::io::{BufRead, BufReader, Write};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use crate::ground::{Ground, wrote};
use crate::support::{DEADLINE, Servers, eventually, soon};

async fn describing(pg: Servers) {
    let ground = Ground::open(pg, "psql_describe").await;
    let psql = Psql(&ground);
    psql.good(&[
        "CREATE TABLE river (id int PRIMARY KEY, name text NOT NULL DEFAULT 'x')",
        "CREATE INDEX by_name ON river (name)",
    ])
    .await;
    let said = psql.good(&[r"\d river"]).await;
    for part in
        ["Table \"public.river\"", "id     | integer |", "\"river_pkey\" PRIMARY KEY", "\"by_name\" btree (name)"]
    {
        assert!(said.contains(part), "{part}\n{said}");
    }
    for (command, part) in [(r"\dt", "river"), (r"\di", "by_name"), (r"\dn", "public"), (r"\du", "app")] {
        let said = psql.good(&[command]).await;
        assert!(said.contains(part), "{command}\n{said}");
    }
    assert_eq!(psql.bare(&[r"\conninfo"]).await.lines().count(), 1);
}

async fn several_statements(pg: Servers) {
    let ground = Ground::open(pg, "psql_several").await;
    let psql = Psql(&ground);
    assert_eq!(psql.bare(&["SELECT 1; SELECT 2", "SELECT 3"]).await, "1\n2\n3");
    // One -c is one transaction.
    let failed = psql.run(&["-c", "CREATE TABLE lost (n int); SELECT 1/0; SELECT 2"]).await;
    assert_eq!(failed.status.code(), Some(1), "{}", wrote(&failed));
    assert!(wrote(&failed).contains("ERROR:  division by zero"), "{}", wrote(&failed));
    assert_eq!(psql.bare(&["SELECT to_regclass('lost') IS NULL"]).await, "t");
    // From a file each is its own.
    let script = "CREATE TABLE kept (n int);\nSELECT 1/0;\nINSERT INTO kept VALUES (1);\nSELECT count(*) FROM kept;\n";
    let kept = psql.feed(&["-qAt"], script).await;
    assert_eq!((kept.status.code(), String::from_utf8_lossy(&kept.stdout).trim_end()), (Some(0), "1"));
    let stopped = psql.feed(&["-q", "-v", "ON_ERROR_STOP=1"], "SELECT 1/0;\nDROP TABLE kept;\n").await;
    assert_eq!(stopped.status.code(), Some(3), "{}", wrote(&stopped));
    let single = psql.feed(&["-q", "-1", "-v", "ON_ERROR_STOP=1"], "DROP TABLE kept;\nSELECT 1/0;\n").await;
    assert_eq!(single.status.code(), Some(3), "{}", wrote(&single));
    assert_eq!(psql.bare(&["SELECT count(*) FROM kept"]).await, "1");
}

async fn copying(pg: Servers) {
    let ground = Ground::open(pg, "psql_copy").await;
    let psql = Psql(&ground);
    let (from, to) = (ground.proxy.dir.join("from.csv"), ground.proxy.dir.join("to.csv"));
    let text: String = (0..20_000).map(|n| format!("{n},\"line, {n}\"\n")).collect();
    std::fs::write(&from, &text).expect("the file is written");
    psql.good(&[
        "CREATE TABLE lines (n int PRIMARY KEY, line text)",
        &format!(r"\copy lines FROM '{}' CSV", from.display()),
        &format!(r"\copy (SELECT * FROM lines ORDER BY n) TO '{}' (FORMAT csv, FORCE_QUOTE (line))", to.display()),
    ])
    .await;
    assert_eq!(std::fs::read_to_string(&to).expect("the file is there"), text);
    let twice = psql.run(&["-c", &format!(r"\copy lines FROM '{}' CSV", from.display())]).await;
    assert_eq!(twice.status.code(), Some(1));
    assert!(wrote(&twice).contains("lines_pkey"), "{}", wrote(&twice));
    let inline =
        psql.feed(&["-qAt"], "COPY lines FROM STDIN;\n-1\tminus\n-2\ttwo\n\\.\nSELECT min(n) FROM lines;\n").await;
    assert_eq!(String::from_utf8_lossy(&inline.stdout), "-2\n", "{}", wrote(&inline));
    let out = psql.bare(&["COPY (SELECT n FROM lines WHERE n < 0 ORDER BY n) TO STDOUT"]).await;
    assert_eq!(out, "-2\n-1");
}

async fn sessions(pg: Servers) {
    let ground = Ground::open(pg, "psql_session").await;
    let psql = Psql(&ground);
    let shown = psql.bare(&["SHOW application_name", "SET TimeZone TO 'Asia/Tokyo'", "SHOW TimeZone"]).await;
    assert_eq!(shown, "psql\nSET\nAsia/Tokyo");
    assert_ne!(psql.bare(&["SHOW TimeZone"]).await, "Asia/Tokyo");
    let mut command = ground.program("psql");
    command.args(["-XAtc", "SHOW work_mem"]).env("PGOPTIONS", "-c work_mem=6MB").env("PGTZ", "Asia/Tokyo");
    assert_eq!(text(&finish(command, "").await), "6MB");
    // \gexec, \gset, \if and transactions in one session.
    let script = "BEGIN;\nSELECT 42 AS answer, true AS good \\gset\n\\if :good\nSELECT :answer;\n\\endif\n\
                  SELECT 'SELECT ' || n FROM generate_series(1, 3) n \\gexec\nROLLBACK;\n";
    assert_eq!(text(&psql.feed(&["-qAt"], script).await), "42\n1\n2\n3");
    let rows = psql.feed(&["-qAt", "-v", "FETCH_COUNT=7"], "SELECT * FROM generate_series(1, 100);\n").await;
    assert_eq!(text(&rows).lines().count(), 100);
}

/// As \watch does: the same statement again and again in one session.
async fn watching(pg: Servers) {
    let ground = Ground::open(pg, "psql_watch").await;
    let script = "SELECT 'seen' \\watch 0.1\n";
    let mut command = ground.program("psql");
    command.args(["-XqAt"]).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = command.spawn().expect("psql runs");
    child.stdin.take().expect("it is piped").write_all(script.as_bytes()).expect("psql reads");
    let lines = BufReader::new(child.stdout.take().expect("it is piped")).lines();
    let read = move || lines.map_while(Result::ok).filter(|line| line == "seen").take(5).count();
    let seen = soon("psql repeats it", tokio::task::spawn_blocking(read)).await;
    kill_process(Pid::from_child(&child), Signal::TERM).expect("it still watches");
    child.wait().expect("psql ends");
    assert_eq!(seen.expect("it does not panic"), 5);
}

/// From psql 16 on.
async fn binding(pg: Servers) {
    let ground = Ground::open(pg, "psql_bind").await;
    let psql = Psql(&ground);
    if !knows_bind() {
        return;
    }
    let script = "SELECT $1::int + $2::int \\bind 40 2 \\g\nSELECT 'it''s ' || $1 \\bind me \\g\n";
    assert_eq!(text(&psql.feed(&["-qAt"], script).await), "42\nit's me");
}

async fn refusals(pg: Servers) {
    let ground = Ground::open(pg, "psql_refusals").await;
    let psql = Psql(&ground);
    for (name, value, part) in [
        ("PGPASSWORD", "wrong", "password authentication failed"),
        ("PGDATABASE", "no_such_database", "no_such_database"),
        ("PGSSLMODE", "require", "server does not support SSL"),
    ] {
        let mut command = ground.program("psql");
        command.args(["-wXc", "SELECT 1"]).env(name, value);
        let output = finish(command, "").await;
        assert_eq!(output.status.code(), Some(2), "{}", wrote(&output));
        assert!(wrote(&output).contains(part), "{}", wrote(&output));
    }
    let killed = psql.run(&["-c", "SELECT pg_terminate_backend(pg_backend_pid())"]).await;
    // Its server is one of several: the client stays, and is told what is known.
    assert_eq!(killed.status.code(), Some(1), "{}", wrote(&killed));
    assert!(wrote(&killed).contains("whether the transaction was committed is not known"), "{}", wrote(&killed));
    let where_ = psql.run(&["-c", "SELECT 1,\n  nothing_there"]).await;
    assert!(wrote(&where_).contains("LINE 2:   nothing_there\n          ^"), "{}", wrote(&where_));
}

async fn cancelling_by_ctrl_c(pg: Servers) {
    let ground = Ground::open(pg, "psql_cancel").await;
    let direct = ground.pg.direct(&ground.database).await;
    let mut command = ground.program("psql");
    command.args(["-XAt", "-c", "SELECT pg_sleep(100)", "-c", "SELECT 'after'"]);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("psql runs");
    let sql = "SELECT count(*) FROM pg_stat_activity WHERE query = 'SELECT pg_sleep(100)' AND state = 'active' AND \
               datname = current_database()";
    let sleeps = || async { direct.query_one(sql, &[]).await.is_ok_and(|row| row.get::<_, i64>(0) == 1) };
    eventually("the query runs", sleeps).await;
    kill_process(Pid::from_child(&child), Signal::INT).expect("it still runs");
    let deadline = Instant::now() + DEADLINE;
    while child.try_wait().expect("the child is ours").is_none() {
        assert!(Instant::now() < deadline, "psql does not end");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let output = child.wait_with_output().expect("psql ends");
    assert!(wrote(&output).contains("canceling statement due to user request"), "{}", wrote(&output));
    assert!(!sleeps().await, "the server works on");
}

tests! {
    on both: [
        describing, several_statements, copying, sessions, watching, binding, refusals, cancelling_by_ctrl_c,
    ],
    on 15: []
}

struct Psql<'a>(&'a Ground);

impl Psql<'_> {
    /// Commands that succeed; what psql prints.
    async fn good(&self, commands: &[&str]) -> String {
        self.commands(&["-v", "ON_ERROR_STOP=1"], commands).await
    }

    /// The same, unaligned and without headers.
    async fn bare(&self, commands: &[&str]) -> String {
        self.commands(&["-At"], commands).await
    }

    async fn commands(&self, options: &[&str], commands: &[&str]) -> String {
        let commands = commands.iter().flat_map(|command| ["-c", command]);
        let output = self.run(&options.iter().copied().chain(commands).collect::<Vec<_>>()).await;
        assert!(output.status.success(), "{}", wrote(&output));
        text(&output)
    }

    async fn run(&self, arguments: &[&str]) -> Output {
        self.feed(arguments, "").await
    }

    async fn feed(&self, arguments: &[&str], input: &str) -> Output {
        let mut command = self.0.program("psql");
        command.arg("-X").args(arguments);
        finish(command, input).await
    }
}

async fn finish(mut command: Command, input: &str) -> Output {
    let input = input.to_owned();
    let run = move || {
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("psql runs");
        let mut stdin = child.stdin.take().expect("it is piped");
        // One that has failed reads no more.
        let _gone = stdin.write_all(input.as_bytes());
        drop(stdin);
        child.wait_with_output().expect("psql ends")
    };
    tokio::task::spawn_blocking(run).await.expect("it does not panic")
}

fn text(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).trim_end().to_owned()
}

fn knows_bind() -> bool {
    let version = Command::new("psql").arg("--version").output().expect("psql runs");
    let version = String::from_utf8_lossy(&version.stdout).into_owned();
    let major =
        version.split_whitespace().find_map(|word| word.split(['.', 'd', 'b', 'r']).next()?.parse::<u32>().ok());
    major.is_some_and(|major| major >= 16)
}

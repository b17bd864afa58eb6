//! The stack around pgweir: what `ops/` ships, run for real.

/// Servers of the test's own.
mod room {
    use std::collections::BTreeSet;
    use std::path::Path;
    use std::process::{Command, Stdio};

    use pgweir::demo::wait_until;
    use rustix::process::Signal;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpStream;

    use crate::support::stack::Node::{self, Master, Replica};
    use crate::support::stack::{DATABASE, Stack};
    use crate::support::*;

    const ROWS: &str = "\
CREATE TABLE item (id int PRIMARY KEY, note text, at timestamptz DEFAULT now(), amount numeric(12, 2));
INSERT INTO item SELECT n, md5(n::text) || 'ü''\\', '2026-01-01'::timestamptz + n * interval '1 hour', n / 7.0
FROM generate_series(1, 20000) AS n;
CREATE TABLE \"Odd name\" (a int[], b jsonb);
INSERT INTO \"Odd name\" VALUES ('{1,2}', '{\"k\": null}'), (NULL, '[]');
CREATE VIEW late AS SELECT * FROM item WHERE id > 19000;";
    const SUMS: &str = "\
SELECT count(*), md5(string_agg(i::text, '|' ORDER BY id)) FROM item AS i
UNION ALL SELECT count(*), md5(string_agg(o::text, '|' ORDER BY o::text)) FROM \"Odd name\" AS o
UNION ALL SELECT count(*), '' FROM late";

    /// The lines of a report that begin with this word.
    fn lines<'a>(report: &'a str, word: &str) -> Vec<&'a str> {
        report.lines().filter(|line| line.starts_with(word)).collect()
    }

    fn names(dir: &Path, part: &str) -> Vec<String> {
        let all = std::fs::read_dir(dir).expect("a directory").map(|entry| entry.expect("an entry").file_name());
        let mut names: Vec<_> =
            all.map(|name| name.to_string_lossy().into_owned()).filter(|name| name.contains(part)).collect();
        names.sort();
        names
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_pair_replicates_and_verify_ha_is_green_until_something_is_wrong() {
        let stack = Stack::start("it-ops-verify");
        let (proxy, metrics_port) = stack.proxy().await;
        let (at, backups) = (format!("127.0.0.1:{}", proxy.port), stack.text("backups"));
        let url = format!("http://127.0.0.1:{metrics_port}/metrics");
        let arguments = ["--proxy", &at, "--metrics", &url, "--backup-dir", &backups];
        let verify = || stack.script("verify-ha.sh", &arguments);

        // No backup yet: those lines alone are red.
        let early = verify().expect_err("there is no backup");
        assert_eq!(lines(&early, "FAIL").len(), 2, "{early}");
        assert!(lines(&early, "FAIL").iter().all(|line| line.contains("backup")), "{early}");
        let master = stack.address(Master);
        stack.script("backup.sh", &["--server", &master]).expect("a dump");
        stack.script("base-backup.sh", &["--server", &master]).expect("a base backup");
        let green = verify().expect("all is well");
        assert_eq!(lines(&green, "OK").len(), 16, "{green}");
        stack.script("check-replication.sh", &[]).expect("replication is well");

        alerts_and_dashboard_ask_what_is_shown(&stack, metrics_port).await;

        // Roles have what they need and no more.
        let roles = "SELECT rolname, rolsuper, rolcreaterole, rolcreatedb, rolreplication FROM pg_roles \
                     WHERE rolname IN ('replicator', 'monitor', 'pgweir_probe') ORDER BY rolname";
        assert_eq!(stack.value(Master, roles), "monitor|f|f|f|f\npgweir_probe|f|f|f|f\nreplicator|f|f|f|t");
        assert_eq!(stack.value(Replica, "SHOW data_checksums"), "on");
        assert_eq!(stack.value(Master, "SELECT slot_name, active FROM pg_replication_slots"), "replica_slot_1|t");

        // A backup that is damaged on disk.
        let dump = names(&stack.path("backups"), ".dump.sha256").pop().expect("a checksum").replace(".sha256", "");
        let dump = stack.path("backups").join(dump);
        std::fs::OpenOptions::new()
            .append(true)
            .open(&dump)
            .and_then(|mut file| std::io::Write::write_all(&mut file, b"x"))
            .expect("it grows");
        let damaged = verify().expect_err("a dump is damaged");
        assert_eq!(lines(&damaged, "FAIL").len(), 1, "{damaged}");
        assert!(damaged.contains("is not what was written"), "{damaged}");

        // The standby is gone.
        stack.stop(Replica, Signal::INT);
        let red = verify().expect_err("there is no standby");
        for name in ["server", "standby", "streaming", "slot", "lag", "replicated", "reads", "metrics"] {
            assert!(lines(&red, "FAIL").iter().any(|line| line.contains(name)), "{name} is not red: {red}");
        }
        assert!(lines(&red, "OK").iter().any(|line| line.contains("write ")), "{red}");
        stack.script("check-replication.sh", &[]).expect_err("replication is broken");
    }

    /// The page of an exporter, started for it.
    async fn scraped(stack: &Stack, node: Node) -> String {
        let port = pgweir::demo::free_ports(25_950, 1).expect("a port")[0];
        let mut command = stack.command(Path::new("prometheus-postgres-exporter"));
        let at =
            format!("{}/postgres?sslmode=verify-full&sslrootcert={}", stack.address(node), stack.text("certs/ca.crt"));
        command.env("DATA_SOURCE_URI", at).env("DATA_SOURCE_USER", "monitor");
        command.env("DATA_SOURCE_PASS_FILE", stack.path("secrets/monitor"));
        command.arg(format!("--web.listen-address=127.0.0.1:{port}")).arg("--disable-settings-metrics");
        command.arg(format!("--extend.query-path={}", stack.text("ops/monitoring/queries.yml")));
        let _exporter = stack.keep(command.stdout(Stdio::null()).stderr(Stdio::null()));
        let mut page = String::new();
        let deadline = std::time::Instant::now() + DEADLINE;
        while !page.contains("pg_up 1") {
            assert!(std::time::Instant::now() < deadline, "the exporter shows: {page}");
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
            page = get(port, "/metrics").await;
        }
        page
    }

    /// An HTTP answer; empty where nobody listens yet.
    async fn get(port: u16, path: &str) -> String {
        let Ok(mut stream) = TcpStream::connect(("127.0.0.1", port)).await else { return String::new() };
        let request = format!("GET {path} HTTP/1.0\r\nHost: localhost\r\n\r\n");
        let mut answer = Vec::new();
        if stream.write_all(request.as_bytes()).await.is_ok() {
            let _cut_short = soon("the answer's end", stream.read_to_end(&mut answer)).await;
        }
        String::from_utf8_lossy(&answer).into_owned()
    }

    /// Words of a text that begin with this and go on like a metric's name.
    fn metrics(text: &str, prefix: &str) -> BTreeSet<String> {
        let of_name = |c: char| c.is_ascii_alphanumeric() || c == '_';
        let words = text.split(|c: char| !of_name(c)).filter(|word| word.starts_with(prefix));
        words.map(str::to_owned).collect()
    }

    async fn alerts_and_dashboard_ask_what_is_shown(stack: &Stack, metrics_port: u16) {
        let mut shown = metrics(&scraped(stack, Master).await, "pg_");
        shown.extend(metrics(&scraped(stack, Replica).await, "pg_"));
        for name in [
            "pg_up",
            "pg_replication_lag_bytes",
            "pg_stat_replication_count",
            "pg_stat_activity_count",
            "pg_database_size_bytes",
        ] {
            assert!(shown.contains(name), "{name} is gone");
        }
        let read = |path: &str| std::fs::read_to_string(stack.path("ops/monitoring").join(path)).expect(path);
        // Of the alerts only what is asked: their runbooks name functions of PostgreSQL.
        let alerts = read("alerts.yml");
        let expressions: String = alerts.lines().filter(|line| line.trim_start().starts_with("expr:")).collect();
        let asked = expressions + &read("grafana/dashboards/pgweir.json");
        shown.extend(metrics(&get(metrics_port, "/metrics").await, "pgweir_"));
        for (prefix, least) in [("pg_", 20), ("pgweir_", 12)] {
            let asked = metrics(&asked, prefix);
            assert!(asked.len() >= least, "{asked:?}");
            assert_eq!(asked.difference(&shown).collect::<Vec<_>>(), Vec::<&String>::new());
        }
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_dump_is_restored_equal_and_never_over_something_else() {
        let stack = Stack::new("it-ops-dump");
        stack.serve(Master);
        stack.value(Master, ROWS);
        let sums = stack.value(Master, SUMS);
        let (backups, master) = (stack.path("backups"), stack.address(Master));
        // What retention finds: one day within, one beyond, and a lone one of another database, which stays.
        let day = |ago: i64| {
            let said =
                stack.tried(Command::new("date").args(["-u", "-d", &format!("{ago} days ago"), "+%Y%m%dT%H%M%SZ"]));
            said.expect("a date").trim().to_owned()
        };
        for name in [format!("{DATABASE}-{}", day(6)), format!("{DATABASE}-{}", day(8)), format!("other-{}", day(30))] {
            std::fs::write(backups.join(format!("{name}.dump")), b"").expect("a file");
        }
        stack.script("backup.sh", &["--server", &master]).expect("a dump");
        assert_eq!(names(&backups, ".dump").len(), 4, "{:?}", names(&backups, ""));
        assert!(names(&backups, &day(8)[..8]).is_empty() && !names(&backups, &day(30)[..8]).is_empty());
        let dump = names(&backups, ".dump.sha256").pop().expect("a checksum").replace(".sha256", "");
        let file = backups.join(&dump).to_string_lossy().into_owned();
        assert!(stack.path("upload/dump").join(&dump).exists(), "the hook was handed it");
        assert_eq!(
            stack.sql(Master, "postgres", "SELECT kind, file FROM ops.backup").as_deref(),
            Ok(&*format!("dump|{dump}"))
        );

        let restore = |more: &[&str]| stack.script("restore.sh", &[&[&*file, "--server", &master], more].concat());
        restore(&["--database", "copy"]).expect("a new database");
        assert_eq!(stack.sql(Master, "copy", SUMS), Ok(sums.clone()));
        for name in ["copy", DATABASE] {
            let refused = restore(&["--database", name]).expect_err("it holds something");
            assert!(refused.contains("is not empty"), "{refused}");
        }

        // In its place, with somebody connected; what was there stays under another name.
        stack.value(Master, "UPDATE item SET note = 'lost' WHERE id <= 10");
        let changed = stack.value(Master, SUMS);
        assert_ne!(changed, sums);
        let mut sleeper = stack.command(&servers::bin15().psql());
        let mut sleeper = sleeper
            .env("PGPASSWORD", stack.password("postgres"))
            .args([
                "-X",
                &format!(
                    "host=127.0.0.1 port={} user=postgres dbname={DATABASE}",
                    master.rsplit(':').next().unwrap_or("")
                ),
                "-c",
                "SELECT pg_sleep(600)",
            ])
            .spawn()
            .expect("psql starts");
        eventually("somebody sleeps there", || async {
            stack.value(
                Master,
                "SELECT count(*) FROM pg_stat_activity WHERE query LIKE '%pg_sleep(600)' AND state = 'active'",
            ) == "1"
        })
        .await;
        restore(&["--replace", DATABASE]).expect("it takes the place");
        assert!(!sleeper.wait().expect("psql ends").success());
        assert_eq!(stack.value(Master, SUMS), sums);
        let before = stack
            .sql(Master, "postgres", "SELECT datname FROM pg_database WHERE datname LIKE '%_before_%'")
            .expect("a name");
        assert_eq!(stack.sql(Master, &before, SUMS), Ok(changed));

        // One byte is another.
        let mut bytes = std::fs::read(&file).expect("the dump");
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        std::fs::write(&file, bytes).expect("it is damaged");
        let refused = restore(&["--database", "never"]).expect_err("it is damaged");
        assert!(refused.contains("checksum differs"), "{refused}");
        assert_eq!(
            stack.sql(Master, "postgres", "SELECT count(*) FROM pg_database WHERE datname = 'never'").as_deref(),
            Ok("0")
        );
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_server_comes_back_as_it_was_between_two_writes() {
        let stack = Stack::new("it-ops-pitr");
        stack.serve(Master);
        stack.value(Master, "CREATE TABLE moment (n int); INSERT INTO moment VALUES (1)");
        stack.script("base-backup.sh", &["--server", &stack.address(Master)]).expect("a base backup");
        // Another base backup later: the restore has to choose the one before the moment.
        stack.value(Master, "INSERT INTO moment VALUES (2)");
        let between = stack.value(Master, "SELECT pg_sleep(0.05); SELECT clock_timestamp()").trim().to_owned();
        stack.value(Master, "SELECT pg_sleep(0.05); INSERT INTO moment VALUES (3)");
        let segment = stack.value(Master, "SELECT pg_walfile_name(pg_current_wal_lsn()) FROM pg_switch_wal()");
        stack.value(Master, "CHECKPOINT");
        let archived = |name: &str| stack.path("archive").join(name).exists();
        eventually("the segment is archived", || async {
            stack.value(Master, "SELECT last_archived_wal FROM pg_stat_archiver") >= segment
        })
        .await;
        assert!(archived(&segment) && stack.path("upload/wal").join(&segment).exists());

        // The archive's own disk is lost: the hook has all of it.
        for dir in ["archive", "backups"] {
            std::fs::rename(stack.path(dir), stack.path(&format!("{dir}.lost"))).expect("it is moved");
            run_as(&stack, "mkdir", &[&stack.text(dir)]);
        }
        let port = pgweir::demo::free_ports(25_900, 1).expect("a port")[0];
        let (data, port_text) = (stack.text("restored"), port.to_string());
        let arguments = ["--target-time", &between, "--data", &data, "--port", &port_text];
        stack.script("pitr-restore.sh", &arguments).expect("it is restored");
        let restored = Restored::adopt(&stack, &data);
        assert_eq!(
            stack.sql_at(port, DATABASE, "SELECT string_agg(n::text, ',' ORDER BY n) FROM moment").as_deref(),
            Ok("1,2")
        );
        assert_eq!(
            stack.sql_at(port, DATABASE, "SELECT pg_is_in_recovery(), current_setting('archive_mode')").as_deref(),
            Ok("f|off")
        );
        stack.sql_at(port, DATABASE, "INSERT INTO moment VALUES (4)").expect("it takes writes");
        drop(restored);
        assert_eq!(stack.value(Master, "SELECT max(n) FROM moment"), "3", "the running server was not touched");

        let again = stack.script("pitr-restore.sh", &arguments).expect_err("the directory is taken");
        assert!(again.contains("is not empty"), "{again}");
        let data = stack.text("early");
        let early =
            stack.script("pitr-restore.sh", &["--target-time", "2020-01-01", "--data", &data]).expect_err("too early");
        assert!(early.contains("no base backup from before"), "{early}");
        let future =
            stack.script("pitr-restore.sh", &["--target-time", "2120-01-01", "--data", &data]).expect_err("too late");
        assert!(future.contains("has not come yet"), "{future}");
        assert!(!stack.path("early").exists());
    }

    /// A server that a script started: stopped with the test.
    struct Restored<'a>(&'a Stack, String);

    impl<'a> Restored<'a> {
        fn adopt(stack: &'a Stack, data: &str) -> Restored<'a> {
            Restored(stack, data.to_owned())
        }
    }

    impl Drop for Restored<'_> {
        fn drop(&mut self) {
            run_as(
                self.0,
                &servers::bin15().program("pg_ctl").to_string_lossy(),
                &["stop", "-s", "-w", "-m", "immediate", "-D", &self.1],
            );
        }
    }

    fn run_as(stack: &Stack, program: &str, arguments: &[&str]) -> String {
        stack
            .tried(stack.command(Path::new(program)).args(arguments))
            .unwrap_or_else(|said| panic!("{program}: {said}"))
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn the_drill_changes_the_servers_places_and_loses_nothing() {
        let stack = Stack::start("it-ops-drill");
        let (proxy, metrics_port) = stack.proxy().await;
        let at = format!("127.0.0.1:{}", proxy.port);
        let url = format!("http://127.0.0.1:{metrics_port}/metrics");
        let refused = stack.script("test-failover.sh", &["--proxy", &at]).expect_err("nobody said yes");
        assert!(refused.contains("say --yes"), "{refused}");

        // The operator's commands, done by this test: a server is its child.
        let ask = stack.text("ask");
        std::fs::write(
            &ask,
            "echo \"$1 $SERVICE\" >wanted.new\nmv wanted.new wanted\nwhile [ -e wanted ]; do sleep 0.05; done\n",
        )
        .expect("a script");
        let (stop, rebuild) = (format!("bash {ask} stop"), format!("bash {ask} rebuild"));
        let arguments = [
            "--yes",
            "--proxy",
            &at,
            "--stop",
            &stop,
            "--rebuild",
            &rebuild,
            "--",
            "--metrics",
            &url,
            "--max-backup-age",
            "0",
        ];
        let done = std::sync::atomic::AtomicBool::new(false);
        let said = std::thread::scope(|scope| {
            let drill = scope.spawn(|| {
                let said = stack.script("test-failover.sh", &arguments);
                done.store(true, std::sync::atomic::Ordering::Relaxed);
                said
            });
            let wanted = stack.path("wanted");
            for expected in ["stop postgres-master\n", "rebuild postgres-master\n"] {
                wait_until(2 * DEADLINE, || wanted.exists() || done.load(std::sync::atomic::Ordering::Relaxed));
                let Ok(word) = std::fs::read_to_string(&wanted) else { break };
                assert_eq!(word, expected);
                if word.starts_with("stop") {
                    stack.stop(Master, Signal::INT);
                } else {
                    stack.tried(stack.entrypoint(Master).arg("rebuild")).expect("it is rebuilt");
                    stack.serve(Master);
                }
                std::fs::remove_file(&wanted).expect("it was asked");
            }
            drill.join().expect("it does not panic")
        });
        let said = said.unwrap_or_else(|said| panic!("{said}"));
        assert!(said.contains("0 of them lost"), "{said}");
        assert_eq!(said.matches("all is well").count(), 2, "{said}");
        assert!(stack.streams_from(Replica));
        assert_eq!(stack.value(Master, "SELECT pg_is_in_recovery()"), "t");
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_primary_that_slept_through_a_promotion_does_not_come_back_as_one() {
        let stack = Stack::start("it-ops-rebuild");
        stack.value(Master, "CREATE TABLE branch (n int); INSERT INTO branch VALUES (1)");
        let caught_up = || async { stack.sql(Replica, DATABASE, "SELECT max(n) FROM branch").as_deref() == Ok("1") };
        eventually("the standby has it", caught_up).await;
        // The old primary writes on behind the promotion, and dies.
        assert_eq!(stack.value(Replica, "SELECT pg_promote()"), "t");
        stack.value(Master, "INSERT INTO branch VALUES (2)");
        stack.value(Replica, "INSERT INTO branch VALUES (3)");
        let source = stack.address(Replica);
        let data = stack.data(Master).to_string_lossy().into_owned();
        let running = stack.script("rebuild-replica.sh", &["--data", &data, "--source", &source]).expect_err("it runs");
        assert!(running.contains("stop it first"), "{running}");
        stack.stop(Master, Signal::KILL);

        let refused = stack.tried(&mut stack.entrypoint(Master)).expect_err("it would be a second primary");
        assert!(refused.contains("is primary. Make this server its standby"), "{refused}");
        stack.serve_by(Master, stack.entrypoint(Master).env("REJOIN", "auto"));
        let same = || async {
            stack.sql(Master, DATABASE, "SELECT string_agg(n::text, ',' ORDER BY n) FROM branch").as_deref()
                == Ok("1,3")
        };
        eventually("it follows the new timeline", same).await;
        assert!(stack.log(Master).contains("pg_rewind of"), "{}", stack.log(Master));
        assert!(!stack.log(Master).contains("base backup of"), "{}", stack.log(Master));

        // And once more from a copy of all; what it held is kept.
        stack.stop(Master, Signal::INT);
        let said =
            stack.tried(stack.entrypoint(Master).args(["rebuild", "--method", "basebackup"])).expect("it is copied");
        assert!(said.contains("what it held is in"), "{said}");
        stack.serve(Master);
        eventually("it streams", || async { stack.streams_from(Replica) }).await;
        assert_eq!(names(&stack.path("master"), "data.before-").len(), 1);
    }

    #[test]
    fn an_archived_file_is_never_replaced() {
        let stack = Stack::new("it-ops-archive");
        let name = "000000010000000000000007";
        let wal = stack.path(name);
        let archive = |text: &str| {
            std::fs::write(&wal, text).expect("a file");
            stack.script("archive-wal.sh", &[&wal.to_string_lossy(), name])
        };
        archive("first").expect("it is archived");
        archive("first").expect("the same again is well: PostgreSQL asks twice after a crash");
        let refused = archive("other").expect_err("it differs");
        assert!(refused.contains("with other contents"), "{refused}");
        assert_eq!(std::fs::read_to_string(stack.path("archive").join(name)).as_deref().ok(), Some("first"));
        assert_eq!(names(&stack.path("archive"), ""), [name], "nothing half made is left");
        let odd = stack.script("archive-wal.sh", &[&wal.to_string_lossy(), "../x"]).expect_err("no WAL file");
        assert!(odd.contains("no WAL file's name"), "{odd}");

        // A hook that fails makes the whole fail, and PostgreSQL tries again.
        let failing = stack.tried(
            stack
                .command(&stack.path("ops/scripts/archive-wal.sh"))
                .args([&*wal.to_string_lossy(), name])
                .env("UPLOAD_DIR", "/nonexistent"),
        );
        std::fs::write(&wal, "first").expect("a file");
        assert!(failing.is_err());
        let got = stack.text("got");
        stack.script("restore-wal.sh", &[name, &got]).expect("it is there");
        assert_eq!(std::fs::read_to_string(&got).as_deref().ok(), Some("first"));
        stack.script("restore-wal.sh", &["000000010000000000000008", &got]).expect_err("there is none");
    }

    #[test]
    fn every_script_explains_itself_and_refuses_what_it_does_not_know() {
        let stack = Stack::new("it-ops-help");
        let mut count = 0;
        for name in names(&stack.path("ops/scripts"), ".sh") {
            if ["lib.sh", "report.sh"].contains(&&*name) {
                continue;
            }
            let help = stack.script(&name, &["--help"]).unwrap_or_else(|said| panic!("{name} --help: {said}"));
            assert!(help.contains(&name) || name.contains("-wal"), "{name} --help: {help}");
            assert!(!help.contains("set -euo"), "{name} --help: {help}");
            stack.script(&name, &["--no-such-option"]).expect_err("nobody knows it");
            count += 1;
        }
        assert!(count >= 14, "{count} scripts");
    }

    #[test]
    fn certificates_are_made_once_and_renewed_when_asked() {
        let stack = Stack::new("it-ops-certs");
        let dir = stack.text("certs");
        let read = |name: &str| std::fs::read(stack.path("certs").join(name)).expect("a file");
        let (authority, before) = (read("ca.crt"), read("pgweir.crt"));
        stack.script("make-certs.sh", &[&dir]).expect("nothing to do");
        assert_eq!(read("pgweir.crt"), before);
        stack.script("make-certs.sh", &[&dir, "--renew", "pgweir=db.example.org,10.0.0.9"]).expect("it is renewed");
        assert_ne!(read("pgweir.crt"), before);
        assert_eq!(read("ca.crt"), authority);
        let mut openssl = Command::new("openssl");
        openssl.args(["verify", "-CAfile", &format!("{dir}/ca.crt"), "-verify_hostname", "db.example.org"]);
        stack.tried(openssl.arg(format!("{dir}/pgweir.crt"))).expect("the CA signed it for that name");
    }
}

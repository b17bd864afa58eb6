//! What each client sees of a failover: those who had not begun see nothing, the others are told the truth and stay.
//!
//! Each test has a primary and a standby of its own.

use pgweir::demo::{Cluster, Room, Stop, free_ports};

use rustix::process::{Pid, Signal, kill_process};

use crate::support::proxy::Proxy;
use crate::support::reads::Told;
use crate::support::servers::bin15;
use crate::support::wire::say;
use crate::support::*;

mod room {
    use super::*;

    struct Stage {
        room: Room,
        primary: Cluster,
        standby: Cluster,
    }

    impl Stage {
        async fn open(name: &str) -> Stage {
            Stage::with(name, &[]).await
        }

        /// With these settings on both servers.
        async fn with(name: &str, settings: &[(&str, &str)]) -> Stage {
            let room = Room::open(name).expect("a room");
            let port = free_ports(22_000, 1).expect("a port is free")[0];
            let primary = room.primary(&bin15(), port, settings).expect("a server");
            let port = free_ports(22_000, 1).expect("a port is free")[0];
            let standby = room.standby(&primary, port, "slot").expect("a standby");
            primary.psql_as("app", "test1", "CREATE TABLE moves (n int)").expect("a table");
            Stage { room, primary, standby }
        }

        async fn proxy(&self) -> Proxy {
            self.proxy_with("").await
        }

        async fn proxy_with(&self, lines: &str) -> Proxy {
            self.setup(lines).start().await
        }

        fn setup(&self, lines: &str) -> Setup {
            let probe = format!("probe_user = 'pgweir_probe'\nprobe_password = '{}'", self.room.password());
            // Where a read runs does not hang on the machine's load.
            let global = format!("{probe}\nread_wait = '20s'\n{lines}");
            let setup = Setup::before(self.primary.port(), self.room.password()).global(&global);
            let (primary, standby) = (self.primary.port(), self.standby.port());
            let servers = format!("servers = ['127.0.0.1:{primary}', '127.0.0.1:{standby}']");
            setup.database("test1", &servers)
        }
    }

    /// A client with this much behind it, and nothing in flight unless said.
    async fn client(proxy: &Proxy, queries: &[&str]) -> Wire {
        let mut wire = Wire::login(proxy).await;
        for query in queries {
            let answer = wire.query(query).await;
            assert!(!answer.contains("E("), "{query}: {answer}");
        }
        wire
    }

    /// A client whose batches' ways are told, once reads are split.
    async fn told(proxy: &Proxy, options: &str) -> Told {
        let parameters = [("user", "app"), ("database", "test1"), ("options", options)];
        let mut told = Told(Wire::login_with(proxy, say::V3_0, &parameters).await);
        if options.contains("explain") {
            told.settle().await;
        }
        told
    }

    /// The primary has it and says nothing when it is lost: the client sees the next primary's answer alone.
    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_read_that_the_primary_was_lost_over_runs_again() {
        let mut stage = Stage::open("it-read-again").await;
        stage.primary.psql_as("app", "test1", "INSERT INTO moves VALUES (7)").expect("a row");
        let proxy = stage.proxy().await;
        told(&proxy, "-c pgweir.explain=on").await;
        let mut simple = told(&proxy, "-c pgweir.route=primary").await.0;
        let mut extended = told(&proxy, "-c pgweir.route=primary").await.0;
        let mut named = told(&proxy, "-c pgweir.route=primary").await.0;
        let read = "SELECT n FROM moves";
        assert_eq!(named.ask(&[say::parse("r", "SELECT n FROM moves -- r"), say::sync()]).await, "1 Z(I)");
        let mut locking = client(&proxy, &["BEGIN", "LOCK TABLE moves IN ACCESS EXCLUSIVE MODE"]).await;
        named.send(&[say::bind("", "r", &[]), say::execute("", 0), say::sync()].concat()).await;
        simple.send(&say::query(read)).await;
        extended.send(&[say::run(read), say::sync()].concat()).await;
        let waiting = "SELECT count(*) FROM pg_locks WHERE NOT granted";
        eventually("all wait for the lock", || async {
            stage.primary.psql("test1", waiting).is_ok_and(|count| count == "3")
        })
        .await;
        stage.primary.stop(Stop::Fast);
        assert_eq!(locking.query("SELECT 1").await, "E(40001) Z(E)");
        stage.standby.promote().expect("it takes over");
        assert_eq!(simple.ready().await, "T D(7) C(SELECT 1) Z(I)");
        assert_eq!(extended.ready().await, "1 2 D(7) C(SELECT 1) Z(I)");
        assert_eq!(named.ready().await, "2 D(7) C(SELECT 1) Z(I)");
    }

    /// What reads on a standby does not keep it from replay, nor from taking over.
    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn transactions_on_a_standby_give_way() {
        let mut stage = Stage::with("it-give-way", &[("max_standby_streaming_delay", "0")]).await;
        stage.primary.psql_as("app", "test1", "INSERT INTO moves VALUES (7)").expect("a row");
        let proxy = stage.proxy().await;
        let begin = ["BEGIN READ ONLY", "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY"];
        let read = "SELECT count(*) FROM moves";
        let mut both = [told(&proxy, "-c pgweir.explain=on").await, told(&proxy, "-c pgweir.explain=on").await];
        for (reader, begin) in both.iter_mut().zip(begin) {
            reader.query(begin).await;
            assert_eq!(reader.query(read).await.place, "standby declared_read_only");
        }
        let reading = "SELECT count(*) FROM pg_stat_activity WHERE state = 'idle in transaction'";
        let is_alone = || async { stage.standby.psql("test1", reading).is_ok_and(|count| count == "0") };

        // Replay needs the table's lock, and ends both connections (FATAL 40001).
        stage.primary.psql_as("app", "test1", "ALTER TABLE moves ADD m int").expect("altered");
        eventually("replay goes on", is_alone).await;
        let answer = both[0].query(read).await;
        assert!(answer.answer.ends_with("D(1) C(SELECT 1) Z(T)"), "moved, unseen: {answer:?}");
        let answer = both[1].query(read).await.answer;
        assert!(answer.starts_with("E(40001 ") && answer.ends_with("Z(E)"), "{answer}");

        // Now replay waits for as long as it takes, and so would a promotion.
        let wait = "ALTER SYSTEM SET max_standby_streaming_delay = -1";
        stage.standby.psql("postgres", wait).expect("set");
        stage.standby.psql("postgres", "SELECT pg_reload_conf()").expect("read");
        for (reader, begin) in both.iter_mut().zip(begin) {
            reader.query("ROLLBACK").await;
            reader.settle().await;
            reader.query(begin).await;
            assert_eq!(reader.query(read).await.place, "standby declared_read_only");
        }
        stage.primary.psql_as("app", "test1", "DELETE FROM moves").expect("deleted");
        stage.primary.psql_as("app", "test1", "VACUUM moves").expect("cleaned");
        let waits = "SELECT count(*) FROM pg_stat_activity WHERE wait_event LIKE 'RecoveryConflict%'";
        let in_conflict = || async { stage.standby.psql("test1", waits).is_ok_and(|count| count == "1") };
        eventually("replay waits for the reader", in_conflict).await;
        stage.primary.stop(Stop::Fast);
        stage.standby.promote().expect("it takes over, though somebody had read");
        assert!(both[0].query(read).await.answer.ends_with("D(0) C(SELECT 1) Z(T)"), "moved, unseen");
        let answer = both[1].query(read).await.answer;
        assert!(answer.starts_with("E(40001 ") && answer.ends_with("Z(E)"), "{answer}");
        assert_eq!(both[1].query("ROLLBACK").await.answer, "C(ROLLBACK) Z(I)");
    }

    /// Who waits for a primary is bounded in number, bytes and time.
    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn what_is_held_has_its_bounds() {
        let mut stage = Stage::open("it-held").await;
        let lines = "max_held_clients = 2\nmax_held_bytes = '8kB'";
        let proxy = stage.proxy_with(lines).await;
        let soon_over = stage.proxy_with("failover_hold = '300ms'").await;
        let mut clients = Vec::new();
        for _ in 0..3 {
            clients.push(client(&proxy, &["SELECT 1"]).await);
        }
        let mut short = client(&soon_over, &["SELECT 1"]).await;
        stage.primary.stop(Stop::Fast);
        let insert = |n: i32| format!("INSERT INTO moves VALUES ({n})");
        // One that sends too much leaves its place to others.
        let much = format!("{} -- {}", insert(0), "x".repeat(9000));
        assert_eq!(clients[0].query(&much).await, "E(57P03) Z(I)");
        clients[0].send(&say::query(&insert(1))).await;
        assert!(clients[0].is_silent().await);
        clients[1].send(&[say::run(&insert(2)), say::sync()].concat()).await;
        assert!(clients[1].is_silent().await);
        assert_eq!(clients[2].query(&insert(3)).await, "E(57P03) Z(I)");
        assert_eq!(clients[2].ask(&[say::run(&insert(4)), say::sync()]).await, "E(57P03) Z(I)");
        short.send(&say::query(&insert(5))).await;
        let words = short.last_words().await;
        assert_eq!(words, "FATAL 57P03 failover_hold: no server of this database is a primary");
        stage.standby.promote().expect("it takes over");
        assert_eq!(clients[0].ready().await, "C(INSERT 0 1) Z(I)");
        assert_eq!(clients[1].ready().await, "1 2 C(INSERT 0 1) Z(I)");
        assert_eq!(clients[2].query("SELECT n FROM moves ORDER BY n").await, "T D(1) D(2) C(SELECT 2) Z(I)");
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn each_client_is_told_what_became_of_its_work() {
        let mut stage = Stage::open("it-outcomes").await;
        let proxy = stage.proxy().await;
        let begun = ["BEGIN", "INSERT INTO moves VALUES (1)"];
        let mut idle = client(&proxy, &["SELECT 1"]).await;
        let mut deferred = client(&proxy, &["BEGIN"]).await;
        let mut open = client(&proxy, &begun).await;
        let mut committing = client(&proxy, &begun).await;
        let mut leaving = client(&proxy, &begun).await;
        let mut prepared = client(&proxy, &begun).await;
        assert_eq!(prepared.ask(&[say::parse("c", "COMMIT"), say::sync()]).await, "1 Z(T)");
        let mut busy = client(&proxy, &begun).await;
        busy.send(&say::query("SELECT pg_sleep(1000)")).await;
        let mut writing = client(&proxy, &[]).await;
        writing.send(&say::query("INSERT INTO moves SELECT 2 FROM pg_sleep(1000)")).await;
        let mut batched = client(&proxy, &[]).await;
        batched.send(&[say::run("INSERT INTO moves SELECT 3 FROM pg_sleep(1000)"), say::sync()].concat()).await;
        let mut unsynced = client(&proxy, &[]).await;
        let half = [say::parse("", "INSERT INTO moves VALUES (4)"), say::bind("", "", &[]), say::execute("", 0)];
        unsynced.send(&[half.concat(), say::flush()].concat()).await;
        assert_eq!(unsynced.read(3).await, "1 2 C(INSERT 0 1)");
        tokio::time::sleep(MOMENT).await;

        stage.primary.stop(Stop::Fast);
        // The rows were described already.
        assert_eq!(busy.ready().await, "T E(40001) Z(E)");
        assert_eq!(writing.ready().await, "E(08007) Z(I)");
        // What the server had answered goes out with its last words.
        assert_eq!(batched.ready().await, "1 2 E(08007) Z(I)");
        assert_eq!(unsynced.read(1).await, "E(40001)");
        assert_eq!(unsynced.ask(&[say::sync()]).await, "Z(I)");
        // Nobody has told these yet.
        assert_eq!(open.query("SELECT 1").await, "E(40001) Z(E)");
        assert_eq!(open.query("SELECT 1").await, "E(25P02) Z(E)");
        assert_eq!(open.query("ROLLBACK").await, "C(ROLLBACK) Z(I)");
        assert_eq!(committing.query("COMMIT").await, "E(40001) Z(I)");
        assert_eq!(leaving.query("ROLLBACK").await, "C(ROLLBACK) Z(I)");
        let commit = [say::bind("", "c", &[]), say::execute("", 0), say::sync()];
        assert_eq!(prepared.ask(&commit).await, "E(40001) Z(I)");
        assert_eq!(busy.ask(&[say::run("ROLLBACK"), say::sync()]).await, "1 2 C(ROLLBACK) Z(I)");
        // What has not begun waits.
        idle.send(&say::query("INSERT INTO moves VALUES (5)")).await;
        deferred.send(&say::query("INSERT INTO moves VALUES (6)")).await;
        tokio::time::sleep(MOMENT).await;
        stage.standby.promote().expect("it takes over");
        assert_eq!(soon("a held statement", idle.ready()).await, "C(INSERT 0 1) Z(I)");
        assert_eq!(soon("a held transaction", deferred.ready()).await, "C(INSERT 0 1) Z(T)");
        assert_eq!(deferred.query("COMMIT").await, "C(COMMIT) Z(I)");
        for wire in [&mut open, &mut committing, &mut leaving, &mut prepared, &mut busy, &mut writing, &mut unsynced] {
            assert_eq!(wire.query("INSERT INTO moves VALUES (7)").await, "C(INSERT 0 1) Z(I)");
        }
        let found = idle.query("SELECT n FROM moves WHERE n < 7 ORDER BY n").await;
        assert_eq!(
            found, "T D(5) D(6) C(SELECT 2) Z(I)",
            "what was told to be lost is lost, and nothing is there twice"
        );
    }

    /// Stops or wakes every process of a server. They are children of its postmaster, each in a group of its own.
    fn signal_all(cluster: &Cluster, signal: Signal) {
        let text = std::fs::read_to_string(cluster.data_dir().join("postmaster.pid")).expect("it runs");
        let postmaster: i32 = text.lines().next().and_then(|line| line.parse().ok()).expect("its process id");
        let mut all = vec![postmaster];
        for entry in std::fs::read_dir("/proc").expect("the processes").flatten() {
            let stat = std::fs::read_to_string(entry.path().join("stat")).unwrap_or_default();
            // The name may hold anything; behind it stand the state and the parent.
            let parent = stat.rsplit_once(')').and_then(|(_, rest)| rest.split_whitespace().nth(1)?.parse().ok());
            let pid: Option<i32> = entry.file_name().to_string_lossy().parse().ok();
            all.extend(pid.filter(|_| parent == Some(postmaster)));
        }
        for pid in all {
            // One may have ended meanwhile.
            let _ = kill_process(Pid::from_raw(pid).expect("a process id"), signal);
        }
    }

    /// A primary that answers nobody, and is not dead: what runs there is given up once another server has its place.
    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn nobody_hangs_at_a_frozen_primary() {
        let mut stage = Stage::open("it-frozen").await;
        let proxy = stage.proxy().await;
        let mut open = client(&proxy, &["BEGIN", "INSERT INTO moves VALUES (1)"]).await;
        let mut writing = client(&proxy, &[]).await;
        let mut idle = client(&proxy, &["INSERT INTO moves VALUES (2)"]).await;
        writing.send(&say::query("INSERT INTO moves SELECT 3 FROM pg_sleep(1000)")).await;
        tokio::time::sleep(MOMENT).await;
        signal_all(&stage.primary, Signal::STOP);
        open.send(&say::query("INSERT INTO moves VALUES (1)")).await;
        idle.send(&say::query("INSERT INTO moves VALUES (4)")).await;
        stage.standby.promote().expect("it takes over");
        assert_eq!(soon("the open transaction", open.ready()).await, "E(40001) Z(E)");
        assert_eq!(soon("the write", writing.ready()).await, "E(08007) Z(I)");
        // It may have reached the frozen one, or been held for the new one.
        let told = soon("the last statement", idle.ready()).await;
        assert!(["E(08007) Z(I)", "C(INSERT 0 1) Z(I)"].contains(&told.as_str()), "{told}");
        assert_eq!(open.query("ROLLBACK").await, "C(ROLLBACK) Z(I)");
        assert_eq!(open.query("INSERT INTO moves VALUES (5)").await, "C(INSERT 0 1) Z(I)");
        let found = open.query("SELECT count(*) FROM moves WHERE n IN (1, 3)").await;
        signal_all(&stage.primary, Signal::CONT);
        assert_eq!(found, "T D(0) C(SELECT 1) Z(I)");
    }

    /// Split brain: the old primary lives and would take the commit, which nobody would ever see again.
    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_commit_does_not_reach_a_fenced_primary() {
        let mut stage = Stage::open("it-fenced-commit").await;
        let proxy = stage.proxy().await;
        let mut open = client(&proxy, &["BEGIN", "INSERT INTO moves VALUES (1)"]).await;
        stage.standby.promote().expect("it takes over");
        proxy.wait_for_log("fenced").await;
        assert_eq!(open.query("COMMIT").await, "E(40001) Z(I)");
        assert_eq!(stage.primary.psql("test1", "SELECT count(*) FROM moves").as_deref(), Ok("0"));
        assert_eq!(open.query("INSERT INTO moves VALUES (2)").await, "C(INSERT 0 1) Z(I)");
        assert_eq!(stage.standby.psql("test1", "SELECT n FROM moves").as_deref(), Ok("2"));
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn one_backend_that_is_ended_costs_its_transaction_only() {
        let stage = Stage::open("it-terminated").await;
        let proxy = stage.proxy().await;
        let mut open = client(&proxy, &["BEGIN", "INSERT INTO moves VALUES (1)"]).await;
        let ended = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE usename = 'app'";
        stage.primary.psql("postgres", ended).expect("it is ended");
        assert_eq!(open.query("INSERT INTO moves VALUES (2)").await, "E(40001) Z(E)");
        assert_eq!(open.query("ROLLBACK").await, "C(ROLLBACK) Z(I)");
        assert_eq!(open.query("INSERT INTO moves VALUES (3)").await, "C(INSERT 0 1) Z(I)");
        assert_eq!(open.query("SELECT n FROM moves").await, "T D(3) C(SELECT 1) Z(I)");
    }

    /// What lives with the connection cannot be given back: the client learns it as it would from PostgreSQL.
    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_pinned_client_ends_with_its_server() {
        let mut stage = Stage::open("it-pinned").await;
        let proxy = stage.proxy().await;
        let mut pinned = client(&proxy, &["CREATE TEMP TABLE mine (n int)"]).await;
        stage.primary.stop(Stop::Fast);
        let words = pinned.last_words().await;
        assert!(words.starts_with("FATAL 57P01 "), "{words}");
    }
    /// Notifications that are sent while nobody listens are lost: the end of its connection tells a driver to read again.
    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_listener_ends_with_its_server() {
        let mut stage = Stage::open("it-listener").await;
        let proxy = stage.proxy().await;
        let mut listener = client(&proxy, &["LISTEN one"]).await;
        stage.primary.stop(Stop::Fast);
        let words = listener.last_words().await;
        assert!(words.starts_with("FATAL 57P01 "), "{words}");
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_listener_listens_again_on_the_next_primary() {
        let mut stage = Stage::open("it-listens-again").await;
        let mut proxy = stage.proxy().await;
        let channels = ["LISTEN one", "LISTEN \"Two, three\"", "LISTEN gone; SELECT 1", "UNLISTEN gone"];
        let mut listener = client(&proxy, &channels).await;
        let mut asks = client(&proxy, &["LISTEN one"]).await;
        let mut beside = client(&proxy, &["LISTEN one", "CREATE TEMP TABLE mine (n int)"]).await;
        let mut open = client(&proxy, &["LISTEN one", "BEGIN", "INSERT INTO moves VALUES (1)"]).await;
        let mut begins = client(&proxy, &["BEGIN", "LISTEN one"]).await;
        // Those who listen already are told as the config has it when their server is lost.
        proxy.reload(stage.setup("listen_failover = 'relisten'")).await;
        stage.primary.stop(Stop::Fast);
        for mut other in [beside.last_words().await, begins.last_words().await] {
            other.truncate(11);
            assert_eq!(other, "FATAL 57P01");
        }
        assert!(listener.is_silent().await, "there is no primary to listen on");
        asks.send(&say::query("INSERT INTO moves VALUES (2)")).await;
        assert_eq!(open.query("INSERT INTO moves VALUES (3)").await, "E(40001) Z(E)");
        assert_eq!(open.query("ROLLBACK").await, "C(ROLLBACK) Z(I)");
        stage.standby.promote().expect("it takes over");
        for wire in [&mut listener, &mut asks, &mut open] {
            let warning = wire.frame().await.expect("a warning");
            let said = [b'S', b'C', b'M'].map(|field| warning.field(field)).join(" ");
            assert_eq!(said, "WARNING 01000 the server was lost: listening again on another one");
        }
        assert_eq!(asks.ready().await, "C(INSERT 0 1) Z(I)");
        let sent = "NOTIFY gone; NOTIFY one; NOTIFY \"Two, three\"";
        stage.standby.psql("test1", sent).expect("they are sent");
        assert_eq!(listener.read(2).await, "A A");
        assert_eq!((open.read(1).await, asks.read(1).await), ("A".to_owned(), "A".to_owned()));
        assert!(listener.is_silent().await, "what it stopped listening to is not there");
        // It is as pinned as before, and stops being so.
        assert_eq!(listener.query("SELECT count(*) FROM pg_listening_channels()").await, "T D(2) C(SELECT 1) Z(I)");
        assert_eq!(listener.query("UNLISTEN *").await, "C(UNLISTEN) Z(I)");
        assert_eq!(listener.query("SELECT n FROM moves").await, "T D(2) C(SELECT 1) Z(I)");
    }

    /// One backend is ended; then another server becomes primary, and the old one says nothing of it.
    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_listener_leaves_a_server_that_is_replaced() {
        let mut stage = Stage::open("it-listener-moves").await;
        let proxy = stage.proxy_with("listen_failover = 'relisten'").await;
        let mut listener = client(&proxy, &["LISTEN one"]).await;
        let ended = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE usename = 'app'";
        stage.primary.psql("postgres", ended).expect("it is ended");
        assert_eq!(listener.read(1).await, "N(01000)");
        stage.primary.psql("test1", "NOTIFY one").expect("it is sent");
        assert_eq!(listener.read(1).await, "A");
        stage.standby.promote().expect("it takes over");
        assert_eq!(listener.read(1).await, "N(01000)");
        stage.standby.psql("test1", "NOTIFY one").expect("it is sent");
        assert_eq!(listener.read(1).await, "A");
    }
}

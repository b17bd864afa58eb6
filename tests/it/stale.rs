//! Reads beside writes, by many clients: no answer may be older than its level of consistency allows.
//!
//! One row is counted up. Whoever gets a new number acknowledged tells all the others at once; an answer to a read that
//! was sent after that and shows less is *stale*. That the count can fail is shown where reads go to a standby
//! that replays late, past pgweir and at a level that lets it.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio_postgres::{AsyncMessage, Client, Config, NoTls};

use crate::support::proxy::value;
use crate::support::servers::direct;
use crate::support::*;

/// The first two write in each second turn, the others read: a tenth of all turns writes.
const CLIENTS: usize = 10;
const WRITERS: usize = 2;
const TURNS: usize = 150;

/// Between a client's turns: a standby's replay takes less.
const THINK: Duration = Duration::from_millis(2);

const WRITE: &str = "UPDATE hot SET n = n + 1 WHERE id = 1 RETURNING n";
const READ: &str = "SELECT n FROM hot WHERE id = 1";

/// What the reads of one run showed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Seen {
    reads: usize,
    /// Older than a number that was acknowledged to anybody before the read was sent.
    stale: usize,
    /// Older than a number that this client itself had got.
    own: usize,
    /// Decisions for the standby, by pgweir's notices.
    offloaded: usize,
}

/// How one client reaches the row.
struct Caller {
    writes: Arc<Client>,
    reads: Arc<Client>,
}

/// What the clients tell each other.
#[derive(Default)]
struct Board {
    acknowledged: AtomicUsize,
    offloaded: AtomicUsize,
}

impl Caller {
    /// Through pgweir, which tells the board where it sends each statement.
    async fn split(config: &Config, board: &Arc<Board>) -> Caller {
        let (client, mut connection) = config.connect(NoTls).await.expect("pgweir lets it in");
        let board = Arc::clone(board);
        tokio::spawn(async move {
            while let Some(Ok(message)) = std::future::poll_fn(|cx| connection.poll_message(cx)).await {
                if matches!(&message, AsyncMessage::Notice(said) if said.message().starts_with("pgweir: standby")) {
                    board.offloaded.fetch_add(1, Ordering::SeqCst);
                }
            }
        });
        let client = Arc::new(client);
        Caller { writes: Arc::clone(&client), reads: client }
    }

    async fn run(self, writes: bool, board: Arc<Board>) -> Seen {
        let (mut seen, mut own) = (Seen::default(), 0);
        for turn in 0..TURNS {
            if writes && turn % 2 == 0 {
                own = number(&self.writes, WRITE).await;
                board.acknowledged.fetch_max(own, Ordering::SeqCst);
            } else {
                let acknowledged = board.acknowledged.load(Ordering::SeqCst);
                let answer = number(&self.reads, READ).await;
                seen.reads += 1;
                seen.stale += usize::from(answer < acknowledged);
                seen.own += usize::from(answer < own);
            }
            tokio::time::sleep(THINK).await;
        }
        seen
    }
}

async fn number(client: &Client, sql: &str) -> usize {
    soon(sql, value(client, sql)).await.parse().expect("a number")
}

/// All clients at once, the row at zero before them.
async fn run(callers: Vec<Caller>, board: Arc<Board>) -> Seen {
    let work = |(at, caller): (usize, Caller)| tokio::spawn(caller.run(at < WRITERS, Arc::clone(&board)));
    let mut sum = Seen::default();
    for one in callers.into_iter().enumerate().map(work).collect::<Vec<_>>() {
        let seen = one.await.expect("no panic");
        sum.reads += seen.reads;
        sum.stale += seen.stale;
        sum.own += seen.own;
    }
    assert_eq!(board.acknowledged.load(Ordering::SeqCst), WRITERS * TURNS / 2, "each write counts once");
    Seen { offloaded: board.offloaded.load(Ordering::SeqCst), ..sum }
}

/// A primary, its standby, and the row in a database of its own.
struct Ground {
    primary: u16,
    standby: u16,
    password: String,
    database: String,
    direct: Client,
}

impl Ground {
    async fn make(primary: u16, standby: u16, password: &str, name: &str) -> Ground {
        let database = format!("stale_{name}_{}", std::process::id());
        let maintenance = direct(primary, password, "postgres").await;
        maintenance.batch_execute(&format!("CREATE DATABASE {database} OWNER app")).await.expect("a new database");
        let direct = direct(primary, password, &database).await;
        let table = "CREATE TABLE hot (id int PRIMARY KEY, n int8); ALTER TABLE hot OWNER TO app";
        direct.batch_execute(table).await.expect("a table");
        Ground { primary, standby, password: password.to_owned(), database, direct }
    }

    async fn reset(&self) {
        let row = "TRUNCATE hot; INSERT INTO hot VALUES (1, 0)";
        self.direct.batch_execute(row).await.expect("the row");
    }

    /// pgweir at this level, once its reads reach the standby.
    async fn proxy(&self, level: &str) -> Proxy {
        let Ground { primary, standby, password, database, .. } = self;
        let lines = format!("servers = ['127.0.0.1:{primary}', '127.0.0.1:{standby}']\nread_consistency = '{level}'\n");
        let probe = format!("default_pool_size = 20\nprobe_user = 'pgweir_probe'\nprobe_password = '{password}'");
        let proxy = Setup::before(*primary, password).global(&probe).database(database, &lines).start().await;
        let board = Arc::new(Board::default());
        let caller = Caller::split(&self.config(&proxy), &board).await;
        let offloads = || async {
            number(&caller.reads, READ).await;
            // Where the standby is late for good, each read on the primary would put the next one off.
            tokio::time::sleep(2 * DELAY).await;
            board.offloaded.load(Ordering::SeqCst) > 0
        };
        eventually("reads reach the standby", offloads).await;
        proxy
    }

    fn config(&self, proxy: &Proxy) -> Config {
        let mut config = proxy.config("app", &self.database);
        config.options("-c pgweir.explain=on");
        config
    }

    async fn split(&self, level: &str) -> Seen {
        self.reset().await;
        let proxy = self.proxy(level).await;
        let board = Arc::new(Board::default());
        let mut callers = Vec::new();
        for _ in 0..CLIENTS {
            callers.push(Caller::split(&self.config(&proxy), &board).await);
        }
        // Whatever a client may have seen before its login, the standby has it now.
        tokio::time::sleep(2 * DELAY).await;
        let seen = run(callers, board).await;
        println!("{level}: {seen:?}");
        seen
    }

    /// Past pgweir: writes to the primary, reads on the standby, whatever it has.
    async fn naive(&self) -> Seen {
        self.reset().await;
        let mut callers = Vec::new();
        for _ in 0..CLIENTS {
            let [writes, reads] = [self.primary, self.standby].map(|port| direct(port, &self.password, &self.database));
            callers.push(Caller { writes: Arc::new(writes.await), reads: Arc::new(reads.await) });
        }
        let there = || async { callers[0].reads.query(READ, &[]).await.is_ok_and(|rows| rows.len() == 1) };
        eventually("the standby has the row", there).await;
        let seen = run(callers, Arc::default()).await;
        println!("naive: {seen:?}");
        seen
    }
}

/// How late the standby of the room replays.
const DELAY: Duration = Duration::from_millis(30);

async fn nothing_stale_at_pool_and_strict(pg: Servers) {
    let ground = Ground::make(pg.primary, pg.standby, &pg.password, "all").await;
    for level in ["pool", "strict"] {
        let seen = ground.split(level).await;
        assert!(seen.stale == 0 && seen.own == 0 && seen.offloaded > 0, "{level}: {seen:?}");
    }
}

async fn nothing_of_ones_own_is_stale_at_session(pg: Servers) {
    let ground = Ground::make(pg.primary, pg.standby, &pg.password, "own").await;
    let seen = ground.split("session").await;
    assert!(seen.own == 0 && seen.offloaded > 0, "{seen:?}");
}

tests! {
    on both: [nothing_stale_at_pool_and_strict],
    on 15: [nothing_of_ones_own_is_stale_at_session]
}

/// A standby that is late, in a room of the test's own.
mod room {
    use pgweir::demo::{Room, free_ports};

    use super::*;
    use crate::support::servers::bin15;

    /// Runs until a stale answer must have been seen.
    const ROUNDS: usize = 10;

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_standby_that_is_late_shows_that_the_count_can_fail() {
        let room = Room::open("it-stale").expect("a room");
        let ports = free_ports(22_000, 2).expect("ports are free");
        let primary = room.primary(&bin15(), ports[0], &[]).expect("a server");
        let standby = room.standby(&primary, ports[1], "slot").expect("a standby");
        let ground = Ground::make(primary.port(), standby.port(), room.password(), "late").await;
        let delay = format!("ALTER SYSTEM SET recovery_min_apply_delay = {}", DELAY.as_millis());
        standby.psql("postgres", &delay).expect("set");
        standby.psql("postgres", "SELECT pg_reload_conf()").expect("taken");

        let naive = ground.naive().await;
        assert!(naive.stale > 0 && naive.own > 0, "with no gate: {naive:?}");
        // Others' writes are seen late, one's own never. On a busy machine few reads may find the standby ready.
        let mut stale = 0;
        for _ in 0..ROUNDS {
            let session = ground.split("session").await;
            assert!(session.own == 0 && session.offloaded > 0, "session: {session:?}");
            stale += session.stale;
            if stale > 0 {
                break;
            }
        }
        assert!(stale > 0, "the count cannot fail at session");
        for level in ["pool", "strict"] {
            let seen = ground.split(level).await;
            assert!(seen.stale == 0 && seen.own == 0, "{level}: {seen:?}");
        }
    }
}

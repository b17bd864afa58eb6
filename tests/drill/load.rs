//! Clients that write all the time and count, others that read what those have written, and some that do nothing.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tokio::time::error::Elapsed;
use tokio_postgres::types::Type;
use tokio_postgres::{Client, Config, Error, NoTls, SimpleQueryMessage, Statement};

use super::tally::{Tally, Told, Who};

/// Nobody waits for longer than a proxy may hold a statement.
const HUNG: Duration = Duration::from_secs(60);

/// Between two statements of a client.
const PAUSE: Duration = Duration::from_millis(4);

/// How a client speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    Simple,
    Extended,
    Prepared,
    /// BEGIN, the statement and COMMIT, each by itself.
    Transaction,
}

impl Mode {
    pub const ALL: [Mode; 4] = [Mode::Simple, Mode::Extended, Mode::Prepared, Mode::Transaction];
}

pub const TABLE: &str = "CREATE TABLE counts (writer int, n bigint); CREATE INDEX ON counts (writer, n)";
const WRITE: &str = "INSERT INTO counts VALUES ($1, $2)";
const READ: &str = "SELECT coalesce(max(n), 0) FROM counts WHERE writer = $1";

/// The load, until it is dropped.
pub struct Load {
    shared: Arc<Shared>,
    idle: Vec<Client>,
}

struct Shared {
    config: Config,
    over: AtomicBool,
    tally: Mutex<Tally>,
    /// The last acknowledged write of each writer.
    acknowledged: Vec<AtomicI64>,
}

impl Load {
    /// Two writers and two readers of each mode (readers in no transaction), and some who do nothing.
    pub async fn start(config: &Config, modes: &[Mode]) -> Load {
        let writers: Vec<Mode> = modes.iter().chain(modes).copied().collect();
        let shared = Arc::new(Shared {
            config: config.clone(),
            over: AtomicBool::new(false),
            tally: Mutex::default(),
            acknowledged: writers.iter().map(|_| AtomicI64::new(0)).collect(),
        });
        for (writer, mode) in (0..).zip(&writers) {
            tokio::spawn(write(Arc::clone(&shared), writer, *mode));
        }
        for (reader, mode) in (0..).zip(writers.iter().filter(|mode| **mode != Mode::Transaction)) {
            tokio::spawn(read(Arc::clone(&shared), reader, *mode));
        }
        let mut idle = Vec::new();
        for _ in 0..4 {
            idle.push(connect(config).await.expect("it lets clients in"));
        }
        Load { shared, idle }
    }

    pub fn writers(&self) -> usize {
        self.shared.acknowledged.len()
    }

    /// Until every writer has written so many times more; false: some are stuck.
    pub async fn write_some(&self, more: i64, limit: Duration) -> bool {
        let count = || self.shared.acknowledged.iter().map(|last| last.load(Ordering::SeqCst));
        let goal: Vec<i64> = count().map(|n| n + more).collect();
        let begun = Instant::now();
        while !count().zip(&goal).all(|(n, goal)| n >= *goal) {
            if begun.elapsed() > limit {
                return false;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        true
    }

    /// Everything so far is over: what happened, and from now on anew.
    pub async fn take(&self) -> Tally {
        let mut tally = std::mem::take(&mut *self.shared.tally.lock());
        for client in &self.idle {
            if let Err(error) = client.batch_execute("SELECT 1").await {
                tally.error(Who::Idle, &code(&error));
            }
        }
        tally
    }

    /// The idle clients' place is taken by new ones: what befell the old ones was counted.
    pub async fn renew(&mut self) {
        for client in &mut self.idle {
            if client.is_closed() {
                *client = connect(&self.shared.config).await.expect("it lets clients in");
            }
        }
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.shared.over.store(true, Ordering::SeqCst);
    }
}

impl Shared {
    fn is_over(&self) -> bool {
        self.over.load(Ordering::SeqCst)
    }

    fn note(&self, write: (i32, i64), outcome: Result<(), Error>) {
        let mut tally = self.tally.lock();
        let told = match &outcome {
            Ok(()) => Told::Done,
            Err(error) => {
                let code = code(error);
                tally.error(Who::Writer, &code);
                if ["40001", "57P03", "25P02"].contains(&code.as_str()) { Told::Undone } else { Told::Unknown }
            }
        };
        tally.told.insert(write, told);
        if outcome.is_ok() {
            tally.times.push(Instant::now());
            drop(tally);
            self.acknowledged[write.0 as usize].store(write.1, Ordering::SeqCst);
        }
    }

    /// False: the client hangs.
    fn note_read(&self, mode: Mode, floor: i64, answer: Result<Result<i64, Error>, Elapsed>) -> bool {
        let mut tally = self.tally.lock();
        match answer {
            Ok(Ok(seen)) if seen < floor => tally.stale.push(format!("{mode:?}: read {seen}, written {floor}")),
            Ok(Ok(_)) => {}
            Ok(Err(error)) => tally.error(Who::Reader, &code(&error)),
            Err(_) => {
                tally.hung.push(format!("{mode:?} reader hangs"));
                return false;
            }
        }
        true
    }
}

async fn write(shared: Arc<Shared>, writer: i32, mode: Mode) {
    let mut n = 0;
    while !shared.is_over() {
        let Some((client, statement)) = enter(&shared, Who::Writer, mode, WRITE).await else { continue };
        while !shared.is_over() && !client.is_closed() {
            n += 1;
            let outcome = tokio::time::timeout(HUNG, write_one(&client, mode, statement.as_ref(), (writer, n))).await;
            match outcome {
                Ok(outcome) => shared.note((writer, n), outcome),
                Err(_) => {
                    shared.tally.lock().hung.push(format!("{mode:?} writer {writer} hangs"));
                    break;
                }
            }
            tokio::time::sleep(PAUSE).await;
        }
    }
}

async fn write_one(
    client: &Client,
    mode: Mode,
    statement: Option<&Statement>,
    (writer, n): (i32, i64),
) -> Result<(), Error> {
    let text = format!("INSERT INTO counts VALUES ({writer}, {n})");
    match (mode, statement) {
        (Mode::Prepared, Some(statement)) => client.execute(statement, &[&writer, &n]).await.map(drop),
        (Mode::Transaction, _) => {
            let done = async {
                client.batch_execute("BEGIN").await?;
                client.batch_execute(&text).await?;
                client.batch_execute("COMMIT").await
            };
            let outcome = done.await;
            if outcome.is_err() && !client.is_closed() {
                let _warned = client.batch_execute("ROLLBACK").await;
            }
            outcome
        }
        (Mode::Extended, _) => {
            let values: [(&(dyn tokio_postgres::types::ToSql + Sync), Type); 2] =
                [(&writer, Type::INT4), (&n, Type::INT8)];
            client.query_typed(WRITE, &values).await.map(drop)
        }
        _ => client.batch_execute(&text).await,
    }
}

async fn read(shared: Arc<Shared>, reader: usize, mode: Mode) {
    let mut turn = reader;
    while !shared.is_over() {
        let Some((client, statement)) = enter(&shared, Who::Reader, mode, READ).await else { continue };
        while !shared.is_over() && !client.is_closed() {
            turn += 1;
            let of = turn % shared.acknowledged.len();
            let floor = shared.acknowledged[of].load(Ordering::SeqCst);
            let answer = tokio::time::timeout(HUNG, read_one(&client, mode, statement.as_ref(), of as i32)).await;
            if !shared.note_read(mode, floor, answer) {
                break;
            }
            tokio::time::sleep(PAUSE).await;
        }
    }
}

async fn read_one(client: &Client, mode: Mode, statement: Option<&Statement>, of: i32) -> Result<i64, Error> {
    match (mode, statement) {
        (Mode::Prepared, Some(statement)) => Ok(client.query_one(statement, &[&of]).await?.get(0)),
        (Mode::Extended, _) => Ok(client.query_typed(READ, &[(&of, Type::INT4)]).await?[0].get(0)),
        _ => {
            let text = READ.replace("$1", &of.to_string());
            let messages = client.simple_query(&text).await?;
            let value = messages.iter().find_map(|message| match message {
                SimpleQueryMessage::Row(row) => row.get(0)?.parse().ok(),
                _ => None,
            });
            Ok(value.expect("a row with a number"))
        }
    }
}

/// A client that is ready to begin. One that is not let in tries again after a moment.
async fn enter(shared: &Shared, who: Who, mode: Mode, text: &str) -> Option<(Client, Option<Statement>)> {
    let entered = async {
        let client = connect(&shared.config).await?;
        let statement = if mode == Mode::Prepared { Some(client.prepare(text).await?) } else { None };
        Ok::<_, Error>((client, statement))
    };
    match tokio::time::timeout(HUNG, entered).await {
        Ok(Ok(entered)) => return Some(entered),
        Ok(Err(error)) => shared.tally.lock().error(who, &format!("login {}", code(&error))),
        Err(_) => shared.tally.lock().hung.push(format!("{mode:?} login hangs")),
    }
    tokio::time::sleep(Duration::from_millis(50)).await;
    None
}

async fn connect(config: &Config) -> Result<Client, Error> {
    let (client, connection) = config.connect(NoTls).await?;
    tokio::spawn(connection);
    Ok(client)
}

fn code(error: &Error) -> String {
    error.code().map_or_else(|| "closed".to_owned(), |code| code.code().to_owned())
}

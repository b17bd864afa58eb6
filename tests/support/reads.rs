//! Reads that are split: a database of the test's own on the runner's pair, pgweir before both servers, and clients that
//! tell where each of their batches ran, beside one that asks the primary itself.

use tokio_postgres::Client;

use super::servers::direct;
use super::wire::{Frame, say};
use super::{Proxy, Servers, Setup, Wire, eventually};

/// Lines of the config, beside what every test of the split needs.
#[derive(Clone, Copy, Debug, Default)]
pub struct Lines<'a> {
    pub global: &'a str,
    pub database: &'a str,
    pub rest: &'a str,
}

/// A database behind both servers.
pub struct Reads {
    pub pg: Servers,
    pub name: String,
    pub proxy: Proxy,
    /// Past pgweir, as the superuser.
    pub primary: Client,
    pub standby: Client,
}

/// Who asks, on either way: nobody is asked for a password.
pub const USER: &str = "trust_user";

impl Reads {
    /// With this schema, made by the superuser and open to all; reads are split when it returns.
    pub async fn of(pg: Servers, schema: &str) -> Reads {
        Reads::with(pg, schema, Lines::default()).await
    }

    pub async fn with(pg: Servers, schema: &str, lines: Lines<'_>) -> Reads {
        let reads = Reads::unsettled(pg, schema, lines).await;
        reads.settle().await;
        reads
    }

    /// The same, where nothing is split, or not yet.
    pub async fn unsettled(pg: Servers, schema: &str, lines: Lines<'_>) -> Reads {
        let name = format!("split_{}", std::process::id());
        let admin = pg.direct("postgres").await;
        let create = format!("CREATE DATABASE {name} OWNER {USER} TEMPLATE template0");
        admin.batch_execute(&create).await.expect("a new database");
        let primary = pg.direct(&name).await;
        primary.batch_execute(schema).await.unwrap_or_else(|error| panic!("the schema: {error:?}"));
        primary.batch_execute(OPEN).await.expect("everybody may use it");
        let there = || async { direct_try(&pg, &name).await };
        eventually("the standby has the database", there).await;
        let standby = direct(pg.standby, &pg.password, &name).await;
        let proxy = setup(&pg, &name, lines).start().await;
        Reads { pg, name, proxy, primary, standby }
    }

    /// Another config for the running proxy.
    pub async fn reload(&mut self, lines: Lines<'_>) {
        let setup = setup(&self.pg, &self.name, lines);
        self.proxy.reload(setup).await;
    }

    /// Waits until reads run on the standby.
    pub async fn settle(&self) {
        let mut client = self.client().await;
        client.settle().await;
    }

    /// A client whose batches' ways are told.
    pub async fn client(&self) -> Told {
        self.client_with("").await
    }

    /// The same, with more in its startup options.
    pub async fn client_with(&self, options: &str) -> Told {
        let options = format!("-c pgweir.explain=on {options}");
        let parameters = [("user", USER), ("database", "test1"), ("options", &options)];
        Told(Wire::login_with(&self.proxy, say::V3_0, &parameters).await)
    }

    /// Straight to the primary: what every client should get.
    pub async fn truth(&self) -> Told {
        self.truth_with("").await
    }

    pub async fn truth_with(&self, options: &str) -> Told {
        let mut wire = Wire::open(self.pg.primary).await;
        let parameters = [("user", USER), ("database", &self.name), ("options", options)];
        wire.send(&say::startup(say::V3_0, &parameters)).await;
        wire.greet().await;
        Told(wire)
    }
}

/// Whether a login to the standby's copy works.
async fn direct_try(pg: &Servers, name: &str) -> bool {
    let mut config = tokio_postgres::Config::new();
    config.host("127.0.0.1").port(pg.standby).user("postgres").password(&pg.password).dbname(name);
    super::proxy::connect(&config).await.is_ok()
}

/// A read waits for the standby for as long as a test may take: where it runs does not hang on the machine's load.
fn setup(pg: &Servers, name: &str, lines: Lines<'_>) -> Setup {
    let probe = format!("probe_user = 'pgweir_probe'\nprobe_password = '{}'", pg.password);
    let wait = if lines.global.contains("read_wait") { "" } else { "\nread_wait = '20s'" };
    let servers = format!("servers = ['127.0.0.1:{}', '127.0.0.1:{}']", pg.primary, pg.standby);
    let database = format!("dbname = '{name}'\n{servers}\n{}", lines.database);
    let setup = Setup::new(pg).global(&format!("{probe}{wait}\n{}", lines.global));
    setup.database("test1", &database).rest(lines.rest)
}

/// A client, and where its batches ran.
pub struct Told(pub Wire);

/// What came of a batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply {
    /// `standby select`, `primary per_node`; one after the other where it ran twice.
    pub place: String,
    /// Everything else, errors with their text.
    pub answer: String,
}

impl Told {
    pub async fn ask(&mut self, messages: &[Vec<u8>]) -> Reply {
        self.0.send(&messages.concat()).await;
        self.reply().await
    }

    pub async fn query(&mut self, sql: &str) -> Reply {
        self.ask(&[say::query(sql)]).await
    }

    /// To the next ReadyForQuery.
    pub async fn reply(&mut self) -> Reply {
        reply(&self.0.answers().await)
    }

    /// In the extended protocol, unnamed.
    pub async fn extended(&mut self, sql: &str) -> Reply {
        self.ask(&[
            say::parse("", sql),
            say::bind("", "", &[]),
            say::describe(b'P', ""),
            say::execute("", 0),
            say::sync(),
        ])
        .await
    }

    /// Where a read would run now.
    pub async fn settle(&mut self) {
        let deadline = std::time::Instant::now() + super::DEADLINE;
        loop {
            let reply = self.query("SELECT 1").await;
            if reply.place.starts_with("standby") {
                return;
            }
            assert!(std::time::Instant::now() < deadline, "reads stay away from the standby: {}", reply.place);
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    }
}

/// Tells the notices of pgweir from the answer.
pub fn reply(frames: &[Frame]) -> Reply {
    let (mut places, mut answer) = (Vec::new(), Vec::new());
    for frame in frames {
        let text = frame.field(b'M');
        match (frame.tag, text.strip_prefix("pgweir: ")) {
            (b'N', Some(told)) => {
                let words: Vec<_> = told.split(' ').filter(|word| !word.contains(':')).collect();
                places.push(words.join(" ").replace(['(', ')'], ""));
            }
            (b'E', _) => answer.push(format!("E({} {text})", frame.field(b'C'))),
            _ => answer.push(frame.to_string()),
        }
    }
    Reply { place: places.join(", "), answer: answer.join(" ") }
}

const OPEN: &str = "GRANT ALL ON ALL TABLES IN SCHEMA public TO public; \
    GRANT ALL ON ALL SEQUENCES IN SCHEMA public TO public; ANALYZE";

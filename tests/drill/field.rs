//! Where the drill takes place: two servers, each behind a link, and who of them is primary.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use pgweir::demo::{Binaries, Cluster, Room, Stop, free_ports};
use rustix::process::{Pid, Signal, kill_process};
use tokio::task::block_in_place;
use tokio_postgres::{Client, Config, NoTls};

use super::link::Link;
use super::load::TABLE;
use super::tally::Write;

pub const DATABASE: &str = "test1";
pub const USER: &str = "app";
const LIMIT: Duration = Duration::from_secs(30);

pub struct Field {
    room: Room,
    nodes: [Option<Cluster>; 2],
    pub links: [Link; 2],
    ports: [u16; 2],
    primary: usize,
    copies: u32,
}

impl Field {
    pub async fn open(name: &str, bin: &Binaries) -> Field {
        let room = Room::open(name).expect("a room");
        let ports = free_ports(24_000, 2).expect("ports are free");
        let ports = [ports[0], ports[1]];
        let primary = block_in_place(|| room.primary(bin, ports[0], &[("autovacuum", "off")])).expect("a server");
        let standby = block_in_place(|| room.standby(&primary, ports[1], "copy_0")).expect("a standby");
        primary.psql_as(USER, DATABASE, TABLE).expect("a table");
        let links = [Link::to(ports[0]).await, Link::to(ports[1]).await];
        let field = Field { room, nodes: [Some(primary), Some(standby)], links, ports, primary: 0, copies: 0 };
        field.wait_for_commits(true).await;
        field
    }

    pub fn room(&self) -> &Room {
        &self.room
    }

    pub fn primary(&self) -> usize {
        self.primary
    }

    pub fn standby(&self) -> usize {
        1 - self.primary
    }

    pub fn node(&mut self, node: usize) -> &mut Cluster {
        self.nodes[node].as_mut().expect("it is not being rebuilt")
    }

    /// How a client reaches a proxy on this port.
    pub fn config(&self, port: u16) -> Config {
        config(port, self.room.password())
    }

    pub async fn ask(&self, node: usize, sql: &str) -> String {
        crate::support::proxy::value(&self.direct(node).await, sql).await
    }

    async fn run(&self, node: usize, sql: &str) {
        self.direct(node).await.batch_execute(sql).await.unwrap_or_else(|error| panic!("{sql}: {error}"));
    }

    /// Past links and proxies, as the superuser.
    async fn direct(&self, node: usize) -> Client {
        let mut config = self.config(self.ports[node]);
        config.user("postgres").application_name("drill");
        let (client, connection) = config.connect(NoTls).await.expect("the server lets the superuser in");
        tokio::spawn(connection);
        client
    }

    /// Whether commits of the primary wait for the standby: then none that was acknowledged is lost with the primary.
    pub async fn wait_for_commits(&self, wait: bool) {
        let names = if wait { "'*'" } else { "''" };
        self.run(self.primary, &format!("ALTER SYSTEM SET synchronous_standby_names = {names}")).await;
        self.run(self.primary, "SELECT pg_reload_conf()").await;
        let waits = "SELECT count(*) FROM pg_stat_replication WHERE sync_state IN ('sync', 'quorum')";
        self.until(self.primary, waits, if wait { "1" } else { "0" }).await;
    }

    pub async fn until(&self, node: usize, sql: &str, expected: &str) {
        let begun = Instant::now();
        while self.ask(node, sql).await != expected {
            assert!(begun.elapsed() < LIMIT, "{sql} is not {expected}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// What a failover tool does, at once. When the new primary was one.
    pub async fn promote(&mut self) -> Instant {
        let standby = self.standby();
        let client = self.direct(standby).await;
        client.batch_execute("SELECT pg_promote(false)").await.expect("it is told");
        let begun = Instant::now();
        loop {
            let row = client.query_one("SELECT pg_is_in_recovery()", &[]).await.expect("it answers");
            if !row.get::<_, bool>(0) {
                break;
            }
            assert!(begun.elapsed() < LIMIT, "it is not promoted");
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        self.primary = standby;
        Instant::now()
    }

    /// The lost server becomes a standby of the present primary.
    pub async fn rebuild(&mut self) {
        let (lost, primary) = (self.standby(), self.primary);
        self.copies += 1;
        let slot = format!("copy_{}", self.copies);
        block_in_place(|| {
            drop(self.nodes[lost].take());
            let of = self.nodes[primary].as_ref().expect("it is primary");
            self.nodes[lost] = Some(self.room.standby(of, self.ports[lost], &slot).expect("a standby"));
        });
        self.wait_for_commits(true).await;
    }

    pub fn stop(&mut self, node: usize, how: Stop) {
        block_in_place(|| self.node(node).stop(how));
    }

    pub fn start(&mut self, node: usize) {
        block_in_place(|| self.node(node).start()).expect("it starts again");
    }

    /// Signals a server's postmaster, and with `all` its children: each is in a group of its own.
    pub fn signal(&mut self, node: usize, signal: Signal, all: bool) {
        let text = std::fs::read_to_string(self.node(node).data_dir().join("postmaster.pid")).expect("it runs");
        let postmaster = text.lines().next().and_then(|line| line.parse().ok()).expect("its process id");
        let children = if all { children(postmaster) } else { Vec::new() };
        for pid in children.into_iter().chain([postmaster]) {
            // One may have ended meanwhile.
            let _ = kill_process(Pid::from_raw(pid).expect("a process id"), signal);
        }
    }

    /// Every write that is there, and how often.
    pub async fn counts(&self) -> HashMap<Write, i64> {
        counts(&self.direct(self.primary).await).await
    }

    /// How many transactions a server was given that write.
    pub async fn given(&self, node: usize) -> String {
        self.ask(node, "SELECT pg_snapshot_xmax(pg_current_snapshot())::text").await
    }
}

pub fn config(port: u16, password: &str) -> Config {
    let mut config = Config::new();
    config.host("127.0.0.1").port(port).user(USER).dbname(DATABASE).password(password);
    config
}

/// Every write that is there, and how often.
pub async fn counts(client: &Client) -> HashMap<Write, i64> {
    let rows = client.query("SELECT writer, n, count(*) FROM counts GROUP BY 1, 2", &[]).await.expect("counted");
    rows.iter().map(|row| ((row.get(0), row.get(1)), row.get(2))).collect()
}

fn children(postmaster: i32) -> Vec<i32> {
    let mut all = Vec::new();
    for entry in std::fs::read_dir("/proc").expect("the processes").flatten() {
        let stat = std::fs::read_to_string(entry.path().join("stat")).unwrap_or_default();
        // The name may hold anything; behind it stand the state and the parent.
        let parent = stat.rsplit_once(')').and_then(|(_, rest)| rest.split_whitespace().nth(1)?.parse().ok());
        let pid: Option<i32> = entry.file_name().to_string_lossy().parse().ok();
        all.extend(pid.filter(|_| parent == Some(postmaster)));
    }
    all
}

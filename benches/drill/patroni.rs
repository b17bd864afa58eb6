//! pgweir before a Patroni cluster on this machine, with no more setting than its servers: `make drill-patroni`.
//!
//! Two servers, their Patroni, and etcd. Under clients that count there is a switchover to the other server and back, and
//! the leader's Patroni and postmaster are killed together.

use std::path::Path;
use std::time::{Duration, Instant};

use pgweir::demo::{Binaries, Problem, Process, Result, Room, free_ports, run};
use rustix::process::{Pid, Signal, kill_process};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_postgres::{Client, NoTls};

use crate::drill::field::{DATABASE, USER, config, counts};
use crate::drill::load::{Load, Mode, TABLE};
use crate::drill::tally::{Tally, Who};
use crate::front::{Front, spawn, write};

/// Patroni's least ttl is 20 s, which a leader that is killed keeps its lock for.
const LIMIT: Duration = Duration::from_secs(90);

const SCOPE: &str = "drill";

struct Patroni {
    room: Room,
    bin: Binaries,
    etcd: u16,
    nodes: [Node; 2],
    /// Ended with its room.
    _store: Process,
}

struct Node {
    name: &'static str,
    port: u16,
    rest: u16,
    process: Option<Process>,
}

/// Runs it all; the table, and whether it is sound.
pub async fn drill() -> Result<(String, bool)> {
    let mut patroni = Patroni::start().await?;
    let ports = [patroni.nodes[0].port, patroni.nodes[1].port];
    let front = Front::pgweir(&patroni.room, ports).await?;
    let load = Load::start(&config(front.port, patroni.room.password()), &Mode::ALL).await;
    let mut text =
        "| event | written again | writers | readers | idle | faults |\n|---|---|---|---|---|---|\n".to_owned();
    let mut sound = true;
    for event in ["switchover", "switchover back", "kill -9 of Patroni and the postmaster", "the killed one is back"] {
        eprintln!("Patroni: {event}");
        let mut faults = Vec::new();
        patroni.settle().await?;
        if !load.write_some(10, LIMIT).await {
            faults.push("writers are stuck before it".to_owned());
        }
        drop(load.take().await);
        let at = Instant::now();
        match event {
            "kill -9 of Patroni and the postmaster" => patroni.kill_leader().await?,
            "the killed one is back" => patroni.start_missing()?,
            _ => patroni.switch().await?,
        }
        if !load.write_some(50, LIMIT).await {
            faults.push("writers are stuck after it".to_owned());
        }
        let tally = load.take().await;
        faults.extend(tally.faults(&counts(&patroni.leader().await?.1).await));
        sound &= faults.is_empty() && is_told_rightly(&tally);
        let [writers, readers, idle] = [Who::Writer, Who::Reader, Who::Idle].map(|who| tally.codes(who));
        let written = tally.until_written(at).as_millis();
        let faults = faults.first().map_or("none", String::as_str);
        text.push_str(&format!("| {event} | {written} ms | {writers} | {readers} | {idle} | {faults} |\n"));
    }
    Ok((text, sound))
}

/// Nobody is told more than that what was under way is undone, or unknown.
fn is_told_rightly(tally: &Tally) -> bool {
    tally.errors.keys().all(|(who, code)| *who == Who::Writer && (code == "40001" || code == "08007"))
}

impl Patroni {
    async fn start() -> Result<Patroni> {
        let room = Room::open("patroni")?;
        let ports = free_ports(28_000, 6)?;
        let etcd = ports[0];
        let url = |port: u16| format!("http://127.0.0.1:{port}");
        let mut command = room.account().command("etcd");
        command.arg("--data-dir").arg(room.dir().join("etcd")).args(["--log-outputs", "stderr"]);
        command.args(["--listen-client-urls", &url(etcd), "--advertise-client-urls", &url(etcd)]);
        command.args(["--listen-peer-urls", &url(ports[1]), "--initial-advertise-peer-urls", &url(ports[1])]);
        command.args(["--initial-cluster", &format!("default={}", url(ports[1]))]);
        let store = spawn(&mut command, &room, "etcd.log")?;
        let node = |name, at: usize| Node { name, port: ports[at], rest: ports[at + 1], process: None };
        let nodes = [node("one", 2), node("two", 4)];
        let mut patroni = Patroni { room, bin: Binaries::find()?, etcd, nodes, _store: store };
        patroni.start_node(0)?;
        let (_, leader) = patroni.leader().await?;
        let password = patroni.room.password();
        let roles = format!(
            "CREATE ROLE {USER} LOGIN PASSWORD '{password}'; CREATE ROLE pgweir_probe LOGIN PASSWORD '{password}'"
        );
        ask(&leader, &roles).await?;
        ask(&leader, &format!("CREATE DATABASE {DATABASE} OWNER {USER}")).await?;
        let mut owner = config(patroni.nodes[0].port, password);
        owner.dbname(DATABASE);
        let (owner, connection) = owner.connect(NoTls).await.map_err(|error| Problem::new("logging in", error))?;
        tokio::spawn(connection);
        ask(&owner, TABLE).await?;
        patroni.start_node(1)?;
        patroni.settle().await?;
        Ok(patroni)
    }

    fn start_node(&mut self, at: usize) -> Result<()> {
        let name = self.nodes[at].name;
        let text = self.settings(&self.nodes[at]);
        let file = write(&self.room, &format!("{name}.yml"), &text)?;
        let mut command = self.room.account().command("patroni");
        let process = spawn(command.arg(file), &self.room, &format!("{name}.log"))?;
        self.nodes[at].process = Some(process);
        Ok(())
    }

    /// As Patroni's manual has it, with the shortest times that it allows; a copy waits for no spread checkpoint.
    fn settings(&self, node: &Node) -> String {
        let Node { name, port, rest, .. } = node;
        let (dir, password) = (self.room.dir().display(), self.room.password());
        let (sockets, bin, etcd) = (self.room.sockets(), &self.bin.dir, self.etcd);
        let (sockets, bin) = (sockets.display(), bin.display());
        format!(
            "scope: {SCOPE}\nname: {name}\nrestapi:\n  listen: 127.0.0.1:{rest}\n  connect_address: 127.0.0.1:{rest}\n\
             etcd3:\n  host: 127.0.0.1:{etcd}\n\
             bootstrap:\n  dcs:\n    ttl: 20\n    loop_wait: 2\n    retry_timeout: 5\n    synchronous_mode: true\n    \
             postgresql:\n      use_pg_rewind: true\n  initdb:\n  - encoding: UTF8\n  - locale: C.UTF-8\n  pg_hba:\n  \
             - local all all trust\n  - host all all 127.0.0.1/32 scram-sha-256\n  \
             - host replication all 127.0.0.1/32 scram-sha-256\n\
             postgresql:\n  listen: 127.0.0.1:{port}\n  connect_address: 127.0.0.1:{port}\n  data_dir: {dir}/{name}\n  \
             bin_dir: {bin}\n  pgpass: {dir}/{name}.pgpass\n  basebackup:\n    checkpoint: fast\n  authentication:\n    superuser:\n      username: postgres\n      \
             password: '{password}'\n    replication:\n      username: replicator\n      password: '{password}'\n  \
             parameters:\n    unix_socket_directories: '{sockets}'\n    password_encryption: scram-sha-256\n"
        )
    }

    /// Who accepts writes, and a way to ask it.
    async fn leader(&self) -> Result<(usize, Client)> {
        let begun = Instant::now();
        loop {
            for (at, node) in self.nodes.iter().enumerate() {
                let mut config = config(node.port, self.room.password());
                config.user("postgres").dbname("postgres").connect_timeout(Duration::from_secs(1));
                let Ok((client, connection)) = config.connect(NoTls).await else { continue };
                tokio::spawn(connection);
                let row = client.query_one("SELECT pg_is_in_recovery()", &[]).await;
                if row.is_ok_and(|row| !row.get::<_, bool>(0)) {
                    let mut config = config;
                    let name = if self.has_database(&client).await { DATABASE } else { "postgres" };
                    let Ok((client, connection)) = config.dbname(name).connect(NoTls).await else { continue };
                    tokio::spawn(connection);
                    return Ok((at, client));
                }
            }
            late(begun, "a leader")?;
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    async fn has_database(&self, client: &Client) -> bool {
        let row = client.query_opt("SELECT FROM pg_database WHERE datname = $1", &[&DATABASE]).await;
        row.is_ok_and(|row| row.is_some())
    }

    /// Until the other server, where it runs, is one that Patroni may promote: the leader's synchronous standby, by what
    /// stands in etcd too, which Patroni writes after the server's own view has it.
    async fn settle(&self) -> Result<()> {
        if self.nodes.iter().any(|node| node.process.is_none()) {
            return Ok(());
        }
        let begun = Instant::now();
        loop {
            let (leader, _) = self.leader().await?;
            if is_sync(self.nodes[1 - leader].rest).await {
                return Ok(());
            }
            late(begun, "a synchronous standby")?;
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }

    async fn switch(&self) -> Result<()> {
        let (leader, _) = self.leader().await?;
        let [from, to] = [leader, 1 - leader].map(|at| self.nodes[at].name);
        let file = self.room.dir().join(format!("{from}.yml"));
        let mut command = self.room.account().command("patronictl");
        command.arg("-c").arg(file).args(["switchover", "--master", from, "--candidate", to, "--force", SCOPE]);
        command.current_dir(self.room.dir()).env("LC_ALL", "C.UTF-8");
        tokio::task::block_in_place(|| run(&mut command, "")).map(drop)
    }

    async fn kill_leader(&mut self) -> Result<()> {
        let (leader, _) = self.leader().await?;
        let file = self.room.dir().join(self.nodes[leader].name).join("postmaster.pid");
        let pid = postmaster(&file)?;
        if let Some(mut process) = self.nodes[leader].process.take() {
            process.stop(Signal::KILL, Duration::ZERO);
        }
        kill_process(pid, Signal::KILL).map_err(|error| Problem::new("killing the postmaster", error))
    }

    fn start_missing(&mut self) -> Result<()> {
        let missing: Vec<usize> = (0..2).filter(|at| self.nodes[*at].process.is_none()).collect();
        missing.into_iter().try_for_each(|at| self.start_node(at))
    }
}

impl Drop for Patroni {
    fn drop(&mut self) {
        for process in self.nodes.iter_mut().filter_map(|node| node.process.as_mut()) {
            // It stops its server.
            process.stop(Signal::TERM, Duration::from_secs(20));
        }
    }
}

async fn ask(client: &Client, sql: &str) -> Result<()> {
    client.batch_execute(sql).await.map_err(|error| Problem::new(sql, error))
}

/// Patroni's REST API: 200 from a synchronous standby only.
async fn is_sync(rest: u16) -> bool {
    let ask = async {
        let mut stream = TcpStream::connect(("127.0.0.1", rest)).await?;
        stream.write_all(b"GET /sync HTTP/1.0\r\n\r\n").await?;
        let mut answer = Vec::new();
        stream.take(64).read_to_end(&mut answer).await?;
        Ok::<_, std::io::Error>(answer)
    };
    ask.await.is_ok_and(|answer| answer.windows(5).any(|part| part == b" 200 "))
}

fn postmaster(file: &Path) -> Result<Pid> {
    let text =
        std::fs::read_to_string(file).map_err(|error| Problem::new(format!("reading {}", file.display()), error))?;
    let pid = text.lines().next().and_then(|line| line.parse().ok()).and_then(Pid::from_raw);
    pid.ok_or_else(|| Problem::new(format!("reading {}", file.display()), "no process id"))
}

fn late(begun: Instant, what: &str) -> Result<()> {
    if begun.elapsed() < LIMIT { Ok(()) } else { Err(Problem::new(format!("waiting for {what}"), "there is none")) }
}

//! One PostgreSQL server in a room: started, stopped, promoted, asked. Dropping it stops it and removes its data.
//!
//! The postmaster is our child, so it is signalled by a pid that cannot be another's, and reaped: a zombie would make
//! the next postmaster believe that its data directory is in use.

use super::binaries::Binaries;
use super::problem::{Problem, Result, Trying, log_tail};
use super::process::{Process, run, wait_until};
use super::psql::Psql;
use super::room::Ground;
use rustix::process::Signal;
use std::fs::OpenOptions;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

/// How a server is told to stop, in the manual's order; `Kill` is the crash.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stop {
    Smart,
    Fast,
    Immediate,
    Kill,
}

/// A server's only handle outside its room.
pub struct Cluster {
    server: Arc<Server>,
}

impl Cluster {
    pub(super) fn of(server: Arc<Server>) -> Cluster {
        Cluster { server }
    }

    pub(super) fn server(&self) -> &Server {
        &self.server
    }

    pub fn port(&self) -> u16 {
        self.server.port
    }

    pub fn data_dir(&self) -> PathBuf {
        self.server.data.clone()
    }

    pub fn log_file(&self) -> &Path {
        &self.server.log
    }

    pub fn binaries(&self) -> &Binaries {
        &self.server.bin
    }

    /// Runs statements as the superuser, over the unix socket; the rows as psql prints them unaligned.
    pub fn psql(&self, database: &str, sql: &str) -> Result<String> {
        self.psql_as("postgres", database, sql)
    }

    pub fn psql_as(&self, user: &str, database: &str, sql: &str) -> Result<String> {
        let Server { ground, bin, port, .. } = &*self.server;
        let host = ground.sockets().to_string_lossy().into_owned();
        Psql { account: &ground.account, program: bin.psql(), host, port: *port, user, password: &ground.password }
            .run(database, sql)
    }

    /// Starts a stopped server again; waits until it accepts connections.
    pub fn start(&mut self) -> Result<()> {
        self.server.start()
    }

    /// Waits until the server is gone.
    pub fn stop(&mut self, mode: Stop) {
        self.server.stop(mode);
    }

    /// Makes a standby a primary; waits until it is one.
    pub fn promote(&mut self) -> Result<()> {
        let Server { ground, bin, data, .. } = &*self.server;
        let mut command = ground.account.command(bin.program("pg_ctl"));
        run(command.args(["promote", "--wait", "--silent", "--pgdata"]).arg(data).current_dir(data), "").map(drop)
    }

    pub(super) fn wait_for_streaming(&self) -> Result<()> {
        let sql = "SELECT count(*) FROM pg_stat_wal_receiver WHERE status = 'streaming'";
        let mut last = Ok(String::new());
        let mut streaming = || {
            last = self.psql("postgres", sql);
            last.as_deref() == Ok("1")
        };
        if wait_until(START_LIMIT, &mut streaming) {
            return Ok(());
        }
        last?;
        Err(self.server.failed("waiting for the standby to stream", "it does not"))
    }
}

pub(super) struct Server {
    ground: Arc<Ground>,
    bin: Binaries,
    port: u16,
    data: PathBuf,
    log: PathBuf,
    /// None while it is stopped.
    process: Mutex<Option<Process>>,
}

impl Server {
    pub(super) fn new(ground: Arc<Ground>, bin: Binaries, port: u16) -> Result<Server> {
        let data = ground.dir.join(format!("{port}"));
        let log = ground.dir.join(format!("{port}.log"));
        if data.exists() {
            return Err(Problem::new(format!("making a server on port {port}"), "this room has one there"));
        }
        Ok(Server { ground, bin, port, data, log, process: Mutex::default() })
    }

    pub(super) fn start(&self) -> Result<()> {
        let mut running = self.running();
        if running.as_mut().is_some_and(|process| process.ended().is_none()) {
            return Ok(());
        }
        let log = OpenOptions::new().create(true).append(true).open(&self.log);
        let log = log.trying(|| format!("opening {}", self.log.display()))?;
        let errors = log.try_clone().trying(|| format!("opening {}", self.log.display()))?;
        let mut command = self.ground.account.command(self.bin.program("postgres"));
        command.arg("-D").arg(&self.data).arg("-c").arg(format!("port={}", self.port));
        command.arg("-c").arg(format!("cluster_name={}", self.port)).current_dir(&self.data).stdout(log).stderr(errors);
        let process = running.insert(Process::spawn(&mut command, &self.ground.marks())?);

        let mut ended = None;
        wait_until(START_LIMIT, || {
            ended = process.ended();
            ended.is_some() || self.accepts(process.id())
        });
        match ended {
            None if self.accepts(process.id()) => Ok(()),
            None => Err(self.failed("starting PostgreSQL", "it does not accept connections yet")),
            Some(status) => Err(self.failed("starting PostgreSQL", &status.to_string())),
        }
    }

    pub(super) fn stop(&self, mode: Stop) {
        let signal = match mode {
            Stop::Smart => Signal::TERM,
            Stop::Fast => Signal::INT,
            Stop::Immediate => Signal::QUIT,
            Stop::Kill => Signal::KILL,
        };
        if let Some(mut process) = self.running().take() {
            process.stop(signal, STOP_LIMIT);
            // A killed postmaster's children notice within moments; until then no new one may start.
            wait_until(STOP_LIMIT, || !works_in(&self.data));
        }
    }

    /// postmaster.pid: line 1 is the pid, line 8 the state, `ready` once connections are accepted.
    fn accepts(&self, pid: u32) -> bool {
        let text = std::fs::read_to_string(self.data.join("postmaster.pid")).unwrap_or_default();
        let lines: Vec<&str> = text.lines().map(str::trim).collect();
        lines.first().is_some_and(|first| *first == pid.to_string()) && lines.get(7) == Some(&"ready")
    }

    fn failed(&self, tried: &str, cause: &str) -> Problem {
        Problem::new(format!("{tried} on port {}", self.port), format!("{cause}\n{}", log_tail(&self.log)))
    }

    fn running(&self) -> MutexGuard<'_, Option<Process>> {
        self.process.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop(Stop::Immediate);
        // The room may be gone already, and the data with it.
        let _gone = std::fs::remove_dir_all(&self.data);
    }
}

/// Whether any process has the directory as its own, as all of a server's have.
fn works_in(data: &Path) -> bool {
    let processes = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    processes.filter_map(|entry| std::fs::read_link(entry.path().join("cwd")).ok()).any(|cwd| cwd == data)
}

const START_LIMIT: Duration = Duration::from_secs(60);
const STOP_LIMIT: Duration = Duration::from_secs(30);

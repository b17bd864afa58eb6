//! Who is compared: how each is configured alike, started afresh and stopped. All run as the servers' account, log in
//! by SCRAM on both sides with the passwords in clear, and speak plain to the server.

use super::cases::Case;
use super::client::{Client, Login};
use super::stage::{DATABASE, Stage, USER};
use super::texts::version;
use pgweir::demo::{Problem, Process, Result, Trying, log_tail, run};
use rustix::process::Signal;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Peer {
    Direct,
    HaProxy,
    PgBouncer,
    /// One worker.
    PgweirOne,
    /// As many workers as cores.
    PgweirAll,
}

impl Peer {
    pub const ALL: [Peer; 5] = [Peer::Direct, Peer::HaProxy, Peer::PgBouncer, Peer::PgweirOne, Peer::PgweirAll];
    /// To whom ratios are taken: the first of these that ran.
    pub const MEASURES: [&'static str; 2] = [Peer::PgBouncer.name(), Peer::HaProxy.name()];

    pub const fn name(self) -> &'static str {
        match self {
            Peer::Direct => "direct",
            Peer::HaProxy => "HAProxy",
            Peer::PgBouncer => "PgBouncer",
            Peer::PgweirOne => "pgweir, 1 worker",
            Peer::PgweirAll => "pgweir",
        }
    }
}

/// The programs, and what they can.
pub struct Peers {
    haproxy: Option<PathBuf>,
    pgbouncer: Option<(PathBuf, (u32, u32))>,
    pgweir: PathBuf,
}

impl Peers {
    /// Looks in PATH and /usr/sbin; `PGBOUNCER_BIN` names another PgBouncer, `PGWEIR_BIN` another pgweir.
    pub fn find(stage: &Stage) -> Result<Peers> {
        let own = std::env::var_os("PGWEIR_BIN").unwrap_or_else(|| env!("CARGO_BIN_EXE_pgweir").into());
        let pgbouncer = match std::env::var_os("PGBOUNCER_BIN") {
            Some(path) => Some(stage.reachable(Path::new(&path))?),
            None => in_path("pgbouncer"),
        };
        let pgbouncer = pgbouncer.and_then(|path| Some((path.clone(), version(&said(&path, "--version")?)?)));
        Ok(Peers { haproxy: in_path("haproxy"), pgbouncer, pgweir: stage.reachable(Path::new(&own))? })
    }

    /// The first line that each program says of itself.
    pub fn versions(&self) -> Vec<String> {
        let haproxy = self.haproxy.as_deref().map(|path| (path, "-v"));
        let pgbouncer = self.pgbouncer.as_ref().map(|(path, _)| (&**path, "--version"));
        let texts = [haproxy, pgbouncer].into_iter().flatten().filter_map(|(path, flag)| said(path, flag));
        texts.filter_map(|text| text.lines().next().map(str::to_owned)).collect()
    }

    /// Why a peer cannot take part in a case.
    pub fn barred(&self, peer: Peer, case: &Case) -> Option<&'static str> {
        match peer {
            Peer::HaProxy if self.haproxy.is_none() => Some(MISSING),
            Peer::PgBouncer if self.pgbouncer.is_none() => Some(MISSING),
            Peer::PgBouncer if case.keeps_statements() && !self.pgbouncer_prepares() => Some(FORGETFUL),
            _ => None,
        }
    }

    /// Whether PgBouncer follows prepared statements in transaction mode.
    pub fn pgbouncer_prepares(&self) -> bool {
        self.pgbouncer.as_ref().is_some_and(|(_, version)| *version >= PREPARES_SINCE)
    }

    /// Starts a peer and waits until a client has logged in and got an answer. A peer that lets a wrong password in is
    /// not measured: it would be spared the work of a login.
    pub fn start(&self, peer: Peer, stage: &Stage, tls: bool) -> Result<Running> {
        if peer == Peer::Direct {
            let log = stage.work_dir().join("proxy.log");
            return serving(Running { process: None, log, port: stage.postgres_port() }, stage, tls);
        }
        spawn(self.command(peer, stage, tls)?, stage, tls)
    }

    /// pgweir, one worker, before the server and its standby; `lines` say more of the database.
    pub fn start_split(&self, stage: &Stage, standby: u16, lines: &str) -> Result<Running> {
        let users = stage.write("userlist.txt", &format!("\"{USER}\" \"{}\"\n", stage.password()))?;
        let (primary, password) = (stage.postgres_port(), stage.password());
        let probe = format!("probe_user = \"pgweir_probe\"\nprobe_password = \"{password}\"\n");
        let servers = format!("servers = [\"127.0.0.1:{primary}\", \"127.0.0.1:{standby}\"]\n{lines}\n");
        let config = stage.write("pgweir.toml", &pgweir(stage, &users, 1, &probe, &servers))?;
        let mut command = stage.command(&self.pgweir);
        command.arg("run").arg(config);
        spawn(command, stage, false)
    }

    fn command(&self, peer: Peer, stage: &Stage, tls: bool) -> Result<Command> {
        let missing = || Problem::new(format!("starting {}", peer.name()), MISSING);
        let userlist = format!("\"{USER}\" \"{}\"\n", stage.password());
        match peer {
            Peer::Direct => Err(missing()),
            Peer::HaProxy => {
                let config = stage.write("haproxy.cfg", &haproxy(stage))?;
                let mut command = stage.command(self.haproxy.as_ref().ok_or_else(missing)?);
                command.args(["-db", "-f"]).arg(config);
                Ok(command)
            }
            Peer::PgBouncer => {
                let (program, _) = self.pgbouncer.as_ref().ok_or_else(missing)?;
                let users = stage.write("userlist.txt", &userlist)?;
                let config = stage.write("pgbouncer.ini", &pgbouncer(stage, &users, tls, self.pgbouncer_prepares()))?;
                let mut command = stage.command(program);
                command.arg("--quiet").arg(config);
                Ok(command)
            }
            Peer::PgweirOne | Peer::PgweirAll => {
                let users = stage.write("userlist.txt", &userlist)?;
                let workers = if peer == Peer::PgweirOne { 1 } else { 0 };
                let more = if tls { client_tls(stage, "\"") } else { String::new() };
                let server = format!("host = \"127.0.0.1\"\nport = {}\n", stage.postgres_port());
                let config = stage.write("pgweir.toml", &pgweir(stage, &users, workers, &more, &server))?;
                let mut command = stage.command(&self.pgweir);
                command.arg("run").arg(config);
                Ok(command)
            }
        }
    }
}

/// A peer that serves. Dropped, it is stopped, or killed where it takes its time.
pub struct Running {
    /// None where clients reach the server directly.
    process: Option<Process>,
    log: PathBuf,
    pub port: u16,
}

impl Running {
    pub fn pid(&self) -> Option<u32> {
        self.process.as_ref().map(Process::id)
    }

    fn wait(&mut self, stage: &Stage, tls: bool) -> Result<()> {
        let login = stage.login(self.port, tls);
        let deadline = Instant::now() + START_LIMIT;
        loop {
            let answer = Client::login(&login, 0).and_then(|mut client| client.query("SELECT 1"));
            let Err(error) = answer else { return Ok(()) };
            if let Some(status) = self.process.as_mut().and_then(Process::ended) {
                return Err(Problem::new(NOT_RUNNING, format!("it ended: {status}\n{}", log_tail(&self.log))));
            }
            let not_yet = error.kind() == std::io::ErrorKind::ConnectionRefused;
            if !not_yet || Instant::now() > deadline {
                return Err(Problem::new(NOT_RUNNING, format!("{error}\n{}", log_tail(&self.log))));
            }
            std::thread::sleep(POLL);
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Some(process) = &mut self.process {
            process.stop(Signal::TERM, STOP_LIMIT);
        }
    }
}

fn spawn(mut command: Command, stage: &Stage, tls: bool) -> Result<Running> {
    let log = stage.work_dir().join("proxy.log");
    let out = File::create(&log).trying(|| format!("making {}", log.display()))?;
    let err = out.try_clone().trying(|| format!("opening {}", log.display()))?;
    let process = Some(stage.spawn(command.stdout(out).stderr(err))?);
    serving(Running { process, log, port: stage.proxy_port() }, stage, tls)
}

/// Once it serves, and refuses whom it must.
fn serving(mut running: Running, stage: &Stage, tls: bool) -> Result<Running> {
    running.wait(stage, tls)?;
    let wrong = Login { password: format!("not {}", stage.password()), ..stage.login(running.port, tls) };
    match Client::login(&wrong, 0) {
        Ok(_) => Err(Problem::new("logging in with a wrong password", "it was let in")),
        Err(_) => Ok(running),
    }
}

fn haproxy(stage: &Stage) -> String {
    let (port, server) = (stage.proxy_port(), stage.postgres_port());
    format!(
        "global\n    nbthread 1\n    maxconn 2000\n\
         defaults\n    mode tcp\n    timeout connect 5s\n    timeout client 1h\n    timeout server 1h\n\
         listen postgres\n    bind 127.0.0.1:{port}\n    server one 127.0.0.1:{server}\n"
    )
}

fn pgbouncer(stage: &Stage, users: &Path, tls: bool, prepares: bool) -> String {
    let (port, server, users) = (stage.proxy_port(), stage.postgres_port(), users.display());
    let tls = if tls { client_tls(stage, "") } else { String::new() };
    let prepares = if prepares { "max_prepared_statements = 200\n" } else { "" };
    format!(
        "[databases]\n{DATABASE} = host=127.0.0.1 port={server}\n\
         [pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = {port}\nunix_socket_dir =\n\
         auth_type = scram-sha-256\nauth_file = {users}\nserver_tls_sslmode = disable\n\
         pool_mode = transaction\ndefault_pool_size = {POOL}\nmax_client_conn = {MOST_CLIENTS}\n\
         log_connections = 0\nlog_disconnections = 0\n{prepares}{tls}"
    )
}

/// `more` lines for all, and `servers`, the lines that say where the database is.
fn pgweir(stage: &Stage, users: &Path, workers: u32, more: &str, servers: &str) -> String {
    let (port, users) = (stage.proxy_port(), users.display());
    format!(
        "[pgweir]\nlisten_addr = \"127.0.0.1\"\nlisten_port = {port}\nunix_socket_dir = \"\"\nworkers = {workers}\n\
         auth_type = \"scram-sha-256\"\nauth_file = \"{users}\"\nserver_tls_sslmode = \"disable\"\n\
         pool_mode = \"transaction\"\ndefault_pool_size = {POOL}\nmax_client_conn = {MOST_CLIENTS}\n\
         log_connections = false\nlog_disconnections = false\n{more}\
         [databases.{DATABASE}]\n{servers}"
    )
}

/// The same three keys in both files; TOML wants its strings quoted.
fn client_tls(stage: &Stage, quote: &str) -> String {
    let (key, certificate) = (stage.key(), stage.certificate());
    [
        ("sslmode", "allow".into()),
        ("key_file", key.display().to_string()),
        ("cert_file", certificate.display().to_string()),
    ]
    .map(|(name, value)| format!("client_tls_{name} = {quote}{value}{quote}\n"))
    .concat()
}

fn in_path(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let dirs = std::env::split_paths(&path).chain([PathBuf::from("/usr/sbin"), PathBuf::from("/usr/local/sbin")]);
    dirs.map(|dir| dir.join(name)).find(|path| path.is_file())
}

fn said(program: &Path, flag: &str) -> Option<String> {
    run(Command::new(program).arg(flag), "").ok()
}

const POOL: u32 = 20;
const MOST_CLIENTS: u32 = 11_000;
/// PgBouncer 1.21 learned `max_prepared_statements`.
const PREPARES_SINCE: (u32, u32) = (1, 21);
const MISSING: &str = "not installed";
const NOT_RUNNING: &str = "not running";
const FORGETFUL: &str = "this version follows no prepared statements in transaction mode";
const START_LIMIT: Duration = Duration::from_secs(10);
const STOP_LIMIT: Duration = Duration::from_secs(3);
const POLL: Duration = Duration::from_millis(20);

//! pgweir as a process: the built program with a config of the test's own, in a directory of its own, on a free port.
//!
//! It is signalled and stopped by its pid alone. A failed test prints its log.

use std::fmt::Write;
use std::fs::File;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use pgweir::demo::free_ports;
pub use rustix::process::Signal;
use rustix::process::{Pid, kill_process};
use tokio_postgres::{Client, Config, NoTls};

use super::{DEADLINE, Servers, eventually};

/// What a config is made of. Defaults: auth_type trust, everybody in the user list with the servers' password, the
/// databases test1 and test2 on the primary.
pub struct Setup {
    global: String,
    ini: Option<String>,
    databases: Vec<(String, String)>,
    rest: String,
    users: String,
    primary: u16,
    password: String,
    environment: Vec<(String, String)>,
    files: Vec<(String, String)>,
    port: Option<u16>,
    takes_over: bool,
    /// A shell's script that ends in the program, and what its standard input is.
    by: Option<(String, OwnedFd)>,
}

impl Setup {
    pub fn new(pg: &Servers) -> Setup {
        Setup::before(pg.primary, &pg.password)
    }

    /// In front of one server.
    pub fn before(primary: u16, password: &str) -> Setup {
        let names = ["app", "other", "app_md5", "app_plain", "postgres", "trust_user"];
        let users = names.iter().fold(String::new(), |mut text, name| {
            let _infallible = writeln!(text, "\"{name}\" \"{password}\"");
            text
        });
        Setup {
            global: String::new(),
            ini: None,
            databases: Vec::new(),
            rest: String::new(),
            users,
            primary,
            password: password.to_owned(),
            environment: Vec::new(),
            files: Vec::new(),
            port: None,
            takes_over: false,
            by: None,
        }
    }

    /// Lines of `[pgweir]`; they win over the defaults.
    pub fn global(mut self, lines: &str) -> Setup {
        self.global.push_str(lines);
        self.global.push('\n');
        self
    }

    /// A database with these lines; `host` or `servers` among them win over the primary. The first one drops test1 and
    /// test2.
    pub fn database(mut self, name: &str, lines: &str) -> Setup {
        self.databases.push((name.to_owned(), lines.to_owned()));
        self
    }

    /// Text behind all that, as `[users.app]` and its lines.
    pub fn rest(mut self, lines: &str) -> Setup {
        self.rest.push_str(lines);
        self.rest.push('\n');
        self
    }

    /// In place of the user list.
    pub fn users(mut self, lines: &str) -> Setup {
        lines.clone_into(&mut self.users);
        self
    }

    pub fn env(mut self, name: &str, value: &str) -> Setup {
        self.environment.push((name.to_owned(), value.to_owned()));
        self
    }

    /// In place of a free one.
    pub fn port(mut self, port: u16) -> Setup {
        self.port = Some(port);
        self
    }

    /// `run -R`.
    pub fn taking_over(mut self) -> Setup {
        self.takes_over = true;
        self
    }

    /// Started by a shell's script (`exec "$0" "$@"`) with this as its standard input.
    pub fn by(mut self, script: &str, input: OwnedFd) -> Setup {
        self.by = Some((script.to_owned(), input));
        self
    }

    /// A file beside the config.
    pub fn file(mut self, name: &str, text: &str) -> Setup {
        self.files.push((name.to_owned(), text.to_owned()));
        self
    }

    fn write_files(&self, dir: &std::path::Path) {
        std::fs::write(dir.join("userlist.txt"), &self.users).expect("the user list is written");
        for (name, text) in &self.files {
            std::fs::write(dir.join(name), text).expect("a file is written");
        }
    }

    /// This ini in place of all that; `{port}` stands for the port to listen on.
    pub fn ini(mut self, text: &str) -> Setup {
        self.ini = Some(text.to_owned());
        self
    }

    /// The file's text. Server connections carry `tag` as their application_name until a client brings its own. `{dir}`
    /// stands for the proxy's directory.
    fn text(&self, port: u16, tag: &str, dir: &std::path::Path) -> String {
        if let Some(ini) = &self.ini {
            return ini.replace("{port}", &port.to_string()).replace("{dir}", &dir.display().to_string());
        }
        let defaults = [
            ("listen_addr", "\"127.0.0.1\"".to_owned()),
            ("listen_port", port.to_string()),
            ("unix_socket_dir", "\"\"".to_owned()),
            ("http_listen", "\"\"".to_owned()),
            ("auth_type", "\"trust\"".to_owned()),
            ("auth_file", "\"userlist.txt\"".to_owned()),
        ];
        let mut text = String::from("[pgweir]\n");
        push(&mut text, &self.global, &defaults);
        let usual = [("test1".to_owned(), String::new()), ("test2".to_owned(), String::new())];
        let databases = if self.databases.is_empty() { &usual[..] } else { &self.databases[..] };
        for (name, lines) in databases {
            let _infallible = writeln!(text, "\n[databases.{name}]");
            let target = [("host", "\"127.0.0.1\"".to_owned()), ("port", self.primary.to_string())];
            let target = if names(lines, "servers") { &[][..] } else { &target[..] };
            let application_name = [("application_name", format!("\"{tag}\""))];
            push(&mut text, lines, &[target, &application_name].concat());
        }
        (text + "\n" + &self.rest).replace("{dir}", &dir.display().to_string())
    }

    /// Starts it and waits until it serves.
    pub async fn start(self) -> Proxy {
        let mut proxy = self.spawn();
        proxy.up().await;
        proxy
    }

    /// Starts it and waits for nothing.
    pub fn spawn(mut self) -> Proxy {
        let number = STARTED.fetch_add(1, Ordering::Relaxed);
        let tag = format!("it-{}-{number}", std::process::id());
        let dir = std::env::temp_dir().join(format!("pgweir-{tag}"));
        std::fs::create_dir(&dir).expect("the directory is new");
        let port = self.port.unwrap_or_else(|| free_ports(PORT_BASE, 1).expect("a port is free")[0]);
        self.write_files(&dir);
        std::fs::write(dir.join(CONFIG), self.text(port, &tag, &dir)).expect("the config is written");
        let process = Process::spawn(&mut self, &dir, LOG);
        Proxy { setup: self, process, port, dir, tag }
    }
}

/// Whether the lines set this key.
fn names(lines: &str, key: &str) -> bool {
    lines.lines().any(|line| line.split('=').next().is_some_and(|name| name.trim() == key))
}

/// The lines, in front of them those defaults that they do not set.
fn push(text: &mut String, lines: &str, defaults: &[(&str, String)]) {
    for (key, value) in defaults.iter().filter(|(key, _)| !names(lines, key)) {
        let _infallible = writeln!(text, "{key} = {value}");
    }
    text.push_str(lines);
    text.push('\n');
}

/// One pgweir process.
pub struct Process {
    child: Child,
    ended: Option<ExitStatus>,
    log: PathBuf,
    stopped: bool,
}

impl Process {
    fn spawn(setup: &mut Setup, dir: &std::path::Path, log: &str) -> Process {
        let log = dir.join(log);
        let file = File::create(&log).expect("the log is made");
        let mut command = Command::new(program());
        command.stdin(Stdio::null());
        if let Some((script, input)) = setup.by.take() {
            command = Command::new("sh");
            command.arg("-c").arg(script).arg(program()).stdin(input);
        }
        command.arg("run").args(setup.takes_over.then_some("-R")).arg(dir.join(CONFIG)).current_dir(dir);
        command.envs(setup.environment.iter().map(|(name, value)| (name, value)));
        command.stdout(file.try_clone().expect("one more handle")).stderr(file);
        let child = command.spawn().expect("pgweir starts");
        Process { child, ended: None, log, stopped: false }
    }

    /// Waits until it serves.
    async fn up(&mut self) {
        let deadline = Instant::now() + DEADLINE;
        while !self.log().contains("process up") {
            if let Some(status) = self.ended() {
                panic!("pgweir ended at once: {status}\n{}", self.log());
            }
            assert!(Instant::now() < deadline, "pgweir does not come up\n{}", self.log());
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// What it wrote so far.
    pub fn log(&self) -> String {
        std::fs::read(&self.log).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default()
    }

    pub fn signal(&mut self, signal: Signal) {
        assert_eq!(self.ended(), None, "pgweir has ended\n{}", self.log());
        kill_process(Pid::from_child(&self.child), signal).expect("the child is ours");
    }

    /// How it ended, if it did.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        if self.ended.is_none() {
            self.ended = self.child.try_wait().expect("the child is ours");
        }
        self.ended
    }

    /// Waits for its end.
    pub async fn end(&mut self) -> ExitStatus {
        let deadline = Instant::now() + DEADLINE;
        loop {
            if let Some(status) = self.ended() {
                return status;
            }
            assert!(Instant::now() < deadline, "pgweir does not end\n{}", self.log());
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// Ends it at once; of a test that failed its log is shown.
    fn stop(&mut self) {
        if std::mem::replace(&mut self.stopped, true) {
            return;
        }
        if std::thread::panicking() {
            eprintln!("--- pgweir's log\n{}", self.log());
        }
        let _gone_already = self.child.kill();
        let _reaped = self.child.wait();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.stop();
    }
}

/// A running pgweir, with its config.
pub struct Proxy {
    setup: Setup,
    process: Process,
    pub port: u16,
    pub dir: PathBuf,
    /// The application_name of its server connections.
    pub tag: String,
}

impl Proxy {
    /// A config of defaults.
    pub async fn start(pg: &Servers) -> Proxy {
        Setup::new(pg).start().await
    }

    /// One pool of this size for each user of test1 and test2.
    pub async fn of_size(pg: &Servers, size: usize) -> Proxy {
        Setup::new(pg).global(&format!("default_pool_size = {size}")).start().await
    }

    pub fn pid(&self) -> u32 {
        self.process.child.id()
    }

    pub fn config_file(&self) -> PathBuf {
        self.dir.join(CONFIG)
    }

    /// How to connect as this user; the password is in it.
    pub fn config(&self, user: &str, database: &str) -> Config {
        let mut config = Config::new();
        config.host("127.0.0.1").port(self.port).user(user).dbname(database).password(&self.setup.password);
        config
    }

    pub async fn try_connect(&self, user: &str, database: &str) -> Result<Client, tokio_postgres::Error> {
        connect(&self.config(user, database)).await
    }

    pub async fn connect(&self, user: &str, database: &str) -> Client {
        self.try_connect(user, database).await.unwrap_or_else(|error| panic!("{user} at {database}: {error:?}"))
    }

    /// app at test1.
    pub async fn app(&self) -> Client {
        self.connect("app", "test1").await
    }

    pub async fn apps(&self, n: usize) -> Vec<Client> {
        let mut clients = Vec::with_capacity(n);
        for _ in 0..n {
            clients.push(self.app().await);
        }
        clients
    }

    async fn up(&mut self) {
        self.process.up().await;
    }

    /// A new process that is to take this one's place (`run -R`), with the config as it is written now.
    pub fn successor(&mut self) -> Process {
        self.setup.takes_over = true;
        let number = STARTED.fetch_add(1, Ordering::Relaxed);
        Process::spawn(&mut self.setup, &self.dir, &format!("pgweir-{number}.log"))
    }

    /// The same, until it serves; this is the new one then, and the old one is given back.
    pub async fn replace(&mut self) -> Process {
        let mut successor = self.successor();
        successor.up().await;
        std::mem::replace(&mut self.process, successor)
    }

    /// What it wrote so far.
    pub fn log(&self) -> String {
        self.process.log()
    }

    pub async fn wait_for_log(&self, text: &str) {
        eventually(&format!("the log says {text:?}"), || async { self.log().contains(text) }).await;
    }

    /// Writes a new config with the same port and tag, and the user list.
    pub fn rewrite(&mut self, setup: Setup) {
        setup.write_files(&self.dir);
        let text = setup.text(self.port, &self.tag, &self.dir);
        std::fs::write(self.config_file(), text).expect("the config is written");
        self.setup = setup;
    }

    /// The same, taken by SIGHUP.
    pub async fn reload(&mut self, setup: Setup) {
        let before = self.log().matches("config reloaded").count();
        self.rewrite(setup);
        self.signal(Signal::HUP);
        let reloaded = || async { self.log().matches("config reloaded").count() > before };
        eventually("the config is reloaded", reloaded).await;
    }

    pub fn signal(&mut self, signal: Signal) {
        self.process.signal(signal);
    }

    /// How it ended, if it did.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        self.process.ended()
    }

    /// Waits for its end.
    pub async fn end(&mut self) -> ExitStatus {
        self.process.end().await
    }

    /// Resident memory in kB.
    pub fn memory(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid())).expect("pgweir runs");
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("it has memory");
        line.trim().trim_end_matches(" kB").parse().expect("kB")
    }

    /// Its server connections, seen from the server: those that carry its tag. Ask by a client that is no one of them.
    pub async fn servers(&self, direct: &Client) -> Vec<ServerRow> {
        let sql = "SELECT pid, coalesce(state, ''), query, usename::text FROM pg_stat_activity WHERE \
                   application_name = $1 ORDER BY pid";
        let rows = direct.query(sql, &[&self.tag]).await.expect("pg_stat_activity answers");
        let row = |row: &tokio_postgres::Row| ServerRow {
            pid: row.get(0),
            state: row.get(1),
            query: row.get(2),
            user: row.get(3),
        };
        rows.iter().map(row).collect()
    }

    /// Waits until its server connections are these many.
    pub async fn wait_for_servers(&self, direct: &Client, count: usize) {
        let what = format!("there are {count} server connections");
        eventually(&what, || async { self.servers(direct).await.len() == count }).await;
    }

    /// Waits until none of its server connections runs anything or is in a transaction.
    pub async fn wait_for_rest(&self, direct: &Client) {
        let rest = || async { self.servers(direct).await.iter().all(|row| row.state == "idle") };
        eventually("all server connections are idle", rest).await;
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        // Before its log goes.
        self.process.stop();
        let _gone = std::fs::remove_dir_all(&self.dir);
    }
}

/// One line of pg_stat_activity.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerRow {
    pub pid: i32,
    pub state: String,
    pub query: String,
    pub user: String,
}

/// Connects and drives the connection in a task of its own.
pub async fn connect(config: &Config) -> Result<Client, tokio_postgres::Error> {
    let (client, connection) = config.connect(NoTls).await?;
    tokio::spawn(connection);
    Ok(client)
}

/// The process id of the server behind a client, at this moment.
pub async fn backend(client: &Client) -> i32 {
    let row = client.query_one("SELECT pg_backend_pid()", &[]).await;
    row.expect("a server answers").get(0)
}

/// The one value of a simple query.
pub async fn value(client: &Client, sql: &str) -> String {
    let messages = client.simple_query(sql).await.unwrap_or_else(|error| panic!("{sql}: {error:?}"));
    let value = messages.iter().find_map(|message| match message {
        tokio_postgres::SimpleQueryMessage::Row(row) => Some(row.get(0).unwrap_or("NULL").to_owned()),
        _ => None,
    });
    value.unwrap_or_else(|| panic!("{sql}: no row"))
}

/// The built program, or another build of it that the environment names.
pub fn program() -> PathBuf {
    std::env::var_os("PGWEIR_TEST_PROGRAM").map_or_else(|| env!("CARGO_BIN_EXE_pgweir").into(), PathBuf::from)
}

static STARTED: AtomicU32 = AtomicU32::new(0);
const CONFIG: &str = "pgweir.toml";
const LOG: &str = "pgweir.log";
const PORT_BASE: u16 = 23_000;

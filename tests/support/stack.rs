//! The stack of `ops/` without Docker: both servers started by the entrypoints that the containers run, the scripts run
//! against them, all in a room that goes with the test.

use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Mutex;

use pgweir::demo::{Account, Process, Room, free_ports, run, wait_until};
use rustix::process::Signal;

use super::servers::bin15;
use super::tool::Said;
use super::{DEADLINE, Proxy, Setup};

/// One of the pair, by where it begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Node {
    Master,
    Replica,
}

use Node::{Master, Replica};

impl Node {
    fn name(self) -> &'static str {
        match self {
            Master => "master",
            Replica => "replica",
        }
    }

    fn other(self) -> Node {
        match self {
            Master => Replica,
            Replica => Master,
        }
    }
}

pub struct Stack {
    room: Room,
    ports: [u16; 2],
    running: [Mutex<Option<Process>>; 2],
}

impl Stack {
    /// Nothing runs yet: a copy of `ops`, which the servers' account can reach, secrets and certificates.
    pub fn new(name: &str) -> Stack {
        let room = Room::open(name).expect("a room opens");
        let ports = free_ports(PORT_BASE, 2).expect("two ports are free");
        let stack = Stack { room, ports: [ports[0], ports[1]], running: [Mutex::new(None), Mutex::new(None)] };
        let ops = Path::new(env!("CARGO_MANIFEST_DIR")).join("ops");
        run(Command::new("cp").arg("-a").arg(ops).arg(stack.dir()), "").expect("ops is copied");
        run(Command::new("chmod").args(["-R", "go+rX"]).arg(stack.path("ops")), "").expect("ops is readable");
        for dir in ["secrets", "archive", "backups", "upload", "master", "replica", "settings"] {
            std::fs::create_dir(stack.path(dir)).expect("a directory");
            stack.account().give(&stack.path(dir)).expect("it is the servers'");
        }
        for secret in SECRETS {
            let file = stack.path("secrets").join(secret);
            std::fs::write(&file, stack.password(secret)).expect("a secret is written");
            stack.account().give(&file).expect("it is the servers'");
        }
        // Throw-away servers: nothing waits for a disk.
        std::fs::write(stack.path("settings/throw-away.conf"), "fsync = off\nshared_buffers = 32MB\n")
            .expect("settings");
        stack.script("make-certs.sh", &[&stack.text("certs")]).expect("certificates");
        stack
    }

    /// Both servers, the standby streaming.
    pub fn start(name: &str) -> Stack {
        let stack = Stack::new(name);
        stack.serve(Master);
        stack.serve(Replica);
        assert!(wait_until(DEADLINE, || stack.streams_from(Master)), "{}", stack.log(Replica));
        stack
    }

    pub fn dir(&self) -> &Path {
        self.room.dir()
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir().join(name)
    }

    pub fn text(&self, name: &str) -> String {
        self.path(name).to_string_lossy().into_owned()
    }

    fn account(&self) -> &Account {
        self.room.account()
    }

    /// What quoting could break is in each but the monitor's: the exporter cannot read a password with spaces.
    pub fn password(&self, role: &str) -> String {
        let odd = if role == "monitor" { "-" } else { " '\\:\"$" };
        format!("{role}{odd}{}", self.room.password())
    }

    pub fn address(&self, node: Node) -> String {
        format!("127.0.0.1:{}", self.ports[node as usize])
    }

    pub fn data(&self, node: Node) -> PathBuf {
        self.path(node.name()).join("data")
    }

    pub fn log(&self, node: Node) -> String {
        std::fs::read_to_string(self.path(&format!("{}.log", node.name()))).unwrap_or_default()
    }

    /// A program of the stack's, as the servers' account, with the environment of an operator.
    pub fn command(&self, program: &Path) -> Command {
        let mut command = self.account().command(program);
        command.current_dir(self.dir()).env("HOME", self.dir()).env("PG_BINDIR", bin15().dir);
        for (variable, secret) in SECRET_FILES {
            command.env(variable, self.path("secrets").join(secret));
        }
        command.env("TLS_CA_FILE", self.path("certs/ca.crt")).env("WAL_ARCHIVE", self.path("archive"));
        command.env("BACKUP_DIR", self.path("backups")).env("UPLOAD_DIR", self.path("upload"));
        command.env("UPLOAD_HOOK", self.path("ops/scripts/upload-dir.sh"));
        command.env("SERVERS", format!("{} {}", self.address(Master), self.address(Replica)));
        command
    }

    /// A script of `ops/scripts`: what it printed, or what it complained of. Both hold standard output and standard error.
    pub fn script(&self, name: &str, arguments: &[&str]) -> Result<String, String> {
        self.tried(self.command(&self.path("ops/scripts").join(name)).args(arguments))
    }

    /// Runs a command to its end.
    pub fn tried(&self, command: &mut Command) -> Result<String, String> {
        let said: Said = command.stdin(Stdio::null()).output().expect("it starts").into();
        let text = format!("{}\n{}", said.out, said.err);
        if said.success { Ok(text) } else { Err(text) }
    }

    /// A program that runs until this is dropped.
    pub fn keep(&self, command: &mut Command) -> Process {
        Process::spawn(command, &self.room.marks()).expect("it starts")
    }

    /// The entrypoint of a server, as its container runs it.
    pub fn entrypoint(&self, node: Node) -> Command {
        let entrypoint = self.path("ops/postgres").join(node.name()).join("entrypoint.sh");
        let mut command = self.command(&entrypoint);
        let identity = self.path("certs").join(format!("postgres-{}", node.name()));
        command.env("PGDATA", self.data(node)).env("PGPORT", self.ports[node as usize].to_string());
        command
            .env("CONF_DIR", self.path("settings"))
            .env("LISTEN_ADDRESSES", "127.0.0.1")
            .env("SOCKET_DIR", self.room.sockets());
        command.env("PEER_HOST", "127.0.0.1").env("PEER_PORT", self.ports[node.other() as usize].to_string());
        command.env("TLS_CERT_FILE", identity.with_extension("crt"));
        command.env("TLS_KEY_FILE", identity.with_extension("key"));
        command
    }

    /// Starts a server and waits until it answers.
    pub fn serve(&self, node: Node) {
        self.serve_by(node, &mut self.entrypoint(node));
    }

    pub fn serve_by(&self, node: Node, entrypoint: &mut Command) {
        let log = std::fs::File::options().create(true).append(true).open(self.path(&format!("{}.log", node.name())));
        let log = log.expect("a log");
        entrypoint.stdout(log.try_clone().expect("one more handle")).stderr(log);
        let mut process = Process::spawn(entrypoint, &self.room.marks()).expect("the entrypoint starts");
        let answers =
            wait_until(DEADLINE, || process.ended().is_some() || self.sql(node, "postgres", "SELECT 1").is_ok());
        assert!(answers && process.ended().is_none(), "{}", self.log(node));
        *self.slot(node) = Some(process);
    }

    /// Stops a server and waits until it is gone.
    pub fn stop(&self, node: Node, signal: Signal) {
        let mut process = self.slot(node).take().expect("it runs");
        process.stop(signal, DEADLINE);
    }

    fn slot(&self, node: Node) -> std::sync::MutexGuard<'_, Option<Process>> {
        self.running[node as usize].lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    /// The rows as psql prints them unaligned; as the superuser, past pgweir.
    pub fn sql(&self, node: Node, database: &str, text: &str) -> Result<String, String> {
        self.sql_at(self.ports[node as usize], database, text)
    }

    pub fn sql_at(&self, port: u16, database: &str, text: &str) -> Result<String, String> {
        let mut command = self.account().command(bin15().psql());
        command.current_dir(self.dir()).env("HOME", self.dir()).env("PGPASSWORD", self.password("postgres"));
        command.args(["-XqAt", "--no-password", "--set=ON_ERROR_STOP=1", "--host=127.0.0.1", "--username=postgres"]);
        let said: Said = command
            .arg(format!("--port={port}"))
            .arg(format!("--dbname={database}"))
            .args(["--command", text])
            .stdin(Stdio::null())
            .output()
            .expect("psql starts")
            .into();
        if said.success { Ok(said.out) } else { Err(said.err) }
    }

    pub fn value(&self, node: Node, text: &str) -> String {
        self.sql(node, DATABASE, text).unwrap_or_else(|error| panic!("{text}: {error}"))
    }

    pub fn streams_from(&self, node: Node) -> bool {
        let streaming = "SELECT count(*) FROM pg_stat_replication WHERE state = 'streaming'";
        self.sql(node, "postgres", streaming).as_deref() == Ok("1")
    }

    /// pgweir before both servers, with TLS on both sides, as the stack's config has it; and the port of its metrics.
    pub async fn proxy(&self) -> (Proxy, u16) {
        let metrics = free_ports(METRICS_BASE, 1).expect("a port is free")[0];
        let certs = self.path("certs");
        let certs = certs.display();
        let mut global = String::new();
        let _infallible = write!(
            global,
            "auth_type = 'scram-sha-256'\nprobe_user = 'pgweir_probe'\nprobe_password_file = '{}'\n\
             client_tls_sslmode = 'require'\nclient_tls_cert_file = '{certs}/pgweir.crt'\n\
             client_tls_key_file = '{certs}/pgweir.key'\nserver_tls_sslmode = 'verify-full'\n\
             server_tls_ca_file = '{certs}/ca.crt'\n\
             http_listen = '127.0.0.1:{metrics}'",
            self.text("secrets/probe")
        );
        let password = self.password("postgres");
        let servers = format!("servers = ['{}', '{}']", self.address(Master), self.address(Replica));
        let setup = Setup::before(self.ports[0], &password).global(&global).database(DATABASE, &servers);
        let proxy = setup.users(&format!("\"postgres\" \"{}\"\n", password.replace('"', "\"\""))).start().await;
        (proxy, metrics)
    }
}

impl Drop for Stack {
    fn drop(&mut self) {
        if std::thread::panicking() {
            for node in [Master, Replica] {
                eprintln!("--- {node:?}'s log\n{}", self.log(node));
            }
        }
        // An immediate shutdown, so that no child outlives its postmaster: its files go next.
        for node in [Master, Replica] {
            if let Some(mut process) = self.slot(node).take() {
                process.stop(Signal::QUIT, DEADLINE);
            }
        }
    }
}

pub const DATABASE: &str = "suggar_daddy";
const SECRETS: [&str; 4] = ["postgres", "replication", "monitor", "probe"];
const SECRET_FILES: [(&str, &str); 4] = [
    ("POSTGRES_PASSWORD_FILE", "postgres"),
    ("REPLICATION_PASSWORD_FILE", "replication"),
    ("MONITOR_PASSWORD_FILE", "monitor"),
    ("PROBE_PASSWORD_FILE", "probe"),
];
const PORT_BASE: u16 = 25_432;
const METRICS_BASE: u16 = 25_970;

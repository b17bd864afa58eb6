//! What all peers share: a room with one PostgreSQL server, pgbench's tables, a certificate, and where files go.

use super::client::Login;
use pgweir::demo::{Binaries, Cluster, Problem, Process, Result, Room, Trying, free_ports, run, wait_until};
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

pub struct Stage {
    // The server goes before the room that it lies in.
    cluster: Cluster,
    tls: Arc<ClientConfig>,
    proxy_port: u16,
    room: Room,
}

impl Stage {
    pub fn set() -> Result<Stage> {
        let bin = Binaries::find()?;
        let ports = free_ports(PORT_BASE, 2)?;
        let room = Room::open("bench")?;
        for dir in [work_dir(&room), tls_dir(&room)] {
            std::fs::create_dir(&dir).trying(|| format!("making {}", dir.display()))?;
            room.account().give(&dir)?;
        }
        certify(&room)?;
        let tls = Arc::new(trusting(&tls_dir(&room).join(CERTIFICATE))?);
        let paths = [CERTIFICATE, KEY].map(|name| tls_dir(&room).join(name).display().to_string());
        let own = [("ssl", "on"), ("ssl_cert_file", &*paths[0]), ("ssl_key_file", &*paths[1])];
        let cluster = room.primary(&bin, ports[0], &[&own[..], &SETTINGS].concat())?;
        let stage = Stage { cluster, tls, proxy_port: ports[1], room };
        stage.fill()?;
        Ok(stage)
    }

    /// pgbench's tables, and one for COPY.
    fn fill(&self) -> Result<()> {
        let mut pgbench = self.pgbench(self.cluster.port(), false);
        run(pgbench.args(["--initialize", "--quiet", "--scale", SCALE]), "")?;
        self.cluster.psql_as(USER, DATABASE, "CREATE UNLOGGED TABLE copied (line text)").map(drop)
    }

    /// pgbench as the servers' account, with nothing but the connection told.
    pub fn pgbench(&self, port: u16, tls: bool) -> Command {
        let mut command = self.command(self.cluster.binaries().program("pgbench"));
        command.env("PGHOST", "127.0.0.1").env("PGPORT", port.to_string()).env("PGUSER", USER);
        command.env("PGPASSWORD", self.room.password()).env("PGDATABASE", DATABASE).env("PGCONNECT_TIMEOUT", "30");
        // Nobody's ~/.postgresql.
        command.env("HOME", self.work_dir());
        command.env("PGSSLMODE", if tls { "require" } else { "disable" }).env("PGGSSENCMODE", "disable");
        command
    }

    /// A program that will work in our directory, where the room's watchdog finds it.
    pub fn command(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let mut command = self.room.account().command(program);
        command.current_dir(self.work_dir());
        command
    }

    pub fn spawn(&self, command: &mut Command) -> Result<Process> {
        Process::spawn(command, &self.room.marks())
    }

    /// A file of ours that the servers' account can read.
    pub fn write(&self, name: &str, text: &str) -> Result<PathBuf> {
        let path = self.work_dir().join(name);
        std::fs::write(&path, text).trying(|| format!("writing {}", path.display()))?;
        self.room.account().give(&path).map(|()| path)
    }

    pub fn login(&self, port: u16, tls: bool) -> Login {
        let tls = tls.then(|| self.tls.clone());
        Login { port, user: USER, password: self.password().to_owned(), database: DATABASE, tls }
    }

    /// A standby of the server, which streams for as long as its handle lives.
    pub fn standby(&self) -> Result<Cluster> {
        eprintln!("Copying a standby");
        let standby = self.room.standby(&self.cluster, free_ports(PORT_BASE, 1)?[0], "bench")?;
        // The standby's pages are read once.
        standby.psql(DATABASE, "SELECT sum(abalance) FROM pgbench_accounts").map(|_| standby)
    }

    /// Of the server, past every peer; what is made belongs to the peers' user.
    pub fn ask(&self, sql: &str) -> Result<String> {
        self.cluster.psql_as(USER, DATABASE, sql)
    }

    /// Waits until the connections of the run before have left the server.
    pub fn settle(&self) {
        let left = format!("SELECT count(*) FROM pg_stat_activity WHERE usename = '{USER}'");
        wait_until(SETTLE_LIMIT, || self.cluster.psql("postgres", &left).as_deref() == Ok("0"));
    }

    pub fn work_dir(&self) -> PathBuf {
        work_dir(&self.room)
    }

    pub fn certificate(&self) -> PathBuf {
        tls_dir(&self.room).join(CERTIFICATE)
    }

    pub fn key(&self) -> PathBuf {
        tls_dir(&self.room).join(KEY)
    }

    pub fn password(&self) -> &str {
        self.room.password()
    }

    pub fn reachable(&self, program: &Path) -> Result<PathBuf> {
        self.room.reachable_program(program)
    }

    pub fn postgres_port(&self) -> u16 {
        self.cluster.port()
    }

    pub fn proxy_port(&self) -> u16 {
        self.proxy_port
    }

    /// The postmaster's, as its data directory says.
    pub fn postgres_pid(&self) -> Option<u32> {
        let file = std::fs::read_to_string(self.cluster.data_dir().join("postmaster.pid")).ok()?;
        file.lines().next()?.trim().parse().ok()
    }

    pub fn postgres_major(&self) -> u32 {
        self.cluster.binaries().major
    }
}

fn work_dir(room: &Room) -> PathBuf {
    room.dir().join("work")
}

fn tls_dir(room: &Room) -> PathBuf {
    room.dir().join("tls")
}

/// A certificate for 127.0.0.1 that is its own authority.
fn certify(room: &Room) -> Result<()> {
    let mut openssl = room.account().command("openssl");
    openssl.args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2"]);
    openssl.args(["-subj", "/CN=pgweir bench", "-addext", "subjectAltName=IP:127.0.0.1"]);
    openssl.args(["-addext", "basicConstraints=critical,CA:FALSE", "-keyout", KEY, "-out", CERTIFICATE]);
    run(openssl.current_dir(tls_dir(room)), "").map(drop)
}

fn trusting(certificate: &Path) -> Result<ClientConfig> {
    let tried = || format!("trusting {}", certificate.display());
    let mut roots = RootCertStore::empty();
    let der = CertificateDer::from_pem_file(certificate).map_err(|error| Problem::new(tried(), error))?;
    roots.add(der).trying(tried)?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().trying(tried)?;
    Ok(builder.with_root_certificates(roots).with_no_client_auth())
}

pub const USER: &str = "app";
pub const DATABASE: &str = "test1";

/// 500 clients reach the server one to one where no pooler stands before it; nothing runs by itself in between.
const SETTINGS: [(&str, &str); 5] = [
    ("max_connections", "700"),
    ("shared_buffers", "512MB"),
    ("autovacuum", "off"),
    ("checkpoint_timeout", "1d"),
    ("max_wal_size", "16GB"),
];
const SCALE: &str = "16";
const PORT_BASE: u16 = 25432;
const CERTIFICATE: &str = "server.crt";
const KEY: &str = "server.key";
const SETTLE_LIMIT: Duration = Duration::from_secs(5);

//! Who stands before the servers: each listens on one port, and the ones that do not look for themselves are told of a
//! promotion, as a failover tool's callback would.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use pgweir::demo::{Process, Result, Room, Trying, free_ports};
use rustix::process::Signal;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use crate::drill::field::Field;
use crate::drill::load::Mode;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Product {
    Pgweir,
    HaProxy,
    PgBouncer,
}

impl Product {
    pub const ALL: [Product; 3] = [Product::Pgweir, Product::HaProxy, Product::PgBouncer];

    pub fn name(self) -> &'static str {
        match self {
            Product::Pgweir => "pgweir",
            Product::HaProxy => "HAProxy",
            Product::PgBouncer => "PgBouncer",
        }
    }

    /// How its clients may speak: Debian's PgBouncer follows no prepared statements.
    pub fn modes(self) -> &'static [Mode] {
        match self {
            Product::PgBouncer => &[Mode::Simple, Mode::Extended, Mode::Transaction],
            _ => &Mode::ALL,
        }
    }
}

/// One that runs; dropped, it is stopped.
pub struct Front {
    product: Product,
    process: Mutex<Process>,
    pub port: u16,
    dir: PathBuf,
    links: [u16; 2],
    primary: Arc<AtomicUsize>,
}

impl Front {
    pub async fn start(product: Product, field: &Field) -> Result<Front> {
        let links = [field.links[0].port, field.links[1].port];
        Front::before(product, field.room(), links, field.primary()).await
    }

    /// pgweir before these servers, whoever of them is primary.
    pub async fn pgweir(room: &Room, servers: [u16; 2]) -> Result<Front> {
        Front::before(Product::Pgweir, room, servers, 0).await
    }

    async fn before(product: Product, room: &Room, links: [u16; 2], first: usize) -> Result<Front> {
        let port = free_ports(27_000, 1)?[0];
        let primary = Arc::new(AtomicUsize::new(first));
        let dir = room.dir().to_owned();
        let users = write(room, "userlist.txt", &format!("\"app\" \"{0}\"\n", room.password()))?;
        let mut command = match product {
            Product::Pgweir => {
                let config = write(room, "pgweir.toml", &pgweir(port, links, &users, room.password()))?;
                let mut command = room.account().command(room.reachable_program(&program())?);
                command.arg("run").arg(config);
                command
            }
            Product::HaProxy => {
                let checks = [answer_checks(0, &primary).await, answer_checks(1, &primary).await];
                let config = write(room, "haproxy.cfg", &haproxy(port, links, checks))?;
                let mut command = room.account().command("/usr/sbin/haproxy");
                command.args(["-db", "-f"]).arg(config);
                command
            }
            Product::PgBouncer => {
                let config = write(room, "pgbouncer.ini", &pgbouncer(port, links[first], &users))?;
                let mut command = room.account().command("/usr/sbin/pgbouncer");
                command.arg("--quiet").arg(config);
                command
            }
        };
        let process = spawn(&mut command, room, "proxy.log")?;
        // Until it listens and has seen who is primary.
        tokio::time::sleep(Duration::from_secs(2)).await;
        Ok(Front { product, process: Mutex::new(process), port, dir, links, primary })
    }

    /// The failover tool's callback: this one is primary now.
    pub fn repoint(&self, node: usize) {
        self.primary.store(node, Ordering::SeqCst);
        if self.product == Product::PgBouncer {
            let users = self.dir.join("userlist.txt");
            let text = pgbouncer(self.port, self.links[node], &users);
            std::fs::write(self.dir.join("pgbouncer.ini"), text).expect("the room can be written to");
            self.process.lock().expect("nobody panics with it").signal(Signal::HUP);
        }
    }
}

impl Drop for Front {
    fn drop(&mut self) {
        if let Ok(process) = self.process.get_mut() {
            process.stop(Signal::TERM, Duration::from_secs(3));
        }
    }
}

fn program() -> PathBuf {
    std::env::var_os("PGWEIR_BIN").map_or_else(|| env!("CARGO_BIN_EXE_pgweir").into(), PathBuf::from)
}

pub fn write(room: &Room, name: &str, text: &str) -> Result<PathBuf> {
    let path = room.dir().join(name);
    std::fs::write(&path, text).trying(|| format!("writing {}", path.display()))?;
    room.account().give(&path).map(|()| path)
}

/// With what it says in a file of this name.
pub fn spawn(command: &mut Command, room: &Room, log: &str) -> Result<Process> {
    let log = room.dir().join(log);
    let out = File::create(&log).trying(|| format!("making {}", log.display()))?;
    let err = out.try_clone().trying(|| format!("opening {}", log.display()))?;
    Process::spawn(command.stdout(out).stderr(err).current_dir(room.dir()), &room.marks())
}

/// What Patroni's REST interface answers to a load balancer: 200 from the primary, 503 from others.
async fn answer_checks(node: usize, primary: &Arc<AtomicUsize>) -> u16 {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a port is free");
    let (port, primary) = (listener.local_addr().expect("it is bound").port(), Arc::clone(primary));
    tokio::spawn(async move {
        while let Ok((mut check, _)) = listener.accept().await {
            let mut request = [0; 1024];
            let _asked = check.read(&mut request).await;
            let is_primary = primary.load(Ordering::SeqCst) == node;
            let status = if is_primary { "200 OK" } else { "503 Service Unavailable" };
            let _told = check.write_all(format!("HTTP/1.0 {status}\r\n\r\n").as_bytes()).await;
        }
    });
    port
}

fn pgweir(port: u16, [one, other]: [u16; 2], users: &Path, password: &str) -> String {
    format!(
        "[pgweir]\nlisten_addr = \"127.0.0.1\"\nlisten_port = {port}\nunix_socket_dir = \"\"\n\
         auth_type = \"scram-sha-256\"\nauth_file = \"{}\"\n\
         probe_user = \"pgweir_probe\"\nprobe_password = \"{password}\"\n\
         [databases.test1]\nservers = [\"127.0.0.1:{one}\", \"127.0.0.1:{other}\"]\n",
        users.display()
    )
}

/// Checked five times as often as Patroni's manual has it.
fn haproxy(port: u16, [one, other]: [u16; 2], [check_one, check_other]: [u16; 2]) -> String {
    format!(
        "defaults\n    mode tcp\n    timeout connect 1s\n    timeout client 1h\n    timeout server 1h\n\
         listen postgres\n    bind 127.0.0.1:{port}\n    option httpchk GET /primary\n    http-check expect status 200\n\
         \x20   default-server inter 200ms fall 2 rise 1 on-marked-down shutdown-sessions\n\
         \x20   server one 127.0.0.1:{one} check port {check_one}\n\
         \x20   server other 127.0.0.1:{other} check port {check_other}\n"
    )
}

fn pgbouncer(port: u16, server: u16, users: &Path) -> String {
    format!(
        "[databases]\ntest1 = host=127.0.0.1 port={server}\n\
         [pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = {port}\nunix_socket_dir =\n\
         auth_type = scram-sha-256\nauth_file = {}\npool_mode = transaction\n",
        users.display()
    )
}

//! Listening sockets on TCP and unix paths, and the options of accepted and dialled sockets.

use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use socket2::{Domain, Protocol, SockRef, Socket, TcpKeepalive, Type};
use tokio::net::{TcpListener, TcpStream, UnixListener};

use crate::config::Global;

/// A place where clients come in.
pub enum Listener {
    Tcp(TcpListener),
    Unix { listener: UnixListener, path: SocketPath },
}

/// The socket's file; removed when dropped.
pub struct SocketPath(PathBuf);

impl SocketPath {
    pub fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for SocketPath {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

/// What could not be listened on, and why.
#[derive(Debug)]
pub struct Fault {
    pub place: String,
    pub source: io::Error,
}

impl std::fmt::Display for Fault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "cannot listen on {}: {}", self.place, self.source)
    }
}

/// Opens every listener of a config, or none. Must run inside the runtime.
pub async fn open(global: &Global) -> Result<Vec<Listener>, Fault> {
    let mut all = Vec::new();
    for host in &global.listen_addr {
        for addr in resolve(host, global.listen_port).await? {
            let fault = |source| Fault { place: addr.to_string(), source };
            all.push(Listener::Tcp(tcp(addr, global).map_err(fault)?));
        }
    }
    if let Some(dir) = &global.unix_socket_dir {
        let path = Path::new(dir).join(format!(".s.PGSQL.{}", global.listen_port));
        let fault = |source| Fault { place: path.display().to_string(), source };
        all.push(unix(&path, global).map_err(fault)?);
    }
    Ok(all)
}

async fn resolve(host: &str, port: u16) -> Result<Vec<SocketAddr>, Fault> {
    if host == "*" {
        return Ok(vec![SocketAddr::from(([0, 0, 0, 0], port)), SocketAddr::from(([0u16; 8], port))]);
    }
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    let found = tokio::net::lookup_host((bare, port)).await;
    found.map(|addrs| addrs.collect()).map_err(|source| Fault { place: format!("{host}:{port}"), source })
}

fn tcp(addr: SocketAddr, global: &Global) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(addr), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    socket.set_reuse_port(global.so_reuseport)?;
    if addr.is_ipv6() {
        // An IPv4 listener of its own may stand beside it.
        socket.set_only_v6(true)?;
    }
    socket.set_nonblocking(true)?;
    socket.bind(&addr.into())?;
    socket.listen(global.listen_backlog as i32)?;
    TcpListener::from_std(socket.into())
}

fn unix(path: &Path, global: &Global) -> io::Result<Listener> {
    if std::fs::symlink_metadata(path).is_ok_and(|meta| meta.file_type().is_socket()) {
        // A socket that nobody answers on is a leftover; one that somebody does is a running process.
        match std::os::unix::net::UnixStream::connect(path) {
            Ok(_) => return Err(io::Error::new(io::ErrorKind::AddrInUse, "another process listens there")),
            Err(_) => std::fs::remove_file(path)?,
        }
    }
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    socket.set_nonblocking(true)?;
    socket.bind(&socket2::SockAddr::unix(path)?)?;
    let path = SocketPath(path.to_owned());
    std::fs::set_permissions(path.path(), std::fs::Permissions::from_mode(global.unix_socket_mode))?;
    if let Some(group) = &global.unix_socket_group {
        std::os::unix::fs::chown(path.path(), None, Some(group_id(group)?))?;
    }
    socket.listen(global.listen_backlog as i32)?;
    let listener = UnixListener::from_std(std::os::unix::net::UnixListener::from(socket))?;
    Ok(Listener::Unix { listener, path })
}

/// A group by number or by its name in /etc/group.
fn group_id(group: &str) -> io::Result<u32> {
    if let Ok(number) = group.parse() {
        return Ok(number);
    }
    let file = std::fs::read_to_string("/etc/group")?;
    let line = file.lines().map(|line| line.split(':').collect::<Vec<_>>()).find(|parts| parts.first() == Some(&group));
    let number = line.and_then(|parts| parts.get(2)?.parse().ok());
    number.ok_or_else(|| io::Error::new(io::ErrorKind::NotFound, format!("no group {group}")))
}

/// Keepalive and user timeout as configured; no delay, since we write whole messages.
pub fn tune(stream: &TcpStream, global: &Global) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let socket = SockRef::from(stream);
    if global.tcp_keepalive {
        let mut keepalive = TcpKeepalive::new();
        if !global.tcp_keepidle.is_zero() {
            keepalive = keepalive.with_time(global.tcp_keepidle);
        }
        if !global.tcp_keepintvl.is_zero() {
            keepalive = keepalive.with_interval(global.tcp_keepintvl);
        }
        if global.tcp_keepcnt != 0 {
            keepalive = keepalive.with_retries(global.tcp_keepcnt);
        }
        socket.set_tcp_keepalive(&keepalive)?;
    }
    user_timeout(stream, global.tcp_user_timeout)
}

/// TCP_USER_TIMEOUT; zero leaves the kernel's.
pub fn user_timeout(stream: &TcpStream, timeout: Duration) -> io::Result<()> {
    if timeout.is_zero() {
        return Ok(());
    }
    SockRef::from(stream).set_tcp_user_timeout(Some(timeout))
}

//! Listening sockets on TCP and unix paths, and the options of accepted and dialled sockets.
//!
//! A socket may also come from outside, already bound: from systemd (socket activation), which decides where we listen,
//! or from the process whose place we take, of whose sockets those are kept that the config names.

use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use socket2::{Domain, Protocol, SockAddr, SockFilter, SockRef, Socket, TcpKeepalive, Type};
use tokio::net::{TcpListener, TcpStream, UnixListener};

use crate::config::Global;

/// A place where clients come in.
pub enum Listener {
    Tcp(TcpListener),
    Unix { listener: UnixListener, path: SocketPath },
}

/// The socket's file; removed when dropped, if it is ours.
pub struct SocketPath {
    path: PathBuf,
    ours: AtomicBool,
}

impl SocketPath {
    pub fn new(path: &Path) -> SocketPath {
        let path = SocketPath { path: path.to_owned(), ours: AtomicBool::new(false) };
        path.claim();
        path
    }

    /// We alone listen there now.
    pub fn claim(&self) {
        self.ours.store(!is_abstract(&self.path), Ordering::Relaxed);
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Another process listens there now.
    pub fn leave(&self) {
        self.ours.store(false, Ordering::Relaxed);
    }
}

impl Drop for SocketPath {
    fn drop(&mut self) {
        if *self.ours.get_mut() {
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

impl AsFd for Listener {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Listener::Tcp(listener) => listener.as_fd(),
            Listener::Unix { listener, .. } => listener.as_fd(),
        }
    }
}

impl Listener {
    /// Lets nobody else begin to connect here, where another process listens on the same port (SO_REUSEPORT): a SYN that
    /// comes here is dropped, and its repetition goes to the other one once this socket is closed. Connections that are
    /// under way already arrive.
    pub fn turn_away(&self) -> io::Result<()> {
        // BPF, as in linux/filter.h. The packet begins with the TCP header, of which byte 13 has the flags.
        const LOAD_BYTE: u16 = 0x30;
        const JUMP_IF_SET: u16 = 0x45;
        const RETURN: u16 = 0x06;
        const SYN: u32 = 0x02;
        let filter = [
            SockFilter::new(LOAD_BYTE, 0, 0, 13),
            SockFilter::new(JUMP_IF_SET, 0, 1, SYN),
            SockFilter::new(RETURN, 0, 0, 0),
            SockFilter::new(RETURN, 0, 0, u32::MAX),
        ];
        match self {
            Listener::Tcp(listener) => SockRef::from(listener).attach_filter(&filter),
            Listener::Unix { .. } => Ok(()),
        }
    }

    /// The process that gave the socket has left it.
    pub fn claim(&self) {
        if let Listener::Unix { path, .. } = self {
            path.claim();
        }
    }

    /// Another process listens on the same socket now.
    pub fn leave(&self) {
        if let Listener::Unix { path, .. } = self {
            path.leave();
        }
    }
}

/// What could not be listened on, and why.
#[derive(Debug)]
pub struct Fault {
    pub place: String,
    pub source: io::Error,
}

impl Fault {
    /// What systemd passed cannot be used.
    pub fn activation(source: io::Error) -> Fault {
        Fault { place: "a socket that systemd passed".to_owned(), source }
    }
}

impl std::fmt::Display for Fault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "cannot listen on {}: {}", self.place, self.source)
    }
}

/// Where a socket is bound.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Place {
    Tcp(SocketAddr),
    /// `@name` is an abstract one, as PgBouncer and libpq write it.
    Unix(PathBuf),
}

impl std::fmt::Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Place::Tcp(address) => address.fmt(f),
            Place::Unix(path) => path.display().fmt(f),
        }
    }
}

impl Place {
    fn fault(&self) -> impl Fn(io::Error) -> Fault + use<> {
        let place = self.to_string();
        move |source| Fault { place: place.clone(), source }
    }
}

/// A listening socket that came from outside.
pub struct Given {
    place: Place,
    socket: Socket,
}

impl Given {
    pub fn new(socket: OwnedFd) -> io::Result<Given> {
        let socket = Socket::from(socket);
        if !socket.is_listener()? || socket.r#type()? != Type::STREAM {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "a descriptor that is no listening socket"));
        }
        let place = place(&socket.local_addr()?)?;
        socket.set_nonblocking(true)?;
        Ok(Given { place, socket })
    }

    /// Must run inside the runtime.
    fn listener(self) -> io::Result<Listener> {
        match self.place {
            Place::Tcp(_) => Ok(Listener::Tcp(TcpListener::from_std(self.socket.into())?)),
            Place::Unix(path) => {
                let listener = UnixListener::from_std(self.socket.into())?;
                let path = SocketPath::new(&path);
                // It is somebody else's still.
                path.leave();
                Ok(Listener::Unix { listener, path })
            }
        }
    }
}

fn place(address: &SockAddr) -> io::Result<Place> {
    if let Some(address) = address.as_socket() {
        return Ok(Place::Tcp(address));
    }
    let named = |name: &[u8]| PathBuf::from(format!("@{}", String::from_utf8_lossy(name)));
    let path = address.as_pathname().map(Path::to_owned).or_else(|| address.as_abstract_namespace().map(named));
    path.map(Place::Unix).ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "a socket that is bound nowhere"))
}

/// The sockets that systemd passed, all of them and no others; their files are systemd's. Must run inside the runtime.
pub fn activated(given: Vec<OwnedFd>) -> Result<Vec<Listener>, Fault> {
    let listen = |socket| Given::new(socket).and_then(Given::listener).map_err(Fault::activation);
    given.into_iter().map(listen).collect()
}

/// Opens every listener of a config, or none; of what another process gave, what the config names is used. Must run inside
/// the runtime.
pub async fn open(global: &Global, mut given: Vec<Given>) -> Result<Vec<Listener>, Fault> {
    let mut all = Vec::new();
    for host in &global.listen_addr {
        for address in resolve(host, global.listen_port).await? {
            let place = Place::Tcp(address);
            let listener = match take(&mut given, &place) {
                Some(given) => given.listener(),
                None => tcp(address, global).map(Listener::Tcp),
            };
            all.push(listener.map_err(place.fault())?);
        }
    }
    if let Some(path) = socket_file(global, "PGSQL") {
        let place = Place::Unix(path.clone());
        let listener = match take(&mut given, &place) {
            Some(given) => given.listener(),
            None => unix(&path, global),
        };
        all.push(listener.map_err(place.fault())?);
    }
    Ok(all)
}

fn take(given: &mut Vec<Given>, place: &Place) -> Option<Given> {
    let at = given.iter().position(|given| given.place == *place)?;
    Some(given.swap_remove(at))
}

/// The socket of that name in unix_socket_dir: `PGSQL` is the one for clients.
pub fn socket_file(global: &Global, name: &str) -> Option<PathBuf> {
    let dir = global.unix_socket_dir.as_ref()?;
    Some(Path::new(dir).join(format!(".s.{name}.{}", global.listen_port)))
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
    clear(path)?;
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    socket.set_nonblocking(true)?;
    socket.bind(&unix_address(path)?)?;
    let path = SocketPath::new(path);
    if !is_abstract(path.path()) {
        std::fs::set_permissions(path.path(), std::fs::Permissions::from_mode(global.unix_socket_mode))?;
        if let Some(group) = &global.unix_socket_group {
            std::os::unix::fs::chown(path.path(), None, Some(group_id(group)?))?;
        }
    }
    socket.listen(global.listen_backlog as i32)?;
    let listener = UnixListener::from_std(std::os::unix::net::UnixListener::from(socket))?;
    Ok(Listener::Unix { listener, path })
}

/// Removes a socket's file that nobody answers on, as a killed process leaves it; one that somebody does is a running
/// process.
pub fn clear(path: &Path) -> io::Result<()> {
    if !std::fs::symlink_metadata(path).is_ok_and(|meta| meta.file_type().is_socket()) {
        return Ok(());
    }
    for kind in [Type::STREAM, Type::SEQPACKET] {
        let socket = Socket::new(Domain::UNIX, kind, None)?;
        socket.set_nonblocking(true)?;
        match socket.connect(&unix_address(path)?) {
            // Of the other type, or nobody is there.
            Err(error) if [Some(WRONG_TYPE), Some(NOBODY)].contains(&error.raw_os_error()) => {}
            _ => return Err(io::Error::new(io::ErrorKind::AddrInUse, "another process listens there")),
        }
    }
    std::fs::remove_file(path)
}

/// EPROTOTYPE and ECONNREFUSED.
const WRONG_TYPE: i32 = 91;
const NOBODY: i32 = 111;

fn is_abstract(path: &Path) -> bool {
    path.as_os_str().as_encoded_bytes().starts_with(b"@")
}

fn unix_address(path: &Path) -> io::Result<SockAddr> {
    match path.to_str().and_then(|path| path.strip_prefix('@')) {
        Some(name) => SockAddr::unix(format!("\0{name}")),
        None => SockAddr::unix(path),
    }
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

//! Taking a running process's place (`pgweir run -R`), and giving up one's own to a new one.
//!
//! The listening sockets themselves are passed on: the queue of those who knock is the socket's, so that nobody in it is
//! lost, and at each moment exactly one of the two processes takes clients from it. They speak over a socket of their
//! own in unix_socket_dir, which only the same account and root can reach:
//!
//! ```text
//! new: T version     I want your place
//! old: L counts      here are the descriptors: this socket, those for clients, connections to elder processes
//! new: R             my config is loaded and my listeners are ready
//! old: H hold ...    this is held (PAUSE, DISABLE), each in a packet of its own
//! old: Y             I take nobody any more
//! new: D             I take clients now
//! old:               closes its listeners, and lives until its clients have left
//! ```
//!
//! If either ends before `D`, the old one goes on as before. Afterwards the connection stays: over it the new process
//! puts cancel requests for keys that it does not know before the old one (`client::elders`), and says what is held from
//! then on (`held`).

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use super::reception::Reception;
use super::tenure::Tenure;
use super::{Fault, held};
use crate::client::{House, cancel, elders};
use crate::config::Global;
use crate::control::Phase;
use crate::net::listen::{self, Given, SocketPath};
use crate::net::packets::{DESCRIPTORS, Packet, PacketListener, Packets};

/// What the two say is understood by processes with the same number only.
const VERSION: u8 = 1;

/// How long an answer may take that needs no work.
const PATIENCE: Duration = Duration::from_secs(10);

/// How long the new process may take to load its config and to bind what is new in it.
const PREPARATION: Duration = Duration::from_secs(60);

/// What a running process gave.
pub struct Inheritance {
    /// Listening sockets for clients.
    pub sockets: Vec<Given>,
    post: OwnedFd,
    elders: Vec<OwnedFd>,
    predecessor: Packets,
}

/// Where a successor knocks.
pub struct Post {
    listener: PacketListener,
    path: SocketPath,
}

/// The socket's file.
fn place(global: &Global) -> Option<PathBuf> {
    listen::socket_file(global, "PGWEIR")
}

impl Inheritance {
    /// Asks the process that runs with the same unix_socket_dir and port. None: there is none.
    pub async fn ask(global: &Global) -> Result<Option<Inheritance>, Fault> {
        let path =
            place(global).ok_or_else(|| Fault("-R needs a unix_socket_dir, to reach the running process".into()))?;
        let fault = |error: io::Error| Fault(format!("cannot take over from {}: {error}", path.display()));
        let predecessor = match Packets::connect(&path) {
            Ok(predecessor) => predecessor,
            Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused) => {
                return Ok(None);
            }
            Err(error) => return Err(fault(error)),
        };
        predecessor.send(&[b'T', VERSION], &[]).await.map_err(fault)?;
        let given = hear(&predecessor, b"L", PATIENCE).await.map_err(fault)?;
        Inheritance::unpack(given, predecessor).map(Some).map_err(fault)
    }

    fn unpack(given: Packet, predecessor: Packets) -> io::Result<Inheritance> {
        let counts = given.bytes.get(1..).and_then(|counts| counts.first_chunk::<2>());
        let &[sockets, elders] = counts.ok_or_else(|| io::Error::other("an answer that ends early"))?;
        let mut descriptors = given.descriptors.into_iter();
        let post = descriptors.next().ok_or_else(|| io::Error::other("no descriptors came"))?;
        let sockets = descriptors.by_ref().take(usize::from(sockets)).map(Given::new).collect::<io::Result<_>>()?;
        let elders = descriptors.take(usize::from(elders)).collect();
        Ok(Inheritance { sockets, post, elders, predecessor })
    }

    /// The other process takes no more clients once this returns. What it holds is held here, too.
    pub async fn ready(&self, house: &House) -> Result<(), Fault> {
        let fault = |error: io::Error| Fault(format!("the running process keeps its place: {error}"));
        self.predecessor.send(b"R", &[]).await.map_err(fault)?;
        let mut holds = Vec::new();
        loop {
            let packet = hear(&self.predecessor, b"HY", PATIENCE).await.map_err(fault)?;
            match held::read(&packet.bytes) {
                Some(hold) => holds.push(hold),
                None => break,
            }
        }
        house.backends.hold_as(holds);
        Ok(())
    }

    /// This process takes clients now. Gives the socket at which its own successor will knock.
    pub async fn taken(self, global: &Global, house: &House, reception: &Reception) -> Result<Option<Post>, Fault> {
        let fault = |error: io::Error| Fault(format!("the running process is gone: {error}"));
        self.predecessor.send(b"D", &[]).await.map_err(fault)?;
        reception.listeners().iter().for_each(|listener| listener.claim());
        house.elders.add(self.predecessor);
        for elder in self.elders {
            Packets::new(elder).map(|elder| house.elders.add(elder)).map_err(fault)?;
        }
        let post = |path: PathBuf| {
            let listener = PacketListener::new(self.post)?;
            Ok(Post { listener, path: SocketPath::new(&path) })
        };
        place(global).map(post).transpose().map_err(fault)
    }
}

impl Post {
    /// None: without a unix_socket_dir nobody can take over.
    pub fn open(global: &Global) -> Result<Option<Post>, Fault> {
        let Some(path) = place(global) else { return Ok(None) };
        let bind = |path: &Path| {
            listen::clear(path)?;
            PacketListener::bind(path)
        };
        let listener = bind(&path).map_err(|error| Fault(format!("cannot listen on {}: {error}", path.display())))?;
        Ok(Some(Post { listener, path: SocketPath::new(&path) }))
    }

    /// Waits for a successor and gives it our place; then says so, and heeds its requests until it, and those that take
    /// its place, have ended.
    pub async fn attend(self, reception: Arc<Reception>, house: Arc<House>, tenure: Arc<Tenure>) {
        let successor = loop {
            let successor = match self.listener.accept().await {
                Ok(successor) => successor,
                Err(error) => {
                    tracing::error!("cannot accept a successor: {error}");
                    tokio::time::sleep(PATIENCE).await;
                    continue;
                }
            };
            match self.give_up(&successor, &reception, &house).await {
                Ok(()) => break successor,
                Err(error) => {
                    reception.go_on();
                    tracing::warn!("the process that wanted to take over did not: {error}");
                }
            }
        };
        reception.leave();
        self.path.leave();
        drop(self);
        tenure.end();
        heed(&successor, &house).await;
    }

    async fn give_up(&self, successor: &Packets, reception: &Reception, house: &House) -> io::Result<()> {
        let own = rustix::process::geteuid().as_raw();
        if ![own, 0].contains(&successor.uid()?) {
            return Err(io::Error::new(io::ErrorKind::PermissionDenied, "it is of another account"));
        }
        let wish = hear(successor, b"T", PATIENCE).await?;
        if wish.bytes.get(1) != Some(&VERSION) {
            return Err(io::Error::other("it speaks another version of the handover"));
        }
        let (sockets, elders) = (reception.listeners(), house.elders.all());
        let all = std::iter::once(self.listener.as_fd());
        let all: Vec<_> =
            all.chain(sockets.iter().map(|it| it.as_fd())).chain(elders.iter().map(|it| it.as_fd())).collect();
        if all.len() > DESCRIPTORS {
            return Err(io::Error::other("there are too many descriptors to pass on"));
        }
        let count = |number: usize| u8::try_from(number).unwrap_or(u8::MAX);
        successor.send(&[b'L', count(sockets.len()), count(elders.len())], &all).await?;
        hear(successor, b"R", PREPARATION).await?;
        reception.stand_still();
        held::tell(successor, &house.backends.held()).await?;
        successor.send(b"Y", &[]).await?;
        hear(successor, b"D", PATIENCE).await.map(|_| ())
    }
}

/// The next packet, which must begin with one of these.
async fn hear(other: &Packets, expected: &[u8], limit: Duration) -> io::Result<Packet> {
    let heard = tokio::time::timeout(limit, other.receive()).await;
    match heard.map_err(|_| io::Error::from(io::ErrorKind::TimedOut))?? {
        Some(packet) if packet.bytes.first().is_some_and(|first| expected.contains(first)) => Ok(packet),
        Some(_) => Err(io::Error::other("an unexpected answer")),
        None => Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the other process closed the connection")),
    }
}

/// Cancel requests for our clients, which come in where we listened, and what is held there from now on.
async fn heed(successor: &Packets, house: &Arc<House>) {
    let mut holds = Vec::new();
    while let Ok(Some(packet)) = successor.receive().await {
        if let Some(hold) = held::read(&packet.bytes) {
            holds.push(hold);
            continue;
        }
        if packet.bytes == held::END {
            let holds = std::mem::take(&mut holds);
            // One that drains holds nobody back.
            if *house.phase.borrow() < Phase::Draining {
                house.backends.hold_as(holds);
            }
            continue;
        }
        let house = Arc::clone(house);
        tokio::spawn(async move {
            if let Some((pid, secret)) = elders::request(&packet) {
                cancel::own(&house, pid, secret).await;
            }
            // Its descriptor closes: that is the answer.
            drop(packet);
        });
    }
}

//! Reaching a server: the socket, and TLS as its sslmode says. Logins and cancel requests both come this way.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::{TcpStream, UnixStream};
use tokio::task::JoinSet;

use super::names::{Names, Ttl};
use crate::config::{Address, Global, SslMode};
use crate::error::{Error, Kind, Side};
use crate::net::listen;
use crate::net::stream::Stream;
use crate::net::talk::Talk;
use crate::net::tls::Connector;
use crate::wire::encode;

/// From one address of a name to the next: within the shortest deadline (`probe_timeout`) several are tried.
const STAGGER: Duration = Duration::from_millis(50);

/// How a server is reached.
#[derive(Clone)]
pub struct Route {
    pub address: Address,
    /// None: sslmode disable.
    pub tls: Option<Connector>,
    pub global: Arc<Global>,
    pub names: Arc<Names>,
}

impl std::fmt::Debug for Route {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Route({})", self.address)
    }
}

/// A connection that nothing was sent on yet, but for the TLS handshake.
pub struct Connected {
    pub stream: Stream,
    /// `tls-server-end-point` of the server's certificate; None without TLS or where its algorithm gives none.
    pub end_point: Option<Vec<u8>>,
}

/// Whether this attempt asks for TLS. `allow` tries without first, `prefer` with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Attempt {
    Plain,
    Tls,
}

impl Route {
    /// The attempts that the sslmode allows, in libpq's order. TLS is never spoken over a unix socket.
    pub fn attempts(&self) -> &'static [Attempt] {
        let unix = matches!(self.address, Address::Unix { .. });
        match self.tls.as_ref().map(Connector::mode) {
            None | Some(SslMode::Disable) => &[Attempt::Plain],
            _ if unix => &[Attempt::Plain],
            Some(SslMode::Allow) => &[Attempt::Plain, Attempt::Tls],
            Some(SslMode::Prefer) => &[Attempt::Tls, Attempt::Plain],
            Some(SslMode::Require | SslMode::VerifyCa | SslMode::VerifyFull) => &[Attempt::Tls],
        }
    }

    /// Connects within server_connect_timeout. Not cancel-safe in effect, but leaves nothing behind: dropping closes.
    pub async fn connect(&self, attempt: Attempt) -> Result<Connected, Error> {
        let limit = self.global.server_connect_timeout;
        let connecting = async {
            match &self.address {
                Address::Unix { dir, port } => {
                    let path = dir.join(format!(".s.PGSQL.{port}"));
                    let stream = UnixStream::connect(path).await?;
                    Ok(Connected { stream: Stream::Unix(stream), end_point: None })
                }
                Address::Tcp { host, port } => {
                    let tcp = self.dial(host, *port).await?;
                    listen::tune(&tcp, &self.global)?;
                    self.encrypt(tcp, host, attempt).await
                }
            }
        };
        within(limit, connecting).await.map_err(|error| {
            Error::new(Kind::ServerGone, Side::Server).because(format_args!("{}: {error}", self.address))
        })
    }

    /// All addresses of a name, until one answers.
    async fn dial(&self, host: &str, port: u16) -> io::Result<TcpStream> {
        let found = self.names.find(host, Ttl::of(&self.global)).await?;
        let dialled = first_of(found.iter().map(|address| SocketAddr::new(*address, port))).await;
        if dialled.is_err() {
            self.names.doubt(host);
        }
        dialled
    }

    async fn encrypt(&self, tcp: TcpStream, host: &str, attempt: Attempt) -> io::Result<Connected> {
        let plain = |tcp| Connected { stream: Stream::Tcp(tcp), end_point: None };
        let Some(connector) = self.tls.as_ref().filter(|_| attempt == Attempt::Tls) else { return Ok(plain(tcp)) };
        let mut talk = Talk::new(Stream::Tcp(tcp));
        encode::ssl_request(&mut talk.out);
        talk.flush().await?;
        let answer = talk.byte().await?;
        if talk.has_more() {
            return Err(io::Error::other("received unencrypted data after SSL response"));
        }
        let (Stream::Tcp(tcp), _) = talk.into_parts() else { return Err(io::Error::other("not a TCP stream")) };
        match answer {
            b'S' => {
                let (tls, end_point) = connector.connect(tcp, host).await?;
                Ok(Connected { stream: Stream::TlsToServer(Box::new(tls)), end_point })
            }
            b'N' if connector.mode() <= SslMode::Prefer => Ok(plain(tcp)),
            b'N' => Err(io::Error::other("the server does not support TLS, but server_tls_sslmode requires it")),
            _ => Err(io::Error::other("unexpected answer to an SSLRequest")),
        }
    }
}

/// Each address is tried a moment after the one before it, or when that has failed; the first that answers is taken.
async fn first_of(addresses: impl ExactSizeIterator<Item = SocketAddr>) -> io::Result<TcpStream> {
    let mut left = addresses;
    let mut attempts = JoinSet::new();
    let mut last = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
    loop {
        match left.next() {
            Some(address) => drop(attempts.spawn(TcpStream::connect(address))),
            None if attempts.is_empty() => return Err(last),
            None => {}
        }
        tokio::select! {
            Some(done) = attempts.join_next() => match done {
                Ok(Ok(tcp)) => return Ok(tcp),
                Ok(Err(error)) => last = error,
                Err(error) => last = io::Error::other(error),
            },
            () = tokio::time::sleep(STAGGER), if left.len() > 0 => {}
        }
    }
}

async fn within<T>(limit: Duration, work: impl Future<Output = io::Result<T>>) -> io::Result<T> {
    match tokio::time::timeout(limit, work).await {
        Ok(done) => done,
        Err(_) => Err(io::Error::new(io::ErrorKind::TimedOut, "connect timeout")),
    }
}

/// Asks a server to cancel what the given process runs, and waits until the server has closed that connection. Errors
/// are for the log: nobody waits for them.
pub async fn cancel(route: &Route, pid: i32, secret: &[u8]) -> Result<(), Error> {
    let mut outcome = Err(Error::new(Kind::ServerGone, Side::Server));
    for &attempt in route.attempts() {
        outcome = match route.connect(attempt).await {
            Ok(connected) => send_cancel(connected, pid, secret).await,
            Err(error) => Err(error),
        };
        if outcome.is_ok() {
            break;
        }
    }
    outcome
}

async fn send_cancel(connected: Connected, pid: i32, secret: &[u8]) -> Result<(), Error> {
    let lost = |error: io::Error| Error::new(Kind::ServerGone, Side::Server).because(error);
    let mut talk = Talk::new(connected.stream);
    encode::cancel_request(&mut talk.out, pid, secret);
    talk.flush().await.map_err(lost)?;
    match talk.byte().await {
        // The server answers nothing and closes once the signal is out.
        Err(_) => Ok(()),
        Ok(_) => Err(Error::desync("an answer to a cancel request")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn all_addresses_are_tried() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let open = listener.local_addr().expect("bound");
        let closed = SocketAddr::from(([127, 0, 0, 2], open.port()));
        let tcp = first_of([closed, open].into_iter()).await.expect("one of them answers");
        assert_eq!(tcp.peer_addr().ok(), Some(open));
        assert!(first_of([closed, closed].into_iter()).await.is_err());
        assert!(first_of([].into_iter()).await.is_err());
    }

    /// Nothing refuses and nothing answers there: a backlog that is full.
    #[tokio::test]
    async fn an_address_that_is_silent_does_not_hold_up_the_next_one() {
        let socket = tokio::net::TcpSocket::new_v4().expect("a socket");
        socket.bind(([127, 0, 0, 1], 0).into()).expect("a port");
        let full = socket.listen(0).expect("it listens");
        let silent = full.local_addr().expect("bound");
        let mut crowd = Vec::new();
        while let Ok(Ok(one)) = tokio::time::timeout(Duration::from_millis(300), TcpStream::connect(silent)).await {
            crowd.push(one);
        }
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let open = listener.local_addr().expect("bound");
        let tcp = first_of([silent, open].into_iter()).await.expect("one of them answers");
        assert_eq!(tcp.peer_addr().ok(), Some(open));
    }
}

//! Reaching a server: the socket, and TLS as its sslmode says. Logins and cancel requests both come this way.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::{TcpStream, UnixStream};

use crate::config::{Address, Global, SslMode};
use crate::error::{Error, Kind, Side};
use crate::net::listen;
use crate::net::stream::Stream;
use crate::net::talk::Talk;
use crate::net::tls::Connector;
use crate::wire::encode;

/// How a server is reached.
#[derive(Clone)]
pub struct Route {
    pub address: Address,
    /// None: sslmode disable.
    pub tls: Option<Connector>,
    pub global: Arc<Global>,
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
                    let tcp = dial(host, *port).await?;
                    listen::tune(&tcp, &self.global)?;
                    self.encrypt(tcp, host, attempt).await
                }
            }
        };
        within(limit, connecting).await.map_err(|error| {
            Error::new(Kind::ServerGone, Side::Server).because(format_args!("{}: {error}", self.address))
        })
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

/// All addresses of a name, until one answers.
async fn dial(host: &str, port: u16) -> io::Result<TcpStream> {
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    let found: Vec<SocketAddr> = tokio::net::lookup_host((bare, port)).await?.collect();
    let mut last = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
    for addr in found {
        match TcpStream::connect(addr).await {
            Ok(tcp) => return Ok(tcp),
            Err(error) => last = error,
        }
    }
    Err(last)
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

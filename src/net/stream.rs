//! A connection of any sort: TCP, unix socket, or TLS over either.
//!
//! Reading and writing go through `poll_*`, so that both directions of a conversation progress in one poll.

use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::os::fd::{AsFd, OwnedFd};
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, Interest, ReadBuf};
use tokio::net::{TcpStream, UnixStream};

/// A plain or encrypted connection.
pub enum Stream {
    Tcp(TcpStream),
    Unix(UnixStream),
    /// We are the TLS server.
    TlsFromClient(Box<tokio_rustls::server::TlsStream<TcpStream>>),
    /// We are the TLS client.
    TlsToServer(Box<tokio_rustls::client::TlsStream<TcpStream>>),
}

/// What a socket with room in its buffer takes whole.
const SHORT: usize = 16 << 10;

macro_rules! each {
    ($self:expr, $io:ident => $do:expr) => {
        match $self {
            Stream::Tcp($io) => $do,
            Stream::Unix($io) => $do,
            Stream::TlsFromClient($io) => $do,
            Stream::TlsToServer($io) => $do,
        }
    };
}

impl Stream {
    pub fn is_tls(&self) -> bool {
        matches!(self, Stream::TlsFromClient(_) | Stream::TlsToServer(_))
    }

    /// Protocol version, cipher suite and key exchange, as in `TLSv1.3/TLS_AES_256_GCM_SHA384/X25519`; empty without TLS.
    pub fn tls_name(&self) -> String {
        let connection: &rustls::CommonState = match self {
            Stream::Tcp(_) | Stream::Unix(_) => return String::new(),
            Stream::TlsFromClient(io) => io.get_ref().1,
            Stream::TlsToServer(io) => io.get_ref().1,
        };
        let version = connection.protocol_version().and_then(|version| version.as_str()).unwrap_or("TLS");
        let version = version.replace("TLSv1_", "TLSv1.");
        let suite = connection.negotiated_cipher_suite().and_then(|suite| suite.suite().as_str());
        let group = connection.negotiated_key_exchange_group().and_then(|group| group.name().as_str());
        let parts = [suite.map(|suite| suite.replace("TLS13_", "TLS_")), group.map(str::to_owned)];
        parts.into_iter().flatten().fold(version, |name, part| name + "/" + &part)
    }

    /// The two ends of a TCP connection, ours first.
    pub fn ends(&self) -> Option<(SocketAddr, SocketAddr)> {
        let tcp = match self {
            Stream::Tcp(io) => io,
            Stream::Unix(_) => return None,
            Stream::TlsFromClient(io) => io.get_ref().0,
            Stream::TlsToServer(io) => io.get_ref().0,
        };
        tcp.local_addr().ok().zip(tcp.peer_addr().ok())
    }

    /// Has the socket watched by the runtime in which this is called. A second descriptor of it is registered there and
    /// then the first one closed, since what TLS has of a connection cannot be taken out from around its socket. Nobody
    /// may wait for the socket meanwhile. After an error it is watched as before.
    pub fn watch_here(&mut self) -> io::Result<()> {
        match self {
            Stream::Tcp(io) => watch_tcp(io),
            Stream::Unix(io) => {
                *io = UnixStream::from_std(second(io)?.into())?;
                Ok(())
            }
            Stream::TlsFromClient(io) => watch_tcp(io.get_mut().0),
            Stream::TlsToServer(io) => watch_tcp(io.get_mut().0),
        }
    }

    /// Reads what is there. 0 bytes: the peer has ended its side. Cancel-safe.
    pub fn poll_read(&mut self, cx: &mut Context<'_>, into: &mut [u8]) -> Poll<io::Result<usize>> {
        let mut buf = ReadBuf::new(into);
        let polled = each!(self, io => Pin::new(io).poll_read(cx, &mut buf));
        polled.map_ok(|()| buf.filled().len())
    }

    /// Writes two slices in one system call, as far as the socket takes them. Cancel-safe.
    pub fn poll_write(&mut self, cx: &mut Context<'_>, first: &[u8], second: &[u8]) -> Poll<io::Result<usize>> {
        let one = match (first.is_empty(), second.is_empty()) {
            (_, true) => first,
            (true, false) => second,
            (false, false) => {
                let slices = [IoSlice::new(first), IoSlice::new(second)];
                return each!(self, io => Pin::new(io).poll_write_vectored(cx, &slices));
            }
        };
        // What is short is mostly taken at once, and nobody has to be woken.
        let tried = match self {
            Stream::Tcp(io) if one.len() <= SHORT => io.try_write(one),
            Stream::Unix(io) if one.len() <= SHORT => io.try_write(one),
            _ => Err(io::ErrorKind::WouldBlock.into()),
        };
        match tried {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            tried => return Poll::Ready(tried),
        }
        each!(self, io => Pin::new(io).poll_write(cx, one))
    }

    /// Pushes out what TLS holds back; nothing to do for plain sockets.
    pub fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Stream::Tcp(_) | Stream::Unix(_) => Poll::Ready(Ok(())),
            Stream::TlsFromClient(io) => Pin::new(io).poll_flush(cx),
            Stream::TlsToServer(io) => Pin::new(io).poll_flush(cx),
        }
    }

    /// Ends our side: TLS close_notify and the socket's FIN.
    pub fn poll_shutdown(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        each!(self, io => Pin::new(io).poll_shutdown(cx))
    }

    /// Whether the kernel has reported something to read (data or an end) since the last read. No system call, and nobody
    /// is woken by what comes later.
    pub fn is_readable(&self) -> bool {
        let look = || Ok(());
        let seen = match self {
            Stream::Tcp(io) => io.try_io(Interest::READABLE, look),
            Stream::Unix(io) => io.try_io(Interest::READABLE, look),
            Stream::TlsFromClient(io) => io.get_ref().0.try_io(Interest::READABLE, look),
            Stream::TlsToServer(io) => io.get_ref().0.try_io(Interest::READABLE, look),
        };
        seen.is_ok()
    }
}

fn watch_tcp(io: &mut TcpStream) -> io::Result<()> {
    *io = TcpStream::from_std(second(io)?.into())?;
    Ok(())
}

/// Another descriptor of the same socket.
fn second(io: &impl AsFd) -> io::Result<OwnedFd> {
    io.as_fd().try_clone_to_owned()
}

/// The same as tokio's traits, for the logins, which read and write as ordinary async code.
impl AsyncRead for Stream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        each!(self.get_mut(), io => Pin::new(io).poll_read(cx, buf))
    }
}

impl AsyncWrite for Stream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        each!(self.get_mut(), io => Pin::new(io).poll_write(cx, buf))
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Stream::poll_flush(self.get_mut(), cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Stream::poll_shutdown(self.get_mut(), cx)
    }
}

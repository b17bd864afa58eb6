//! Packets between two processes of one machine, which may carry open descriptors (SCM_RIGHTS over SOCK_SEQPACKET).

use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::cmsg_space;
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, SocketAddrUnix, SocketFlags, SocketType, accept_with, bind, connect, listen,
    recvmsg, sendmsg, socket_with, sockopt,
};
use tokio::io::Interest;
use tokio::net::UnixStream;

/// Bytes of one packet, at most.
const LONGEST: usize = 1024;

/// Descriptors in one packet, at most. Linux takes 253.
pub const DESCRIPTORS: usize = 64;

/// One end of a connection. Of tokio's stream only the registration with its driver is used.
pub struct Packets(UnixStream);

/// What came at once.
pub struct Packet {
    pub bytes: Vec<u8>,
    pub descriptors: Vec<OwnedFd>,
}

impl Packets {
    /// Around a connected socket of packets. Must run inside the runtime.
    pub fn new(socket: OwnedFd) -> io::Result<Packets> {
        Ok(Packets(watch(socket)?))
    }

    /// To whoever listens at `path`. A unix socket connects at once or not at all.
    pub fn connect(path: &Path) -> io::Result<Packets> {
        let socket = socket()?;
        connect(&socket, &address(path)?)?;
        Packets::new(socket)
    }

    /// Sends one packet whole. Cancel-safe.
    pub async fn send(&self, bytes: &[u8], descriptors: &[BorrowedFd<'_>]) -> io::Result<()> {
        let send = || {
            let mut space = [MaybeUninit::uninit(); cmsg_space!(ScmRights(DESCRIPTORS))];
            let mut control = SendAncillaryBuffer::new(&mut space);
            if !descriptors.is_empty() && !control.push(SendAncillaryMessage::ScmRights(descriptors)) {
                return Err(io::Error::new(io::ErrorKind::InvalidInput, "too many descriptors for one packet"));
            }
            Ok(sendmsg(&self.0, &[IoSlice::new(bytes)], &mut control, SendFlags::NOSIGNAL).map(|_| ())?)
        };
        self.0.async_io(Interest::WRITABLE, send).await
    }

    /// The next packet; None: the other end is closed everywhere. Cancel-safe.
    pub async fn receive(&self) -> io::Result<Option<Packet>> {
        let receive = || {
            let mut bytes = [0; LONGEST];
            let mut space = [MaybeUninit::uninit(); cmsg_space!(ScmRights(DESCRIPTORS))];
            let mut control = RecvAncillaryBuffer::new(&mut space);
            let flags = RecvFlags::CMSG_CLOEXEC;
            let got = recvmsg(&self.0, &mut [IoSliceMut::new(&mut bytes)], &mut control, flags)?;
            let mut descriptors = Vec::new();
            for message in control.drain() {
                if let RecvAncillaryMessage::ScmRights(passed) = message {
                    descriptors.extend(passed);
                }
            }
            if got.flags.intersects(ReturnFlags::TRUNC | ReturnFlags::CTRUNC) {
                return Err(io::Error::new(io::ErrorKind::InvalidData, "a packet that is too long"));
            }
            let bytes = bytes.get(..got.bytes).unwrap_or_default().to_vec();
            Ok((!bytes.is_empty()).then_some(Packet { bytes, descriptors }))
        };
        self.0.async_io(Interest::READABLE, receive).await
    }

    /// The account that the other end belongs to.
    pub fn uid(&self) -> io::Result<u32> {
        Ok(sockopt::socket_peercred(&self.0)?.uid.as_raw())
    }
}

impl AsFd for Packets {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// A place where such connections come in.
pub struct PacketListener(UnixStream);

impl PacketListener {
    /// Only the process's own account may connect to the file, and root.
    pub fn bind(path: &Path) -> io::Result<PacketListener> {
        let socket = socket()?;
        bind(&socket, &address(path)?)?;
        if !is_abstract(path) {
            std::fs::set_permissions(path, std::os::unix::fs::PermissionsExt::from_mode(0o600))?;
        }
        listen(&socket, 8)?;
        PacketListener::new(socket)
    }

    /// Around a listening socket of packets. Must run inside the runtime.
    pub fn new(socket: OwnedFd) -> io::Result<PacketListener> {
        Ok(PacketListener(watch(socket)?))
    }

    /// Cancel-safe.
    pub async fn accept(&self) -> io::Result<Packets> {
        let accept = || Ok(accept_with(&self.0, SocketFlags::CLOEXEC)?);
        Packets::new(self.0.async_io(Interest::READABLE, accept).await?)
    }
}

impl AsFd for PacketListener {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

fn watch(socket: OwnedFd) -> io::Result<UnixStream> {
    let socket = std::os::unix::net::UnixStream::from(socket);
    socket.set_nonblocking(true)?;
    UnixStream::from_std(socket)
}

fn socket() -> io::Result<OwnedFd> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    Ok(socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None)?)
}

/// `@name` is an abstract one, as PgBouncer and libpq write it.
fn is_abstract(path: &Path) -> bool {
    path.as_os_str().as_encoded_bytes().starts_with(b"@")
}

fn address(path: &Path) -> io::Result<SocketAddrUnix> {
    match path.as_os_str().as_encoded_bytes().strip_prefix(b"@") {
        Some(name) => Ok(SocketAddrUnix::new_abstract_name(name)?),
        None => Ok(SocketAddrUnix::new(path)?),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixStream;

    use super::*;

    fn pair() -> (Packets, Packets) {
        let flags = SocketFlags::CLOEXEC;
        let (one, other) = rustix::net::socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None).unwrap();
        (Packets::new(one).unwrap(), Packets::new(other).unwrap())
    }

    #[tokio::test]
    async fn packets_keep_their_bounds_and_their_descriptors() {
        let (one, other) = pair();
        let (kept, passed) = UnixStream::pair().unwrap();
        one.send(b"first", &[passed.as_fd()]).await.unwrap();
        one.send(b"second", &[]).await.unwrap();
        drop(passed);
        let first = other.receive().await.unwrap().unwrap();
        assert_eq!((first.bytes.as_slice(), first.descriptors.len()), (&b"first"[..], 1));
        let second = other.receive().await.unwrap().unwrap();
        assert_eq!((second.bytes.as_slice(), second.descriptors.len()), (&b"second"[..], 0));
        // The passed end is open as long as the packet is.
        kept.set_nonblocking(true).unwrap();
        let read = || std::io::Read::read(&mut &kept, &mut [0]);
        assert_eq!(read().unwrap_err().kind(), io::ErrorKind::WouldBlock);
        drop(first);
        assert_eq!(read().unwrap(), 0);
        drop(one);
        assert!(other.receive().await.unwrap().is_none());
    }

    #[tokio::test]
    async fn what_is_too_long_is_no_packet() {
        let (one, other) = pair();
        one.send(&[1; LONGEST + 1], &[]).await.unwrap();
        assert!(other.receive().await.is_err());
        one.send(&[1; LONGEST], &[]).await.unwrap();
        assert_eq!(other.receive().await.unwrap().unwrap().bytes.len(), LONGEST);
    }

    #[tokio::test]
    async fn both_ends_know_whose_the_other_is() {
        let dir = std::env::temp_dir().join(format!("pgweir-packets-{}", std::process::id()));
        std::fs::create_dir_all(&dir).unwrap();
        let path = dir.join("socket");
        let own = rustix::process::getuid().as_raw();
        for path in [path.clone(), format!("@pgweir-packets-{}", std::process::id()).into()] {
            let listener = PacketListener::bind(&path).unwrap();
            let one = Packets::connect(&path).unwrap();
            let other = listener.accept().await.unwrap();
            assert_eq!((one.uid().unwrap(), other.uid().unwrap()), (own, own));
        }
        std::fs::remove_dir_all(&dir).unwrap();
        assert!(Packets::connect(&path).is_err());
    }
}

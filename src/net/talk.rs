//! Message by message, as ordinary async code: for logins, probes and clean-ups. The relay does not use it.

use std::io;

use bytes::{Buf, BytesMut};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::stream::Stream;
use crate::wire::{Malformed, frame};

/// A connection with what was read ahead of need and what waits to be written.
pub struct Talk {
    pub stream: Stream,
    inbox: BytesMut,
    /// Messages to send with the next `flush`.
    pub out: Vec<u8>,
}

/// How much of a peer that is not asked yet is read.
const AHEAD: usize = 64 << 10;

/// A whole message.
#[derive(Debug)]
pub struct Message {
    pub tag: u8,
    pub body: BytesMut,
}

/// Why no message came.
#[derive(Debug)]
pub enum Fault {
    /// The peer closed, or the socket failed.
    Io(io::Error),
    Malformed(Malformed),
}

impl From<io::Error> for Fault {
    fn from(error: io::Error) -> Fault {
        Fault::Io(error)
    }
}

impl std::fmt::Display for Fault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Fault::Io(error) if error.kind() == io::ErrorKind::UnexpectedEof => f.write_str("connection closed"),
            Fault::Io(error) => write!(f, "{error}"),
            Fault::Malformed(what) => f.write_str(what.0),
        }
    }
}

impl Talk {
    pub fn new(stream: Stream) -> Talk {
        Talk { stream, inbox: BytesMut::new(), out: Vec::new() }
    }

    /// Sends what was written to `out`. Not cancel-safe: a dropped call may have sent a part.
    pub async fn flush(&mut self) -> io::Result<()> {
        self.stream.write_all(&self.out).await?;
        self.out.clear();
        self.stream.flush().await
    }

    /// The next message, at most `limit` bytes long. Cancel-safe: what was read stays in the inbox.
    pub async fn message(&mut self, limit: usize) -> Result<Message, Fault> {
        let header = loop {
            if let Some(header) = frame::scan(&self.inbox, limit).map_err(Fault::Malformed)? {
                break header;
            }
            self.fill().await?;
        };
        while self.inbox.len() < header.len {
            self.fill().await?;
        }
        let mut body = self.inbox.split_to(header.len);
        body.advance(frame::HEADER);
        Ok(Message { tag: header.tag, body })
    }

    /// A packet without a tag, its length field included. Cancel-safe.
    pub async fn startup_packet(&mut self) -> Result<BytesMut, Fault> {
        loop {
            match frame::scan_startup(&self.inbox).map_err(Fault::Malformed)? {
                Some(len) if self.inbox.len() >= len => return Ok(self.inbox.split_to(len)),
                _ => self.fill().await?,
            }
        }
    }

    /// One byte, as the answer to an SSLRequest is. Cancel-safe.
    pub async fn byte(&mut self) -> io::Result<u8> {
        while self.inbox.is_empty() {
            self.fill().await?;
        }
        Ok(self.inbox.get_u8())
    }

    async fn fill(&mut self) -> io::Result<()> {
        match self.stream.read_buf(&mut self.inbox).await? {
            0 => Err(io::ErrorKind::UnexpectedEof.into()),
            _ => Ok(()),
        }
    }

    /// Ends when the peer does; what it sends meanwhile is kept for later, up to a bound, beyond which it is not listened
    /// to. Cancel-safe.
    pub async fn hung_up(&mut self) {
        while self.inbox.len() < AHEAD {
            if self.fill().await.is_err() {
                return;
            }
        }
        std::future::pending().await
    }

    /// Whether more was read than has been asked for.
    pub fn has_more(&self) -> bool {
        !self.inbox.is_empty()
    }

    /// The connection and what was read ahead.
    pub fn into_parts(self) -> (Stream, BytesMut) {
        (self.stream, self.inbox)
    }
}

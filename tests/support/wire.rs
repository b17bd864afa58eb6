//! A client that writes exact bytes and reads messages: for tests of the protocol itself.
//!
//! [`say`] makes messages, [`Wire`] sends and reads them, and answers are compared as text: `T D(1) C(SELECT 1) Z(I)`.

use std::fmt;

use postgres_protocol::authentication::sasl::{ChannelBinding, SCRAM_SHA_256, ScramSha256};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::{Proxy, soon};

/// A message from pgweir.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    pub tag: u8,
    pub body: Vec<u8>,
}

impl Frame {
    /// A field of an ErrorResponse or NoticeResponse.
    pub fn field(&self, code: u8) -> String {
        let fields = self.body.split(|&byte| byte == 0).filter(|field| field.first() == Some(&code));
        fields.map(|field| String::from_utf8_lossy(&field[1..]).into_owned()).next().unwrap_or_default()
    }

    /// The fields of a DataRow as text.
    pub fn row(&self) -> Vec<String> {
        let mut rest = &self.body[2..];
        let mut fields = Vec::new();
        while let Some((length, data)) = rest.split_first_chunk::<4>() {
            let length = i32::from_be_bytes(*length);
            let (field, behind) = match usize::try_from(length) {
                Ok(length) => data.split_at(length),
                Err(_) => (&b"NULL"[..], data),
            };
            fields.push(String::from_utf8_lossy(field).into_owned());
            rest = behind;
        }
        fields
    }

    fn strings(&self) -> Vec<String> {
        let text = self.body.strip_suffix(&[0]).unwrap_or(&self.body);
        text.split(|&byte| byte == 0).map(|part| String::from_utf8_lossy(part).into_owned()).collect()
    }
}

impl fmt::Display for Frame {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let tag = char::from(self.tag);
        match self.tag {
            b'E' | b'N' => write!(f, "{tag}({})", self.field(b'C')),
            b'D' => write!(f, "{tag}({})", self.row().join(",")),
            b'C' => write!(f, "{tag}({})", self.strings().join("")),
            b'S' => write!(f, "{tag}({})", self.strings().join("=")),
            b'Z' => write!(f, "{tag}({})", String::from_utf8_lossy(&self.body)),
            b'd' => write!(f, "{tag}({})", String::from_utf8_lossy(&self.body).trim_end()),
            _ => write!(f, "{tag}"),
        }
    }
}

/// Frames as one line.
pub fn line(frames: &[Frame]) -> String {
    frames.iter().map(Frame::to_string).collect::<Vec<_>>().join(" ")
}

/// The key for cancel requests.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Key {
    pub pid: i32,
    pub secret: Vec<u8>,
}

/// One connection.
pub struct Wire {
    pub stream: TcpStream,
    read: Vec<u8>,
    pub key: Option<Key>,
    /// What came between the startup packet and ReadyForQuery.
    pub greeting: Vec<Frame>,
}

impl Wire {
    /// A bare connection.
    pub async fn open(port: u16) -> Wire {
        let stream = TcpStream::connect(("127.0.0.1", port)).await.expect("pgweir accepts");
        stream.set_nodelay(true).expect("a live socket");
        Wire::over(stream)
    }

    /// One that is open already.
    pub fn over(stream: TcpStream) -> Wire {
        Wire { stream, read: Vec::new(), key: None, greeting: Vec::new() }
    }

    /// app at test1, logged in by trust, protocol 3.0.
    pub async fn login(proxy: &Proxy) -> Wire {
        Wire::login_with(proxy, say::V3_0, &[("user", "app"), ("database", "test1")]).await
    }

    /// Logged in by trust with these startup parameters.
    pub async fn login_with(proxy: &Proxy, version: u32, parameters: &[(&str, &str)]) -> Wire {
        let mut wire = Wire::open(proxy.port).await;
        wire.send(&say::startup(version, parameters)).await;
        wire.greet().await;
        wire
    }

    /// Past pgweir, to a server that asks for a SCRAM proof of the password.
    pub async fn login_direct(port: u16, password: &str, parameters: &[(&str, &str)]) -> Wire {
        let mut wire = Wire::open(port).await;
        wire.send(&say::startup(say::V3_0, parameters)).await;
        let mut scram = ScramSha256::new(password.as_bytes(), ChannelBinding::unsupported());
        wire.challenge(10).await;
        wire.send(&say::sasl_initial(SCRAM_SHA_256, scram.message())).await;
        scram.update(&wire.challenge(11).await).expect("the server's first message");
        wire.send(&say::message(b'p', scram.message())).await;
        scram.finish(&wire.challenge(12).await).expect("the server knows the password");
        wire.greet().await;
        wire
    }

    /// What stands in an AuthenticationSASL message of this kind.
    async fn challenge(&mut self, kind: i32) -> Vec<u8> {
        let frame = self.frame().await.expect("a server that asks");
        let (code, data) = frame.body.split_first_chunk::<4>().expect("an authentication request");
        assert_eq!((frame.tag, i32::from_be_bytes(*code)), (b'R', kind), "{frame} {}", frame.field(b'M'));
        data.to_vec()
    }

    /// Reads to the login's ReadyForQuery.
    pub async fn greet(&mut self) {
        let frames = self.answers().await;
        let last = frames.last().expect("an answer to a startup packet");
        assert_eq!(last.to_string(), "Z(I)", "{}", last.field(b'M'));
        let key = frames.iter().find(|frame| frame.tag == b'K').expect("BackendKeyData");
        let (pid, secret) = key.body.split_first_chunk::<4>().expect("a process id");
        self.key = Some(Key { pid: i32::from_be_bytes(*pid), secret: secret.to_vec() });
        self.greeting = frames;
    }

    pub async fn send(&mut self, bytes: &[u8]) {
        soon("a write to pgweir", self.stream.write_all(bytes)).await.expect("pgweir reads");
    }

    /// The same, where pgweir may have closed already.
    pub async fn send_perhaps(&mut self, bytes: &[u8]) {
        let _closed = soon("a write to pgweir", self.stream.write_all(bytes)).await;
    }

    /// The next message; None at the end of the connection.
    pub async fn frame(&mut self) -> Option<Frame> {
        soon("a message from pgweir", self.next()).await
    }

    async fn next(&mut self) -> Option<Frame> {
        loop {
            if let Some(frame) = self.take() {
                return Some(frame);
            }
            match self.stream.read_buf(&mut self.read).await {
                Ok(0) | Err(_) => {
                    assert!(self.read.is_empty(), "the connection ended within a message");
                    return None;
                }
                Ok(_) => {}
            }
        }
    }

    fn take(&mut self) -> Option<Frame> {
        let tag = *self.read.first()?;
        let length = self.read.get(1..)?.first_chunk::<4>()?;
        let length = usize::try_from(u32::from_be_bytes(*length)).ok()?;
        let body = self.read.get(5..1 + length)?.to_vec();
        self.read.drain(..1 + length);
        Some(Frame { tag, body })
    }

    /// To ReadyForQuery or to the end of the connection, both included.
    pub async fn answers(&mut self) -> Vec<Frame> {
        let mut frames = Vec::new();
        while let Some(frame) = self.frame().await {
            let ready = frame.tag == b'Z';
            frames.push(frame);
            if ready {
                break;
            }
        }
        frames
    }

    /// As many messages as asked for, as a line.
    pub async fn read(&mut self, count: usize) -> String {
        let mut frames = Vec::new();
        for _ in 0..count {
            frames.extend(self.frame().await);
        }
        line(&frames)
    }

    /// To ReadyForQuery, as a line.
    pub async fn ready(&mut self) -> String {
        line(&self.answers().await)
    }

    /// Sends and reads to ReadyForQuery, as a line.
    pub async fn ask(&mut self, messages: &[Vec<u8>]) -> String {
        self.send(&messages.concat()).await;
        self.ready().await
    }

    /// A simple query.
    pub async fn query(&mut self, sql: &str) -> String {
        self.ask(&[say::query(sql)]).await
    }

    /// The rest of the connection: its last messages as a line.
    pub async fn rest(&mut self) -> String {
        let mut frames = Vec::new();
        while let Some(frame) = self.frame().await {
            frames.push(frame);
        }
        line(&frames)
    }

    /// The last words before the end: severity, SQLSTATE and text.
    pub async fn last_words(&mut self) -> String {
        let mut words = String::new();
        while let Some(frame) = self.frame().await {
            if frame.tag == b'E' {
                words = format!("{} {} {}", frame.field(b'S'), frame.field(b'C'), frame.field(b'M'));
            }
        }
        words
    }

    /// Whether nothing comes for a moment.
    pub async fn is_silent(&mut self) -> bool {
        tokio::time::timeout(super::MOMENT, self.next()).await.is_err()
    }

    pub fn key(&self) -> Key {
        self.key.clone().expect("it is logged in")
    }
}

/// Sends a CancelRequest and waits for the end of its connection.
pub async fn cancel(port: u16, key: &Key) {
    let mut wire = Wire::open(port).await;
    wire.send(&say::cancel(key)).await;
    assert_eq!(wire.frame().await, None, "a cancel request has no answer");
}

/// Messages, as clients write them.
pub mod say {
    use super::Key;

    pub const V3_0: u32 = 0x0003_0000;
    pub const V3_2: u32 = 0x0003_0002;

    /// Any message.
    pub fn message(tag: u8, body: &[u8]) -> Vec<u8> {
        let length = u32::try_from(body.len() + 4).expect("a message fits its length");
        [&[tag][..], &length.to_be_bytes(), body].concat()
    }

    fn packet(body: &[u8]) -> Vec<u8> {
        message(0, body).split_off(1)
    }

    pub fn startup(version: u32, parameters: &[(&str, &str)]) -> Vec<u8> {
        let words = parameters.iter().flat_map(|(name, value)| [*name, "\0", *value, "\0"]);
        let body = words.fold(version.to_be_bytes().to_vec(), |mut body, word| {
            body.extend(word.as_bytes());
            body
        });
        packet(&[&body[..], &[0]].concat())
    }

    pub fn ssl_request() -> Vec<u8> {
        packet(&0x04d2_162f_u32.to_be_bytes())
    }

    pub fn gss_request() -> Vec<u8> {
        packet(&0x04d2_1630_u32.to_be_bytes())
    }

    pub fn cancel(key: &Key) -> Vec<u8> {
        packet(&[&0x04d2_162e_u32.to_be_bytes()[..], &key.pid.to_be_bytes(), &key.secret].concat())
    }

    pub fn password(text: &str) -> Vec<u8> {
        message(b'p', &[text.as_bytes(), &[0]].concat())
    }

    pub fn sasl_initial(mechanism: &str, data: &[u8]) -> Vec<u8> {
        let length = u32::try_from(data.len()).expect("a short message").to_be_bytes();
        message(b'p', &[mechanism.as_bytes(), &[0], &length, data].concat())
    }

    pub fn query(sql: &str) -> Vec<u8> {
        message(b'Q', &[sql.as_bytes(), &[0]].concat())
    }

    /// Parameters of unknown type.
    pub fn parse(name: &str, sql: &str) -> Vec<u8> {
        message(b'P', &[name.as_bytes(), &[0], sql.as_bytes(), &[0, 0, 0]].concat())
    }

    /// All parameters and results as text.
    pub fn bind(portal: &str, statement: &str, parameters: &[&str]) -> Vec<u8> {
        let mut body = [portal.as_bytes(), &[0], statement.as_bytes(), &[0, 0, 0]].concat();
        body.extend(u16::try_from(parameters.len()).expect("few").to_be_bytes());
        for parameter in parameters {
            body.extend(u32::try_from(parameter.len()).expect("short").to_be_bytes());
            body.extend(parameter.as_bytes());
        }
        body.extend([0, 0]);
        message(b'B', &body)
    }

    pub fn execute(portal: &str, rows: u32) -> Vec<u8> {
        message(b'E', &[portal.as_bytes(), &[0], &rows.to_be_bytes()].concat())
    }

    /// `S` a statement, `P` a portal.
    pub fn describe(what: u8, name: &str) -> Vec<u8> {
        message(b'D', &[&[what][..], name.as_bytes(), &[0]].concat())
    }

    pub fn close(what: u8, name: &str) -> Vec<u8> {
        message(b'C', &[&[what][..], name.as_bytes(), &[0]].concat())
    }

    pub fn sync() -> Vec<u8> {
        message(b'S', &[])
    }

    pub fn flush() -> Vec<u8> {
        message(b'H', &[])
    }

    pub fn terminate() -> Vec<u8> {
        message(b'X', &[])
    }

    pub fn copy_data(bytes: &[u8]) -> Vec<u8> {
        message(b'd', bytes)
    }

    pub fn copy_done() -> Vec<u8> {
        message(b'c', &[])
    }

    pub fn copy_fail(why: &str) -> Vec<u8> {
        message(b'f', &[why.as_bytes(), &[0]].concat())
    }

    /// The four messages of one unnamed statement, without their Sync.
    pub fn run(sql: &str) -> Vec<u8> {
        [parse("", sql), bind("", "", &[]), execute("", 0)].concat()
    }
}

//! The bench's own client: a blocking socket that logs in and is otherwise quiet. It holds thousands of idle
//! connections, and drives COPY, which pgbench cannot.

use bytes::BytesMut;
use postgres_protocol::authentication::sasl::{ChannelBinding, SCRAM_SHA_256, ScramSha256};
use postgres_protocol::message::frontend;
use rustls::{ClientConfig, ClientConnection, StreamOwned};
use rustls_pki_types::ServerName;
use socket2::{Domain, Socket, Type};
use std::io::{BufReader, Error, Read, Result, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::Duration;

/// Where and how to log in.
#[derive(Clone)]
pub struct Login {
    pub port: u16,
    pub user: &'static str,
    pub password: String,
    pub database: &'static str,
    pub tls: Option<Arc<ClientConfig>>,
}

pub struct Client {
    stream: BufReader<Stream>,
    offloaded: usize,
}

enum Stream {
    Plain(TcpStream),
    Tls(Box<StreamOwned<ClientConnection, TcpStream>>),
}

impl Client {
    /// Connects from one of two loopback addresses, so that many clients find enough ports, and logs in.
    pub fn login(to: &Login, number: usize) -> Result<Client> {
        let socket = connect(to.port, SOURCES[number % SOURCES.len()])?;
        let stream = match &to.tls {
            Some(config) => encrypt(socket, config.clone())?,
            None => Stream::Plain(socket),
        };
        let mut client = Client { stream: BufReader::with_capacity(READ_BUFFER, stream), offloaded: 0 };
        let mut out = BytesMut::new();
        let parameters = [("user", to.user), ("database", to.database), ("client_encoding", "UTF8")];
        frontend::startup_message(parameters, &mut out)?;
        client.send(&out)?;
        client.authenticate(&to.password)?;
        client.until_ready()?;
        Ok(client)
    }

    /// A simple query; its answer is read and thrown away.
    pub fn query(&mut self, sql: &str) -> Result<()> {
        self.send_query(sql)?;
        self.until_ready()
    }

    /// The first column of the last row of a simple query.
    pub fn value(&mut self, sql: &str) -> Result<String> {
        self.send_query(sql)?;
        let (mut body, mut answer) = (Vec::new(), Err(Error::other("no row")));
        loop {
            match self.message(&mut body)? {
                b'Z' => return answer,
                b'E' => answer = Err(refusal(&body)),
                // How many columns (2), and how long the first is (4).
                b'D' => answer = Ok(String::from_utf8_lossy(body.get(6..).unwrap_or_default()).into_owned()),
                b'N' => self.offloaded += usize::from(refusal(&body).to_string().contains("pgweir: standby")),
                _ => {}
            }
        }
    }

    /// How often pgweir said that it ran a value's query on a standby.
    pub fn offloaded(&self) -> usize {
        self.offloaded
    }

    /// Parse and Sync: a named statement that stays.
    pub fn prepare(&mut self, name: &str, sql: &str) -> Result<()> {
        let mut out = BytesMut::new();
        frontend::parse(name, sql, [], &mut out)?;
        frontend::sync(&mut out);
        self.send(&out)?;
        self.until_ready()
    }

    /// `COPY … FROM STDIN`: the messages that `copy_data` made, then the end.
    pub fn copy_in(&mut self, sql: &str, messages: &[u8]) -> Result<()> {
        self.send_query(sql)?;
        let mut body = Vec::new();
        if self.message(&mut body)? != b'G' {
            return self.until_ready().and(Err(refusal(&body)));
        }
        self.send(messages)?;
        let mut out = BytesMut::new();
        frontend::copy_done(&mut out);
        self.send(&out)?;
        self.until_ready()
    }

    fn send_query(&mut self, sql: &str) -> Result<()> {
        let mut out = BytesMut::new();
        frontend::query(sql, &mut out)?;
        self.send(&out)
    }

    fn authenticate(&mut self, password: &str) -> Result<()> {
        let mut scram = ScramSha256::new(password.as_bytes(), ChannelBinding::unsupported());
        let mut body = Vec::new();
        loop {
            let tag = self.message(&mut body)?;
            let (b'R', Some((code, data))) = (tag, body.split_first_chunk()) else { return Err(refusal(&body)) };
            let mut out = BytesMut::new();
            match u32::from_be_bytes(*code) {
                0 => return Ok(()),
                10 => frontend::sasl_initial_response(SCRAM_SHA_256, scram.message(), &mut out)?,
                11 => {
                    scram.update(data)?;
                    frontend::sasl_response(scram.message(), &mut out)?;
                }
                12 => scram.finish(data)?,
                code => return Err(Error::other(format!("authentication {code} is not SCRAM"))),
            }
            self.send(&out)?;
        }
    }

    /// Reads up to ReadyForQuery; fails after it, or after the connection's end, with the last ErrorResponse.
    fn until_ready(&mut self) -> Result<()> {
        let mut body = Vec::new();
        let mut error = None;
        loop {
            match self.message(&mut body) {
                Ok(b'Z') => return error.map_or(Ok(()), Err),
                Ok(b'E') => error = Some(refusal(&body)),
                Ok(_) => {}
                Err(failed) => return Err(error.unwrap_or(failed)),
            }
        }
    }

    /// The next message's tag and body.
    fn message(&mut self, body: &mut Vec<u8>) -> Result<u8> {
        let mut header = [0; 5];
        self.stream.read_exact(&mut header)?;
        let [tag, length @ ..] = header;
        let length = u32::from_be_bytes(length).saturating_sub(4) as usize;
        if length > LONGEST {
            return Err(std::io::ErrorKind::InvalidData.into());
        }
        body.resize(length, 0);
        self.stream.read_exact(body)?;
        Ok(tag)
    }

    fn send(&mut self, bytes: &[u8]) -> Result<()> {
        self.stream.get_mut().write_all(bytes)?;
        self.stream.get_mut().flush()
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        let mut out = BytesMut::new();
        frontend::terminate(&mut out);
        let _gone_already = self.send(&out);
    }
}

/// The fields of an ErrorResponse, or whatever came in place of what was due.
fn refusal(body: &[u8]) -> Error {
    let fields: Vec<_> = body.split(|byte| *byte == 0).map(String::from_utf8_lossy).collect();
    Error::other(fields.join(" ").trim_end().to_owned())
}

/// Rows as CopyData messages of up to 8 kB, as psql sends them.
pub fn copy_data(rows: usize, row: &str) -> Vec<u8> {
    let mut out = BytesMut::new();
    let each = COPY_CHUNK / row.len();
    for from in (0..rows).step_by(each) {
        let text = row.repeat(each.min(rows - from));
        frontend::CopyData::new(text.as_bytes()).expect("8 kB fit a message").write(&mut out);
    }
    out.to_vec()
}

fn connect(port: u16, source: Ipv4Addr) -> Result<TcpStream> {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
    socket.bind(&SocketAddr::from((source, 0)).into())?;
    socket.connect_timeout(&SocketAddr::from((Ipv4Addr::LOCALHOST, port)).into(), PATIENCE)?;
    let stream = TcpStream::from(socket);
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    Ok(stream)
}

fn encrypt(mut socket: TcpStream, config: Arc<ClientConfig>) -> Result<Stream> {
    let mut out = BytesMut::new();
    frontend::ssl_request(&mut out);
    socket.write_all(&out)?;
    let mut answer = [0];
    socket.read_exact(&mut answer)?;
    if answer != *b"S" {
        return Err(Error::other("TLS was refused"));
    }
    let name = ServerName::from(IpAddr::V4(Ipv4Addr::LOCALHOST));
    let connection = ClientConnection::new(config, name).map_err(Error::other)?;
    Ok(Stream::Tls(Box::new(StreamOwned::new(connection, socket))))
}

impl Read for Stream {
    fn read(&mut self, buf: &mut [u8]) -> Result<usize> {
        match self {
            Stream::Plain(socket) => socket.read(buf),
            Stream::Tls(stream) => stream.read(buf),
        }
    }
}

impl Write for Stream {
    fn write(&mut self, buf: &[u8]) -> Result<usize> {
        match self {
            Stream::Plain(socket) => socket.write(buf),
            Stream::Tls(stream) => stream.write(buf),
        }
    }

    fn flush(&mut self) -> Result<()> {
        match self {
            Stream::Plain(socket) => socket.flush(),
            Stream::Tls(stream) => stream.flush(),
        }
    }
}

const SOURCES: [Ipv4Addr; 2] = [Ipv4Addr::new(127, 0, 0, 2), Ipv4Addr::new(127, 0, 0, 3)];
/// No answer here takes longer, so that the bench ends by itself whatever a peer does.
const PATIENCE: Duration = Duration::from_secs(30);
/// Taken for each client, but touched no further than its answers reach.
const READ_BUFFER: usize = 32 << 10;
const LONGEST: usize = 16 << 20;
const COPY_CHUNK: usize = 8192;

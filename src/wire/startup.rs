//! [pure] The packets that come before a session: SSLRequest, GSSENCRequest, CancelRequest, StartupMessage.

use super::{Malformed, cstr};

const SSL_REQUEST: u32 = 80_877_103;
const GSSENC_REQUEST: u32 = 80_877_104;
const CANCEL_REQUEST: u32 = 80_877_102;

/// The first byte of a TLS handshake record: a client that speaks TLS without asking (PostgreSQL 17, direct TLS).
pub const TLS_HANDSHAKE: u8 = 0x16;

/// Protocol 3.0 and 3.2 as their 32-bit numbers. 3.1 does not exist.
pub const V3_0: u32 = 0x0003_0000;
pub const V3_2: u32 = 0x0003_0002;

/// A client's first packet.
#[derive(Debug, PartialEq, Eq)]
pub enum Packet<'a> {
    Cancel {
        pid: i32,
        secret: &'a [u8],
    },
    GssEncRequest,
    SslRequest,
    Startup(Startup<'a>),
    /// A major version that is not ours.
    Unsupported,
}

/// A StartupMessage.
#[derive(Debug, PartialEq, Eq)]
pub struct Startup<'a> {
    pub minor: u16,
    body: &'a [u8],
}

/// Reads one whole packet, its length field included (its length was checked by `frame::scan_startup`).
pub fn parse(packet: &[u8]) -> Result<Packet<'_>, Malformed> {
    let code = packet.get(4..8).and_then(|b| b.first_chunk::<4>()).copied().map(u32::from_be_bytes);
    let Some(code) = code else { return Err(Malformed("startup packet without a version")) };
    let body = packet.get(8..).unwrap_or(&[]);
    match code {
        SSL_REQUEST if body.is_empty() => Ok(Packet::SslRequest),
        GSSENC_REQUEST if body.is_empty() => Ok(Packet::GssEncRequest),
        SSL_REQUEST | GSSENC_REQUEST => Err(Malformed("encryption request with a body")),
        CANCEL_REQUEST => cancel(body),
        _ if code >> 16 == 3 => startup((code & 0xffff) as u16, body),
        _ => Ok(Packet::Unsupported),
    }
}

/// A 3.0 key has 4 bytes, a 3.2 key up to 256.
fn cancel(body: &[u8]) -> Result<Packet<'_>, Malformed> {
    match body.split_first_chunk::<4>() {
        Some((&pid, secret)) if (4..=256).contains(&secret.len()) => {
            Ok(Packet::Cancel { pid: i32::from_be_bytes(pid), secret })
        }
        _ => Err(Malformed("cancel request of a wrong length")),
    }
}

/// Checks the whole layout now, so that `parameters` cannot meet a broken one.
fn startup(minor: u16, body: &[u8]) -> Result<Packet<'_>, Malformed> {
    let mut rest = body;
    loop {
        if rest == [0] {
            return Ok(Packet::Startup(Startup { minor, body }));
        }
        let (name, after) = cstr(rest).ok_or(Malformed("startup packet without its terminator"))?;
        if name.is_empty() {
            return Err(Malformed("startup packet with bytes after its terminator"));
        }
        let (_, after) = cstr(after).ok_or(Malformed("startup parameter without a value"))?;
        rest = after;
    }
}

impl<'a> Startup<'a> {
    /// Name and value of each parameter, in the client's order.
    pub fn parameters(&self) -> impl Iterator<Item = (&'a [u8], &'a [u8])> + use<'a> {
        let mut rest = self.body;
        std::iter::from_fn(move || {
            let (name, after) = cstr(rest)?;
            let (value, after) = cstr(after).filter(|_| !name.is_empty())?;
            rest = after;
            Some((name, value))
        })
    }

    /// Protocol options (`_pq_.…`), which are negotiated and are no settings.
    pub fn protocol_options(&self) -> impl Iterator<Item = &'a [u8]> + use<'a> {
        self.parameters().map(|(name, _)| name).filter(|name| name.starts_with(b"_pq_."))
    }

    /// The version that we speak with this client: 3.2 to whoever knows it or asks for more, else 3.0.
    pub fn spoken(&self) -> u32 {
        if self.minor >= 2 { V3_2 } else { V3_0 }
    }

    /// Whether NegotiateProtocolVersion is owed: a minor version or an option that we do not know.
    pub fn negotiates(&self) -> bool {
        self.minor == 1 || self.minor > 2 || self.protocol_options().next().is_some()
    }
}

/// What the startup parameter `replication` asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Replication {
    /// Of the whole cluster: a walsender that knows replication commands only.
    Physical,
    /// Of one database, where it also runs SQL.
    Logical,
}

impl Replication {
    /// PostgreSQL's reading: `database`, or a boolean in any of its spellings; Ok(None): an ordinary connection.
    pub fn parse(value: &str) -> Result<Option<Replication>, Malformed> {
        if value == "database" {
            return Ok(Some(Replication::Logical));
        }
        let value = value.trim_ascii().to_ascii_lowercase();
        let begins = |word: &str, least: usize| value.len() >= least && word.starts_with(&value);
        match () {
            () if begins("true", 1) || begins("yes", 1) || begins("on", 2) || value == "1" => {
                Ok(Some(Replication::Physical))
            }
            () if begins("false", 1) || begins("no", 1) || begins("off", 2) || value == "0" => Ok(None),
            () => Err(Malformed("the startup parameter replication is neither database nor a boolean")),
        }
    }

    /// PgBouncer's word.
    pub fn label(self) -> &'static str {
        match self {
            Replication::Physical => "physical",
            Replication::Logical => "logical",
        }
    }
}

/// Splits the `options` parameter as PostgreSQL does: blanks separate, a backslash takes the next byte as it is
/// (`pg_split_opts`). Only `-c name=value`, `-cname=value` and `--name=value` are settings; Err is the first word
/// that is none.
pub fn options(text: &[u8]) -> Result<Vec<(String, String)>, String> {
    let words = split_options(text);
    let mut settings = Vec::new();
    let mut words = words.into_iter();
    while let Some(word) = words.next() {
        let assignment = match word.strip_prefix("-c").or_else(|| word.strip_prefix("--")) {
            Some("") if word == "-c" => words.next().ok_or_else(|| word.clone())?,
            Some(rest) => rest.to_owned(),
            None => return Err(word),
        };
        let (name, value) = assignment.split_once('=').ok_or_else(|| assignment.clone())?;
        // PostgreSQL's ParseLongOption: a dash in a name stands for an underscore.
        settings.push((name.replace('-', "_"), value.to_owned()));
    }
    Ok(settings)
}

fn split_options(text: &[u8]) -> Vec<String> {
    let mut words = Vec::new();
    let mut word: Option<Vec<u8>> = None;
    let mut bytes = text.iter().copied();
    while let Some(byte) = bytes.next() {
        match byte {
            b'\\' => word.get_or_insert_default().extend(bytes.next()),
            b if b.is_ascii_whitespace() => words.extend(word.take()),
            b => word.get_or_insert_default().push(b),
        }
    }
    words.extend(word);
    words.into_iter().map(|w| String::from_utf8_lossy(&w).into_owned()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packet(code: u32, body: &[u8]) -> Vec<u8> {
        let mut out = ((body.len() + 8) as u32).to_be_bytes().to_vec();
        out.extend(code.to_be_bytes());
        out.extend(body);
        out
    }

    #[test]
    fn requests() {
        assert_eq!(parse(&packet(SSL_REQUEST, b"")), Ok(Packet::SslRequest));
        assert_eq!(parse(&packet(GSSENC_REQUEST, b"")), Ok(Packet::GssEncRequest));
        let cancel = packet(CANCEL_REQUEST, b"\0\0\0\x07abcd");
        assert_eq!(parse(&cancel), Ok(Packet::Cancel { pid: 7, secret: b"abcd" }));
        assert!(parse(&packet(CANCEL_REQUEST, b"\0\0\0\x07abc")).is_err());
        assert_eq!(parse(&packet(0x0002_0000, b"")), Ok(Packet::Unsupported));
    }

    #[test]
    fn startup_parameters_and_versions() {
        let bytes = packet(V3_0 + 3, b"user\0ann\0_pq_.x\0y\0\0");
        let Ok(Packet::Startup(startup)) = parse(&bytes) else { panic!("not a startup packet") };
        assert_eq!(startup.parameters().next(), Some((&b"user"[..], &b"ann"[..])));
        assert_eq!(startup.protocol_options().count(), 1);
        assert_eq!((startup.spoken(), startup.negotiates()), (V3_2, true));
    }

    #[test]
    fn replication_is_read_as_postgresql_does() {
        use Replication::{Logical, Physical};
        for (value, expected) in [
            ("database", Some(Logical)),
            ("t", Some(Physical)),
            ("TRUE", Some(Physical)),
            ("yes", Some(Physical)),
            ("on", Some(Physical)),
            ("1", Some(Physical)),
            ("f", None),
            ("of", None),
            ("no", None),
            ("0", None),
        ] {
            assert_eq!(Replication::parse(value), Ok(expected), "{value}");
        }
        for value in ["", "o", "truer", "Database", "2"] {
            assert!(Replication::parse(value).is_err(), "{value}");
        }
    }

    #[test]
    fn broken_layouts_are_refused() {
        for body in [&b""[..], b"user\0ann\0", b"user\0\0", b"user\0ann\0\0x", b"\0user\0ann\0\0", b"user"] {
            assert!(parse(&packet(V3_0, body)).is_err(), "{body:?}");
        }
    }

    #[test]
    fn options_as_postgresql_splits_them() {
        let set = |n: &str, v: &str| (n.to_owned(), v.to_owned());
        assert_eq!(options(b"-c a=b --c-d=e -cf=g\\ h"), Ok(vec![set("a", "b"), set("c_d", "e"), set("f", "g h")]));
        assert_eq!(options(b"  "), Ok(vec![]));
        assert_eq!(options(b"-x"), Err("-x".to_owned()));
        assert_eq!(options(b"-c nothing"), Err("nothing".to_owned()));
    }
}

//! [pure] Where servers live: the grammar of `servers` (each names its port) and of PgBouncer's `host`.

use std::collections::BTreeSet;
use std::fmt;
use std::net::Ipv6Addr;
use std::path::PathBuf;

use super::value::{Entry, Item, Refusal, Written};
use super::{Address, Listed};

/// PgBouncer's default of `port`.
const PORT: u16 = 5432;

/// Of a server that names none, and the largest: sums of a list's weights stay small.
const WEIGHT: u32 = 1;
const HEAVIEST: u32 = 1000;

const TABLE: &str = "expected a server with `host` and `zone` (strings), `port` and `weight` (integers), no more";

const SERVER: &str =
    "expected a server as \"host:5432\", \"[::1]:5432\", \"/run/postgresql:5432\" or { host, port, weight, zone }";

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Address::Tcp { host, port } if host.contains(':') => write!(f, "[{host}]:{port}"),
            Address::Tcp { host, port } => write!(f, "{host}:{port}"),
            Address::Unix { dir, port } => write!(f, "{}:{port}", dir.display()),
        }
    }
}

/// The value of `servers`.
pub(crate) fn servers(written: &Written) -> Result<Vec<Listed>, Refusal> {
    let split;
    let items = match written {
        Written::List(items) => items,
        Written::Text(text) => {
            split = text.split(',').map(|part| Item { line: 0, value: Written::Text(part.into()) }).collect();
            &split
        }
        _ => return Err(Refusal::of(written, "expected a list of servers, each as \"host:port\"")),
    };
    if items.is_empty() {
        return Err(Refusal::of(written, "expected at least one server"));
    }
    let mut seen = BTreeSet::new();
    let mut listed = Vec::with_capacity(items.len());
    for item in items {
        let one = server(&item.value).map_err(|expected| blame(item, expected))?;
        if !seen.insert(one.address.clone()) {
            return Err(blame(item, format!("expected each server once; {} is named twice", one.address)));
        }
        listed.push(one);
    }
    Ok(listed)
}

/// Elements of a comma string have no line of their own.
fn blame(item: &Item, expected: String) -> Refusal {
    let refusal = Refusal::of_item(item, expected);
    Refusal { line: refusal.line.filter(|line| *line > 0), ..refusal }
}

fn server(written: &Written) -> Result<Listed, String> {
    match written {
        Written::Text(text) => server_text(text.trim()).map(|address| Listed { address, weight: WEIGHT, zone: None }),
        Written::Table(entries) => server_table(entries),
        _ => Err(SERVER.into()),
    }
}

fn server_text(text: &str) -> Result<Address, String> {
    if text.contains("://") {
        return Err("expected host:port, not a URL".into());
    }
    if let Some(rest) = text.strip_prefix('[') {
        let (host, rest) = rest.split_once(']').ok_or(SERVER)?;
        let port = match rest.strip_prefix(':') {
            Some(digits) => port(digits)?,
            None if rest.is_empty() => PORT,
            None => return Err(SERVER.into()),
        };
        return Ok(Address::Tcp { host: ipv6(host).ok_or("expected an IPv6 address between [ and ]")?, port });
    }
    if text.matches(':').count() > 1 && !text.starts_with(['/', '@']) {
        return Err("expected an IPv6 address in brackets, as \"[::1]:5432\"".into());
    }
    match text.rsplit_once(':') {
        Some((name, digits)) => host(name, port(digits)?),
        None => host(text, PORT),
    }
}

fn server_table(entries: &[Entry]) -> Result<Listed, String> {
    let (mut name, mut number, mut share, mut zone) = (None, PORT, WEIGHT, None);
    for entry in entries {
        match (entry.name.as_str(), &entry.value) {
            ("host", Written::Text(text)) => name = Some(text.trim()),
            ("port", Written::Integer { value, .. }) => number = port(&value.to_string())?,
            ("port", Written::Text(text)) => number = port(text.trim())?,
            ("weight", Written::Integer { value, .. }) => share = weight(&value.to_string())?,
            ("weight", Written::Text(text)) => share = weight(text.trim())?,
            ("zone", Written::Text(text)) => zone = Some(text.trim().to_owned()).filter(|zone| !zone.is_empty()),
            _ => return Err(TABLE.into()),
        }
    }
    let address = host(name.ok_or("expected a server with `host`")?, number)?;
    Ok(Listed { address, weight: share, zone })
}

fn weight(text: &str) -> Result<u32, String> {
    text.parse().ok().filter(|weight| *weight <= HEAVIEST).ok_or_else(|| "expected a weight from 0 to 1000".into())
}

/// One of PgBouncer's `host`: a name, an address, a socket's directory, or `@` and an abstract name.
pub(crate) fn host(text: &str, port: u16) -> Result<Address, String> {
    if text.starts_with(['/', '@']) && text.len() > 1 || text == "/" {
        return Ok(Address::Unix { dir: PathBuf::from(text), port });
    }
    let bare = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(text);
    if let Some(host) = ipv6(bare) {
        return Ok(Address::Tcp { host, port });
    }
    if text.contains(':') {
        return Err("expected a host without a port; the port belongs to `port`".into());
    }
    let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
    if text.is_empty() || text.len() > 255 || !text.chars().all(fits) {
        return Err("expected a host name, an IP address or the /directory of a socket".into());
    }
    Ok(Address::Tcp { host: text.to_owned(), port })
}

/// An IPv6 address, with or without a zone, as it stands.
fn ipv6(text: &str) -> Option<String> {
    let (address, zone) = text.split_once('%').unwrap_or((text, "none"));
    address.parse::<Ipv6Addr>().ok()?;
    zone.chars().all(|c| c.is_ascii_alphanumeric()).then(|| text.to_owned())
}

fn port(text: &str) -> Result<u16, String> {
    let digits = text.bytes().all(|b| b.is_ascii_digit());
    text.parse().ok().filter(|port| digits && *port > 0).ok_or_else(|| "expected a port from 1 to 65535".into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn servers_name_a_host_and_a_port() {
        let table = [
            ("db:5433", Ok("db:5433")),
            ("postgres-master", Ok("postgres-master:5432")),
            ("my_db.example:1", Ok("my_db.example:1")),
            ("10.0.0.1:5432", Ok("10.0.0.1:5432")),
            ("[::1]:5432", Ok("[::1]:5432")),
            ("[fe80::1%eth0]:5432", Ok("[fe80::1%eth0]:5432")),
            ("[::1]", Ok("[::1]:5432")),
            ("/run/postgresql:5433", Ok("/run/postgresql:5433")),
            ("/run/postgresql", Ok("/run/postgresql:5432")),
            ("@abstract:5432", Ok("@abstract:5432")),
            ("::1:5432", Err("expected an IPv6 address in brackets, as \"[::1]:5432\"")),
            ("[db]:5432", Err("expected an IPv6 address between [ and ]")),
            ("[::1]5432", Err(SERVER)),
            ("db:0", Err("expected a port from 1 to 65535")),
            ("db:65536", Err("expected a port from 1 to 65535")),
            ("db:+5", Err("expected a port from 1 to 65535")),
            ("db:", Err("expected a port from 1 to 65535")),
            (":5432", Err("expected a host name, an IP address or the /directory of a socket")),
            ("a b:5432", Err("expected a host name, an IP address or the /directory of a socket")),
            ("postgres://u:p@db:5432/x", Err("expected host:port, not a URL")),
        ];
        for (text, expected) in table {
            let address = server_text(text).map(|address| address.to_string());
            assert_eq!(address, expected.map(str::to_owned).map_err(str::to_owned), "{text}");
        }
    }

    #[test]
    fn hosts_carry_no_port() {
        assert_eq!(host("::1", 1).map(|a| a.to_string()), Ok("[::1]:1".into()));
        assert_eq!(host("[::1]", 1).map(|a| a.to_string()), Ok("[::1]:1".into()));
        assert_eq!(host("/tmp", 1), Ok(Address::Unix { dir: "/tmp".into(), port: 1 }));
        assert!(host("db:5432", 1).unwrap_err().contains("`port`"));
        assert!(host("@", 1).is_err());
    }
}

//! [pure] The PROXY protocol, versions 1 and 2: the header by which a proxy in front of us tells whose connection it
//! passes on (HAProxy's `proxy-protocol.txt`).
//!
//! The header is asked for piece by piece ([`Found::Needs`]), so that nothing behind it is read: what follows may be
//! TLS. Whether a sender is to be believed at all is decided before. TLVs are passed over.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use crate::wire::Malformed;

/// The longest header of version 1, its line end included.
const V1_LIMIT: usize = 107;

/// The longest of version 2 that is taken: the addresses need 36 bytes at most, TLVs (a certificate's names) the rest.
const V2_LIMIT: usize = 4096;

const V1: &[u8] = b"PROXY ";
const V2: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";

/// What stands in front of the addresses of version 2: the signature, version and command, family, length.
const V2_FIXED: usize = 16;

/// What the bytes so far say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Found {
    /// At least so many bytes of the header are still to come.
    Needs(usize),
    /// The header is complete.
    Header(Header),
}

/// A whole header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Header {
    /// The proxy speaks for itself (a health check), or does not know: the socket's own ends hold.
    Local,
    Proxied {
        from: SocketAddr,
        to: SocketAddr,
    },
}

/// Reads a header that may not be whole yet.
pub fn parse(bytes: &[u8]) -> Result<Found, Malformed> {
    // Both versions are longer than this.
    let start = bytes.get(..V2.len().min(bytes.len())).unwrap_or_default();
    if !V2.starts_with(start) && !V1.starts_with(start.get(..V1.len().min(start.len())).unwrap_or_default()) {
        return Err(Malformed("a PROXY protocol header was expected"));
    }
    if bytes.len() < V2.len() {
        return Ok(Found::Needs(V2.len() - bytes.len()));
    }
    if start == V2 { version2(bytes) } else { version1(bytes) }
}

fn version1(bytes: &[u8]) -> Result<Found, Malformed> {
    const BROKEN: Malformed = Malformed("broken PROXY protocol header");
    let Some(line) = bytes.strip_suffix(b"\r\n") else {
        if bytes.len() >= V1_LIMIT || bytes.contains(&b'\n') {
            return Err(BROKEN);
        }
        return Ok(Found::Needs(if bytes.ends_with(b"\r") { 1 } else { 2 }.min(V1_LIMIT - bytes.len())));
    };
    let line = std::str::from_utf8(line).map_err(|_| BROKEN)?;
    let mut words = line.split(' ').skip(1);
    let family = words.next().ok_or(BROKEN)?;
    if family == "UNKNOWN" {
        return Ok(Found::Header(Header::Local));
    }
    let [Some(from), Some(to), Some(from_port), Some(to_port), None] = std::array::from_fn(|_| words.next()) else {
        return Err(BROKEN);
    };
    let end = |address: &str, port: &str| {
        let address: IpAddr = match family {
            "TCP4" => address.parse::<Ipv4Addr>().ok()?.into(),
            "TCP6" => address.parse::<Ipv6Addr>().ok()?.into(),
            _ => return None,
        };
        let digits = port.bytes().all(|byte| byte.is_ascii_digit());
        Some(SocketAddr::new(address, port.parse().ok().filter(|_| digits)?))
    };
    let ends = end(from, from_port).zip(end(to, to_port));
    ends.map(|(from, to)| Found::Header(Header::Proxied { from, to })).ok_or(BROKEN)
}

fn version2(bytes: &[u8]) -> Result<Found, Malformed> {
    const BROKEN: Malformed = Malformed("broken PROXY protocol header");
    let Some(&[command, family, high, low]) = bytes.get(V2.len()..V2_FIXED) else {
        return Ok(Found::Needs(V2_FIXED - bytes.len()));
    };
    let length = usize::from(u16::from_be_bytes([high, low]));
    if length > V2_LIMIT {
        return Err(Malformed("a PROXY protocol header is too long"));
    }
    let body = bytes.get(V2_FIXED..).unwrap_or_default();
    if body.len() < length {
        return Ok(Found::Needs(length - body.len()));
    }
    match command {
        0x20 => return Ok(Found::Header(Header::Local)),
        0x21 => {}
        _ => return Err(BROKEN),
    }
    let header = match family {
        // TCP over IPv4 and over IPv6.
        0x11 => {
            let ([from, to], ports) = pair::<4>(body).ok_or(BROKEN)?;
            proxied(Ipv4Addr::from(from).into(), Ipv4Addr::from(to).into(), ports)
        }
        0x21 => {
            let ([from, to], ports) = pair::<16>(body).ok_or(BROKEN)?;
            proxied(Ipv6Addr::from(from).into(), Ipv6Addr::from(to).into(), ports)
        }
        // A unix socket in front of the proxy, or a family that it does not name.
        0x00 | 0x31 => Header::Local,
        _ => return Err(Malformed("the PROXY protocol header is of no TCP connection")),
    };
    Ok(Found::Header(header))
}

fn proxied(from: IpAddr, to: IpAddr, [from_port, to_port]: [u16; 2]) -> Header {
    Header::Proxied { from: SocketAddr::new(from, from_port), to: SocketAddr::new(to, to_port) }
}

/// Two addresses of N bytes and two ports.
fn pair<const N: usize>(body: &[u8]) -> Option<([[u8; N]; 2], [u16; 2])> {
    let (from, rest) = body.split_first_chunk::<N>()?;
    let (to, rest) = rest.split_first_chunk::<N>()?;
    let (from_port, rest) = rest.split_first_chunk::<2>()?;
    let (to_port, _) = rest.split_first_chunk::<2>()?;
    Some(([*from, *to], [u16::from_be_bytes(*from_port), u16::from_be_bytes(*to_port)]))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Feeds a header as a reader does: never more than was asked for. What was read, and what it led to.
    fn feed(bytes: &[u8]) -> (usize, Result<Option<Header>, Malformed>) {
        let mut read = 0;
        loop {
            match parse(&bytes[..read]) {
                Ok(Found::Needs(more)) => {
                    assert!(more > 0, "it asks for something");
                    if read + more > bytes.len() {
                        return (read, Ok(None));
                    }
                    read += more;
                }
                Ok(Found::Header(header)) => return (read, Ok(Some(header))),
                Err(broken) => return (read, Err(broken)),
            }
        }
    }

    fn v2(command: u8, family: u8, body: &[u8]) -> Vec<u8> {
        let length = u16::try_from(body.len()).unwrap().to_be_bytes();
        [V2, &[command, family], &length, body].concat()
    }

    fn proxied(from: &str, to: &str) -> Option<Header> {
        Some(Header::Proxied { from: from.parse().unwrap(), to: to.parse().unwrap() })
    }

    fn good() -> Vec<(Vec<u8>, Option<Header>)> {
        let four = [10, 0, 0, 1, 10, 0, 0, 2, 0x30, 0x39, 0x19, 0x20];
        let six = [&[0xfd; 16][..], &[0; 15], &[1, 0, 80, 0, 81]].concat();
        let ten = proxied("10.0.0.1:12345", "10.0.0.2:6432");
        vec![
            (b"PROXY TCP4 10.0.0.1 10.0.0.2 12345 6432\r\n".to_vec(), ten),
            (b"PROXY TCP6 fd00::1 ::1 1 65535\r\n".to_vec(), proxied("[fd00::1]:1", "[::1]:65535")),
            (b"PROXY UNKNOWN\r\n".to_vec(), Some(Header::Local)),
            (b"PROXY UNKNOWN ffff::1 ffff::1 1 2\r\n".to_vec(), Some(Header::Local)),
            (v2(0x21, 0x11, &four), ten),
            (v2(0x21, 0x11, &[&four[..], &[0x04, 0, 2, 9, 9], &[7; 500]].concat()), ten),
            (v2(0x21, 0x21, &six), proxied("[fdfd:fdfd:fdfd:fdfd:fdfd:fdfd:fdfd:fdfd]:80", "[::1]:81")),
            (v2(0x20, 0x00, &[]), Some(Header::Local)),
            (v2(0x20, 0x11, &four), Some(Header::Local)),
            (v2(0x21, 0x00, &[1, 2, 3]), Some(Header::Local)),
            (v2(0x21, 0x31, &[0; 216]), Some(Header::Local)),
        ]
    }

    #[test]
    fn headers_are_read_to_their_last_byte_and_no_further() {
        for (bytes, expected) in good() {
            for behind in [&b""[..], b"\0\0\0\x08\x04\xd2\x16\x2f", b"PROXY TCP4", &[0x16, 3, 1], b"\r\n"] {
                let (read, header) = feed(&[&bytes, behind].concat());
                assert_eq!((read, header), (bytes.len(), Ok(expected)), "{:?}", String::from_utf8_lossy(&bytes));
            }
            for cut in 0..bytes.len() {
                let (read, header) = feed(&bytes[..cut]);
                assert!(read <= cut && header == Ok(None), "{cut} of {:?}", String::from_utf8_lossy(&bytes));
            }
        }
    }

    #[test]
    fn what_is_none_is_refused() {
        let long = [b"PROXY UNKNOWN ", &[b'x'; 200][..]].concat();
        let cases: &[&[u8]] = &[
            b"\0\0\0\x08\x04\xd2\x16\x2f\0\0\0\0\0",
            b"GET / HTTP/1.1\r\n\r\n",
            b"PROXY\r\nTCP4 1.1.1.1",
            b"PROXY TCP4 10.0.0.1 10.0.0.2 1\r\n",
            b"PROXY TCP4 10.0.0.1 10.0.0.2 1 2 3\r\n",
            b"PROXY TCP4 10.0.0.1 10.0.0.2 1 65536\r\n",
            b"PROXY TCP4 10.0.0.1 10.0.0.2 +1 2\r\n",
            b"PROXY TCP4 fd00::1 ::1 1 2\r\n",
            b"PROXY TCP6 10.0.0.1 10.0.0.2 1 2\r\n",
            b"PROXY UDP4 10.0.0.1 10.0.0.2 1 2\r\n",
            b"PROXY TCP4  10.0.0.1 10.0.0.2 1 2\r\n",
            b"PROXY TCP4 10.0.0.1 10.0.0.2 1 2\n\r\n",
            b"PROXY TCP4 \xff.0.0.1 10.0.0.2 1 2\r\n",
            &long,
            &v2(0x11, 0x11, &[0; 12]),
            &v2(0x22, 0x11, &[0; 12]),
            &v2(0x21, 0x11, &[0; 11]),
            &v2(0x21, 0x21, &[0; 35]),
            &v2(0x21, 0x12, &[0; 12]),
            &v2(0x21, 0x41, &[0; 12]),
            &v2(0x21, 0x11, &[0; V2_LIMIT + 1]),
        ];
        for case in cases {
            let (read, header) = feed(case);
            assert!(header.is_err(), "{:?} after {read}", String::from_utf8_lossy(case));
            assert!(read <= V1_LIMIT.max(V2_FIXED + V2_LIMIT));
        }
    }

    proptest::proptest! {
        #[test]
        fn any_bytes_end_within_the_limits(mut bytes: Vec<u8>, start in 0_usize..3, at: usize, new: u8) {
            let heads = [&b""[..], V1, V2];
            bytes.splice(0..0, heads[start].iter().copied());
            let (read, _) = feed(&bytes);
            proptest::prop_assert!(read <= bytes.len() && read <= V2_FIXED + V2_LIMIT);
            // One byte of a good header is another one.
            for (mut header, _) in good() {
                let at = at % header.len();
                header[at] = new;
                let (read, _) = feed(&header);
                proptest::prop_assert!(read <= header.len());
            }
        }
    }
}

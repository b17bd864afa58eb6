//! [pure] Where a message begins and ends. The only place that reads a length field.
//!
//! A length is compared with its limit before anybody reserves or waits for a byte of it.

use super::Malformed;

/// Tag and length field together.
pub const HEADER: usize = 5;

/// A startup packet's limit (PostgreSQL's MAX_STARTUP_PACKET_LENGTH).
pub const STARTUP_LIMIT: usize = 10_000;

/// The largest message that PostgreSQL can send or take: MaxAllocSize, 1 GB - 1, and the tag.
pub const MESSAGE_LIMIT: usize = 0x3fff_ffff + 1;

/// Messages of a login are small; a password is at most 64 kB in PgBouncer.
pub const LOGIN_LIMIT: usize = 65_536;

/// A message's first five bytes, understood.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    pub tag: u8,
    /// Bytes on the wire, tag and length field included: at least 5, at most the limit that was given.
    pub len: usize,
}

/// Reads a header; None while fewer than five bytes are there.
#[inline]
pub fn scan(bytes: &[u8], limit: usize) -> Result<Option<Header>, Malformed> {
    let Some(&[tag, a, b, c, d]) = bytes.first_chunk::<HEADER>() else { return Ok(None) };
    let len = u32::from_be_bytes([a, b, c, d]) as usize;
    // The length counts itself: 4 is an empty body. A negative one is huge as unsigned and falls to the limit.
    if len < 4 {
        return Err(Malformed("message length below 4"));
    }
    if len >= limit {
        return Err(Malformed("message length over the limit"));
    }
    Ok(Some(Header { tag, len: len + 1 }))
}

/// Reads a startup packet's length (no tag): its bytes, the length field included; None while fewer than four are there.
pub fn scan_startup(bytes: &[u8]) -> Result<Option<usize>, Malformed> {
    let Some(&field) = bytes.first_chunk::<4>() else { return Ok(None) };
    let len = u32::from_be_bytes(field) as usize;
    match len {
        0..8 => Err(Malformed("startup packet length below 8")),
        8..=STARTUP_LIMIT => Ok(Some(len)),
        _ => Err(Malformed("startup packet over 10 kB")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers() {
        let limit = 100;
        assert_eq!(scan(b"Q\0\0\0", limit), Ok(None));
        assert_eq!(scan(b"S\0\0\0\x04", limit), Ok(Some(Header { tag: b'S', len: 5 })));
        assert_eq!(scan(b"Q\0\0\0\x0arest", limit), Ok(Some(Header { tag: b'Q', len: 11 })));
        for bad in [&b"Q\0\0\0\x03"[..], b"Q\0\0\0\0", b"Q\xff\xff\xff\xff", b"Q\x80\0\0\0", b"Q\0\0\0\x64"] {
            assert!(scan(bad, limit).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn startup_lengths() {
        assert_eq!(scan_startup(b"\0\0\0"), Ok(None));
        assert_eq!(scan_startup(b"\0\0\0\x08"), Ok(Some(8)));
        assert_eq!(scan_startup(b"\0\0\x27\x10"), Ok(Some(10_000)));
        for bad in [&b"\0\0\x27\x11"[..], b"\0\0\0\x07", b"\xff\xff\xff\xff"] {
            assert!(scan_startup(bad).is_err(), "{bad:?}");
        }
    }
}

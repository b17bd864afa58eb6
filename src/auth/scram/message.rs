//! [pure] SCRAM's messages as text: fields `a=value` between commas (RFC 5802, section 7).
//!
//! Both peers' messages are read here and nowhere else. They are octets, not text: the name of a user may be in any
//! encoding. What is accepted is what PostgreSQL accepts, a comma at the very end included.

use super::Binding;
use super::keys::hmac;
use crate::auth::Refusal;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

/// PostgreSQL's PG_MAX_SASL_MESSAGE_LENGTH. A PLUS exchange of libpq stays below 300.
const MAX_LENGTH: usize = 1024;

/// The gs2 header of channel binding.
pub(super) const GS2_END_POINT: &[u8] = b"p=tls-server-end-point,,";

/// A cursor over the fields of one message.
pub(super) struct Fields<'a> {
    message: &'a [u8],
    rest: &'a [u8],
}

impl<'a> Fields<'a> {
    pub(super) fn new(message: &'a [u8]) -> Result<Fields<'a>, Refusal> {
        if message.is_empty() {
            return Err(Refusal::Malformed("empty SCRAM message"));
        }
        if message.len() > MAX_LENGTH {
            return Err(Refusal::Malformed("SCRAM message too long"));
        }
        if message.contains(&0x00) {
            return Err(Refusal::Malformed("zero octet in SCRAM message"));
        }
        Ok(Fields { message, rest: message })
    }

    /// What is not yet read.
    pub(super) fn rest(&self) -> &'a [u8] {
        self.rest
    }

    /// What was read, without the comma that ends it.
    pub(super) fn before(&self) -> &'a [u8] {
        let read = self.message.strip_suffix(self.rest).unwrap_or(self.message);
        read.strip_suffix(b",").unwrap_or(read)
    }

    pub(super) fn skip(&mut self, literal: &[u8], otherwise: &'static str) -> Result<(), Refusal> {
        self.rest = self.rest.strip_prefix(literal).ok_or(Refusal::Malformed(otherwise))?;
        Ok(())
    }

    /// The value of the next field, which must be `name`.
    pub(super) fn value(&mut self, name: u8, otherwise: &'static str) -> Result<&'a [u8], Refusal> {
        match self.next()? {
            Some((found, value)) if found == name => Ok(value),
            _ => Err(Refusal::Malformed(otherwise)),
        }
    }

    /// The next field, whatever its name; none at the end.
    pub(super) fn next(&mut self) -> Result<Option<(u8, &'a [u8])>, Refusal> {
        let (name, value) = match self.rest {
            [] => return Ok(None),
            [name, b'=', value @ ..] if name.is_ascii_alphabetic() => (*name, value),
            _ => return Err(Refusal::Malformed("SCRAM attribute expected")),
        };
        let end = memchr::memchr(b',', value).unwrap_or(value.len());
        let (value, rest) = value.split_at_checked(end).unwrap_or((value, &[]));
        self.rest = rest.strip_prefix(b",").unwrap_or(rest);
        Ok(Some((name, value)))
    }

    /// Reads extensions to the end. They are optional, and we know none.
    pub(super) fn ignore_extensions(&mut self) -> Result<(), Refusal> {
        while self.next()?.is_some() {}
        Ok(())
    }
}

/// RFC 5802's `printable`.
pub(super) fn is_printable(nonce: &[u8]) -> bool {
    nonce.iter().all(|octet| matches!(octet, 0x21..=0x2b | 0x2d..=0x7e))
}

/// The value of `c=`: the gs2 header, and with PLUS the hash of the certificate.
pub(super) fn channel(gs2: &[u8], binding: Option<&[u8]>) -> String {
    STANDARD.encode([gs2, binding.unwrap_or_default()].concat())
}

/// `client-first-message-bare "," server-first-message`: AuthMessage but for its end.
pub(super) fn opening(client_first_bare: &[u8], server_first: &[u8]) -> Vec<u8> {
    [client_first_bare, server_first].join(&b',')
}

/// HMAC over AuthMessage: ClientSignature with StoredKey, ServerSignature with ServerKey.
pub(super) fn signature(key: &[u8; 32], opening: &[u8], final_without_proof: &[u8]) -> [u8; 32] {
    hmac(key, &[opening, b",", final_without_proof])
}

impl Binding {
    pub(super) fn end_point(&self) -> Option<&[u8]> {
        match self {
            Binding::None => None,
            Binding::EndPoint(hash) => Some(hash),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_in_order() {
        let mut fields = Fields::new(b"r=a=b,s=,x=1,p=end,").unwrap();
        assert_eq!(fields.value(b'r', ""), Ok(&b"a=b"[..]));
        assert_eq!(fields.value(b's', ""), Ok(&b""[..]));
        assert_eq!(fields.before(), b"r=a=b,s=");
        assert_eq!(fields.next(), Ok(Some((b'x', &b"1"[..]))));
        assert_eq!(fields.value(b'v', "v"), Err(Refusal::Malformed("v")));
        assert_eq!(fields.next(), Ok(None));
        assert_eq!(fields.value(b'v', "v"), Err(Refusal::Malformed("v")));
    }

    #[test]
    fn messages_that_are_none() {
        let long = [b'a'; MAX_LENGTH + 1];
        for message in [&b""[..], b"r=a\0", &long] {
            assert!(matches!(Fields::new(message), Err(Refusal::Malformed(_))));
        }
        for field in [&b"r"[..], b"=", b",", b"1=a", b"rr=a", b"\xc3=a", b"r,a"] {
            assert!(matches!(Fields::new(field).unwrap().next(), Err(Refusal::Malformed(_))), "{field:?}");
        }
    }

    #[test]
    fn printable_is_ascii_without_blank_and_comma() {
        assert!(is_printable(b"!\"#$%&'()*+-./09:;<=>?@AZ[\\]^_`az{|}~"));
        for octet in [0x00, 0x1f, b' ', b',', 0x7f, 0x80, 0xff] {
            assert!(!is_printable(&[b'a', octet]), "{octet:#x}");
        }
    }

    #[test]
    fn channels() {
        assert_eq!(channel(b"n,,", None), "biws");
        assert_eq!(channel(b"y,,", None), "eSws");
        assert_eq!(channel(GS2_END_POINT, Some(b"hash")), "cD10bHMtc2VydmVyLWVuZC1wb2ludCwsaGFzaA==");
    }
}

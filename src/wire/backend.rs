//! [pure] Views of what servers send, as far as a pooler must understand it.

use super::{Malformed, cstr};

/// The status byte of ReadyForQuery.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TxStatus {
    /// `I`: no transaction block.
    #[default]
    Idle,
    /// `T`: in a block.
    InBlock,
    /// `E`: in a failed block.
    Failed,
}

pub fn ready_for_query(body: &[u8]) -> Result<TxStatus, Malformed> {
    match body {
        b"I" => Ok(TxStatus::Idle),
        b"T" => Ok(TxStatus::InBlock),
        b"E" => Ok(TxStatus::Failed),
        _ => Err(Malformed("ReadyForQuery with an unknown status")),
    }
}

/// ParameterStatus: name and value.
pub fn parameter_status(body: &[u8]) -> Result<(&[u8], &[u8]), Malformed> {
    let read = || {
        let (name, rest) = cstr(body)?;
        let (value, rest) = cstr(rest)?;
        rest.is_empty().then_some((name, value))
    };
    read().ok_or(Malformed("broken ParameterStatus"))
}

/// BackendKeyData: process id and secret (4 bytes in 3.0, up to 256 in 3.2).
pub fn backend_key_data(body: &[u8]) -> Result<(i32, &[u8]), Malformed> {
    match body.split_first_chunk::<4>() {
        Some((pid, secret)) if (4..=256).contains(&secret.len()) => Ok((i32::from_be_bytes(*pid), secret)),
        _ => Err(Malformed("BackendKeyData of a wrong length")),
    }
}

/// One column's value in a DataRow, counted from 0; None: NULL, or no such column.
pub fn value(body: &[u8], at: usize) -> Option<&[u8]> {
    let mut rest = body.get(2..)?;
    for _ in 0..at {
        let (len, after) = rest.split_first_chunk::<4>()?;
        rest = after.get(usize::try_from(i32::from_be_bytes(*len)).unwrap_or(0)..)?;
    }
    let (len, rest) = rest.split_first_chunk::<4>()?;
    rest.get(..usize::try_from(i32::from_be_bytes(*len)).ok()?)
}

/// CommandComplete: the tag, without its NUL.
pub fn command_tag(body: &[u8]) -> &[u8] {
    cstr(body).map_or(body, |(tag, _)| tag)
}

/// An error or notice after which the server ends this connection: an operator's shutdown (57P01), a crash (57P02), or a
/// standby whose replay needs what the client holds (40001, FATAL).
pub fn is_farewell(body: &[u8]) -> bool {
    match sqlstate(body) {
        b"57P01" | b"57P02" => true,
        b"40001" => field(body, b'V') == Some(b"FATAL"),
        _ => false,
    }
}

/// The fields of an ErrorResponse or NoticeResponse: (type byte, value). Ends early at what it cannot read.
pub fn fields(body: &[u8]) -> impl Iterator<Item = (u8, &[u8])> {
    let mut rest = body;
    std::iter::from_fn(move || {
        let (&kind, after) = rest.split_first().filter(|(kind, _)| **kind != 0)?;
        let (value, after) = cstr(after)?;
        rest = after;
        Some((kind, value))
    })
}

/// One field, or nothing.
pub fn field(body: &[u8], wanted: u8) -> Option<&[u8]> {
    fields(body).find(|(kind, _)| *kind == wanted).map(|(_, value)| value)
}

/// The SQLSTATE of an ErrorResponse; empty where the server left it out.
pub fn sqlstate(body: &[u8]) -> &[u8] {
    field(body, b'C').unwrap_or(b"")
}

/// Authentication requests.
#[derive(Debug, PartialEq, Eq)]
pub enum Authentication<'a> {
    CleartextPassword,
    Md5Password {
        salt: [u8; 4],
    },
    Ok,
    /// The mechanisms, NUL-separated.
    Sasl {
        mechanisms: &'a [u8],
    },
    SaslContinue {
        data: &'a [u8],
    },
    SaslFinal {
        data: &'a [u8],
    },
    /// GSSAPI, SSPI, Kerberos, …: the code.
    Unsupported(u32),
}

pub fn authentication(body: &[u8]) -> Result<Authentication<'_>, Malformed> {
    let (code, data) = body.split_first_chunk::<4>().ok_or(Malformed("broken Authentication"))?;
    Ok(match u32::from_be_bytes(*code) {
        0 => Authentication::Ok,
        3 => Authentication::CleartextPassword,
        5 => Authentication::Md5Password {
            salt: *data.first_chunk::<4>().ok_or(Malformed("AuthenticationMD5Password without its salt"))?,
        },
        10 => Authentication::Sasl { mechanisms: data },
        11 => Authentication::SaslContinue { data },
        12 => Authentication::SaslFinal { data },
        code => Authentication::Unsupported(code),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn views() {
        assert_eq!(ready_for_query(b"T"), Ok(TxStatus::InBlock));
        assert!(ready_for_query(b"").is_err() && ready_for_query(b"TT").is_err());
        assert_eq!(parameter_status(b"a\0b\0"), Ok((&b"a"[..], &b"b"[..])));
        assert!(parameter_status(b"a\0b").is_err());
        assert_eq!(backend_key_data(b"\0\0\0\x01abcd"), Ok((1, &b"abcd"[..])));
        assert!(backend_key_data(b"\0\0\0\x01abc").is_err());
        let error = b"SERROR\0C42P05\0Mtwice\0\0";
        assert_eq!((sqlstate(error), field(error, b'M')), (&b"42P05"[..], Some(&b"twice"[..])));
        assert_eq!(sqlstate(b"SERROR"), b"");
        let row = b"\0\x03\0\0\0\x01t\xff\xff\xff\xff\0\0\0\x02ab";
        assert_eq!([0, 1, 2, 3].map(|at| value(row, at)), [Some(&b"t"[..]), None, Some(b"ab"), None]);
        assert_eq!(authentication(b"\0\0\0\x05salt"), Ok(Authentication::Md5Password { salt: *b"salt" }));
        assert!(authentication(b"\0\0\0").is_err());
    }
}

//! [pure] Views of what clients send: the parts that a pooler must understand, borrowed from the message's body.
//!
//! A view that cannot be read is None: the message is then forwarded as it is, and the server says what is wrong.

use super::cstr;

/// Query: the text without its NUL.
pub fn query(body: &[u8]) -> Option<&[u8]> {
    match cstr(body) {
        Some((text, [])) => Some(text),
        _ => None,
    }
}

/// Parse.
#[derive(Debug, PartialEq, Eq)]
pub struct Parse<'a> {
    pub name: &'a [u8],
    pub text: &'a [u8],
    /// Everything behind the name: text, NUL, and the parameter types.
    pub rest: &'a [u8],
}

pub fn parse(body: &[u8]) -> Option<Parse<'_>> {
    let (name, rest) = cstr(body)?;
    let (text, types) = cstr(rest)?;
    let (count, types) = types.split_first_chunk::<2>()?;
    let whole = types.len() == 4 * usize::from(u16::from_be_bytes(*count));
    whole.then_some(Parse { name, text, rest })
}

/// The two names at the head of a Bind.
#[derive(Debug, PartialEq, Eq)]
pub struct BindNames<'a> {
    pub portal: &'a [u8],
    pub statement: &'a [u8],
    /// Bytes of the body that the two names and their NULs take.
    pub taken: usize,
}

pub fn bind(body: &[u8]) -> Option<BindNames<'_>> {
    let (portal, rest) = cstr(body)?;
    let (statement, after) = cstr(rest)?;
    Some(BindNames { portal, statement, taken: body.len() - after.len() })
}

/// What a Bind says behind its two names: how many values it brings, and the formats of the result.
#[derive(Debug, PartialEq, Eq)]
pub struct BindRest {
    pub values: usize,
    /// None for all columns (text), one for all, or one for each; 0 is text, 1 binary.
    pub formats: Vec<u16>,
}

/// Meant for who answers it: it allocates.
pub fn bind_rest(body: &[u8]) -> Option<BindRest> {
    let taken = bind(body)?.taken;
    let (_, rest) = numbers(body.get(taken..)?)?;
    let (count, mut rest) = rest.split_first_chunk::<2>()?;
    let values = usize::from(u16::from_be_bytes(*count));
    for _ in 0..values {
        let (len, after) = rest.split_first_chunk::<4>()?;
        // A negative length is NULL.
        rest = after.get(usize::try_from(i32::from_be_bytes(*len)).unwrap_or(0)..)?;
    }
    match numbers(rest)? {
        (formats, []) => Some(BindRest { values, formats }),
        _ => None,
    }
}

/// A counted list of 16-bit numbers, and what is behind it.
fn numbers(bytes: &[u8]) -> Option<(Vec<u16>, &[u8])> {
    let (count, rest) = bytes.split_first_chunk::<2>()?;
    let (list, rest) = rest.split_at_checked(2 * usize::from(u16::from_be_bytes(*count)))?;
    Some((list.chunks_exact(2).map(|pair| u16::from_be_bytes([pair[0], pair[1]])).collect(), rest))
}

/// The portal that Execute names, and how many rows it may send; 0: all.
pub fn execute(body: &[u8]) -> Option<(&[u8], u32)> {
    let (portal, rest) = cstr(body)?;
    Some((portal, u32::from_be_bytes(rest.try_into().ok()?)))
}

/// What Describe and Close speak of.
#[derive(Debug, PartialEq, Eq)]
pub enum Named<'a> {
    Portal(&'a [u8]),
    Statement(&'a [u8]),
}

pub fn named(body: &[u8]) -> Option<Named<'_>> {
    let (kind, rest) = body.split_first()?;
    match (kind, cstr(rest)?) {
        (b'P', (name, [])) => Some(Named::Portal(name)),
        (b'S', (name, [])) => Some(Named::Statement(name)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn views() {
        assert_eq!(query(b"select 1\0"), Some(&b"select 1"[..]));
        assert_eq!(query(b"select 1"), None);
        assert_eq!(query(b"select 1\0\0"), None);
        let p = parse(b"s\0select $1\0\0\x01\0\0\0\x17").expect("a whole Parse");
        assert_eq!((p.name, p.text), (&b"s"[..], &b"select $1"[..]));
        assert_eq!(p.rest, b"select $1\0\0\x01\0\0\0\x17");
        assert_eq!(parse(b"s\0select $1\0\0\x02\0\0\0\x17"), None);
        let b = bind(b"p\0s\0\0\0\0\0\0\0").expect("names");
        assert_eq!((b.portal, b.statement, b.taken), (&b"p"[..], &b"s"[..], 4));
        assert_eq!(bind(b"p\0s"), None);
        let rest = bind_rest(b"p\0s\0\0\x01\0\x01\0\x02\0\0\0\x01x\xff\xff\xff\xff\0\x02\0\0\0\x01");
        assert_eq!(rest, Some(BindRest { values: 2, formats: vec![0, 1] }));
        assert_eq!(bind_rest(b"\0\0\0\0\0\0\0\0"), Some(BindRest { values: 0, formats: vec![] }));
        assert_eq!(bind_rest(b"\0\0\0\0\0\x01\0\0\0\x09x\0\0"), None);
        assert_eq!(execute(b"p\0\0\0\0\x05"), Some((&b"p"[..], 5)));
        assert_eq!(execute(b"p\0\0"), None);
        assert_eq!(named(b"Sx\0"), Some(Named::Statement(b"x")));
        assert_eq!(named(b"P\0"), Some(Named::Portal(b"")));
        assert_eq!(named(b"Q\0"), None);
    }
}

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
        assert_eq!(named(b"Sx\0"), Some(Named::Statement(b"x")));
        assert_eq!(named(b"P\0"), Some(Named::Portal(b"")));
        assert_eq!(named(b"Q\0"), None);
    }
}

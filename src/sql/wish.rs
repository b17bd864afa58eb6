//! [pure] `SET pgweir.name = value`: what a client asks of the proxy itself.

use super::lexer::{Kind, Lexer, Lexical, Token};

/// One statement that concerns the proxy alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wish<'a> {
    /// The name behind `pgweir.` and the value, quotes removed.
    Set(&'a [u8], &'a [u8]),
    /// RESET, or SET … TO DEFAULT.
    Reset(&'a [u8]),
}

/// The prefix of our settings' names.
const PREFIX: &[u8] = b"pgweir";

/// A text of exactly one SET or RESET of a setting of ours, for the session. SET LOCAL is left to the server: it knows
/// when the transaction ends, and the proxy takes its value for nothing.
pub fn wish(text: &[u8], lexical: Lexical) -> Option<Wish<'_>> {
    memchr::memmem::find(text, PREFIX)?;
    let mut tokens = Lexer::new(text, lexical);
    let verb = tokens.next()?;
    let mut first = tokens.next()?;
    if verb.is_word(b"SET") && first.is_word(b"SESSION") {
        first = tokens.next()?;
    }
    if !first.is_word(PREFIX) || !tokens.next()?.is_punct(b".") {
        return None;
    }
    let name = tokens.next().filter(|name| name.kind == Kind::Word)?.text;
    let wish = if verb.is_word(b"RESET") {
        Wish::Reset(name)
    } else if verb.is_word(b"SET") {
        let is = tokens.next()?;
        if is.text != b"=" && !is.is_word(b"TO") {
            return None;
        }
        let value = tokens.next()?;
        if value.is_word(b"DEFAULT") { Wish::Reset(name) } else { Wish::Set(name, plain(value)?) }
    } else {
        return None;
    };
    tokens.all(|token| token.is_punct(b";")).then_some(wish)
}

/// A word, a number, or a string without escapes.
fn plain(value: Token<'_>) -> Option<&[u8]> {
    match value.kind {
        Kind::Word | Kind::Number => Some(value.text),
        Kind::Str => {
            let inner = value.text.strip_prefix(b"'")?.strip_suffix(b"'")?;
            (!inner.contains(&b'\'')).then_some(inner)
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_our_own_settings_are_ours() {
        let of = |text: &'static str| wish(text.as_bytes(), Lexical::STANDARD);
        assert_eq!(of("SET pgweir.route = 'primary'"), Some(Wish::Set(b"route", b"primary")));
        assert_eq!(of("set session pgweir.explain to on ;"), Some(Wish::Set(b"explain", b"on")));
        assert_eq!(of("SET pgweir.route TO DEFAULT"), Some(Wish::Reset(b"route")));
        assert_eq!(of("RESET pgweir.route"), Some(Wish::Reset(b"route")));
        for text in [
            "SET LOCAL pgweir.route = 'primary'",
            "SET pgweir.route = a, b",
            "SET pgweir.route = 'a'; SELECT 1",
            "SET x.route = 'pgweir'",
            "SELECT 'pgweir.route'",
            "SET pgweir.route = 'it''s'",
            "SET pgweir",
        ] {
            assert_eq!(of(text), None, "{text}");
        }
    }
}

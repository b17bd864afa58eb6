//! [pure] Other names in a text of SQL than its client wrote: where they stand, and what a server's error becomes for
//! who knows only its own.

use std::borrow::Cow;

use super::Session;
use super::ledger::{Action, Kind, Owed};
use crate::sql::Token;
use crate::wire::{back, backend, encode};

/// A name that was put in another's place.
#[derive(Debug, PartialEq, Eq)]
pub struct Place {
    /// How many characters stand before it in what was sent.
    at: usize,
    /// How many characters longer it is than what the client wrote.
    by: isize,
    ours: Box<[u8]>,
    theirs: Box<[u8]>,
}

/// All of them in one text.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Splice {
    places: Vec<Place>,
    /// The shared statements that the text executes.
    pub uses: Vec<u64>,
}

impl Splice {
    /// The text with `ours` written in place of a token of it; `theirs` is the name that the token means. Tokens in
    /// the order in which they stand.
    pub fn of<'t>(text: &[u8], names: impl Iterator<Item = (Token<'t>, Box<[u8]>, Box<[u8]>)>) -> (Vec<u8>, Splice) {
        let (mut sent, mut splice, mut from) = (Vec::with_capacity(text.len() + 16), Splice::default(), 0);
        for (token, theirs, ours) in names {
            sent.extend(text.get(from..token.start).unwrap_or_default());
            let at = characters(&sent);
            // In quotes: whatever stands around it, it is a token of its own.
            sent.push(b'"');
            sent.extend(&ours);
            sent.push(b'"');
            let by = (ours.len() + 2).cast_signed() - characters(token.text).cast_signed();
            splice.places.push(Place { at, by, ours, theirs });
            from = token.start + token.text.len();
        }
        sent.extend(text.get(from..).unwrap_or_default());
        (sent, splice)
    }

    pub fn is_empty(&self) -> bool {
        self.places.is_empty()
    }

    /// Whether an error speaks of a name that was put in another's place.
    fn is_named_in(&self, error: &[u8]) -> bool {
        let message = backend::field(error, b'M').unwrap_or_default();
        self.places.iter().any(|place| memchr::memmem::find(message, &place.ours).is_some())
    }

    /// A server's error, with the client's own names and places.
    fn error(&self, out: &mut Vec<u8>, error: &[u8]) {
        encode::error_of(
            out,
            backend::fields(error).map(|(kind, value)| match kind {
                b'M' => (kind, self.renamed(value)),
                b'P' => (kind, self.moved(value)),
                _ => (kind, Cow::Borrowed(value)),
            }),
        );
    }

    fn renamed<'v>(&self, message: &'v [u8]) -> Cow<'v, [u8]> {
        let mut message = Cow::Borrowed(message);
        for place in &self.places {
            if let Some(at) = memchr::memmem::find(&message, &place.ours) {
                let behind = at + place.ours.len();
                let parts = [message.get(..at), Some(&place.theirs), message.get(behind..)];
                message = Cow::Owned(parts.into_iter().flatten().collect::<Vec<_>>().concat());
            }
        }
        message
    }

    /// A place in what was sent, counted in characters from 1.
    fn moved<'v>(&self, position: &'v [u8]) -> Cow<'v, [u8]> {
        let Some(sent) = std::str::from_utf8(position).ok().and_then(|text| text.parse::<usize>().ok()) else {
            return Cow::Borrowed(position);
        };
        let before = self.places.iter().filter(|place| place.at + 1 < sent);
        let by: isize = before.map(|place| place.by).sum();
        Cow::Owned(sent.saturating_add_signed(-by).to_string().into_bytes())
    }
}

impl Session {
    /// The error of a text in which names were put in the place of the client's, as the client is told of it.
    pub(super) fn in_own_names(&mut self, error: &[u8], head: &Owed) -> Option<Vec<u8>> {
        let splice = self.rare.splice().filter(|_| head.action == Action::Spliced).cloned()?;
        // It is not there since it could not be taught, or the transaction failed over that: what was said then counts.
        let follows = match backend::sqlstate(error) {
            b"25P02" => head.kind == Kind::Query,
            b"26000" => head.kind == Kind::Query && splice.is_named_in(error),
            _ => false,
        };
        let mut message = Vec::new();
        match self.rare.take_refusal().filter(|_| follows) {
            Some(refusal) => encode::raw(&mut message, back::ERROR, &refusal),
            None => splice.error(&mut message, error),
        }
        Some(message)
    }
}

/// Characters of UTF-8. In another encoding of several bytes it is too many, and the place of an error too.
fn characters(text: &[u8]) -> usize {
    text.iter().filter(|byte| **byte & 0xC0 != 0x80).count()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sql::{Lexical, mentions};

    fn spliced(text: &str, ours: &str) -> (String, Splice) {
        let found = mentions(text.as_bytes(), Lexical::STANDARD);
        let names = found.names().iter().map(|name| (*name, name.text.into(), ours.as_bytes().into()));
        let (sent, splice) = Splice::of(text.as_bytes(), names);
        (String::from_utf8(sent).expect("text"), splice)
    }

    fn told(splice: &Splice, message: &str, position: &str) -> String {
        let mut out = Vec::new();
        splice.error(&mut out, format!("SERROR\0M{message}\0P{position}\0\0").as_bytes());
        String::from_utf8_lossy(&out[5..]).replace('\0', "|")
    }

    #[test]
    fn names_change_and_nothing_else() {
        for (text, sent) in [
            ("EXECUTE a(1)", "EXECUTE \"pgweir_7\"(1)"),
            ("PREPARE \"a\"AS SELECT 1", "PREPARE \"pgweir_7\"AS SELECT 1"),
            ("EXECUTE a; EXPLAIN EXECUTE\"b\" ;", "EXECUTE \"pgweir_7\"; EXPLAIN EXECUTE\"pgweir_7\" ;"),
            ("SELECT 1", "SELECT 1"),
        ] {
            assert_eq!(spliced(text, "pgweir_7").0, sent);
        }
    }

    #[test]
    fn an_error_speaks_of_the_clients_text() {
        let (sent, splice) = spliced("/* ü */ EXECUTE a(x); EXECUTE a(y)", "pgweir_7");
        let place = |what: char| (sent.chars().position(|c| c == what).expect("there") + 1).to_string();
        assert_eq!(told(&splice, "no x", &place('x')), "SERROR|Mno x|P19||");
        assert_eq!(told(&splice, "no y", &place('y')), "SERROR|Mno y|P33||");
        assert_eq!(told(&splice, "at EXECUTE", "9"), "SERROR|Mat EXECUTE|P9||");
        assert_eq!(told(&splice, "\"pgweir_7\" is wrong", "what"), "SERROR|M\"a\" is wrong|Pwhat||");
        let (_, longer) = spliced("EXECUTE a_name_of_more_characters(x)", "pgweir_7");
        assert_eq!(told(&longer, "x", "20"), "SERROR|Mx|P35||");
    }
}

//! [pure] What functions leave in a session without a word of it in the statement that calls them.
//!
//! The catalog's watch reads it from their bodies: which function may take a lock of the session, make a temporary
//! table, set something. [`Hidden`] knows such names, and those of the tables and views that call them unseen; a text that
//! names one leaves what it may leave, as if it had said so itself. In most databases there is no such function, and
//! no text is read for them.
//!
//! Absence: a function in C, what a body only puts together at run time, and what casts, operators, rules and
//! constraints call.

use std::collections::HashMap;

use foldhash::fast::FixedState;

use super::catalog::{NAME_LIMIT, fold};
use super::lexer::{Kind, Lexer, Lexical, Token};
use super::names::inner;
use super::sieve::Sieve;
use super::taint::{Taint, Taints};

/// How a text that names it comes to run it.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum By {
    /// A function, by calling it.
    Call,
    /// A view, or a table with row security: by using it.
    Use,
    /// A table with a trigger or a default: by writing to it.
    Write,
}

/// One name, and what it may leave.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trace {
    pub by: By,
    /// In lower case.
    pub name: Vec<u8>,
    /// As the catalog's question writes it.
    pub letters: Vec<u8>,
}

/// The names of one database that leave something.
#[derive(Debug)]
pub struct Hidden {
    version: u64,
    names: HashMap<Box<[u8]>, Left, FixedState>,
    sieve: Sieve,
    /// What any name with a character beyond ASCII may leave.
    wide: Left,
}

#[derive(Copy, Clone, Debug, Default)]
struct Left {
    called: Taints,
    used: Taints,
    written: Taints,
}

/// Words of what writes to a table.
const WRITES: [&[u8]; 5] = [b"COPY", b"DELETE", b"INSERT", b"MERGE", b"UPDATE"];

impl Hidden {
    /// None: nothing leaves anything.
    pub fn new(version: u64, traces: &[Trace]) -> Option<Hidden> {
        if traces.is_empty() {
            return None;
        }
        let names = HashMap::with_hasher(FixedState::with_seed(version));
        let mut hidden = Hidden { version, names, sieve: Sieve::default(), wide: Left::default() };
        for trace in traces {
            let left = match trace.name.is_ascii() {
                false => &mut hidden.wide,
                true => {
                    hidden.sieve.add(&trace.name);
                    hidden.names.entry(trace.name.clone().into()).or_default()
                }
            };
            left.add(trace.by, taints(&trace.letters));
        }
        Some(hidden)
    }

    /// No two of one process share it.
    pub fn version(&self) -> u64 {
        self.version
    }

    /// Whether a function of this name leaves anything.
    pub fn is_called(&self, name: &[u8]) -> bool {
        self.names.get(&name.to_ascii_lowercase()[..]).is_some_and(|left| !left.called.is_empty())
    }

    /// What a text may leave by what it names.
    pub fn left_by(&self, text: &[u8], lexical: Lexical) -> Taints {
        let (mut left, mut written, mut called) = (Taints::NONE, Taints::NONE, Taints::NONE);
        let mut writes = false;
        for token in Lexer::new(text, lexical) {
            if token.is_punct(b"(") {
                left = left.with(called);
            }
            called = Taints::NONE;
            if !matches!(token.kind, Kind::Word | Kind::Quoted) {
                continue;
            }
            writes |= WRITES.iter().any(|word| token.is_word(word));
            let found = self.look_up(token);
            called = found.called;
            left = left.with(found.used);
            written = written.with(found.written);
        }
        if writes { left.with(written) } else { left }
    }

    fn look_up(&self, token: Token<'_>) -> Left {
        if token.text.is_ascii() && !self.sieve.may_hold(inner(token)) {
            return Left::default();
        }
        let mut buffer = [0; NAME_LIMIT];
        let Some(len) = fold(token, &mut buffer).map(<[u8]>::len) else { return self.wide };
        buffer.make_ascii_lowercase();
        buffer.get(..len).and_then(|name| self.names.get(name)).copied().unwrap_or_default()
    }
}

impl Left {
    fn add(&mut self, by: By, taints: Taints) {
        let left = match by {
            By::Call => &mut self.called,
            By::Use => &mut self.used,
            By::Write => &mut self.written,
        };
        *left = left.with(taints);
    }
}

/// What the letters of the catalog's question stand for.
fn taints(letters: &[u8]) -> Taints {
    let one = |letter: &u8| match letter {
        b'a' => Taint::AdvisoryLock,
        b'f' => Taint::SessionFunction,
        b'h' => Taint::HoldCursor,
        b'l' => Taint::Listen,
        b'p' => Taint::Prepare,
        b't' => Taint::TempTable,
        _ => Taint::SetConfig,
    };
    letters.iter().map(one).fold(Taints::NONE, |all, taint| all.with(Taints::of(&[taint])))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn trace(by: By, name: &str, letters: &str) -> Trace {
        Trace { by, name: name.into(), letters: letters.into() }
    }

    #[test]
    fn a_text_leaves_what_it_names() {
        let traces = [
            trace(By::Call, "take", "a"),
            trace(By::Call, "make", "t"),
            trace(By::Call, "größe", "s"),
            trace(By::Use, "watched", "l"),
            trace(By::Write, "audited", "st"),
        ];
        let hidden = Hidden::new(1, &traces).expect("there are some");
        let left = |text: &str| hidden.left_by(text.as_bytes(), Lexical::STANDARD).iter().collect::<Vec<_>>();
        assert_eq!(left("SELECT take(1)"), [Taint::AdvisoryLock]);
        assert_eq!(left("INSERT INTO t SELECT app.\"take\" (1), MAKE()"), [Taint::TempTable, Taint::AdvisoryLock]);
        assert_eq!(left("SELECT take FROM take WHERE 'take(1)' = $$take(1)$$ -- take(1)"), []);
        assert_eq!(left("SELECT * FROM watched"), [Taint::Listen]);
        assert_eq!(left("SELECT * FROM audited"), []);
        assert_eq!(left("WITH x AS (DELETE FROM audited) SELECT 1"), [Taint::TempTable, Taint::SetConfig]);
        assert_eq!(left("SELECT größe(1)"), [Taint::SetConfig]);
        assert!(hidden.is_called(b"Take") && !hidden.is_called(b"audited"));
        assert!(Hidden::new(2, &[]).is_none());
    }
}

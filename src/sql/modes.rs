//! [pure] The modes of a transaction, as BEGIN, START TRANSACTION and SET TRANSACTION spell them.

use super::lexer::{Kind, Lexer, Token};

#[derive(Copy, Clone, Debug, PartialEq, Eq, Hash)]
pub enum Isolation {
    ReadUncommitted,
    ReadCommitted,
    RepeatableRead,
    Serializable,
}

/// What a transaction was asked to be; `None`: the session's default. Of two that disagree the last one counts.
#[derive(Copy, Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Modes {
    pub read_only: Option<bool>,
    pub isolation: Option<Isolation>,
    pub deferrable: Option<bool>,
}

impl Modes {
    /// A list up to the statement's end, its items with or without commas between them. `None`: it is none, or an
    /// empty one.
    pub(super) fn parse(rest: &mut Lexer<'_>) -> Option<Modes> {
        let mut modes = Modes::default();
        let mut first = rest.next()?;
        loop {
            modes.item(first, rest)?;
            first = match rest.clone().next() {
                None => return Some(modes),
                Some(token) if token.is_punct(b";") => return Some(modes),
                Some(token) => {
                    rest.next();
                    if token.is_punct(b",") { rest.next()? } else { token }
                }
            };
        }
    }

    fn item(&mut self, first: Token<'_>, rest: &mut Lexer<'_>) -> Option<()> {
        if first.is_word(b"DEFERRABLE") {
            self.deferrable = Some(true);
        } else if first.is_word(b"NOT") {
            self.deferrable = rest.next()?.is_word(b"DEFERRABLE").then_some(false);
            self.deferrable?;
        } else if first.is_word(b"READ") {
            self.read_only = Some(access(rest.next()?)?);
        } else if first.is_word(b"ISOLATION") && rest.next()?.is_word(b"LEVEL") {
            self.isolation = Some(isolation(rest.next()?, rest)?);
        } else {
            return None;
        }
        Some(())
    }
}

fn access(word: Token<'_>) -> Option<bool> {
    match word.kind {
        Kind::Word if word.is_word(b"ONLY") => Some(true),
        Kind::Word if word.is_word(b"WRITE") => Some(false),
        _ => None,
    }
}

fn isolation(word: Token<'_>, rest: &mut Lexer<'_>) -> Option<Isolation> {
    if word.is_word(b"SERIALIZABLE") {
        return Some(Isolation::Serializable);
    }
    let second = rest.next()?;
    if word.is_word(b"REPEATABLE") && second.is_word(b"READ") {
        return Some(Isolation::RepeatableRead);
    }
    match second {
        _ if !word.is_word(b"READ") => None,
        _ if second.is_word(b"COMMITTED") => Some(Isolation::ReadCommitted),
        _ if second.is_word(b"UNCOMMITTED") => Some(Isolation::ReadUncommitted),
        _ => None,
    }
}

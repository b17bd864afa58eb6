//! [pure] What lives and ends with its transaction: cursors without HOLD, and savepoints.

use super::access::{Why, nothing_more, passes};
use super::lexer::{Kind, Lexer, Token};
use super::query::Scan;

/// What a statement does inside its transaction.
#[derive(Copy, Clone, Debug, PartialEq, Eq, Hash)]
pub enum Within {
    /// DECLARE … FOR a query that is proven to read, FETCH, MOVE and CLOSE.
    Cursor,
    /// SAVEPOINT, RELEASE and ROLLBACK TO.
    Savepoint,
}

/// After DECLARE.
pub(super) fn declare<'a>(scan: &mut Scan<'_, 'a>, rest: &mut Lexer<'a>) -> Result<(), Why> {
    const OPTIONS: [&[u8]; 5] = [b"ASENSITIVE", b"BINARY", b"INSENSITIVE", b"NO", b"SCROLL"];
    if !rest.next().is_some_and(is_name) {
        return Err(Why::Utility);
    }
    loop {
        match rest.next() {
            Some(word) if word.is_word(b"CURSOR") => break,
            Some(word) if OPTIONS.iter().any(|option| word.is_word(option)) => {}
            _ => return Err(Why::Utility),
        }
    }
    // One WITH HOLD outlives its transaction.
    if passes(rest, b"WITHOUT") && !passes(rest, b"HOLD") || !passes(rest, b"FOR") {
        return Err(Why::Utility);
    }
    scan.query(rest)
}

/// After FETCH, MOVE, CLOSE, SAVEPOINT, RELEASE or ROLLBACK TO: names, words and numbers, which nobody evaluates.
pub(super) fn operands(rest: &mut Lexer<'_>) -> Result<(), Why> {
    while let Some(token) = rest.next() {
        match token.kind {
            Kind::Word | Kind::Quoted | Kind::Number | Kind::Op => {}
            _ if token.is_punct(b";") => return nothing_more(rest),
            _ => return Err(Why::Utility),
        }
    }
    Ok(())
}

fn is_name(token: Token<'_>) -> bool {
    matches!(token.kind, Kind::Word | Kind::Quoted)
}

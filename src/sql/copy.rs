//! [pure] Which COPY only reads: `COPY (query) TO STDOUT` and `COPY table TO STDOUT`.

use super::access::{Why, nothing_more, opens_query, passes};
use super::lexer::{Kind, Lexer};
use super::query::Scan;

/// Judges what follows the word COPY.
pub(super) fn judge<'a>(scan: &mut Scan<'_, 'a>, rest: &mut Lexer<'a>) -> Result<(), Why> {
    let query = rest.clone().next().is_some_and(|token| token.is_punct(b"("));
    if query {
        opens_query(rest)?;
        self::query(scan, rest)?;
        if !passes(rest, b"TO") {
            return Err(Why::Utility);
        }
    } else {
        table(scan, rest)?;
    }
    // A file or a program is the server's own.
    if !passes(rest, b"STDOUT") {
        return Err(Why::Utility);
    }
    options(scan, rest)
}

/// Up to the parenthesis that closes the one next.
fn query<'a>(scan: &mut Scan<'_, 'a>, rest: &mut Lexer<'a>) -> Result<(), Why> {
    let mut depth = 0_usize;
    while let Some(token) = rest.next() {
        match (token.kind, token.text) {
            (Kind::Punct, b"(") => depth += 1,
            (Kind::Punct, b")") if depth <= 1 => return Ok(()),
            (Kind::Punct, b")") => depth -= 1,
            (Kind::Punct, b";") => return Err(Why::Utility),
            _ => {}
        }
        scan.step(token, rest)?;
    }
    Err(Why::Utility)
}

/// A table's name and perhaps its columns, up to TO.
fn table<'a>(scan: &mut Scan<'_, 'a>, rest: &mut Lexer<'a>) -> Result<(), Why> {
    while let Some(token) = rest.next() {
        if token.is_word(b"TO") {
            return Ok(());
        }
        if token.is_word(b"FROM") {
            return Err(Why::WriteKeyword);
        }
        match (token.kind, token.text) {
            // The list behind it calls nothing.
            (Kind::Punct, b"(" | b")" | b"," | b".") => scan.forget(),
            (Kind::Punct, _) => return Err(Why::Utility),
            _ => scan.step(token, rest)?,
        }
    }
    Err(Why::Utility)
}

/// Words and strings that are evaluated by nobody, up to the text's end.
fn options<'a>(scan: &mut Scan<'_, 'a>, rest: &mut Lexer<'a>) -> Result<(), Why> {
    while let Some(token) = rest.next() {
        match (token.kind, token.text) {
            (Kind::Punct, b";") => return nothing_more(rest),
            (Kind::Punct, _) => scan.forget(),
            _ => scan.step(token, rest)?,
        }
    }
    Ok(())
}

//! [pure] SET and RESET: which of them leave a setting in the session that nobody else follows.

use super::lexer::{Kind, Lexer, Token};
use super::names::inner;
use super::taint::Taint;

/// The settings beyond those of every version that this server reports in ParameterStatus, so that they are followed too.
#[derive(Copy, Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Reported {
    /// From PostgreSQL 18 on.
    pub search_path: bool,
    /// From PostgreSQL 16 on.
    pub scram_iterations: bool,
}

/// What every server reports when it changes (`default_transaction_read_only` from 14 on).
const FOLLOWED: [&[u8]; 7] = [
    b"application_name",
    b"client_encoding",
    b"DateStyle",
    b"default_transaction_read_only",
    b"IntervalStyle",
    b"standard_conforming_strings",
    b"TimeZone",
];

/// Judges what follows the word SET.
pub(super) fn set(mut rest: Lexer<'_>, reported: Reported) -> Option<Taint> {
    let [first, second] = operands(&rest);
    let Some(first) = first else { return Some(Taint::Set) };
    rest.next();
    // `SET local.x = 1` sets the session's `local.x`: a word is the keyword only where no variable's name can be.
    if names_variable(second) {
        return variable(first, rest, reported);
    }
    if first.is_word(b"LOCAL") {
        return local(rest);
    }
    if first.is_word(b"SESSION") {
        return session(rest, reported);
    }
    special_form(first, rest, reported)
}

/// After SET SESSION.
fn session(mut rest: Lexer<'_>, reported: Reported) -> Option<Taint> {
    let [first, second] = operands(&rest);
    let Some(first) = first else { return Some(Taint::Set) };
    rest.next();
    if names_variable(second) {
        return variable(first, rest, reported);
    }
    if first.is_word(b"AUTHORIZATION") {
        return Some(Taint::Role);
    }
    special_form(first, rest, reported)
}

/// After SET LOCAL: it ends with the transaction, but a table that is made meanwhile under `'pg_temp'` does not. Before
/// 15.9 and its kin another session user does not give the role back either (CVE-2024-10978).
fn local(mut rest: Lexer<'_>) -> Option<Taint> {
    let name = rest.next()?;
    if name.is_word(b"SESSION") || inner(name).eq_ignore_ascii_case(b"session_authorization") {
        return Some(Taint::Role);
    }
    (is_path(name) && !plain_path(rest)).then_some(Taint::TempTable)
}

/// The forms whose first word is not a variable's name.
fn special_form(first: Token<'_>, mut rest: Lexer<'_>, reported: Reported) -> Option<Taint> {
    if first.is_word(b"TRANSACTION") || first.is_word(b"CONSTRAINTS") {
        return None;
    }
    if first.is_word(b"ROLE") {
        return Some(Taint::Role);
    }
    if first.is_word(b"SCHEMA") {
        return (!(reported.search_path && plain_path(rest))).then_some(Taint::Set);
    }
    if first.is_word(b"NAMES") {
        return value(rest);
    }
    match rest.next() {
        Some(zone) if first.is_word(b"TIME") && zone.is_word(b"ZONE") => value(rest),
        _ => Some(Taint::Set),
    }
}

/// After a variable's name, with `.`, `=` or TO next.
fn variable(name: Token<'_>, mut rest: Lexer<'_>, reported: Reported) -> Option<Taint> {
    if is_role(name) {
        return Some(Taint::Role);
    }
    if rest.next().is_none_or(|after| after.is_punct(b".")) {
        return Some(Taint::Set);
    }
    let default = value(rest.clone());
    if default.is_some() {
        return default;
    }
    (!follows(name, rest, reported)).then_some(Taint::Set)
}

/// Whether ParameterStatus will tell the variable's new value.
fn follows(name: Token<'_>, rest: Lexer<'_>, reported: Reported) -> bool {
    if is_path(name) {
        return reported.search_path && plain_path(rest);
    }
    let name = inner(name);
    FOLLOWED.iter().any(|followed| name.eq_ignore_ascii_case(followed))
        || reported.scram_iterations && name.eq_ignore_ascii_case(b"scram_iterations")
}

/// A value that the server's own configuration decides is none that could be set elsewhere.
fn value(rest: Lexer<'_>) -> Option<Taint> {
    let [first] = operands(&rest);
    first.is_none_or(|first| first.is_word(b"DEFAULT") || first.is_word(b"LOCAL")).then_some(Taint::Reset)
}

/// Whether no string among the schemas of a search_path may say `pg_temp`. An unquoted `pg_temp` is found as any
/// other identifier is.
pub(super) fn plain_path(rest: Lexer<'_>) -> bool {
    let strings = rest.take_while(|token| !token.is_punct(b";")).filter(|token| token.kind == Kind::Str);
    strings.map(|token| token.text).all(|text| {
        let plain = text.starts_with(b"'") && !text.iter().any(|byte| matches!(byte, b'\\' | b'\n' | b'\r'));
        plain && !text.windows(7).any(|part| part.eq_ignore_ascii_case(b"pg_temp"))
    })
}

/// Judges what follows the word RESET, but for a RESET ALL.
pub(super) fn reset(rest: &Lexer<'_>) -> Taint {
    match operands(rest) {
        [Some(first), Some(second)] if first.is_word(b"SESSION") && second.is_word(b"AUTHORIZATION") => Taint::Role,
        [Some(first), _] if is_role(first) => Taint::Role,
        _ => Taint::Reset,
    }
}

/// Whether nothing but ALL follows.
pub(super) fn is_all(rest: &Lexer<'_>) -> bool {
    matches!(operands(rest), [Some(all), None] if all.is_word(b"ALL"))
}

/// The next `N` tokens of this statement.
pub(super) fn operands<'a, const N: usize>(rest: &Lexer<'a>) -> [Option<Token<'a>>; N] {
    let mut tokens = rest.clone().take_while(|token| !token.is_punct(b";"));
    std::array::from_fn(|_| tokens.next())
}

/// Whether the token before this one must be a variable's name.
fn names_variable(next: Option<Token<'_>>) -> bool {
    next.is_some_and(|next| next.is_punct(b".") || next.text == b"=" || next.is_word(b"TO"))
}

fn is_role(name: Token<'_>) -> bool {
    let name = inner(name);
    name.eq_ignore_ascii_case(b"role") || name.eq_ignore_ascii_case(b"session_authorization")
}

fn is_path(name: Token<'_>) -> bool {
    name.is_word(b"SCHEMA") || inner(name).eq_ignore_ascii_case(b"search_path")
}

//! [pure] How far each kind of token reaches: the lexer's tables and loops.
//!
//! Every function gets the bytes from the token's first on and gives its length; `None` says that the text ends
//! before the token does, or that no token is there.

use memchr::{memchr, memchr2};

/// What ends a piece of a string early.
#[derive(Copy, Clone, PartialEq, Eq)]
pub(super) enum Escapes {
    /// `B'…'`, `X'…'`: the first quote ends it.
    None,
    /// `''` is a quote.
    Doubling,
    /// And a backslash takes the next byte with it.
    Backslash,
}

/// The length of a string whose content begins at `at`.
pub(super) fn string(rest: &[u8], mut at: usize, escapes: Escapes) -> Option<usize> {
    loop {
        let piece = rest.get(at..)?;
        at += match escapes {
            Escapes::Backslash => memchr2(b'\'', b'\\', piece)?,
            _ => memchr(b'\'', piece)?,
        };
        match rest.get(at..)? {
            [b'\\', _, ..] => at += 2,
            [b'\'', b'\'', ..] if escapes != Escapes::None => at += 2,
            [b'\'', after @ ..] => match continuation(after) {
                Some(len) => at += 1 + len,
                None => return Some(at + 1),
            },
            _ => return None,
        }
    }
}

/// After a closing quote: the blanks and `--` comments with a line's end among them, and the quote that reopens.
fn continuation(after: &[u8]) -> Option<usize> {
    let mut at = 0;
    let mut newline = false;
    loop {
        match after.get(at..)? {
            [b'\n' | b'\r', ..] => {
                newline = true;
                at += 1;
            }
            [b' ' | b'\t' | 0x0B | 0x0C, ..] => at += 1,
            [b'-', b'-', rest @ ..] => at += 2 + memchr2(b'\n', b'\r', rest)?,
            [b'\'', ..] if newline => return Some(at + 1),
            _ => return None,
        }
    }
}

/// The length of a quoted identifier whose content begins at `at`.
pub(super) fn name(rest: &[u8], mut at: usize) -> Option<usize> {
    loop {
        at += memchr(b'"', rest.get(at..)?)?;
        match rest.get(at..)? {
            [_, b'"', ..] => at += 2,
            _ => return Some(at + 1),
        }
    }
}

/// A number without its sign. Digits that run into a letter end at it, as up to PostgreSQL 14.
pub(super) fn number(rest: &[u8]) -> Option<usize> {
    let len = run(rest, DIGIT);
    match rest.get(len) {
        Some(b'.' | b'_' | b'a'..=b'z' | b'A'..=b'Z') => long_number(rest),
        _ => Some(len),
    }
}

/// One with more than digits, perhaps.
pub(super) fn long_number(rest: &[u8]) -> Option<usize> {
    if let [b'0', base, rest @ ..] = rest {
        let digits = match base | 0x20 {
            b'x' => rest.iter().take_while(|byte| byte.is_ascii_hexdigit() || **byte == b'_').count(),
            b'o' => rest.iter().take_while(|byte| matches!(byte, b'0'..=b'7' | b'_')).count(),
            b'b' => rest.iter().take_while(|byte| matches!(byte, b'0' | b'1' | b'_')).count(),
            _ => 0,
        };
        if digits > 0 {
            return unless_dollar(rest, digits).map(|len| 2 + len);
        }
    }
    let mut len = digits(rest);
    if let Some([b'.', after @ ..]) = rest.get(len..)
        && after.first() != Some(&b'.')
    {
        len += 1 + digits(after);
    }
    match rest.get(len..)? {
        [b'e' | b'E', b'+' | b'-', after @ ..] if digits(after) > 0 => len += 2 + digits(after),
        [b'e' | b'E', after @ ..] if digits(after) > 0 => len += 1 + digits(after),
        _ => {}
    }
    let modern = rest.get(..len)?.contains(&b'_');
    if modern { unless_dollar(rest, len) } else { Some(len) }
}

/// From 16 on `1_0$$…$$` is a number and a string; before, a number, a word with dollars in it, and no string.
fn unless_dollar(rest: &[u8], len: usize) -> Option<usize> {
    (rest.get(len) != Some(&b'$')).then_some(len)
}

/// Digits, with an underscore allowed between two of them.
fn digits(rest: &[u8]) -> usize {
    let mut len = run(rest, DIGIT);
    while len > 0
        && let Some([b'_', after @ ..]) = rest.get(len..)
        && let more @ 1.. = run(after, DIGIT)
    {
        len += 1 + more;
    }
    len
}

/// The length of a `/* … */`, with those inside it.
pub(super) fn block_comment(rest: &[u8]) -> Option<usize> {
    let mut depth = 0_usize;
    let mut at = 0;
    loop {
        at += memchr2(b'*', b'/', rest.get(at..)?)?;
        match rest.get(at..)? {
            [b'/', b'*', ..] => {
                depth += 1;
                at += 2;
            }
            [b'*', b'/', ..] if depth == 1 => return Some(at + 2),
            [b'*', b'/', ..] => {
                depth = depth.saturating_sub(1);
                at += 2;
            }
            _ => at += 1,
        }
    }
}

/// How many bytes at the head are of the class.
#[inline]
pub(super) fn run(rest: &[u8], of: u8) -> usize {
    rest.iter().position(|&byte| class(byte) & of == 0).unwrap_or(rest.len())
}

#[inline]
pub(super) fn class(byte: u8) -> u8 {
    CLASS[usize::from(byte)]
}

/// What a token that starts with the byte is: three bits of its class.
pub(super) const START: u8 = 0x07;
pub(super) const START_WORD: u8 = 1;
pub(super) const START_NUMBER: u8 = 2;
pub(super) const START_OP: u8 = 3;
pub(super) const START_PUNCT: u8 = 4;
pub(super) const START_QUOTE: u8 = 5;
/// None starts with it: it stands between two.
pub(super) const START_BLANK: u8 = 6;
/// May stand inside an identifier: bytes above 0x7F, digits and dollars too.
pub(super) const WORD: u8 = 0x08;
/// May stand inside the tag of a dollar quote; a digit not in its first place, which `dollar` has ruled out.
pub(super) const TAG: u8 = 0x10;
pub(super) const DIGIT: u8 = 0x20;
pub(super) const OP: u8 = 0x40;
/// An operator character that SQL's own operators lack.
pub(super) const FREE: u8 = 0x80;

const CLASS: [u8; 256] = {
    let mut table = [0; 256];
    let mut byte = 0;
    while byte < 256 {
        table[byte] = match byte as u8 {
            b'a'..=b'z' | b'A'..=b'Z' | b'_' | 0x80.. => START_WORD | WORD | TAG,
            b'0'..=b'9' => START_NUMBER | WORD | TAG | DIGIT,
            b'$' => START_QUOTE | WORD,
            b'\'' | b'"' => START_QUOTE,
            b'~' | b'!' | b'@' | b'#' | b'^' | b'&' | b'|' | b'`' | b'?' | b'%' => START_OP | OP | FREE,
            b'+' | b'-' | b'*' | b'/' | b'<' | b'>' | b'=' => START_OP | OP,
            b'(' | b')' | b',' | b';' | b'.' | b'[' | b']' | b':' => START_PUNCT,
            b' ' | b'\t' | b'\n' | b'\r' | 0x0B | 0x0C => START_BLANK,
            _ => 0,
        };
        byte += 1;
    }
    table
};

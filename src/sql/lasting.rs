//! [pure] Whether a text that is parsed once means the same whenever it is executed.
//!
//! PostgreSQL reads a literal when its statement is parsed, be it executed a day later: `'now'::timestamptz` is the moment
//! of the Parse. (`now()` and a parameter are read at each execution.)

use super::lexer::{Kind, Lexer, Lexical, Token};

/// What a literal of a date or time may say of the moment at which it is read.
const MOMENTS: [&[u8]; 4] = [b"now", b"today", b"tomorrow", b"yesterday"];

/// How statements begin that are planned, and only read unless a function writes; the others are no different for being
/// prepared.
const READ: [&[u8]; 3] = [b"select", b"table", b"values"];

/// How those begin that write, or may.
const WRITTEN: [&[u8]; 5] = [b"delete", b"insert", b"merge", b"update", b"with"];

/// Whether the text is one that is worth preparing, and means the same later. In doubt it is not. `types`: what Parse says of
/// its parameters, which PostgreSQL infers where it is nothing. It does so once: a column that has another type since would
/// be written by the old one, and nobody told.
pub fn is_lasting(text: &[u8], types: &[u8], lexical: Lexical) -> bool {
    let first = Lexer::new(text, lexical).find(|token| !token.is_punct(b"("));
    let is_one_of = |words: &[&[u8]]| first.is_some_and(|first| words.iter().any(|word| first.is_word(word)));
    let planned = is_one_of(&READ) || (is_one_of(&WRITTEN) && !infers_types(text, types, lexical));
    planned && !names_a_moment(text, lexical)
}

/// Whether some parameter has no type of its own. `types`: their number in two bytes, and four for each.
fn infers_types(text: &[u8], types: &[u8], lexical: Lexical) -> bool {
    let given = types.get(2..).unwrap_or_default();
    let is_given = |number: usize| {
        let oid = number.checked_sub(1).and_then(|at| given.get(4 * at..4 * at + 4));
        oid.is_some_and(|oid| oid != [0; 4])
    };
    let mut parameters = Lexer::new(text, lexical).filter(|token| token.kind == Kind::Param);
    parameters.any(|token| {
        let number = token.text.get(1..).and_then(|digits| std::str::from_utf8(digits).ok()?.parse().ok());
        !number.is_some_and(|number: usize| number < usize::from(u16::MAX) && is_given(number))
    })
}

/// Whether a literal may be read otherwise later. What it says by escapes, or in an encoding that hides it, may.
pub fn names_a_moment(text: &[u8], lexical: Lexical) -> bool {
    let hidden = lexical.opaque_encoding && !text.is_ascii();
    hidden || Lexer::new(text, lexical).any(|token| is_of_a_moment(token, lexical))
}

fn is_of_a_moment(token: Token<'_>, lexical: Lexical) -> bool {
    match token.kind {
        Kind::Broken => true,
        Kind::Str => {
            let bare = token.text.first().is_some_and(|first| matches!(first, b'\'' | b'$'));
            let escapes = !bare || !lexical.standard_conforming_strings;
            (escapes && token.text.contains(&b'\\')) || is_continued(token.text) || has_moment(token.text)
        }
        _ => false,
    }
}

/// `'to'` and `'day'` on two lines are one literal.
fn is_continued(string: &[u8]) -> bool {
    let quotes = string.iter().filter(|byte| **byte == b'\'').count();
    quotes > 2 && string.iter().any(|byte| matches!(byte, b'\n' | b'\r'))
}

/// PostgreSQL looks at whole runs of letters.
fn has_moment(string: &[u8]) -> bool {
    let mut words = string.split(|byte| !byte.is_ascii_alphabetic());
    words.any(|word| MOMENTS.iter().any(|moment| word.eq_ignore_ascii_case(moment)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moment_is_in_a_literal_and_nowhere_else() {
        let may = |text: &str| names_a_moment(text.as_bytes(), Lexical::STANDARD);
        for text in [
            "SELECT 'now'::timestamptz",
            "SELECT DATE 'Tomorrow'",
            "SELECT time ' 04:05 today'",
            "SELECT * FROM t WHERE d > $$yesterday$$",
            "SELECT E'n\\x6fw'::date",
            "SELECT U&'n\\006Fw'::date",
            "SELECT 'to'\n'day'::date",
            "SELECT 'open",
        ] {
            assert!(may(text), "{text}");
        }
        for text in ["SELECT now(), today FROM now", "SELECT 'known', 'nowhere'", "SELECT '\\d' -- now", "SELECT $1"] {
            assert!(!may(text), "{text}");
        }
        let opaque = Lexical { opaque_encoding: true, ..Lexical::STANDARD };
        assert!(names_a_moment("SELECT 'ü'".as_bytes(), opaque) && !names_a_moment(b"SELECT 'u'", opaque));
        let old = Lexical { standard_conforming_strings: false, ..Lexical::STANDARD };
        assert!(names_a_moment(b"SELECT 'n\\157w'", old));
    }

    #[test]
    fn only_what_is_planned_lasts() {
        let lasts = |text: &str| is_lasting(text.as_bytes(), &[0, 0], Lexical::STANDARD);
        for text in ["select 1", "/* a */ (SELECT 1) UNION (SELECT 2)", "WITH a AS (SELECT 1) TABLE a", "Values (1)"] {
            assert!(lasts(text), "{text}");
        }
        for text in ["", "EXPLAIN SELECT 1", "SHOW a", "BEGIN", "CALL f()", "\"select\"", "SELECT 'now'"] {
            assert!(!lasts(text), "{text}");
        }
    }

    #[test]
    fn what_is_written_has_types_of_its_own() {
        let lasts = |text: &str, types: &[u8]| is_lasting(text.as_bytes(), types, Lexical::STANDARD);
        let (none, one, unknown) = (&[0, 0][..], &[0, 1, 0, 0, 0, 23][..], &[0, 1, 0, 0, 0, 0][..]);
        assert!(lasts("SELECT $1", none) && lasts("INSERT INTO t VALUES (1)", none));
        for text in ["INSERT INTO t VALUES ($1)", "update t set a = $1", "WITH a AS (SELECT $1) TABLE a"] {
            assert!(lasts(text, one) && !lasts(text, none) && !lasts(text, unknown), "{text}");
        }
        for parameter in ["$2", "$0", "$99999999999"] {
            assert!(!lasts(&format!("DELETE FROM t WHERE a IN ($1, {parameter})"), one), "{parameter}");
        }
        assert!(lasts("DELETE FROM t WHERE a = '$2' AND b = $1", one));
    }
}

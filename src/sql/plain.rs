//! [pure] Texts that are one statement and plainly leave nothing, as most are: found by one look at their bytes, without
//! cutting tokens. It says yes only where [`classify`](super::classify()) would find nothing either, and leaves to that
//! whatever takes more than a look: comments, backslashes, dollar quotes, Unicode escapes, odd numbers.

use super::lexer::Lexical;
use super::names::{self, Verb};
use super::spans::*;

/// Whether the text is what [`Statement::READ`](super::Statement::READ) says.
pub fn is_plain(text: &[u8], lexical: Lexical) -> bool {
    if lexical.opaque_encoding && !text.is_ascii() {
        return false;
    }
    let start = text.iter().position(|byte| !is_blank(*byte)).unwrap_or(text.len());
    let (_, rest) = text.split_at(start);
    let (verb, rest) = rest.split_at(run(rest, WORD));
    let begins = verb.first().is_some_and(|first| class(*first) & START == START_WORD);
    begins && matches!(Verb::of(verb), Verb::Other | Verb::Insert) && !names::leaves(verb) && goes_on_plainly(rest)
}

/// What stands behind the first word.
fn goes_on_plainly(mut rest: &[u8]) -> bool {
    // An ampersand makes what a quote behind it says another thing.
    let mut amid = false;
    while let Some(&first) = rest.first() {
        let plain = match class(first) & START {
            START_WORD => word(rest),
            START_NUMBER => number(rest),
            START_OP if matches!(rest, [b'-', b'-', ..] | [b'/', b'*', ..]) => None,
            START_OP => Some(1),
            START_PUNCT if first == b';' => return is_over(rest),
            START_PUNCT => Some(1),
            START_QUOTE if amid => None,
            START_QUOTE => quote(first, rest),
            START_BLANK => Some(1),
            _ => None,
        };
        let Some(behind) = plain.and_then(|len| rest.get(len..)) else { return false };
        rest = behind;
        amid = first == b'&';
    }
    true
}

fn word(rest: &[u8]) -> Option<usize> {
    let (word, behind) = rest.split_at(run(rest, WORD));
    if names::leaves(word) {
        return None;
    }
    // Mostly a blank follows.
    Some(word.len() + usize::from(behind.first() == Some(&b' ')))
}

/// Digits, and nothing that makes more of them.
fn number(rest: &[u8]) -> Option<usize> {
    let len = run(rest, DIGIT);
    rest.get(len).is_none_or(|behind| class(*behind) & WORD == 0).then_some(len)
}

/// A string or a quoted name to its next quote, were it one of two: then another begins at once. Or a parameter.
fn quote(first: u8, rest: &[u8]) -> Option<usize> {
    let body = rest.get(1..)?;
    match first {
        b'\'' => {
            let end = body.iter().position(|byte| matches!(byte, b'\'' | b'\\' | 0))?;
            (body.get(end) == Some(&b'\'')).then_some(end + 2)
        }
        b'"' => {
            let end = body.iter().position(|byte| matches!(byte, b'"' | 0))?;
            (body.get(end) == Some(&b'"') && !names::leaves_quoted(body.get(..end)?)).then_some(end + 2)
        }
        _ => Some(run(body, DIGIT)).filter(|digits| *digits > 0).map(|digits| 1 + digits),
    }
}

/// Nothing but blanks and semicolons is left.
fn is_over(rest: &[u8]) -> bool {
    rest.iter().all(|byte| *byte == b';' || is_blank(*byte))
}

fn is_blank(byte: u8) -> bool {
    class(byte) & START == START_BLANK
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    use crate::sql::setting::Reported;
    use crate::sql::{Statement, classify};

    const STANDARD: Lexical = Lexical::STANDARD;

    #[test]
    fn what_applications_mostly_say_is_plain() {
        for text in [
            "SELECT abalance FROM pgbench_accounts WHERE aid = 12345;",
            "\n select 1",
            "UPDATE pgbench_tellers SET tbalance = tbalance + -17 WHERE tid = $1 ;\n",
            "INSERT INTO t (a, b) VALUES ('it''s', 'ü', now()), (1.5, \"B\"[1], x::int) RETURNING a",
            "SELECT \"User\".\"id\" AS \"User_id\" FROM \"user\" \"User\" WHERE (\"User\".\"email\" = $1) LIMIT 1",
            "WITH a AS (SELECT 1) SELECT * FROM a WHERE b->>'c' <> E'd' AND e @> '{}'",
            "DELETE FROM a",
        ] {
            assert!(is_plain(text.as_bytes(), STANDARD), "{text}");
        }
    }

    #[test]
    fn what_takes_more_than_a_look_is_not() {
        for text in [
            "",
            ";",
            "1",
            "(SELECT 1)",
            "SELECT 1; SELECT 2",
            "SELECT 1 -- one",
            "SELECT 1 /* one */",
            r"SELECT '\'",
            "SELECT $$a$$",
            "SELECT U&'a'",
            "SELECT U&\"a\"",
            "SELECT 1_000",
            "SELECT 1e5",
            "SELECT 'a",
            "SELECT \"a",
            "SELECT 'a\0b'",
            "BEGIN",
            "SET a = 1",
            "SELECT set_config('a', 'b', false)",
            "SELECT \"pg_advisory_lock\"(1)",
            "SELECT 1 INTO TEMP t",
            "CREATE TABLE t ()",
        ] {
            assert!(!is_plain(text.as_bytes(), STANDARD), "{text}");
        }
        let opaque = Lexical { opaque_encoding: true, ..STANDARD };
        assert!(!is_plain("SELECT 'ü'".as_bytes(), opaque) && is_plain(b"SELECT 'u'", opaque));
    }

    const PIECES: &[&str] = &[
        "SELECT",
        "insert",
        "WITH",
        "UPDATE",
        "set",
        "a",
        "ü",
        "1",
        "1.5",
        "$1",
        "$$",
        "'",
        "'a'",
        "''",
        "\"",
        "\"b\"",
        "e'",
        "u&'",
        "U&\"",
        "&",
        "\\",
        ";",
        "(",
        ")",
        ".",
        "-",
        "--",
        "/*",
        "*/",
        "+",
        "::",
        "temp",
        "INTO",
        "temporary",
        "pg_temp",
        "currval",
        "set_config",
        "pg_settings",
        "\"lastval\"",
        "pg_advisory_lock",
        "pgbench_tellers",
        "true",
        "hold",
        "replace",
        "local",
        "into",
        "e5",
        "_1",
        "\0",
        "\n",
        "\x0b",
        "commit",
        "declare",
        "explain",
    ];

    fn agrees(text: &str, standard: bool, opaque: bool) {
        let lexical = Lexical { standard_conforming_strings: standard, opaque_encoding: opaque };
        if is_plain(text.as_bytes(), lexical) {
            let told = classify(text.as_bytes(), lexical, Reported::default());
            assert_eq!(told, Statement::READ, "{text}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(20_000))]

        #[test]
        fn it_says_what_the_tokens_say(
            verb in prop::sample::select(&["SELECT ", "insert into ", "UPDATE ", "with ", "(", "", "a"][..]),
            pieces in prop::collection::vec((prop::sample::select(PIECES), any::<bool>()), 0..12),
            standard: bool,
            opaque: bool,
        ) {
            let more = pieces.iter().map(|(piece, blank)| format!("{piece}{}", if *blank { " " } else { "" }));
            agrees(&(verb.to_owned() + &more.collect::<String>()), standard, opaque);
        }

        #[test]
        fn so_it_does_of_any_letters(text in "(select |Insert )[-+*/'\"$eEuUbx&\\\\a1_.:; \n]{0,20}", standard: bool) {
            agrees(&text, standard, false);
        }
    }
}

//! [pure] Texts behind which less of a session's state may be left than in front of them.

use super::lexer::{Kind, Lexer, Lexical, Token};
use super::names::inner;

/// Words with which state ends, wherever they stand: a false alarm costs one question to the server.
const WORDS: [&[u8]; 7] = [b"abort", b"close", b"deallocate", b"discard", b"drop", b"rollback", b"unlisten"];

const UNLOCK: &[u8] = b"pg_advisory_unlock";

/// Whether the text may end a temporary table, a lock, a cursor, a LISTEN or a prepared statement of the session. What a
/// function does inside is not seen.
pub fn may_end_state(text: &[u8], lexical: Lexical) -> bool {
    Lexer::new(text, lexical).any(ends)
}

fn ends(token: Token<'_>) -> bool {
    let name = inner(token);
    match token.kind {
        Kind::Word if WORDS.iter().any(|word| name.eq_ignore_ascii_case(word)) => true,
        Kind::Word | Kind::Quoted => name.get(..UNLOCK.len()).is_some_and(|head| head.eq_ignore_ascii_case(UNLOCK)),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_wherever_they_stand() {
        let may = |text: &str| may_end_state(text.as_bytes(), Lexical::STANDARD);
        for text in
            ["DROP TABLE t", "SELECT 1; close c", "SELECT pg_advisory_unlock_all()", "rollback to a", "UNLISTEN *"]
        {
            assert!(may(text), "{text}");
        }
        for text in ["SELECT 'DROP TABLE t'", "SELECT droplet", "COMMIT", "-- drop", ""] {
            assert!(!may(text), "{text}");
        }
    }
}

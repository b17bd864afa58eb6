//! [pure] The words that the classifier stops at, found without allocating: by length and first letter, then by
//! comparison; and the folding of identifiers.

use std::borrow::Cow;

use super::lexer::{Kind, Token};
use super::taint::Taint;

/// What a word or a quoted name may mean, wherever it stands.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub(super) enum Name {
    Other,
    /// `pg_temp`, `pg_temp_3`: a schema that lives with the session.
    PgTemp,
    /// Updating this view sets what it shows.
    PgSettings,
    /// Its effect depends on its third argument.
    SetConfig,
    /// A function whose call leaves or reads something in the session.
    Function(Taint),
    Create,
    Hold,
    Into,
    Replace,
    /// GLOBAL or LOCAL.
    Scope,
    /// TEMP or TEMPORARY.
    Temp,
    Update,
    With,
}

/// What the first word of a statement makes of it.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub(super) enum Verb {
    Other,
    /// ALTER, CREATE, DROP or IMPORT: it changes the catalog.
    Catalog,
    /// DECLARE; or EXPLAIN, which may explain one.
    Cursor,
    Deallocate,
    Discard,
    Execute,
    /// INSERT or MERGE.
    Insert,
    Prepare,
    Reset,
    Set,
    /// It taints, whatever follows.
    Taint(Taint),
    /// It begins, ends or marks a transaction.
    Transaction,
}

impl Verb {
    pub(super) fn of(word: &[u8]) -> Self {
        let Some(first) = word.first() else { return Verb::Other };
        let (keyword, verb): (&[u8], Verb) = match (word.len(), first | 0x20) {
            (2, b'd') => (b"do", Verb::Taint(Taint::Do)),
            (3, b'e') => (b"end", Verb::Transaction),
            (3, b's') => (b"set", Verb::Set),
            (4, b'd') => (b"drop", Verb::Catalog),
            (4, b'c') => (b"call", Verb::Taint(Taint::Call)),
            (4, b'l') => (b"load", Verb::Taint(Taint::Load)),
            (5, b'a') if word.eq_ignore_ascii_case(b"alter") => return Verb::Catalog,
            (5, b'a') => (b"abort", Verb::Transaction),
            (5, b'b') => (b"begin", Verb::Transaction),
            (5, b'm') => (b"merge", Verb::Insert),
            (5, b'r') => (b"reset", Verb::Reset),
            (5, b's') => (b"start", Verb::Transaction),
            (6, b'c') if word.eq_ignore_ascii_case(b"create") => return Verb::Catalog,
            (6, b'c') => (b"commit", Verb::Transaction),
            (6, b'i') if word.eq_ignore_ascii_case(b"import") => return Verb::Catalog,
            (6, b'i') => (b"insert", Verb::Insert),
            (6, b'l') => (b"listen", Verb::Taint(Taint::Listen)),
            (7, b'd') if word.eq_ignore_ascii_case(b"declare") => return Verb::Cursor,
            (7, b'd') => (b"discard", Verb::Discard),
            (7, b'e') if word.eq_ignore_ascii_case(b"explain") => return Verb::Cursor,
            (7, b'e') => (b"execute", Verb::Execute),
            (7, b'p') => (b"prepare", Verb::Prepare),
            (7, b'r') => (b"release", Verb::Transaction),
            (8, b'r') => (b"rollback", Verb::Transaction),
            (9, b's') => (b"savepoint", Verb::Transaction),
            (10, b'd') => (b"deallocate", Verb::Deallocate),
            _ => return Verb::Other,
        };
        if word.eq_ignore_ascii_case(keyword) { verb } else { Verb::Other }
    }
}

/// Looks up a [`Kind::Word`] or a [`Kind::Quoted`]. A quoted name is no keyword; its case is not looked at, which
/// taints a function called `"SetSeed"` too.
#[inline]
pub(super) fn look_up(token: Token<'_>) -> Name {
    match token {
        // Most words of a text are shorter than any here, or begin otherwise.
        Token { kind: Kind::Word, text: [first, _, _, _, ..], .. } if INITIALS & (1 << (first & 0x1F)) != 0 => {
            word(token.text)
        }
        Token { kind: Kind::Quoted, .. } => function(inner(token)),
        _ => Name::Other,
    }
}

/// Whether this word may leave something, or say of another that it does: by its length and first letter, and for the
/// few that pass, by comparison.
#[inline]
pub(super) fn leaves(text: &[u8]) -> bool {
    text.first().is_some_and(|first| is_marked(*first, text.len())) && is_telling(word(text))
}

/// The same of a name in quotes, given without them.
pub(super) fn leaves_quoted(inner: &[u8]) -> bool {
    is_telling(function(inner))
}

fn is_telling(name: Name) -> bool {
    matches!(name, Name::Temp | Name::PgTemp | Name::PgSettings | Name::SetConfig | Name::Function(_))
}

#[inline]
fn is_marked(first: u8, len: usize) -> bool {
    MARKS[usize::from(first & 0x1F)] & (1 << len.min(31)) != 0
}

/// For each letter, by its low five bits, a bit for each length of a telling word that begins with it.
const MARKS: [u32; 32] = {
    let mut marks = [0; 32];
    let rows = [
        (b'c', 1 << 7),
        (b'd', 1 << 14 | 1 << 16),
        (b'l', 1 << 7),
        // Whatever begins with `pg_` is compared.
        (b'p', u32::MAX << 7),
        (b's', 1 << 7 | 1 << 9 | 1 << 10),
        (b't', 1 << 4 | 1 << 9),
    ];
    let mut row = 0;
    while row < rows.len() {
        let (letter, lengths) = rows[row];
        marks[(letter & 0x1F) as usize] = lengths;
        row += 1;
    }
    marks
};

/// The letters that `word` and `function` know, by their low five bits.
const INITIALS: u32 = {
    let mut bits = 0;
    let mut rest: &[u8] = b"cdghilprstuw";
    while let [letter, more @ ..] = rest {
        bits |= 1 << (*letter & 0x1F);
        rest = more;
    }
    bits
};

fn word(text: &[u8]) -> Name {
    let Some(first) = text.first() else { return Name::Other };
    let (keyword, name): (&[u8], Name) = match (text.len(), first | 0x20) {
        (4, b'h') => (b"hold", Name::Hold),
        (4, b'i') => (b"into", Name::Into),
        (4, b't') => (b"temp", Name::Temp),
        (4, b'w') => (b"with", Name::With),
        (5, b'l') => (b"local", Name::Scope),
        (6, b'c') => (b"create", Name::Create),
        (6, b'g') => (b"global", Name::Scope),
        (6, b'u') => (b"update", Name::Update),
        (7, b'r') => (b"replace", Name::Replace),
        (9, b't') => (b"temporary", Name::Temp),
        _ => return function(text),
    };
    if text.eq_ignore_ascii_case(keyword) { name } else { Name::Other }
}

fn function(text: &[u8]) -> Name {
    let Some(first) = text.first() else { return Name::Other };
    let (name, meaning): (&[u8], Name) = match (text.len(), first | 0x20) {
        (7, b'c') => (b"currval", Name::Function(Taint::Currval)),
        (7, b'l') => (b"lastval", Name::Function(Taint::Currval)),
        (7, b's') => (b"setseed", Name::Function(Taint::SetSeed)),
        (9, b's') => (b"set_limit", Name::Function(Taint::SetConfig)),
        (10, b's') => (b"set_config", Name::SetConfig),
        (14, b'd') => (b"dblink_connect", Name::Function(Taint::SessionFunction)),
        (16, b'd') => (b"dblink_connect_u", Name::Function(Taint::SessionFunction)),
        (7.., b'p') => return pg(text),
        _ => return Name::Other,
    };
    if text.eq_ignore_ascii_case(name) { meaning } else { Name::Other }
}

/// Names with PostgreSQL's own prefix. Only the beginnings are compared: a name cut at 63 bytes, and a variant
/// (`…_shared`) that a later major adds, are then found too. `pg_advisory_xact_lock` begins otherwise.
fn pg(text: &[u8]) -> Name {
    const STEMS: [(&[u8], Name); 10] = [
        (b"temp", Name::PgTemp),
        (b"settings", Name::PgSettings),
        (b"advisory_lock", Name::Function(Taint::AdvisoryLock)),
        (b"try_advisory_lock", Name::Function(Taint::AdvisoryLock)),
        // A backup belongs to the session that starts it, a temporary slot to the one that makes it.
        (b"backup_start", Name::Function(Taint::SessionFunction)),
        (b"start_backup", Name::Function(Taint::SessionFunction)),
        (b"create_physical_replication_slot", Name::Function(Taint::SessionFunction)),
        (b"create_logical_replication_slot", Name::Function(Taint::SessionFunction)),
        (b"copy_logical_replication_slot", Name::Function(Taint::SessionFunction)),
        (b"replication_origin_session_setup", Name::Function(Taint::SessionFunction)),
    ];
    let Some((prefix, stem)) = text.split_at_checked(3) else { return Name::Other };
    if !prefix.eq_ignore_ascii_case(b"pg_") {
        return Name::Other;
    }
    let begins = |head: &[u8]| stem.get(..head.len()).is_some_and(|start| start.eq_ignore_ascii_case(head));
    STEMS.iter().find(|(head, _)| begins(head)).map_or(Name::Other, |(_, name)| *name)
}

/// The text of a name without its quotes, doubled ones left double.
pub(super) fn inner<'a>(token: Token<'a>) -> &'a [u8] {
    match (token.kind, token.text) {
        (Kind::Quoted, [b'"', inner @ .., b'"']) => inner,
        (_, text) => text,
    }
}

/// The name that PostgreSQL makes of an identifier as written: ASCII in lower case, or quotes taken off and undone;
/// cut to 63 bytes, and not inside a character of UTF-8.
pub fn fold_identifier(text: &[u8]) -> Cow<'_, [u8]> {
    const NAME_LIMIT: usize = 63;
    let mut name = match text {
        [b'"', inner @ .., b'"'] => undouble(inner),
        _ if text.iter().any(u8::is_ascii_uppercase) => Cow::Owned(text.to_ascii_lowercase()),
        _ => Cow::Borrowed(text),
    };
    if name.len() > NAME_LIMIT {
        let starts = |byte: &u8| *byte & 0xC0 != 0x80;
        let end = name.iter().take(NAME_LIMIT + 1).rposition(starts).unwrap_or(NAME_LIMIT);
        match &mut name {
            Cow::Borrowed(name) => *name = name.get(..end).unwrap_or_default(),
            Cow::Owned(name) => name.truncate(end),
        }
    }
    name
}

fn undouble(inner: &[u8]) -> Cow<'_, [u8]> {
    if !inner.contains(&b'"') {
        return Cow::Borrowed(inner);
    }
    let mut name = Vec::with_capacity(inner.len());
    let mut bytes = inner.iter().copied();
    while let Some(byte) = bytes.next() {
        name.push(byte);
        if byte == b'"' {
            bytes.next();
        }
    }
    Cow::Owned(name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sql::lexer::{Lexer, Lexical};

    #[test]
    fn names_are_found() {
        for (text, name) in [
            ("tEmP", Name::Temp),
            ("\"temp\"", Name::Other),
            ("template", Name::Other),
            ("SET_CONFIG", Name::SetConfig),
            ("\"set_config\"", Name::SetConfig),
            ("PG_Temp_12", Name::PgTemp),
            ("pg_advisory_lock_shared", Name::Function(Taint::AdvisoryLock)),
            ("pg_advisory_xact_lock", Name::Other),
            ("pg_advisory_unlock_all", Name::Other),
            ("pg_try_advisory_xact_lock", Name::Other),
            ("pg_", Name::Other),
            ("p", Name::Other),
            ("lastvam", Name::Other),
        ] {
            let token = Lexer::new(text.as_bytes(), Lexical::STANDARD).next().expect("a token");
            assert_eq!(look_up(token), name, "{text}");
        }
    }

    /// What `leaves` rests on: its marks are those of every word that tells something.
    #[test]
    fn every_telling_word_is_marked() {
        let words = ["temp", "TEMPORARY", "currval", "lastval", "setseed", "set_limit", "Set_Config", "dblink_connect"];
        let more = [
            "dblink_connect_u",
            "pg_temp",
            "pg_settings",
            "pg_advisory_lock_shared",
            "PG_CREATE_PHYSICAL_REPLICATION_SLOT",
        ];
        for text in words.iter().chain(&more) {
            assert!(is_telling(word(text.as_bytes())) && leaves(text.as_bytes()), "{text}");
            assert!(leaves_quoted(text.to_lowercase().as_bytes()) || text.to_lowercase().starts_with("temp"), "{text}");
        }
        assert!(!leaves(b"pgbench_accounts") && !leaves(b"template") && !leaves(b""));
    }

    #[test]
    fn identifiers_fold_as_in_postgresql() {
        let long = "a".repeat(62);
        for (text, name) in [
            ("abc", "abc".to_owned()),
            ("AbC", "abc".to_owned()),
            ("\"AbC\"", "AbC".to_owned()),
            ("\"a\"\"b\"", "a\"b".to_owned()),
            ("\"\"\"\"", "\"".to_owned()),
            (&format!("{long}BC"), format!("{long}b")),
            (&format!("{long}ü"), long.clone()),
            (&format!("\"{long}€x\""), long.clone()),
            (&format!("{long}x€"), format!("{long}x")),
        ] {
            assert_eq!(fold_identifier(text.as_bytes()), name.as_bytes(), "{text}");
        }
        assert!(matches!(fold_identifier(b"\"Plain\""), Cow::Borrowed(_)));
        assert_eq!(fold_identifier(&[0x80; 70]).len(), 63);
        assert_eq!(fold_identifier(b"\""), &b"\""[..]);
    }
}

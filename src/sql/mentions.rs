//! [pure] Where a text names prepared statements: PREPARE, EXECUTE and DEALLOCATE, in each statement of it.

use super::lexer::{Kind, Lexer, Lexical, Token};

/// The names of prepared statements in a text, as they stand there.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Mentions<'a> {
    #[default]
    Nothing,
    /// PREPARE, alone in its text.
    Prepare(Token<'a>),
    /// DEALLOCATE of one name, alone in its text.
    Deallocate(Token<'a>),
    /// Of EXECUTEs, whatever stands beside them; also in EXPLAIN and CREATE TABLE … AS.
    Execute(Vec<Token<'a>>),
    /// All of them, where a PREPARE or DEALLOCATE has company. DEALLOCATE ALL adds none.
    Mixed(Vec<Token<'a>>),
}

impl<'a> Mentions<'a> {
    /// All of them, in order.
    pub fn names(&self) -> &[Token<'a>] {
        match self {
            Mentions::Nothing => &[],
            Mentions::Prepare(name) | Mentions::Deallocate(name) => std::slice::from_ref(name),
            Mentions::Execute(names) | Mentions::Mixed(names) => names,
        }
    }
}

/// Reads a text as the session with these settings would. Linear in the text; it ends where that cannot be cut further.
pub fn mentions(text: &[u8], lexical: Lexical) -> Mentions<'_> {
    let mut lexer = Lexer::new(text, lexical);
    let (mut statements, mut changes) = (0_usize, false);
    let mut single = Mentions::Nothing;
    let mut names = Vec::new();
    while let Some(first) = lexer.next() {
        if first.is_punct(b";") {
            continue;
        }
        statements += 1;
        let mention = mention(first, &mut lexer);
        changes |= matches!(mention, Mention::Prepare(_) | Mention::Deallocate(_) | Mention::DeallocateAll);
        single = match mention {
            Mention::Prepare(name) => Mentions::Prepare(name),
            Mention::Deallocate(name) => Mentions::Deallocate(name),
            _ => Mentions::Nothing,
        };
        if let Mention::Prepare(name) | Mention::Execute(name) | Mention::Deallocate(name) = mention {
            names.push(name);
        }
        pass_statement(&mut lexer);
    }
    match (statements, changes) {
        (1, true) => single,
        (_, true) => Mentions::Mixed(names),
        (_, false) if names.is_empty() => Mentions::Nothing,
        (_, false) => Mentions::Execute(names),
    }
}

/// What one statement names.
#[derive(Clone, Copy)]
enum Mention<'a> {
    Nothing,
    Prepare(Token<'a>),
    Execute(Token<'a>),
    Deallocate(Token<'a>),
    DeallocateAll,
}

fn mention<'a>(first: Token<'a>, rest: &mut Lexer<'a>) -> Mention<'a> {
    if first.is_word(b"PREPARE") {
        return prepare(rest).map_or(Mention::Nothing, Mention::Prepare);
    }
    if first.is_word(b"EXECUTE") {
        return name(rest.next()).map_or(Mention::Nothing, Mention::Execute);
    }
    if first.is_word(b"DEALLOCATE") {
        return deallocate(rest);
    }
    let executes = if first.is_word(b"EXPLAIN") { explained(rest) } else { created(first, rest) };
    executes.map_or(Mention::Nothing, Mention::Execute)
}

/// After PREPARE: PREPARE TRANSACTION takes a string; a prepared statement may be called `transaction`.
fn prepare<'a>(rest: &mut Lexer<'a>) -> Option<Token<'a>> {
    let name = name(rest.next())?;
    let string = rest.clone().next().is_some_and(|next| next.kind == Kind::Str);
    (!string).then_some(name)
}

fn deallocate<'a>(rest: &mut Lexer<'a>) -> Mention<'a> {
    let Some(mut named) = name(next_of_statement(rest)) else { return Mention::Nothing };
    if named.is_word(b"PREPARE")
        && let Some(next) = name(next_of_statement(rest))
    {
        named = next;
    }
    if named.is_word(b"ALL") { Mention::DeallocateAll } else { Mention::Deallocate(named) }
}

/// After EXPLAIN: behind its options, the statement that is explained.
fn explained<'a>(rest: &mut Lexer<'a>) -> Option<Token<'a>> {
    const OPTIONS: [&[u8]; 3] = [b"ANALYZE", b"ANALYSE", b"VERBOSE"];
    loop {
        match next_of_statement(rest)? {
            open if open.is_punct(b"(") => pass_parentheses(rest),
            option if OPTIONS.iter().any(|word| option.is_word(word)) => {}
            execute if execute.is_word(b"EXECUTE") => return name(next_of_statement(rest)),
            other => return created(other, rest),
        }
    }
}

/// CREATE [TEMP | UNLOGGED] TABLE … AS EXECUTE: the first AS outside of parentheses says what fills the table.
fn created<'a>(first: Token<'a>, rest: &mut Lexer<'a>) -> Option<Token<'a>> {
    if !first.is_word(b"CREATE") {
        return None;
    }
    let mut table = false;
    loop {
        match next_of_statement(rest)? {
            open if open.is_punct(b"(") => pass_parentheses(rest),
            word if word.is_word(b"TABLE") => table = true,
            word if word.is_word(b"AS") => break,
            _ => {}
        }
    }
    let fills = table && next_of_statement(rest)?.is_word(b"EXECUTE");
    if fills { name(next_of_statement(rest)) } else { None }
}

fn name(token: Option<Token<'_>>) -> Option<Token<'_>> {
    token.filter(|token| matches!(token.kind, Kind::Word | Kind::Quoted))
}

/// The next token of this statement; its semicolon stays.
fn next_of_statement<'a>(rest: &mut Lexer<'a>) -> Option<Token<'a>> {
    let mut ahead = rest.clone();
    let token = ahead.next().filter(|token| !token.is_punct(b";"))?;
    *rest = ahead;
    Some(token)
}

/// Behind an opening parenthesis: up to its closing one.
fn pass_parentheses(rest: &mut Lexer<'_>) {
    let mut depth = 1_usize;
    while depth > 0 {
        match rest.next() {
            Some(token) if token.is_punct(b"(") => depth += 1,
            Some(token) if token.is_punct(b")") => depth -= 1,
            Some(_) => {}
            None => return,
        }
    }
}

/// Up to the semicolon; one inside parentheses separates a rule's actions.
fn pass_statement(rest: &mut Lexer<'_>) {
    while let Some(token) = rest.next() {
        match token {
            _ if token.is_punct(b"(") => pass_parentheses(rest),
            _ if token.is_punct(b";") => return,
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Kind and names, apart by blanks.
    fn said(text: &str) -> String {
        let all = mentions(text.as_bytes(), Lexical::STANDARD);
        let kind = match all {
            Mentions::Nothing => "nothing",
            Mentions::Prepare(_) => "prepare",
            Mentions::Deallocate(_) => "deallocate",
            Mentions::Execute(_) => "execute",
            Mentions::Mixed(_) => "mixed",
        };
        let names = all.names().iter().map(|name| String::from_utf8_lossy(name.text).into_owned());
        std::iter::once(kind.to_owned()).chain(names).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn names_are_found_where_they_stand() {
        for (text, expected) in [
            ("PREPARE a AS SELECT 1", "prepare a"),
            ("/* x */ prepare \"A b\" (int, text) as select $1;;", "prepare \"A b\""),
            ("PREPARE transaction AS SELECT 1", "prepare transaction"),
            ("PREPARE TRANSACTION 'x'", "nothing"),
            ("PREPARE U&\"a\" AS SELECT 1", "nothing"),
            (";execute/**/a(1, (2), ';')", "execute a"),
            ("EXECUTE a; SELECT 1; execute b", "execute a b"),
            ("BEGIN; EXECUTE a; COMMIT", "execute a"),
            ("EXPLAIN EXECUTE a", "execute a"),
            ("explain analyze verbose execute a(1)", "execute a"),
            ("EXPLAIN (COSTS OFF, FORMAT json) EXECUTE a", "execute a"),
            ("EXPLAIN ANALYZE CREATE TABLE t AS EXECUTE a", "execute a"),
            ("CREATE TEMP TABLE IF NOT EXISTS t (x) WITH (fillfactor = 9) AS EXECUTE a WITH NO DATA", "execute a"),
            ("CREATE TABLE t AS SELECT x AS execute FROM y", "nothing"),
            ("CREATE VIEW v AS SELECT x AS execute", "nothing"),
            ("CREATE DOMAIN d AS execute", "nothing"),
            ("CREATE TRIGGER t BEFORE INSERT ON x FOR EACH ROW EXECUTE FUNCTION f()", "nothing"),
            ("GRANT EXECUTE ON FUNCTION f() TO x", "nothing"),
            ("EXPLAIN SELECT execute FROM t", "nothing"),
            ("EXPLAIN", "nothing"),
            ("EXECUTE", "nothing"),
            ("EXECUTE; SELECT a", "nothing"),
            ("DEALLOCATE a", "deallocate a"),
            ("deallocate prepare a;", "deallocate a"),
            ("DEALLOCATE prepare", "deallocate prepare"),
            ("DEALLOCATE ALL", "nothing"),
            ("DEALLOCATE PREPARE ALL; EXECUTE a", "mixed a"),
            ("DEALLOCATE a; PREPARE a AS SELECT 1; EXECUTE b", "mixed a a b"),
            ("DEALLOCATE; EXECUTE a", "execute a"),
            ("CREATE RULE r AS ON INSERT TO t DO (SELECT 1; SELECT 2); EXECUTE a", "execute a"),
            ("EXECUTE a('", "execute a"),
            ("", "nothing"),
        ] {
            assert_eq!(said(text), expected, "{text}");
        }
    }

    #[test]
    fn hostile_texts_stay_linear() {
        for unit in ["EXPLAIN ", "EXECUTE ", "(", "EXPLAIN (", ";", "CREATE TABLE ", "DEALLOCATE PREPARE "] {
            mentions(unit.repeat(1_000_000 / unit.len()).as_bytes(), Lexical::STANDARD);
        }
    }
}

//! [pure] The rules for the tokens of one query: no word that writes, no call of what is not known, no name or operator
//! that is tainted.

use super::access::{Why, nothing_more, opens_query, passes};
use super::catalog::{Catalog, Marks};
use super::lexer::{Kind, Lexer, Token};
use super::names;
use super::setting::operands;
use super::syntax;

/// The rules for the tokens of one query.
pub(super) struct Scan<'c, 'a> {
    catalog: &'c Catalog,
    before: Before<'a>,
    /// The word WITH stood somewhere: a name and a list may be a CTE's.
    with: bool,
    /// A name that [`classify`](super::classify) stops at was seen.
    remarkable: bool,
    /// DISTINCT ON or OPERATOR stood somewhere: a call may stand behind a closing parenthesis.
    calls_behind: bool,
}

/// The token just before.
#[derive(Copy, Clone)]
enum Before<'a> {
    Other,
    /// A closing parenthesis.
    Closed,
    Dot,
    /// AS, or WITH (and RECURSIVE): what comes next is being named, not called.
    As,
    With,
    Name(Name<'a>),
}

#[derive(Copy, Clone)]
struct Name<'a> {
    token: Token<'a>,
    place: Place,
}

#[derive(Copy, Clone, PartialEq, Eq)]
enum Place {
    Free,
    /// Behind a dot: no keyword.
    Member,
    /// Behind AS, WITH, ORDINALITY or a table's closing parenthesis: the name of a table, a column or a type, which may
    /// have a list behind it.
    Named,
}

impl<'c, 'a> Scan<'c, 'a> {
    pub(super) fn new(catalog: Option<&'c Catalog>) -> Result<Scan<'c, 'a>, Why> {
        match catalog {
            None => Err(Why::NoCatalog),
            Some(catalog) if catalog.hard_off().is_some() => Err(Why::CatalogOff),
            Some(catalog) => {
                Ok(Scan { catalog, before: Before::Other, with: false, remarkable: false, calls_behind: false })
            }
        }
    }

    /// One that begins with any number of parentheses, and then a query's word, to the text's end.
    pub(super) fn query(&mut self, lexer: &mut Lexer<'a>) -> Result<(), Why> {
        opens_query(lexer)?;
        while let Some(token) = lexer.next() {
            if token.is_punct(b";") {
                return nothing_more(lexer);
            }
            self.step(token, lexer)?;
        }
        Ok(())
    }

    /// Whether one of the names may touch the session.
    pub(super) fn is_remarkable(&self) -> bool {
        self.remarkable
    }

    /// What came before says nothing of the next token.
    pub(super) fn forget(&mut self) {
        self.before = Before::Other;
    }

    /// One token; `rest` stands behind it.
    #[inline]
    pub(super) fn step(&mut self, token: Token<'a>, rest: &Lexer<'a>) -> Result<(), Why> {
        let before = std::mem::replace(&mut self.before, Before::Other);
        match (token.kind, token.text) {
            (Kind::Word | Kind::Quoted, _) => self.name(token, before, rest),
            (Kind::Punct, b".") => {
                self.before = Before::Dot;
                Ok(())
            }
            (Kind::Punct, b")") => {
                self.before = Before::Closed;
                Ok(())
            }
            (Kind::Punct, b"(") => match before {
                Before::Name(name) => self.call(name, rest),
                _ => Ok(()),
            },
            (Kind::Op, operator) if self.catalog.is_tainted_operator(operator) => Err(Why::TaintedOperator),
            (Kind::Broken | Kind::UnicodeQuoted, _) => Err(Why::Unreadable),
            _ => Ok(()),
        }
    }

    fn name(&mut self, token: Token<'a>, before: Before<'a>, rest: &Lexer<'a>) -> Result<(), Why> {
        if is_write_keyword(token) {
            return Err(Why::WriteKeyword);
        }
        let marks = self.catalog.marks_unless_called(token);
        if marks.is_tainted() {
            return Err(if marks.is_per_node() { Why::PerNode } else { Why::TaintedRelation });
        }
        let place = match before {
            // `t.f` is `f(t)`; whether `t.f(…)` may be called is asked at the parenthesis.
            Before::Dot if marks.is_unsafe_attribute() && !opens(rest) => return Err(not_callable(marks)),
            Before::Dot => Place::Member,
            Before::As | Before::With => Place::Named,
            // `FROM (…) x (a)`, `FROM f(…) x (a)`: SQL has no operand there, but behind two words.
            Before::Closed if !self.calls_behind => Place::Named,
            Before::Closed | Before::Name(_) | Before::Other => Place::Free,
        };
        self.calls_behind |= is_call_in_front(token);
        self.remarkable |= !matches!(names::look_up(token), names::Name::Other | names::Name::With);
        self.before = match (token.text.len(), place) {
            (_, Place::Member) => Before::Name(Name { token, place }),
            (2, _) if token.is_word(b"AS") => Before::As,
            (4, _) if token.is_word(b"WITH") => {
                self.with = true;
                Before::With
            }
            (9, Place::Named) if matches!(before, Before::With) && token.is_word(b"RECURSIVE") => before,
            (10, _) if token.is_word(b"ORDINALITY") => Before::As,
            _ => Before::Name(Name { token, place }),
        };
        Ok(())
    }

    /// A parenthesis opens behind a name.
    fn call(&self, name: Name<'a>, arguments: &Lexer<'a>) -> Result<(), Why> {
        let marks = self.catalog.marks(name.token);
        let grammar = || {
            let free = name.place == Place::Free && name.token.kind == Kind::Word && !marks.is_unsafe_call();
            free && syntax::takes_parenthesis(name.token.text)
        };
        let table = || self.with && name.place == Place::Free && is_table_expression(arguments.clone());
        let named = name.place == Place::Named;
        if marks.is_read() || named || grammar() || table() || reads_setting(name.token, marks, arguments) {
            return Ok(());
        }
        Err(not_callable(marks))
    }
}

/// `current_setting('app.user')`: a setting that an application made up is the session's, wherever it runs.
fn reads_setting(name: Token<'_>, marks: Marks, arguments: &Lexer<'_>) -> bool {
    let wanted = marks.is_per_node() && !marks.is_foreign_setting();
    if !wanted || !matches!(name.text.len(), 15 | 17) {
        return false;
    }
    let own = name.text.eq_ignore_ascii_case(b"current_setting") || name.text == b"\"current_setting\"";
    let plain = |text: &[u8]| {
        text.starts_with(b"'") && text.contains(&b'.') && !text.iter().any(|byte| matches!(byte, b'\n' | b'\r'))
    };
    match operands(arguments) {
        [Some(setting), Some(after)] => {
            own && setting.kind == Kind::Str && plain(setting.text) && (after.is_punct(b")") || after.is_punct(b","))
        }
        _ => false,
    }
}

/// DISTINCT and OPERATOR: with the parentheses of `DISTINCT ON (a) f(b)` and `a OPERATOR(s.+) f(b)` no operand ends.
fn is_call_in_front(token: Token<'_>) -> bool {
    token.text.len() == 8 && (token.is_word(b"DISTINCT") || token.is_word(b"OPERATOR"))
}

/// Whether a parenthesis comes next.
fn opens(rest: &Lexer<'_>) -> bool {
    rest.clone().next().is_some_and(|token| token.is_punct(b"("))
}

fn not_callable(marks: Marks) -> Why {
    if marks.is_per_node() { Why::PerNode } else { Why::UnknownFunction }
}

/// One of the words without which nothing is written, locked or stored: keywords cannot be escaped, so a statement
/// that has none of them has no INSERT, no FOR UPDATE, no SELECT INTO.
fn is_write_keyword(token: Token<'_>) -> bool {
    let word: &[u8] = match (token.text.len(), token.text.first().map(|first| first | 0x20)) {
        (4, Some(b'i')) => b"INTO",
        (5, Some(b'm')) => b"MERGE",
        (5, Some(b's')) => b"SHARE",
        (6, Some(b'd')) => b"DELETE",
        (6, Some(b'i')) => b"INSERT",
        (6, Some(b'u')) => b"UPDATE",
        _ => return false,
    };
    token.is_word(word)
}

/// Behind the opening parenthesis of `name (a, b) AS [[NOT] MATERIALIZED] (SELECT …)`. A function's column definitions
/// look alike up to the last word, which is reserved.
fn is_table_expression(mut rest: Lexer<'_>) -> bool {
    loop {
        let [name, after] = [rest.next(), rest.next()];
        if !name.is_some_and(|name| matches!(name.kind, Kind::Word | Kind::Quoted)) {
            return false;
        }
        match after {
            Some(after) if after.is_punct(b",") => {}
            Some(after) if after.is_punct(b")") => break,
            _ => return false,
        }
    }
    if !passes(&mut rest, b"AS") {
        return false;
    }
    passes(&mut rest, b"NOT");
    passes(&mut rest, b"MATERIALIZED");
    let [open, verb, after] = operands(&rest);
    let reserved = |verb: Token<'_>| [&b"SELECT"[..], b"WITH", b"TABLE"].iter().any(|word| verb.is_word(word));
    // A column may be called VALUES, but no type is a parenthesis.
    let values = verb.is_some_and(|verb| verb.is_word(b"VALUES")) && after.is_some_and(|after| after.is_punct(b"("));
    open.is_some_and(|open| open.is_punct(b"(")) && (values || verb.is_some_and(reserved))
}

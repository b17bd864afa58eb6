//! [pure] What is typed at the console: texts cut into statements, and each statement into a command.
//!
//! PgBouncer's grammar (a word, an argument, an optional semicolon), cut by PostgreSQL's lexical rules, so that comments,
//! several statements and names in quotes work as in psql. Drivers set up their session as if this were a server: what
//! they send for that is taken, and changes nothing.

use super::rows::{Column, Type, Value};
use super::tables::Show;
use crate::error::{Error, Kind, Side};
use crate::sql::lexer::{self, Lexer, Lexical, Token};

/// One statement.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    Show(Show),
    /// One value of a driver's interest, under its name.
    Constant(Constant),
    /// SET of a key of `[pgweir]`, or of what is not one.
    Set {
        key: String,
        value: String,
    },
    /// Taken, with this tag, without effect.
    Ignored(&'static str),
    /// A transaction block begins or ends: there is nothing in it, and only ReadyForQuery tells.
    Block {
        open: bool,
        tag: &'static str,
    },
    Act(Action),
}

/// A row of one value that does not change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Constant {
    pub column: Column,
    pub value: Value,
    pub tag: &'static str,
}

/// What changes something; for administrators only. None for a database: all of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    Disable(String),
    Enable(String),
    Kill(Option<String>),
    /// By the `id` of SHOW CLIENTS.
    KillClient(u64),
    Pause(Option<String>),
    Reconnect {
        database: Option<String>,
        /// Ours: the cluster's system identifier and highest timeline are to be forgotten as well.
        forget: bool,
    },
    Reload,
    Resume(Option<String>),
    Shutdown(Shutdown),
    Suspend,
    WaitClose(Option<String>),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shutdown {
    AtOnce,
    WaitForClients,
    WaitForServers,
}

impl Action {
    /// The command's name, which is its tag as well.
    pub fn name(&self) -> &'static str {
        match self {
            Action::Disable(_) => "DISABLE",
            Action::Enable(_) => "ENABLE",
            Action::Kill(_) => "KILL",
            Action::KillClient(_) => "KILL_CLIENT",
            Action::Pause(_) => "PAUSE",
            Action::Reconnect { .. } => "RECONNECT",
            Action::Reload => "RELOAD",
            Action::Resume(_) => "RESUME",
            Action::Shutdown(_) => "SHUTDOWN",
            Action::Suspend => "SUSPEND",
            Action::WaitClose(_) => "WAIT_CLOSE",
        }
    }
}

/// Cuts a text at its semicolons. What stands between two of them without a token is left out.
pub fn statements(text: &str) -> Vec<&str> {
    let mut found = Vec::new();
    let (mut first, mut last) = (None, 0);
    for token in Lexer::new(text.as_bytes(), Lexical::STANDARD) {
        if token.is_punct(b";") {
            found.extend(first.take().and_then(|first| text.get(first..last)));
            continue;
        }
        first = first.or(Some(token.start));
        last = token.start + token.text.len();
    }
    found.extend(first.and_then(|first| text.get(first..last)));
    found
}

/// Reads one statement.
pub fn parse(statement: &str) -> Result<Command, Error> {
    let words = Words::of(statement)?;
    let first = words.first.to_ascii_lowercase();
    match first.as_str() {
        "show" => show(&words),
        // PgBouncer takes it for SHOW.
        "select" if words.rest == "1" => Ok(number_one()),
        // How asyncpg's pool takes a connection back.
        "select" if words.rest == "pg_advisory_unlock_all()" => {
            Ok(constant("pg_advisory_unlock_all", Type::Text, "".into(), "SELECT 1"))
        }
        "select" => show(&words),
        "set" => set(&words),
        "begin" | "start" => Ok(Command::Block { open: true, tag: "BEGIN" }),
        "commit" | "end" => Ok(Command::Block { open: false, tag: "COMMIT" }),
        "rollback" | "abort" => Ok(Command::Block { open: false, tag: "ROLLBACK" }),
        "reset" => Ok(Command::Ignored("RESET")),
        "discard" => Ok(Command::Ignored("DISCARD ALL")),
        "deallocate" => Ok(Command::Ignored("DEALLOCATE ALL")),
        "unlisten" => Ok(Command::Ignored("UNLISTEN")),
        "close" => Ok(Command::Ignored("CLOSE CURSOR ALL")),
        _ => action(&first, &words).map(Command::Act),
    }
}

/// A statement's first word, and what follows it.
struct Words<'a> {
    whole: &'a str,
    first: &'a str,
    rest: &'a str,
    tokens: Vec<Token<'a>>,
}

impl<'a> Words<'a> {
    fn of(statement: &'a str) -> Result<Words<'a>, Error> {
        let mut tokens: Vec<_> = Lexer::new(statement.as_bytes(), Lexical::STANDARD).collect();
        if tokens.iter().any(|token| token.kind == lexer::Kind::Broken) {
            return Err(bad_arguments());
        }
        if tokens.first().is_none_or(|token| token.kind != lexer::Kind::Word) {
            return Err(unknown(statement));
        }
        let first = tokens.remove(0);
        let name = statement.get(first.start..first.start + first.text.len()).unwrap_or_default();
        let rest = tokens.first().and_then(|token| statement.get(token.start..)).unwrap_or_default();
        Ok(Words { whole: statement, first: name, rest, tokens })
    }

    /// The one argument, or none. A name in quotes is what they hold; without, it goes to the next blank as written.
    fn argument(&self) -> Result<Option<String>, Error> {
        match &self.tokens[..] {
            [] => Ok(None),
            [token] if token.kind == lexer::Kind::Quoted => Ok(Some(unquoted(self.rest, '"'))),
            _ if self.rest.contains(|c: char| c.is_whitespace() || c == '"' || c == '\'') => Err(unknown(self.whole)),
            _ => Ok(Some(self.rest.to_owned())),
        }
    }

    fn none(&self) -> Result<(), Error> {
        if self.tokens.is_empty() { Ok(()) } else { Err(unknown(self.whole)) }
    }

    fn database(&self) -> Result<String, Error> {
        self.argument()?.ok_or_else(|| syntax("a database is required"))
    }
}

fn show(words: &Words<'_>) -> Result<Command, Error> {
    let lower = words.rest.to_ascii_lowercase();
    if let Some((name, value)) = PRETENDED.iter().find(|(name, value)| *name == lower && !value.is_empty()) {
        return Ok(constant(name, Type::Text, (*value).into(), "SHOW"));
    }
    let name = words.argument()?.ok_or_else(|| unknown(words.whole))?;
    Show::named(&name).map(Command::Show).ok_or_else(|| unknown(words.whole))
}

fn number_one() -> Command {
    constant("?column?", Type::Int4, 1.into(), "SELECT 1")
}

fn constant(name: &'static str, of: Type, value: Value, tag: &'static str) -> Command {
    Command::Constant(Constant { column: Column { name, of }, value, tag })
}

/// `SET key = value`, `SET key TO value`, and SET SESSION CHARACTERISTICS, SET TRANSACTION and the like, which are a
/// server's.
fn set(words: &Words<'_>) -> Result<Command, Error> {
    let mut tokens = words.tokens.iter().peekable();
    let name = tokens.next().ok_or_else(bad_arguments)?;
    if [&b"transaction"[..], b"session", b"local", b"names"].iter().any(|word| name.is_word(word)) {
        return Ok(Command::Ignored("SET"));
    }
    let written = std::str::from_utf8(name.text).map_err(|_| bad_arguments())?;
    let key = match name.kind {
        lexer::Kind::Word => written.to_ascii_lowercase(),
        lexer::Kind::Quoted => unquoted(written, '"'),
        _ => return Err(bad_arguments()),
    };
    match tokens.next() {
        Some(token) if token.is_word(b"to") || token.text == b"=" => {}
        _ => return Err(unknown(words.whole)),
    }
    let value = tokens.peek().and_then(|token| words.whole.get(token.start..)).unwrap_or_default();
    let value = match tokens.next() {
        Some(token) if token.kind == lexer::Kind::Str && tokens.peek().is_none() => unquoted(value, '\''),
        Some(token) if token.kind == lexer::Kind::Quoted && tokens.peek().is_none() => unquoted(value, '"'),
        Some(_) => value.to_owned(),
        None => return Err(bad_arguments()),
    };
    Ok(Command::Set { key, value })
}

/// Without its quotes, and with one for each two inside.
fn unquoted(text: &str, quote: char) -> String {
    let inner = text.strip_prefix(quote).and_then(|text| text.strip_suffix(quote)).unwrap_or(text);
    inner.replace(&format!("{quote}{quote}"), &quote.to_string())
}

fn action(first: &str, words: &Words<'_>) -> Result<Action, Error> {
    match first {
        "disable" => words.database().map(Action::Disable),
        "enable" => words.database().map(Action::Enable),
        "kill" => words.argument().map(Action::Kill),
        "kill_client" => {
            let id = words.argument()?.and_then(|id| id.parse().ok());
            id.map(Action::KillClient).ok_or_else(|| value("invalid client pointer supplied"))
        }
        "pause" => words.argument().map(Action::Pause),
        "reconnect" => reconnect(words),
        "reload" => words.none().map(|()| Action::Reload),
        "resume" => words.argument().map(Action::Resume),
        "shutdown" => match words.argument()?.map(|how| how.to_ascii_lowercase()).as_deref() {
            None => Ok(Action::Shutdown(Shutdown::AtOnce)),
            Some("wait_for_clients") => Ok(Action::Shutdown(Shutdown::WaitForClients)),
            Some("wait_for_servers") => Ok(Action::Shutdown(Shutdown::WaitForServers)),
            Some(_) => Err(unknown(words.whole)),
        },
        "suspend" => words.none().map(|()| Action::Suspend),
        "wait_close" => words.argument().map(Action::WaitClose),
        _ => Err(unknown(words.whole)),
    }
}

fn reconnect(words: &Words<'_>) -> Result<Action, Error> {
    let forget = words.tokens.len() > 1 && words.tokens.last().is_some_and(|token| token.is_word(b"forget"));
    if !forget {
        return words.argument().map(|database| Action::Reconnect { database, forget: false });
    }
    let end = words.rest.len() - "forget".len();
    let shorter = Words {
        whole: words.whole,
        first: words.first,
        rest: words.rest.get(..end).unwrap_or_default().trim_end(),
        tokens: words.tokens[..words.tokens.len() - 1].to_vec(),
    };
    shorter.database().map(|database| Action::Reconnect { database: Some(database), forget: true })
}

/// How many characters of a statement are said back.
const ECHO: usize = 200;

/// What drivers set and ask for as if this were a server, and what they are told; "": it is only set.
pub const PRETENDED: &[(&str, &str)] = &[
    ("application_name", ""),
    ("bytea_output", ""),
    ("client_encoding", "UTF8"),
    ("client_min_messages", ""),
    ("datestyle", "ISO"),
    ("default_transaction_isolation", "read committed"),
    ("default_transaction_read_only", "off"),
    ("extra_float_digits", "2"),
    ("idle_in_transaction_session_timeout", ""),
    ("intervalstyle", ""),
    ("jit", ""),
    ("lock_timeout", ""),
    ("search_path", ""),
    ("standard_conforming_strings", "on"),
    ("statement_timeout", ""),
    ("timezone", "GMT"),
    ("transaction isolation level", "read committed"),
    ("transaction_isolation", "read committed"),
    ("transaction_read_only", "off"),
];

/// Whether a SET of this key is a server's affair.
pub fn is_pretended(key: &str) -> bool {
    PRETENDED.iter().any(|(name, _)| name.eq_ignore_ascii_case(key))
}

fn unknown(statement: &str) -> Error {
    let shown: String = statement.chars().take(ECHO).collect();
    syntax(&format!("invalid command '{shown}', use SHOW HELP;"))
}

fn bad_arguments() -> Error {
    syntax("bad arguments")
}

fn syntax(text: &str) -> Error {
    Error::new(Kind::ConsoleSyntax, Side::Client).about(text)
}

fn value(text: &str) -> Error {
    Error::new(Kind::ConsoleValue, Side::Client).about(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn act(action: Action) -> Result<Command, String> {
        Ok(Command::Act(action))
    }

    fn read(statement: &str) -> Result<Command, String> {
        parse(statement).map_err(|error| error.text())
    }

    fn some(name: &str) -> Option<String> {
        Some(name.to_owned())
    }

    #[test]
    fn texts_are_cut_at_their_semicolons() {
        let table: [(&str, &[&str]); 7] = [
            ("", &[]),
            (" ; ;; -- nothing\n", &[]),
            ("SHOW POOLS", &["SHOW POOLS"]),
            ("  show pools ; ", &["show pools"]),
            ("show version;show state", &["show version", "show state"]),
            ("pause \"a;b\"; set x = 'c;d' -- e;f", &["pause \"a;b\"", "set x = 'c;d'"]),
            ("/* probe */ SHOW STATS;", &["SHOW STATS"]),
        ];
        for (text, expected) in table {
            assert_eq!(statements(text), expected, "{text:?}");
        }
    }

    #[test]
    fn every_command_in_every_form() {
        let forget = |database: &str| Action::Reconnect { database: some(database), forget: true };
        let table = [
            ("RELOAD", Action::Reload),
            ("pause", Action::Pause(None)),
            ("PAUSE app", Action::Pause(some("app"))),
            ("Pause \"My \"\"db\"\"\"", Action::Pause(some("My \"db\""))),
            ("PAUSE my-db", Action::Pause(some("my-db"))),
            ("RESUME", Action::Resume(None)),
            ("RESUME App", Action::Resume(some("App"))),
            ("DISABLE x", Action::Disable("x".into())),
            ("ENABLE x", Action::Enable("x".into())),
            ("KILL", Action::Kill(None)),
            ("KILL x", Action::Kill(some("x"))),
            ("KILL_CLIENT 7", Action::KillClient(7)),
            ("RECONNECT", Action::Reconnect { database: None, forget: false }),
            ("RECONNECT x", Action::Reconnect { database: some("x"), forget: false }),
            ("RECONNECT forget", Action::Reconnect { database: some("forget"), forget: false }),
            ("RECONNECT x FORGET", forget("x")),
            ("reconnect \"x y\" forget", forget("x y")),
            ("SUSPEND", Action::Suspend),
            ("WAIT_CLOSE", Action::WaitClose(None)),
            ("WAIT_CLOSE x", Action::WaitClose(some("x"))),
            ("SHUTDOWN", Action::Shutdown(Shutdown::AtOnce)),
            ("shutdown wait_for_clients", Action::Shutdown(Shutdown::WaitForClients)),
            ("SHUTDOWN WAIT_FOR_SERVERS", Action::Shutdown(Shutdown::WaitForServers)),
        ];
        for (text, action) in table {
            assert_eq!(read(text), act(action), "{text}");
        }
    }

    #[test]
    fn shows_and_sets() {
        let set = |key: &str, value: &str| Ok(Command::Set { key: key.into(), value: value.into() });
        for show in Show::ALL {
            assert_eq!(read(&format!("SHOW {}", show.name().to_uppercase())), Ok(Command::Show(*show)));
            assert_eq!(read(&format!("select {}", show.name())), Ok(Command::Show(*show)));
        }
        assert_eq!(read("SELECT 1"), Ok(number_one()));
        assert_eq!(read("SET default_pool_size = 5"), set("default_pool_size", "5"));
        assert_eq!(read("set Pool_Mode to session"), set("pool_mode", "session"));
        assert_eq!(read("SET query_timeout='1.5'"), set("query_timeout", "1.5"));
        assert_eq!(read("SET a = 'it''s'"), set("a", "it's"));
        assert_eq!(read("SET a = b, c"), set("a", "b, c"));
        assert_eq!(read("SET read_wait = 10ms"), set("read_wait", "10ms"));
        assert_eq!(read("SET SESSION CHARACTERISTICS AS TRANSACTION READ ONLY"), Ok(Command::Ignored("SET")));
        assert!(matches!(read("SHOW TRANSACTION ISOLATION LEVEL"), Ok(Command::Constant(_))));
        assert!(matches!(read("show timezone"), Ok(Command::Constant(_))));
        assert_eq!(read("BEGIN READ ONLY"), Ok(Command::Block { open: true, tag: "BEGIN" }));
        assert_eq!(read("ROLLBACK"), Ok(Command::Block { open: false, tag: "ROLLBACK" }));
    }

    #[test]
    fn what_is_none_is_said_in_pgbouncers_words() {
        let none = |text: &str| Err(format!("invalid command '{text}', use SHOW HELP;"));
        for text in ["insert into x", "SHOW", "SHOW nothing", "SHOW application_name", "RELOAD now", "pause a b", "7"] {
            assert_eq!(read(text), none(text), "{text}");
        }
        let table = [
            ("KILL_CLIENT", "invalid client pointer supplied"),
            ("KILL_CLIENT x", "invalid client pointer supplied"),
            ("DISABLE", "a database is required"),
            ("ENABLE", "a database is required"),
            ("SET", "bad arguments"),
            ("SET a =", "bad arguments"),
            ("PAUSE \"a", "bad arguments"),
        ];
        for (text, error) in table {
            assert_eq!(read(text), Err(error.to_owned()), "{text}");
        }
    }
}

//! [pure] Texts that set session settings and do nothing else, with the values as PostgreSQL keeps them.
//!
//! What is read here can be said to another server again: the name, and the value as `flatten_set_variable_args`
//! (guc_funcs.c) makes it of the statement's words. Anything unusual is not read, and pins: escapes, bytes beyond
//! ASCII (another server may read them in another encoding), numbers in unusual notations.

use super::lexer::{Kind, Lexer, Lexical, Token};
use super::modes::{Isolation, Modes};
use super::names::fold_identifier;
use super::setting::plain_path;

/// One setting, and what becomes of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Assign {
    pub name: Box<str>,
    /// None: the session's default.
    pub value: Option<Box<str>>,
}

/// Settings whose value is a list of identifiers, each quoted where it must be (GUC_LIST_QUOTE).
const QUOTED_LISTS: [&str; 4] =
    ["local_preload_libraries", "search_path", "session_preload_libraries", "temp_tablespaces"];

/// What is not as other settings are: it lasts for a transaction, acts when it is set, has two names, or is the proxy's.
const OTHERS: [&str; 9] = [
    "all",
    "client_encoding",
    "seed",
    "session_authorization",
    "sort_mem",
    "transaction_deferrable",
    "transaction_isolation",
    "transaction_read_only",
    "vacuum_mem",
];

/// Everything that the text sets, in order, if it is SET, RESET and `SELECT set_config('…', '…', false)` all through.
pub fn assignments(text: &[u8], lexical: Lexical) -> Option<Vec<Assign>> {
    let mut reader = Reader { tokens: Lexer::new(text, lexical), all: Vec::new() };
    while let Some(first) = reader.tokens.next() {
        if !first.is_punct(b";") {
            reader.statement(first)?;
        }
    }
    (!reader.all.is_empty()).then_some(reader.all)
}

struct Reader<'a> {
    tokens: Lexer<'a>,
    all: Vec<Assign>,
}

impl<'a> Reader<'a> {
    /// The next token of this statement; its semicolon is taken, and is its end.
    fn next(&mut self) -> Option<Token<'a>> {
        self.tokens.next().filter(|token| !token.is_punct(b";"))
    }

    fn statement(&mut self, verb: Token<'a>) -> Option<()> {
        let mut first = self.next()?;
        if verb.is_word(b"SELECT") {
            return self.set_config(first);
        }
        if verb.is_word(b"RESET") {
            let name = self.reset_name(first)?;
            return self.assign(name, None);
        }
        if !verb.is_word(b"SET") {
            return None;
        }
        let after = self.tokens.clone().next()?;
        if first.is_word(b"SESSION") && !is_assignment(after) && !after.is_punct(b".") {
            first = self.next()?;
            if first.is_word(b"CHARACTERISTICS") {
                return self.characteristics();
            }
        }
        self.set(first)
    }

    /// Behind SET and SET SESSION.
    fn set(&mut self, first: Token<'a>) -> Option<()> {
        let after = self.tokens.clone().next()?;
        if is_assignment(after) || after.is_punct(b".") {
            let name = self.name(first)?;
            // The `=` or TO.
            self.next()?;
            let default = self.tokens.clone().next()?.is_word(b"DEFAULT");
            if default {
                self.next()?;
                self.ends()?;
                return self.assign(name, None);
            }
            let value = self.values(&name)?;
            return self.assign(name, Some(value));
        }
        if first.is_word(b"ROLE") {
            let value = self.values("role")?;
            return self.assign("role".to_owned(), Some(value));
        }
        if first.is_word(b"SCHEMA") && after.kind == Kind::Str {
            let value = self.values("search_path")?;
            return self.assign("search_path".to_owned(), Some(value));
        }
        None
    }

    fn assign(&mut self, name: String, value: Option<String>) -> Option<()> {
        let known = |other: &&str| name.eq_ignore_ascii_case(other);
        let ours = name.split_once('.').is_some_and(|(prefix, _)| prefix.eq_ignore_ascii_case("pgweir"));
        if ours || OTHERS.iter().any(known) {
            return None;
        }
        self.all.push(Assign { name: name.into(), value: value.map(Into::into) });
        Some(())
    }

    /// `app.user_id`: words or quoted words, each as PostgreSQL folds it.
    fn name(&mut self, first: Token<'a>) -> Option<String> {
        let mut name = identifier(first)?;
        while self.tokens.clone().next().is_some_and(|next| next.is_punct(b".")) {
            self.next()?;
            name.push('.');
            name.push_str(&identifier(self.next()?)?);
        }
        Some(name)
    }

    /// Behind RESET, up to its end.
    fn reset_name(&mut self, first: Token<'a>) -> Option<String> {
        let name = self.name(first)?;
        self.ends()?;
        Some(name)
    }

    fn ends(&mut self) -> Option<()> {
        match self.tokens.next() {
            None => Some(()),
            Some(token) => token.is_punct(b";").then_some(()),
        }
    }

    /// Values with commas between them up to the statement's end, as the server keeps them.
    fn values(&mut self, name: &str) -> Option<String> {
        if name.eq_ignore_ascii_case("search_path") && !plain_path(self.tokens.clone()) {
            return None;
        }
        let quoted = QUOTED_LISTS.iter().any(|list| list.eq_ignore_ascii_case(name));
        let mut list = String::new();
        loop {
            let first = self.next()?;
            let value = self.value(first)?;
            if quoted {
                push_quoted(&mut list, &value)
            } else {
                list.push_str(&value)
            }
            match self.tokens.next() {
                None => return Some(list),
                Some(token) if token.is_punct(b";") => return Some(list),
                Some(token) if token.is_punct(b",") => list.push_str(", "),
                Some(_) => return None,
            }
        }
    }

    fn value(&mut self, first: Token<'a>) -> Option<String> {
        match first.kind {
            Kind::Word | Kind::Quoted if !first.is_word(b"LOCAL") => identifier(first),
            Kind::Str => string(first),
            Kind::Number => number(first),
            Kind::Op if first.text == b"-" => Some(format!("-{}", number(self.next()?)?)),
            _ => None,
        }
    }

    /// `set_config('name', 'value', false)`, alone behind its SELECT.
    fn set_config(&mut self, mut first: Token<'a>) -> Option<()> {
        if first.is_word(b"pg_catalog") {
            self.next().filter(|dot| dot.is_punct(b"."))?;
            first = self.next()?;
        }
        if !first.is_word(b"set_config") {
            return None;
        }
        self.next().filter(|open| open.is_punct(b"("))?;
        let name = string(self.next()?)?;
        self.next().filter(|comma| comma.is_punct(b","))?;
        let (rest, value) = (self.tokens.clone(), string(self.next()?)?);
        if name.eq_ignore_ascii_case("search_path") && !plain_path(rest) {
            return None;
        }
        self.next().filter(|comma| comma.is_punct(b","))?;
        self.next().filter(|local| local.is_word(b"FALSE"))?;
        self.next().filter(|close| close.is_punct(b")"))?;
        self.ends()?;
        self.assign(name, Some(value))
    }

    /// Behind SET SESSION CHARACTERISTICS.
    fn characteristics(&mut self) -> Option<()> {
        self.next().filter(|word| word.is_word(b"AS"))?;
        self.next().filter(|word| word.is_word(b"TRANSACTION"))?;
        let modes = Modes::parse(&mut self.tokens)?;
        self.ends()?;
        let on_off = |on: bool| if on { "on" } else { "off" };
        let isolation = modes.isolation.map(|isolation| match isolation {
            Isolation::ReadUncommitted => "read uncommitted",
            Isolation::ReadCommitted => "read committed",
            Isolation::RepeatableRead => "repeatable read",
            Isolation::Serializable => "serializable",
        });
        let named = [
            ("default_transaction_isolation", isolation),
            ("default_transaction_read_only", modes.read_only.map(on_off)),
            ("default_transaction_deferrable", modes.deferrable.map(on_off)),
        ];
        for (name, value) in named.into_iter().filter(|(_, value)| value.is_some()) {
            self.assign(name.to_owned(), value.map(str::to_owned))?;
        }
        Some(())
    }
}

fn is_assignment(token: Token<'_>) -> bool {
    token.text == b"=" || token.is_word(b"TO")
}

fn identifier(token: Token<'_>) -> Option<String> {
    if !matches!(token.kind, Kind::Word | Kind::Quoted) || !token.text.is_ascii() {
        return None;
    }
    let name = fold_identifier(token.text);
    // A longer one is cut, and the server says so.
    let whole = token.text.len() <= 63 && !name.is_empty();
    String::from_utf8(name.into_owned()).ok().filter(|_| whole)
}

/// What stands in a plain `'…'`.
fn string(token: Token<'_>) -> Option<String> {
    let inner = token.text.strip_prefix(b"'")?.strip_suffix(b"'")?;
    let odd = |byte: &u8| !byte.is_ascii() || matches!(byte, b'\\' | b'\n' | b'\r');
    if token.kind != Kind::Str || inner.iter().any(odd) {
        return None;
    }
    std::str::from_utf8(inner).ok().map(|inner| inner.replace("''", "'"))
}

/// Digits, with a point perhaps, that no reader takes for octal.
fn number(token: Token<'_>) -> Option<String> {
    let text = std::str::from_utf8(token.text).ok().filter(|_| token.kind == Kind::Number)?;
    let (whole, part) = text.split_once('.').unwrap_or((text, "0"));
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let plain = digits(whole) && digits(part) && (whole == "0" || !whole.starts_with('0'));
    // A larger one is no integer to the grammar.
    (plain && text.len() <= 9).then(|| text.to_owned())
}

/// As `quote_identifier` does it.
fn push_quoted(list: &mut String, name: &str) {
    let word = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_';
    let plain = name.bytes().all(word) && !name.starts_with(|first: char| first.is_ascii_digit()) && !name.is_empty();
    if plain && !RESERVED.split(' ').any(|reserved| reserved == name) {
        return list.push_str(name);
    }
    list.push('"');
    list.push_str(&name.replace('"', "\"\""));
    list.push('"');
}

/// Whether it is a setting that may be refused although a server took it before: what it names may be gone, or the
/// right to set it.
pub fn may_be_refused(name: &str) -> bool {
    !name.contains('.') && !LASTING.iter().any(|lasting| lasting.eq_ignore_ascii_case(name))
}

/// Anyone may set these at any time, and their values stay good.
const LASTING: [&str; 50] = [
    "application_name",
    "bytea_output",
    "check_function_bodies",
    "client_encoding",
    "client_min_messages",
    "constraint_exclusion",
    "cursor_tuple_fraction",
    "datestyle",
    "default_transaction_deferrable",
    "default_transaction_isolation",
    "default_transaction_read_only",
    "effective_cache_size",
    "enable_bitmapscan",
    "enable_hashagg",
    "enable_hashjoin",
    "enable_indexonlyscan",
    "enable_indexscan",
    "enable_material",
    "enable_memoize",
    "enable_mergejoin",
    "enable_nestloop",
    "enable_parallel_append",
    "enable_partition_pruning",
    "enable_partitionwise_join",
    "enable_seqscan",
    "enable_sort",
    "enable_tidscan",
    "extra_float_digits",
    "from_collapse_limit",
    "geqo",
    "geqo_threshold",
    "idle_in_transaction_session_timeout",
    "idle_session_timeout",
    "intervalstyle",
    "jit",
    "join_collapse_limit",
    "lock_timeout",
    "maintenance_work_mem",
    "max_parallel_workers_per_gather",
    "plan_cache_mode",
    "random_page_cost",
    "row_security",
    "scram_iterations",
    "search_path",
    "seq_page_cost",
    "standard_conforming_strings",
    "statement_timeout",
    "synchronous_commit",
    "timezone",
    "work_mem",
];

/// Keywords that `quote_identifier` quotes: those of `pg_get_keywords()` that are not unreserved, in PostgreSQL 18.
const RESERVED: &str = "all analyse analyze and any array as asc asymmetric authorization between bigint binary bit \
    boolean both case cast char character check coalesce collate collation column concurrently constraint create cross \
    current_catalog current_date current_role current_schema current_time current_timestamp current_user dec decimal \
    default deferrable desc distinct do else end except exists extract false fetch float for foreign freeze from full \
    grant greatest group grouping having ilike in initially inner inout int integer intersect interval into is isnull \
    join json json_array json_arrayagg json_exists json_object json_objectagg json_query json_scalar json_serialize \
    json_table json_value lateral leading least left like limit localtime localtimestamp merge_action national natural \
    nchar none normalize not notnull null nullif numeric offset on only or order out outer overlaps overlay placing \
    position precision primary real references returning right row select session_user setof similar smallint some \
    substring symmetric system_user table tablesample then time timestamp to trailing treat trim true union unique user \
    using values varchar variadic verbose when where window with xmlattributes xmlconcat xmlelement xmlexists \
    xmlforest xmlnamespaces xmlparse xmlpi xmlroot xmlserialize xmltable";

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Option<Vec<(String, Option<String>)>> {
        let all = assignments(text.as_bytes(), Lexical::STANDARD)?;
        Some(all.into_iter().map(|one| (one.name.into(), one.value.map(Into::into))).collect())
    }

    #[track_caller]
    fn reads(text: &str, expected: &[(&str, Option<&str>)]) {
        let owned = expected.iter().map(|(name, value)| ((*name).to_owned(), value.map(str::to_owned)));
        assert_eq!(read(text), Some(owned.collect()), "{text}");
    }

    #[test]
    fn values_as_the_server_keeps_them() {
        reads("SET statement_timeout = 5000", &[("statement_timeout", Some("5000"))]);
        reads("set session Work_Mem to '64MB';", &[("work_mem", Some("64MB"))]);
        reads("SET random_page_cost = 1.1", &[("random_page_cost", Some("1.1"))]);
        reads("SET extra_float_digits TO -3", &[("extra_float_digits", Some("-3"))]);
        reads("SET enable_seqscan = OFF", &[("enable_seqscan", Some("off"))]);
        reads("SET app.\"User\" = 'it''s'", &[("app.User", Some("it's"))]);
        reads(
            "SET search_path = a, \"B c\", 'user', \"$user\"",
            &[("search_path", Some("a, \"B c\", \"user\", \"$user\""))],
        );
        reads("SET SCHEMA 'x'", &[("search_path", Some("x"))]);
        reads("SET datestyle = iso, dmy", &[("datestyle", Some("iso, dmy"))]);
        reads("SET ROLE Admin", &[("role", Some("admin"))]);
        reads("SET session.x = 1", &[("session.x", Some("1"))]);
        reads(
            "SET SESSION CHARACTERISTICS AS TRANSACTION ISOLATION LEVEL SERIALIZABLE, READ ONLY",
            &[("default_transaction_isolation", Some("serializable")), ("default_transaction_read_only", Some("on"))],
        );
    }

    #[test]
    fn back_to_the_default() {
        reads("RESET work_mem", &[("work_mem", None)]);
        reads("SET work_mem TO DEFAULT", &[("work_mem", None)]);
        reads("RESET ROLE", &[("role", None)]);
        reads("RESET app.x;", &[("app.x", None)]);
    }

    #[test]
    fn set_config_for_the_session() {
        reads("SELECT set_config('search_path', 'a, \"B\"', false)", &[("search_path", Some("a, \"B\""))]);
        reads("select pg_catalog.set_config('app.id','7',FALSE);", &[("app.id", Some("7"))]);
    }

    #[test]
    fn several() {
        reads(
            "SET a.b = 1; ; RESET lock_timeout; SELECT set_config('c.d', '', false)",
            &[("a.b", Some("1")), ("lock_timeout", None), ("c.d", Some(""))],
        );
    }

    #[test]
    fn what_is_not_read() {
        for text in [
            "",
            ";",
            "SELECT 1",
            "SET work_mem = '1MB'; SELECT 1",
            "SET LOCAL work_mem = '1MB'",
            "SET transaction_isolation = serializable",
            "SET TRANSACTION READ ONLY",
            "SET SESSION AUTHORIZATION x",
            "SET session_authorization = x",
            "RESET SESSION AUTHORIZATION",
            "RESET ALL",
            "SET seed = 0.5",
            "SET pgweir.route = 'primary'",
            "SET x = E'a'",
            "SET x = $$a$$",
            "SET x = 'a\\b'",
            "SET x = 'ä'",
            "SET ä = 'x'",
            "SET x = 007",
            "SET x = 1e3",
            "SET x = + 1",
            "SET x = a b",
            "SET x = ,",
            "SET search_path = 'pg_temp', x",
            "SELECT set_config('search_path', 'pg_temp', false)",
            "SET TIME ZONE 'UTC'",
            "SET TIME ZONE LOCAL",
            "SET NAMES 'UTF8'",
            "SELECT set_config('a', 'b', true)",
            "SELECT set_config('a', $1, false)",
            "SELECT set_config('a', 'b', false), 1",
            "SELECT set_config('a', 'b', false) FROM t",
            "SET x",
            "SET",
            "RESET",
            "RESET a b",
        ] {
            assert_eq!(read(text), None, "{text}");
        }
    }

    #[test]
    fn what_may_be_refused_later() {
        assert!(["role", "default_tablespace", "session_replication_role"].into_iter().all(may_be_refused));
        assert!(!["app.id", "Work_Mem", "TimeZone"].into_iter().any(may_be_refused));
    }
}

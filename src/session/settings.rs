//! [pure] Session settings: what a client wants, what a server has, and the text that brings the second to the first.
//!
//! A client's settings are those that the server reports and lets us follow (`FOLLOWED`), and what its startup
//! packet asked for. They travel as one shared value, so that a client and a server that agree compare by pointer.

use std::sync::Arc;

use crate::sql;

/// Parameters that PostgreSQL reports (GUC_REPORT) and a session may change: `SET` on them is followed by what the
/// server reports. The rest of the reported ones are facts of the server or of its user.
pub const FOLLOWED: &[&str] = &[
    "application_name",
    "client_encoding",
    "DateStyle",
    "default_transaction_read_only",
    "IntervalStyle",
    "scram_iterations",
    "search_path",
    "standard_conforming_strings",
    "TimeZone",
];

/// Settings on which the analysis of a statement's text depends: statements are shared only among equal ones. A literal
/// is read when its statement is parsed (`'2024-01-02'::timestamptz`), so that those that decide how are among them.
const PARSE_RELEVANT: &[&str] = &[
    "array_nulls",
    "backslash_quote",
    "client_encoding",
    "DateStyle",
    "IntervalStyle",
    "lc_monetary",
    "role",
    "search_path",
    "standard_conforming_strings",
    "TimeZone",
    "timezone_abbreviations",
    "transform_null_equals",
    "xmloption",
];

/// What no plan depends on: of an unnamed statement that is shared, all others are looked at.
const PLAN_IRRELEVANT: &str = "application_name";

const ROLE: &str = "role";

/// The name as PostgreSQL spells it, if it is one that we follow.
pub fn followed(name: &str) -> Option<&'static str> {
    FOLLOWED.iter().copied().find(|known| known.eq_ignore_ascii_case(name))
}

/// A startup packet's value as PostgreSQL will report it: of encodings it takes many spellings and has one name
/// (`encnames.c`). Those that are not here stay as they are.
pub fn canonical<'a>(name: &str, value: &'a str) -> &'a str {
    if !name.eq_ignore_ascii_case("client_encoding") {
        return value;
    }
    let clean: String = value.chars().filter(char::is_ascii_alphanumeric).map(|c| c.to_ascii_lowercase()).collect();
    match &*clean {
        "big5" | "win950" | "windows950" => "BIG5",
        "gb18030" => "GB18030",
        "gbk" | "win936" | "windows936" => "GBK",
        "johab" => "JOHAB",
        "latin1" | "iso88591" => "LATIN1",
        "latin9" | "iso885915" => "LATIN9",
        "mskanji" | "shiftjis" | "sjis" | "win932" | "windows932" => "SJIS",
        "shiftjis2004" => "SHIFT_JIS_2004",
        "sqlascii" => "SQL_ASCII",
        "uhc" | "win949" | "windows949" => "UHC",
        "unicode" | "utf8" => "UTF8",
        "win1251" | "windows1251" => "WIN1251",
        "win1252" | "windows1252" => "WIN1252",
        _ => value,
    }
}

#[derive(Clone, Debug, Hash, PartialEq, Eq)]
struct Setting {
    name: Box<str>,
    value: Box<str>,
}

/// Names and values, sorted by lower-case name. Cheap to compare, never changed in place while shared.
#[derive(Clone, Debug, Default, Hash, PartialEq, Eq)]
pub struct Settings {
    entries: Vec<Setting>,
}

impl Settings {
    pub fn get(&self, name: &str) -> Option<&str> {
        self.place(name).ok().and_then(|at| self.entries.get(at)).map(|entry| &*entry.value)
    }

    pub fn set(&mut self, name: &str, value: &str) {
        let setting = Setting { name: name.into(), value: value.into() };
        match self.place(name) {
            Ok(at) => self.entries[at].value = setting.value,
            Err(at) => self.entries.insert(at, setting),
        }
    }

    /// Sets it, or takes it out.
    pub fn put(&mut self, name: &str, value: Option<&str>) {
        match (value, self.place(name)) {
            (Some(value), _) => self.set(name, value),
            (None, Ok(at)) => _ = self.entries.remove(at),
            (None, Err(_)) => {}
        }
    }

    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.entries.iter().map(|entry| (&*entry.name, &*entry.value))
    }

    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    fn place(&self, name: &str) -> Result<usize, usize> {
        self.entries.binary_search_by(|entry| lower(&entry.name).cmp(lower(name)))
    }

    /// This, with everything that `other` has set over it.
    pub fn overlaid(&self, other: &Settings) -> Settings {
        let mut all = self.clone();
        other.iter().for_each(|(name, value)| all.set(name, value));
        all
    }

    /// This, with the role that `other` has.
    pub fn in_role_of(self: &Arc<Settings>, other: &Settings) -> Arc<Settings> {
        if self.get(ROLE) == other.get(ROLE) {
            return Arc::clone(self);
        }
        let mut all = Settings::clone(self);
        all.put(ROLE, other.get(ROLE));
        Arc::new(all)
    }

    /// The bytes that make two equal texts different statements.
    pub fn parse_scope(&self) -> Vec<u8> {
        let mut scope = Vec::new();
        for (name, value) in self.iter().filter(|(name, _)| is_parse_relevant(name)) {
            scope.extend(name.bytes().map(|b| b.to_ascii_lowercase()));
            scope.push(0);
            scope.extend(value.bytes());
            scope.push(0);
        }
        scope
    }

    /// The same for two statements of which the plan is shared, too.
    pub fn plan_scope(&self) -> impl Iterator<Item = (&str, &str)> {
        self.iter().filter(|(name, _)| !name.eq_ignore_ascii_case(PLAN_IRRELEVANT))
    }

    /// The text of one simple Query that makes a server that has `self` have `wanted`; None if they agree. A role is
    /// taken off before anything else and put on behind it: the others are set by the role that logged in.
    pub fn alignment(&self, wanted: &Settings) -> Option<String> {
        let mut text = String::new();
        let changes_role = self.get(ROLE) != wanted.get(ROLE);
        if changes_role && self.get(ROLE).is_some() {
            text.push_str("RESET ROLE;");
        }
        for (name, value) in wanted.changed_from(self).filter(|(name, _)| !is_role(name)) {
            push_set(&mut text, name, value);
        }
        for (name, _) in self.iter().filter(|(name, _)| wanted.get(name).is_none() && !is_role(name)) {
            text.push_str("RESET ");
            push_identifier(&mut text, name);
            text.push(';');
        }
        if let Some(role) = wanted.get(ROLE).filter(|_| changes_role) {
            push_set(&mut text, ROLE, role);
        }
        (!text.is_empty()).then_some(text)
    }

    /// Whether something that must be set to come from `other` to this may be refused, though it was taken before.
    pub fn may_be_refused(&self, other: &Settings) -> bool {
        self.changed_from(other).any(|(name, _)| sql::assign::may_be_refused(name))
    }

    fn changed_from<'a>(&'a self, other: &Settings) -> impl Iterator<Item = (&'a str, &'a str)> {
        self.iter().filter(move |(name, value)| other.get(name) != Some(value))
    }
}

fn lower(name: &str) -> impl Iterator<Item = u8> {
    name.bytes().map(|b| b.to_ascii_lowercase())
}

fn is_role(name: &str) -> bool {
    name.eq_ignore_ascii_case(ROLE)
}

fn is_parse_relevant(name: &str) -> bool {
    PARSE_RELEVANT.iter().any(|known| known.eq_ignore_ascii_case(name))
}

/// A followed setting by SET, which is cheapest; any other by set_config, which reads a value as the startup packet
/// does, lists and their quotes included.
fn push_set(text: &mut String, name: &str, value: &str) {
    let by_set = followed(name).is_some_and(|known| known != "search_path");
    if by_set {
        text.push_str("SET ");
        push_identifier(text, name);
        text.push_str(" TO ");
        push_literal(text, value);
    } else {
        text.push_str("SELECT pg_catalog.set_config(");
        push_literal(text, name);
        text.push(',');
        push_literal(text, value);
        text.push_str(",false)");
    }
    text.push(';');
}

/// A literal that reads the same whatever standard_conforming_strings is.
fn push_literal(text: &mut String, value: &str) {
    if value.contains('\\') {
        text.push('E');
    }
    text.push('\'');
    for c in value.chars() {
        if matches!(c, '\'' | '\\') {
            text.push(c);
        }
        text.push(c);
    }
    text.push('\'');
}

/// A possibly qualified name (`app.user`), whose parts may be any word, a reserved one too; each is quoted unless it is
/// plain and stands alone, as PostgreSQL's own settings do.
fn push_identifier(text: &mut String, name: &str) {
    for (i, part) in name.split('.').enumerate() {
        if i > 0 {
            text.push('.');
        }
        let alone = part.len() == name.len();
        let plain = alone && part.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_') && !part.is_empty();
        if plain && !part.starts_with(|c: char| c.is_ascii_digit()) {
            text.push_str(part);
        } else {
            text.push('"');
            text.push_str(&part.replace('"', "\"\""));
            text.push('"');
        }
    }
}

/// Whether two shared settings agree; if they do without being the same value, both become one of the two, so that
/// the next look is a comparison of pointers.
pub fn agree(a: &mut Arc<Settings>, b: &mut Arc<Settings>) -> bool {
    if Arc::ptr_eq(a, b) {
        return true;
    }
    if a != b {
        return false;
    }
    // All pairs converge on one value: the lower address wins.
    if Arc::as_ptr(a) < Arc::as_ptr(b) {
        *b = Arc::clone(a);
    } else {
        *a = Arc::clone(b);
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(pairs: &[(&str, &str)]) -> Settings {
        let mut all = Settings::default();
        pairs.iter().for_each(|(name, value)| all.set(name, value));
        all
    }

    #[test]
    fn names_compare_without_case() {
        let mut s = settings(&[("DateStyle", "ISO"), ("b", "1")]);
        s.set("datestyle", "German");
        assert_eq!(s.get("DATESTYLE"), Some("German"));
        assert_eq!(s.iter().count(), 2);
    }

    #[test]
    fn the_difference_is_one_query() {
        let has = settings(&[("TimeZone", "UTC"), ("statement_timeout", "5s")]);
        let wants = settings(&[("TimeZone", "Europe/O'x\\"), ("search_path", "a, \"B\""), ("app.id", "7")]);
        assert_eq!(
            has.alignment(&wants).as_deref(),
            Some(
                "SELECT pg_catalog.set_config('app.id','7',false);\
                 SELECT pg_catalog.set_config('search_path','a, \"B\"',false);\
                 SET TimeZone TO E'Europe/O''x\\\\';RESET statement_timeout;"
            )
        );
        assert_eq!(wants.alignment(&wants.clone()), None);
        let before = settings(&[("app.user", "ann"), ("work_mem", "5MB")]);
        assert_eq!(before.alignment(&settings(&[])).as_deref(), Some("RESET \"app\".\"user\";RESET work_mem;"));
    }

    #[test]
    fn equal_settings_become_one_value() {
        let mut a = Arc::new(settings(&[("x", "1")]));
        let mut b = Arc::new(settings(&[("X", "1")]));
        assert!(!agree(&mut a, &mut b), "the spelling differs");
        b = Arc::new(settings(&[("x", "1")]));
        assert!(agree(&mut a, &mut b) && Arc::ptr_eq(&a, &b));
    }

    #[test]
    fn encodings_have_one_name() {
        for spelling in ["'utf-8'", "UTF8", "Unicode", "utf_8"] {
            assert_eq!(canonical("Client_Encoding", spelling), "UTF8");
        }
        assert_eq!((canonical("client_encoding", "EUC_JP"), canonical("x", "utf-8")), ("EUC_JP", "utf-8"));
    }

    #[test]
    fn only_parse_relevant_settings_make_a_scope() {
        let a = settings(&[("application_name", "a"), ("search_path", "x")]);
        let b = settings(&[("application_name", "b"), ("SEARCH_PATH", "x")]);
        assert_eq!(a.parse_scope(), b.parse_scope());
        assert_ne!(a.parse_scope(), settings(&[("search_path", "y")]).parse_scope());
        let zones = ["UTC", "Asia/Tokyo"].map(|zone| settings(&[("TimeZone", zone)]));
        assert_ne!(zones[0].parse_scope(), zones[1].parse_scope(), "a literal is read by it");
    }

    #[test]
    fn all_but_the_name_of_the_application_make_the_scope_of_a_plan() {
        let a = settings(&[("Application_Name", "a"), ("work_mem", "1MB")]);
        let b = settings(&[("application_name", "b"), ("work_mem", "1MB")]);
        assert!(a.plan_scope().eq(b.plan_scope()));
        assert!(!a.plan_scope().eq(settings(&[("work_mem", "2MB")]).plan_scope()));
    }
}

//! [pure] Entries against the table of keys: names known, variables put in, each value of its key's kind.
//!
//! Every problem is collected. A value that may be a secret never gets into one.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use super::draft::Files;
use super::keys::{self, Fallback, Grammar, Key, Kind, Table};
use super::toml;
use super::value::{self, Entry, Item, Value, Written};
use super::{Listed, MaxLag, Network, Outside, Problem, Redacted, Shown, shown};

/// Collects what is wrong and what is doubtful with one file.
pub(crate) struct Reader<'a> {
    pub(crate) grammar: Grammar,
    pub(crate) files: &'a Files,
    pub(crate) outside: &'a dyn Outside,
    /// Each with the number of its line.
    problems: Vec<(usize, Problem)>,
    warnings: Vec<(usize, Problem)>,
}

/// One table of the file, its values read.
pub(crate) struct Row {
    table: Table,
    grammar: Grammar,
    pub(crate) path: String,
    pub(crate) line: usize,
    cells: BTreeMap<&'static str, Cell>,
}

struct Cell {
    line: usize,
    /// `None`: refused, and a problem says why.
    value: Option<Value>,
}

impl<'a> Reader<'a> {
    pub(crate) fn new(grammar: Grammar, files: &'a Files, outside: &'a dyn Outside) -> Reader<'a> {
        Reader { grammar, files, outside, problems: Vec::new(), warnings: Vec::new() }
    }

    pub(crate) fn is_ini(&self) -> bool {
        self.grammar == Grammar::Ini
    }

    /// The config with its warnings, or every problem, in the order of lines.
    pub(crate) fn end<T>(self, made: Option<T>) -> Result<(T, Vec<Problem>), Vec<Problem>> {
        let in_order = |mut found: Vec<(usize, Problem)>| {
            found.sort_by_key(|(line, _)| *line);
            found.into_iter().map(|(_, problem)| problem).collect()
        };
        match made {
            Some(made) if self.problems.is_empty() => Ok((made, in_order(self.warnings))),
            _ => Err(in_order(self.problems)),
        }
    }

    /// Reads the table at `path`.
    pub(crate) fn row(&mut self, table: Table, path: &str, line: usize, entries: &[Entry]) -> Row {
        let mut row = Row { table, grammar: self.grammar, path: path.to_owned(), line, cells: BTreeMap::new() };
        for entry in entries {
            let at = format!("{path}.{}", entry.name);
            let Some(key) = table.key(&entry.name) else {
                self.stranger(table, &at, entry);
                continue;
            };
            if row.is_given(key.name) {
                self.problem(entry.line, &at, format!("expected `{}` once, under one of its names", key.name));
                continue;
            }
            let value = self.value(key, &at, entry);
            row.cells.insert(key.name, Cell { line: entry.line, value });
        }
        row
    }

    pub(crate) fn problem(&mut self, line: usize, key: &str, expected: impl Into<String>) {
        self.problems.push((line, self.found(line, key, expected.into())));
    }

    pub(crate) fn warn(&mut self, line: usize, key: &str, text: impl Into<String>) {
        self.warnings.push((line, self.found(line, key, text.into())));
    }

    fn found(&self, line: usize, key: &str, expected: String) -> Problem {
        let place = self.files.place(line);
        Problem { file: place.file.to_owned(), line: place.line, key: key.to_owned(), expected }
    }

    /// A problem with the key of a row, at its line or else at the table's.
    pub(crate) fn blame(&mut self, row: &Row, name: &str, expected: impl Into<String>) {
        self.problem(row.line_of(name), &row.at(name), expected);
    }

    /// A secret that is written, or that stands in the file which `file_name` names.
    pub(crate) fn secret(&mut self, row: &Row, name: &str, file_name: &str) -> Option<Redacted> {
        let (written, path) = (row.text(name), row.path(file_name));
        if written.is_some() && path.is_some() {
            self.blame(row, file_name, format!("expected one of `{name}` and `{file_name}`; found both"));
        }
        let Some(path) = path else { return written.map(Redacted) };
        let text = match self.outside.read(&path) {
            Ok(text) => text,
            Err(why) => {
                self.blame(row, file_name, format!("expected a readable file; {}: {why}", path.display()));
                return None;
            }
        };
        let secret = text.strip_suffix('\n').unwrap_or(&text);
        let secret = secret.strip_suffix('\r').unwrap_or(secret);
        if secret.is_empty() || secret.contains(['\0', '\n']) {
            self.blame(row, file_name, format!("expected one line with the secret in {}", path.display()));
        }
        Some(Redacted(secret.to_owned()))
    }

    fn stranger(&mut self, table: Table, at: &str, entry: &Entry) {
        if let Some(passed) = keys::passed(&entry.name).filter(|_| table == Table::Global) {
            if !value::says(&entry.value, passed.default) {
                self.warn(entry.line, at, format!("accepted without effect: {}", passed.why));
            }
            return;
        }
        let elsewhere = [
            (Table::Global, self.grammar.global()),
            (Table::Database, "[databases.NAME]"),
            (Table::User, "[users.NAME]"),
        ];
        let home = elsewhere.iter().find(|(other, _)| other.key(&entry.name).is_some());
        let hint = match (home, table.nearest(&entry.name)) {
            (Some((_, place)), _) => format!("; it belongs to {place}"),
            (None, Some(name)) => format!("; did you mean `{name}`?"),
            (None, None) => String::new(),
        };
        self.problem(entry.line, at, format!("expected a known key{hint}"));
    }

    fn value(&mut self, key: &Key, at: &str, entry: &Entry) -> Option<Value> {
        // PgBouncer knows no variables.
        let expanded = if self.is_ini() { Ok(entry.value.clone()) } else { self.expand(&entry.value) };
        let expanded = match expanded {
            Ok(expanded) => expanded,
            Err(missing) => {
                self.problem(entry.line, at, missing.expected(key.kind));
                return None;
            }
        };
        match value::read(key.kind, &expanded) {
            Ok(Value::Text(text)) if key.kind == Kind::Path => match self.resolve(text) {
                Ok(path) => Some(Value::Text(path)),
                Err(expected) => {
                    self.problem(entry.line, at, expected);
                    None
                }
            },
            Ok(value) => Some(value),
            Err(refusal) => {
                let found = match key.kind {
                    Kind::Secret => String::new(),
                    _ if expanded != entry.value => "; found what the environment gave".to_owned(),
                    _ => format!("; found {}", refusal.found),
                };
                let found = found + unspoken(key, &expanded);
                self.problem(refusal.line.unwrap_or(entry.line), at, refusal.expected + &found);
                None
            }
        }
    }

    /// A path as the process sees it: in TOML relative ones start at the file's directory, in an ini `~/` is our home.
    fn resolve(&self, text: String) -> Result<String, String> {
        if text.is_empty() {
            return Ok(text);
        }
        if !self.is_ini() {
            let dir = self.files.first().parent();
            return Ok(dir.map(|dir| dir.join(&text).to_string_lossy().into_owned()).unwrap_or(text));
        }
        match text.strip_prefix('~') {
            None => Ok(text),
            Some(rest) if rest.is_empty() || rest.starts_with('/') => match self.outside.env("HOME") {
                Some(home) => Ok(home + rest),
                None => Err("expected the environment variable HOME, for the ~; it is not set".to_owned()),
            },
            Some(_) => Err("expected a path without a user behind the ~".to_owned()),
        }
    }

    /// Puts the environment's values in for each `${NAME}`; `$${` is a plain `${`.
    fn expand(&self, written: &Written) -> Result<Written, Missing> {
        Ok(match written {
            Written::Text(text) => Written::Text(self.expand_text(text)?),
            Written::List(items) => {
                let item = |item: &Item| Ok(Item { line: item.line, value: self.expand(&item.value)? });
                Written::List(items.iter().map(item).collect::<Result<_, _>>()?)
            }
            Written::Table(entries) => {
                let entry = |entry: &Entry| Ok(Entry { value: self.expand(&entry.value)?, ..entry.clone() });
                Written::Table(entries.iter().map(entry).collect::<Result<_, _>>()?)
            }
            other => other.clone(),
        })
    }

    fn expand_text(&self, text: &str) -> Result<String, Missing> {
        let mut out = String::with_capacity(text.len());
        let mut rest = text;
        while let Some((before, after)) = rest.split_once("${") {
            if let Some(before) = before.strip_suffix('$') {
                out.extend([before, "${"]);
                rest = after;
                continue;
            }
            let (name, after) = after.split_once('}').ok_or(Missing::Brace)?;
            if !is_variable(name) {
                return Err(Missing::Brace);
            }
            let alone = text.len() == name.len() + "${}".len();
            let value = self.outside.env(name).ok_or_else(|| Missing::Variable { name: name.to_owned(), alone })?;
            out.extend([before, &value]);
            rest = after;
        }
        Ok(out + rest)
    }
}

/// What PgBouncer has for `auth_type` and we have not: nobody shall look for a slip of the pen.
fn unspoken(key: &Key, written: &Written) -> &'static str {
    match written {
        Written::Text(word) if key.name == "auth_type" && matches!(word.as_str(), "gss" | "ldap" | "pam") => {
            "; LDAP, PAM and GSSAPI are not spoken"
        }
        _ => "",
    }
}

/// Why a `${NAME}` could not be replaced.
enum Missing {
    Brace,
    /// `alone`: it is the whole value, so its name is surely a name and not a part of a password.
    Variable {
        name: String,
        alone: bool,
    },
}

impl Missing {
    fn expected(&self, kind: Kind) -> String {
        match self {
            Missing::Brace => "expected ${NAME}, the name of a variable in braces ($${ is a plain ${)".into(),
            Missing::Variable { alone: false, .. } if kind == Kind::Secret => {
                "expected a variable of the environment in ${NAME}; it is not set ($${ is a plain ${)".into()
            }
            Missing::Variable { name, .. } => format!("expected the environment variable {name}; it is not set"),
        }
    }
}

fn is_variable(name: &str) -> bool {
    let fits = |c: char| c.is_ascii_alphanumeric() || c == '_';
    !name.is_empty() && !name.starts_with(|c: char| c.is_ascii_digit()) && name.chars().all(fits)
}

impl Row {
    pub(crate) fn is_given(&self, name: &str) -> bool {
        self.cells.contains_key(name)
    }

    /// None of these was refused, so that what follows from them may be judged.
    pub(crate) fn is_sound(&self, names: &[&str]) -> bool {
        names.iter().all(|name| self.cells.get(name).is_none_or(|cell| cell.value.is_some()))
    }

    pub(crate) fn line_of(&self, name: &str) -> usize {
        self.cells.get(name).map_or(self.line, |cell| cell.line)
    }

    pub(crate) fn at(&self, name: &str) -> String {
        format!("{}.{name}", self.path)
    }

    /// The value written, else the default; `None` where the key has neither, or only another table's.
    fn value(&self, name: &str) -> Option<Value> {
        let key = self.table.key(name).expect("readers ask for keys of the table");
        let own = self.cells.get(name).and_then(|cell| cell.value.clone());
        own.or_else(|| value::read(key.kind, &toml::literal(key.default_in(self.grammar)?)?).ok())
    }

    /// What is written, in the order of lines.
    pub(crate) fn given(&self) -> impl Iterator<Item = (&'static Key, &Value)> {
        let mut cells: Vec<_> = self.cells.iter().collect();
        cells.sort_by_key(|(_, cell)| cell.line);
        cells.into_iter().filter_map(|(name, cell)| Some((self.table.key(name)?, cell.value.as_ref()?)))
    }

    /// What is written, and the table's own defaults.
    pub(crate) fn values(&self) -> BTreeMap<&'static str, Value> {
        self.table.keys().iter().filter_map(|key| Some((key.name, self.value(key.name)?))).collect()
    }

    /// What holds of all keys of `[pgweir]`.
    pub(crate) fn shown(&self) -> Vec<Shown> {
        shown::shown(self.grammar, |name| self.value(name).or_else(|| self.inherited(name)))
    }

    fn inherited(&self, name: &str) -> Option<Value> {
        match self.table.key(name)?.default {
            Fallback::Global(other) => self.value(other),
            Fallback::Is(_) | Fallback::Unset => None,
        }
    }

    pub(crate) fn boolean(&self, name: &str) -> bool {
        matches!(self.value(name), Some(Value::Boolean(true)))
    }

    pub(crate) fn integer<T: TryFrom<u64>>(&self, name: &str) -> Option<T> {
        match self.value(name) {
            Some(Value::Integer(value)) => T::try_from(value).ok(),
            _ => None,
        }
    }

    pub(crate) fn duration(&self, name: &str) -> Option<Duration> {
        match self.value(name) {
            Some(Value::Duration(value)) => Some(value),
            _ => None,
        }
    }

    /// A duration where 0 is none.
    pub(crate) fn timeout(&self, name: &str) -> Option<Duration> {
        self.duration(name).filter(|timeout| !timeout.is_zero())
    }

    /// Text where "" is none.
    pub(crate) fn text(&self, name: &str) -> Option<String> {
        match self.value(name) {
            Some(Value::Text(text)) if !text.is_empty() => Some(text),
            _ => None,
        }
    }

    pub(crate) fn path(&self, name: &str) -> Option<PathBuf> {
        self.text(name).map(PathBuf::from)
    }

    pub(crate) fn list(&self, name: &str) -> Vec<String> {
        match self.value(name) {
            Some(Value::List(list)) => list,
            _ => Vec::new(),
        }
    }

    /// None where it is not written; its default is the wider table's.
    pub(crate) fn given_boolean(&self, name: &str) -> Option<bool> {
        self.is_given(name).then(|| self.boolean(name))
    }

    pub(crate) fn lag(&self, name: &str) -> Option<MaxLag> {
        match self.value(name) {
            Some(Value::Lag(lag)) => Some(lag),
            _ => None,
        }
    }

    pub(crate) fn networks(&self, name: &str) -> Vec<Network> {
        match self.value(name) {
            Some(Value::Networks(networks)) => networks,
            _ => Vec::new(),
        }
    }

    pub(crate) fn servers(&self) -> Option<Vec<Listed>> {
        match self.value("servers") {
            Some(Value::Servers(servers)) => Some(servers),
            _ => None,
        }
    }
}

//! [pure] What a new config changes, key by key, and what each change leads to.

use std::collections::BTreeMap;
use std::fmt;

use super::keys::{Key, Kind, Reload, Table};
use super::value::Value;
use super::{Config, literal};

/// What holds of every table of a config, by table and name. Secrets are among it: nothing prints it.
#[derive(Clone, Default, PartialEq)]
pub(crate) struct Rows(BTreeMap<(Table, String), Row>);

type Row = BTreeMap<&'static str, Value>;

impl fmt::Debug for Rows {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} tables", self.0.len())
    }
}

impl Rows {
    /// `values`: those written, and defaults where they are a table's own.
    pub(crate) fn add(&mut self, table: Table, name: &str, values: Row) {
        self.0.insert((table, name.to_owned()), values);
    }
}

/// One difference.
#[derive(Debug, PartialEq)]
pub struct Change {
    /// As `pgweir.listen_port`, or `databases.app` for a table as a whole.
    pub path: String,
    pub what: What,
}

#[derive(Debug, PartialEq)]
pub enum What {
    Added,
    Removed,
    /// Values as TOML; a secret is masked.
    Value {
        old: String,
        new: String,
        reload: Reload,
    },
}

impl Change {
    /// It waits for the next start.
    pub fn is_late(&self) -> bool {
        matches!(self.what, What::Value { reload: Reload::Restart, .. })
    }
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = &self.path;
        match &self.what {
            What::Added => write!(f, "{path}: added"),
            What::Removed => write!(f, "{path}: removed"),
            What::Value { old, new, reload: Reload::Restart } => {
                write!(f, "{path}: {old} -> {new}: takes effect at the next start only")
            }
            What::Value { old, new, reload: Reload::Taken } => write!(f, "{path}: {old} -> {new}"),
            What::Value { old, new, reload } => write!(f, "{path}: {old} -> {new}: {reload}"),
        }
    }
}

/// Every difference, in the order of tables, names and keys.
pub fn diff(old: &Config, new: &Config) -> Vec<Change> {
    let (before, after) = (&old.rows.0, &new.rows.0);
    let mut changes = Vec::new();
    for at in before.keys().filter(|at| !after.contains_key(*at)) {
        changes.push(Change { path: path(at), what: What::Removed });
    }
    for (at, row) in after {
        let Some(then) = before.get(at) else {
            changes.push(Change { path: path(at), what: What::Added });
            continue;
        };
        for key in at.0.keys() {
            let (old, new) = (then.get(key.name), row.get(key.name));
            if old != new {
                let what = What::Value { old: shown(key, old), new: shown(key, new), reload: key.reload };
                changes.push(Change { path: format!("{}.{}", path(at), key.name), what });
            }
        }
    }
    changes
}

fn path((table, name): &(Table, String)) -> String {
    match table {
        Table::Global => "pgweir".to_owned(),
        Table::Database => format!("databases.{name}"),
        Table::User => format!("users.{name}"),
        Table::Peer => format!("peers.{name}"),
    }
}

/// A value that another table gives is none of this one.
fn shown(key: &Key, value: Option<&Value>) -> String {
    match value {
        None => "not set".to_owned(),
        Some(Value::Text(text)) if key.kind == Kind::Secret && !text.is_empty() => "\"********\"".to_owned(),
        Some(value) => literal::literal(key.kind, value),
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::super::Nowhere;
    use super::super::parse;
    use super::*;

    fn config(text: &str) -> Config {
        parse(Path::new("p.toml"), text, &Nowhere).unwrap_or_else(|problems| panic!("{problems:?}")).config
    }

    #[test]
    fn each_difference_is_named_with_what_it_leads_to() {
        let old = "[pgweir]\nauth_type = 'trust'\nlisten_port = 1\nquery_timeout = '60s'\n\
            [databases.a]\nhost = 'h'\nuser = 'u'\npassword = 'hush'\n[databases.b]\nhost = 'h'\n[users.u]\npool_size = 1\n";
        let new = "[pgweir]\nauth_type = 'trust'\nlisten_port = 2\nquery_timeout = 60\ndefault_pool_size = 30\n\
            [databases.a]\nhost = 'g'\nuser = 'u'\npassword = 'hush2'\npool_size = 4\n\
            [databases.'c d']\nhost = 'h'\n[users.u]\npool_mode = 'session'\n";
        let printed: Vec<_> = diff(&config(old), &config(new)).iter().map(Change::to_string).collect();
        assert_eq!(
            printed,
            [
                "databases.b: removed",
                "pgweir.listen_port: 1 -> 2: takes effect at the next start only",
                "pgweir.default_pool_size: 20 -> 30",
                "databases.a.host: [\"h\"] -> [\"g\"]: recycles the database's server connections",
                "databases.a.password: \"********\" -> \"********\": recycles the database's server connections",
                "databases.a.pool_size: not set -> 4",
                "databases.c d: added",
                "users.u.pool_mode: not set -> \"session\"",
                "users.u.pool_size: 1 -> not set",
            ]
        );
        assert_eq!(diff(&config(old), &config(old)), []);
        assert!(!format!("{:?}", config(old)).contains("hush"));
    }
}

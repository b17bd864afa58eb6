//! [pure] An ini as the TOML that means the same, commented where the two differ.

use std::fmt::Write;
use std::path::Path;

use super::draft::Draft;
use super::keys::{self, Grammar, Key, Kind, Table};
use super::read::{Reader, Row};
use super::value::{Entry, Value, Written};
use super::{Outside, Problem, ini, literal, parse};

/// What a key means here and not in PgBouncer.
const NOTES: &[(&str, &str)] = &[
    ("auth_query", "Run with a search_path of pg_catalog alone, and remembered for a while."),
    ("server_login_retry", "The longest pause of one server's address; PgBouncer holds the whole pool back for it."),
    ("server_reset_query", "In transaction mode settings follow their client, so that none is needed."),
    ("max_prepared_statements", "What a client prepared is kept, whatever this number is; it bounds each server."),
];

/// The TOML of an ini, which must be sound. Relative paths become absolute ones, under `dir`.
pub fn import(file: &Path, text: &str, outside: &dyn Outside, dir: &Path) -> Result<String, Vec<Problem>> {
    if !ini::is_ini(text) {
        let expected = "expected an ini with a section [pgbouncer]".to_owned();
        return Err(vec![Problem { file: file.to_owned(), line: 0, key: "file".to_owned(), expected }]);
    }
    parse(file, text, outside)?;
    let draft = ini::parse(file, text, outside);
    let mut reader = Reader::new(Grammar::Ini, &draft.files, outside);
    let mut out =
        format!("# From {}. Paths are absolute: TOML's relative ones start at its own directory.\n", file.display());
    out.push_str(
        "#\n# Keys that are left out have PgBouncer's defaults in pgweir, too, but for those that are named here.\n\n",
    );
    global(&mut out, &mut reader, &draft, dir);
    let tables = [(Table::Database, "databases"), (Table::User, "users"), (Table::Peer, "peers")];
    for (table, name) in tables {
        for entry in inner(&draft, name) {
            let Written::Table(pairs) = &entry.value else { continue };
            let head = format!("[{name}.{}]", literal::name(&entry.name));
            let row = reader.row(table, "", entry.line, pairs);
            let _infallible = writeln!(out, "{head}");
            given(&mut out, &row, dir);
            out.push('\n');
        }
    }
    if inner(&draft, "databases").is_empty() {
        out.push_str("[databases]\n");
    }
    out.truncate(out.trim_end().len());
    Ok(out + "\n")
}

fn global(out: &mut String, reader: &mut Reader<'_>, draft: &Draft, dir: &Path) {
    let entries = inner(draft, "pgweir");
    let row = reader.row(Table::Global, "", 1, entries);
    out.push_str("[pgweir]\n");
    given(out, &row, dir);
    for key in Table::Global.keys() {
        let (Some(ini), Some(own)) = (key.ini, key.default_in(Grammar::Toml)) else { continue };
        if !row.is_given(key.name) {
            let _infallible = writeln!(out, "# PgBouncer's default; pgweir's own is {own}.\n{} = {ini}", key.name);
        }
    }
    let passed = entries.iter().filter_map(|entry| Some((entry, keys::passed(&entry.name)?)));
    for (entry, passed) in passed {
        let Written::Text(value) = &entry.value else { continue };
        let _infallible = writeln!(out, "# {} = {value}: without effect here: {}", passed.name, passed.why);
    }
    out.push('\n');
}

/// The keys that a table has, in the order of its lines.
fn given(out: &mut String, row: &Row, dir: &Path) {
    for (key, value) in row.given() {
        if let Some((_, note)) = NOTES.iter().find(|(name, _)| *name == key.name) {
            let _infallible = writeln!(out, "# {note}");
        }
        let _infallible = writeln!(out, "{} = {}", key.name, written(key, value, dir));
    }
}

fn written(key: &Key, value: &Value, dir: &Path) -> String {
    match value {
        Value::Text(path) if key.kind == Kind::Path && !path.is_empty() => {
            let path = dir.join(path).to_string_lossy().into_owned();
            literal::literal(key.kind, &Value::Text(path))
        }
        value => literal::literal(key.kind, value),
    }
}

fn inner<'a>(draft: &'a Draft, table: &str) -> &'a [Entry] {
    match draft.entries.iter().find(|entry| entry.name == table).map(|entry| &entry.value) {
        Some(Written::Table(entries)) => entries,
        _ => &[],
    }
}

#[cfg(test)]
mod tests {
    use super::super::Nowhere;
    use super::*;

    /// Files as people have them; every one is read in both grammars.
    const CORPUS: &[(&str, &str)] = &[
        ("packaged", include_str!("../../tests/ini/packaged.ini")),
        ("full", include_str!("../../tests/ini/full.ini")),
        ("fleet", include_str!("../../tests/ini/fleet.ini")),
        ("star", include_str!("../../tests/ini/star.ini")),
    ];

    #[test]
    fn both_files_mean_the_same() {
        for (name, text) in CORPUS {
            let file = Path::new("/etc/p/p.ini");
            let from_ini = parse(file, text, &Nowhere).unwrap_or_else(|problems| panic!("{name}: {problems:?}"));
            let toml = import(file, text, &Nowhere, Path::new("/")).expect("a sound ini");
            let from_toml = parse(Path::new("/etc/p/p.toml"), &toml, &Nowhere);
            let from_toml = from_toml.unwrap_or_else(|problems| panic!("{name}: {problems:?}\n{toml}"));
            assert_eq!(from_ini.config, from_toml.config, "{name}\n{toml}");
            assert_eq!(super::super::diff(&from_ini.config, &from_toml.config), [], "{name}");
        }
    }

    #[test]
    fn what_differs_is_said() {
        let text = "[pgbouncer]\nauth_file = users\npkt_buf = 8192\nserver_reset_query = A ${b}\n\
            [databases]\n'my db' = host=h,g port=1\n";
        let toml = import(Path::new("p.ini"), text, &Nowhere, Path::new("/srv")).expect("a sound ini");
        let lines = [
            "auth_file = \"/srv/users\"",
            "# In transaction mode settings follow their client, so that none is needed.\nserver_reset_query = \"A $${b}\"",
            "# PgBouncer's default; pgweir's own is \"transaction\".\npool_mode = \"session\"",
            "# pkt_buf = 8192: without effect here: buffers have sizes of their own",
            "[databases.\"my db\"]\nhost = [\"h\", \"g\"]\nport = 1\n",
        ];
        for line in lines {
            assert!(toml.contains(line), "{line}\n{toml}");
        }
        let problems = import(Path::new("p.toml"), "[pgweir]\n", &Nowhere, Path::new("/")).expect_err("TOML");
        assert_eq!(problems[0].to_string(), "p.toml:0: file: expected an ini with a section [pgbouncer]");
    }
}

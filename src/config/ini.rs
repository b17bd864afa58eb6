//! [pure] PgBouncer's ini as written: text in, entries with their lines out. Nothing else knows this shape.
//!
//! Sections `[pgbouncer]`, `[databases]`, `[users]` and `[peers]`, which may stand in any order and more than once;
//! `key = value` up to the line's end, keys of letters, digits and `_.-*` or 'quoted'; `#` and `;` open a comment where
//! a line would begin; `%include FILE`. A line of the last three sections holds a connection string.
//!
//! What stands twice: the last one holds, as in PgBouncer, and a warning says so. No value is ever put into a message:
//! it may be a password.

use std::path::{Path, PathBuf};

use super::Outside;
use super::draft::{Doubt, Draft, Files, Mistake, MistakeKind};
use super::keys::Grammar;
use super::value::{Entry, Written};

/// How many files may include each other.
const DEPTH: usize = 10;

/// Keys that PgBouncer gives no default, so that a second `[pgbouncer]` leaves them as they are.
const WITHOUT_DEFAULT: &[&str] = &[
    "auth_dbname",
    "auth_file",
    "auth_ident_file",
    "auth_user",
    "client_tls13_ciphers",
    "server_tls13_ciphers",
    "user",
    "verbose",
];

/// Whether a text is an ini and no TOML, by what only one of them can hold.
pub(crate) fn is_ini(text: &str) -> bool {
    let has = |fits: &dyn Fn(&str) -> bool| text.lines().map(str::trim).any(fits);
    let ours = ["[pgweir]", "[pgweir.", "[databases.", "[users.", "[peers."];
    let theirs = |line: &str| line.starts_with([';', '%']) || line.starts_with("[pgbouncer]");
    has(&theirs) && !has(&|line| ours.iter().any(|head| line.starts_with(head)))
}

pub(crate) fn parse(file: &Path, text: &str, outside: &dyn Outside) -> Draft {
    let mut loader = Loader {
        outside,
        section: None,
        sections: [const { Vec::new() }; 4],
        begun: None,
        mistakes: Vec::new(),
        doubts: Vec::new(),
        files: Files::default(),
    };
    loader.load(file, text, 1);
    if loader.begun.is_none() && loader.mistakes.is_empty() {
        loader.mistake(1, "pgbouncer", "expected a section [pgbouncer]");
    }
    let named = Section::ALL.iter().zip(std::mem::take(&mut loader.sections));
    let entries = named.map(|(section, entries)| Entry {
        name: section.table().to_owned(),
        line: entries.first().map_or(1, |entry| entry.line),
        value: Written::Table(entries),
    });
    let (entries, Loader { mistakes, doubts, files, .. }) = (entries.collect(), loader);
    Draft { grammar: Grammar::Ini, entries, mistakes, doubts, files }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Section {
    PgBouncer,
    Databases,
    Users,
    Peers,
}

impl Section {
    const ALL: [Section; 4] = [Section::PgBouncer, Section::Databases, Section::Users, Section::Peers];

    fn name(self) -> &'static str {
        match self {
            Section::PgBouncer => "pgbouncer",
            Section::Databases => "databases",
            Section::Users => "users",
            Section::Peers => "peers",
        }
    }

    /// The table of a TOML file that holds the same.
    fn table(self) -> &'static str {
        if self == Section::PgBouncer { "pgweir" } else { self.name() }
    }
}

struct Loader<'a> {
    outside: &'a dyn Outside,
    /// It lasts over the ends of files.
    section: Option<Section>,
    sections: [Vec<Entry>; 4],
    /// The last `[pgbouncer]`.
    begun: Option<usize>,
    mistakes: Vec<Mistake>,
    doubts: Vec<Doubt>,
    files: Files,
}

impl Loader<'_> {
    fn load(&mut self, file: &Path, text: &str, depth: usize) {
        let base = self.files.add(file, text);
        let mut scanner = Scanner { text, at: 0, counted: (base + 1, 0) };
        loop {
            let (line, found) = scanner.next();
            match found {
                Found::End => return,
                Found::Broken(expected) => self.mistake(line, "ini", expected),
                Found::Section(name) => self.begin(line, name),
                Found::Include(path) => self.include(line, path, depth),
                Found::Pair { key, value } => self.pair(line, key, value),
            }
        }
    }

    fn include(&mut self, line: usize, path: &str, depth: usize) {
        if depth > DEPTH {
            return self.mistake(line, "%include", format!("expected at most {DEPTH} files that include each other"));
        }
        let path = PathBuf::from(path);
        match self.outside.read(&path) {
            Ok(text) => self.load(&path, &text, depth + 1),
            Err(why) => self.mistake(line, "%include", format!("expected a readable file; {}: {why}", path.display())),
        }
    }

    fn begin(&mut self, line: usize, name: &str) {
        let known = Section::ALL.into_iter().find(|section| section.name() == name);
        self.section = known;
        match known {
            Some(Section::PgBouncer) => {
                self.begin_again(line);
                self.begun = Some(line);
            }
            Some(_) => {}
            None => {
                let expected = "expected a section [pgbouncer], [databases], [users] or [peers]";
                // What follows it belongs nowhere.
                self.mistakes.push(Mistake {
                    kind: MistakeKind::Syntax,
                    line,
                    key: name.to_owned(),
                    expected: expected.to_owned(),
                });
            }
        }
    }

    /// PgBouncer gives every key its default wherever `[pgbouncer]` begins.
    fn begin_again(&mut self, line: usize) {
        let entries = std::mem::take(&mut self.sections[Section::PgBouncer as usize]);
        let (kept, dropped): (Vec<_>, Vec<_>) =
            entries.into_iter().partition(|entry: &Entry| WITHOUT_DEFAULT.contains(&entry.name.as_str()));
        self.sections[Section::PgBouncer as usize] = kept;
        let place = self.files.place(line).to_string();
        for entry in dropped {
            let text = format!("has no effect: [pgbouncer] begins again at {place}, where every default returns");
            self.doubt(entry.line, &format!("pgbouncer.{}", entry.name), text);
        }
    }

    fn pair(&mut self, line: usize, key: String, value: &str) {
        let Some(section) = self.section else {
            if self.mistakes.is_empty() {
                self.mistake(line, &key, "expected a section before it, as [pgbouncer]");
            }
            return;
        };
        let path = format!("{}.{key}", section.name());
        let value = match section {
            Section::PgBouncer => Written::Text(value.to_owned()),
            _ => match self.string(line, &path, value) {
                Ok(entries) => Written::Table(entries),
                Err(expected) => return self.mistake(line, &path, expected),
            },
        };
        let entries = &mut self.sections[section as usize];
        match entries.iter_mut().find(|entry| entry.name == key) {
            Some(entry) => {
                let before = std::mem::replace(entry, Entry { name: key, line, value });
                let text = format!("has no effect: it stands again at {}", self.files.place(line));
                self.doubt(before.line, &path, text);
            }
            None => entries.push(Entry { name: key, line, value }),
        }
    }

    /// A connection string: `key=value` or `key='va''lue'`, with blanks between.
    fn string(&mut self, line: usize, path: &str, text: &str) -> Result<Vec<Entry>, String> {
        let mut entries: Vec<Entry> = Vec::new();
        let mut rest = text.trim_start();
        while !rest.is_empty() {
            let (name, after) = rest.split_once('=').ok_or("expected key=value, with blanks between several")?;
            let name = name.trim_end();
            if name.is_empty() || name.contains(char::is_whitespace) {
                return Err("expected key=value, with blanks between several".to_owned());
            }
            let (value, after) = connection_value(after.trim_start())?;
            if value.is_empty() {
                return Err(format!("expected a value of `{name}`; it is empty"));
            }
            let entry = Entry { name: name.to_owned(), line, value: Written::Text(value) };
            match entries.iter_mut().find(|entry| entry.name == name) {
                Some(before) => {
                    *before = entry;
                    self.doubt(line, &format!("{path}.{name}"), "stands twice; the last one holds".to_owned());
                }
                None => entries.push(entry),
            }
            rest = after.trim_start();
        }
        Ok(entries)
    }

    /// The rest of the file is as it should be.
    fn mistake(&mut self, line: usize, key: &str, expected: impl Into<String>) {
        let (key, expected) = (key.to_owned(), expected.into());
        self.mistakes.push(Mistake { kind: MistakeKind::Local, line, key, expected });
    }

    fn doubt(&mut self, line: usize, key: &str, text: String) {
        self.doubts.push(Doubt { line, key: key.to_owned(), text });
    }
}

/// A value and what follows it.
fn connection_value(text: &str) -> Result<(String, &str), String> {
    match text.strip_prefix('\'') {
        Some(text) => quoted(text).ok_or_else(|| "expected a ' at the end of a quoted value".to_owned()),
        None => {
            let end = text.find(char::is_whitespace).unwrap_or(text.len());
            Ok((text[..end].to_owned(), &text[end..]))
        }
    }
}

/// What stands between quotes, behind the first one: `''` is one of its own. None: no quote ends it.
fn quoted(text: &str) -> Option<(String, &str)> {
    let mut out = String::new();
    let mut rest = text;
    loop {
        let (part, after) = rest.split_once('\'')?;
        out.push_str(part);
        match after.strip_prefix('\'') {
            Some(after) => {
                out.push('\'');
                rest = after;
            }
            None => return Some((out, after)),
        }
    }
}

enum Found<'a> {
    End,
    /// What was expected; the line is passed over.
    Broken(String),
    Section(&'a str),
    Include(&'a str),
    Pair {
        key: String,
        value: &'a str,
    },
}

struct Scanner<'a> {
    text: &'a str,
    at: usize,
    /// The number of the line on which it stood last, and where that was.
    counted: (usize, usize),
}

impl<'a> Scanner<'a> {
    /// The next thing, and the line where it begins. Several may stand on one line.
    fn next(&mut self) -> (usize, Found<'a>) {
        loop {
            let rest = self.rest();
            self.at += rest.len() - rest.trim_start().len();
            match self.rest().chars().next() {
                Some('#' | ';') => self.line(),
                Some(_) => break,
                None => return (self.place(), Found::End),
            }
        }
        let place = self.place();
        let rest = self.rest();
        if let Some(path) = rest.strip_prefix("%include").filter(|path| path.starts_with([' ', '\t'])) {
            let path = path.split('\n').next().unwrap_or(path).trim();
            self.line();
            return (place, Found::Include(path));
        }
        let found = match rest.strip_prefix('[') {
            Some(rest) => self.section(rest),
            None => self.pair(rest),
        };
        if matches!(found, Found::Broken(_)) {
            self.line();
        }
        (place, found)
    }

    fn section(&mut self, rest: &'a str) -> Found<'a> {
        match rest.find([']', '\n']).filter(|end| rest[*end..].starts_with(']')) {
            Some(end) => {
                self.at += end + "[]".len();
                Found::Section(&rest[..end])
            }
            None => Found::Broken("expected a ] behind the name of a section".to_owned()),
        }
    }

    fn pair(&mut self, rest: &'a str) -> Found<'a> {
        let line = rest.split('\n').next().unwrap_or(rest);
        let is_bare = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-' | '*');
        let (key, after) = match line.strip_prefix('\'') {
            Some(inner) => match quoted(inner) {
                Some((key, after)) => (key, after),
                None => return Found::Broken("expected a ' at the end of a quoted key".to_owned()),
            },
            None => {
                let end = line.find(|c| !is_bare(c)).unwrap_or(line.len());
                (line[..end].to_owned(), &line[end..])
            }
        };
        let Some(value) = after.trim_start_matches([' ', '\t']).strip_prefix('=').filter(|_| !key.is_empty()) else {
            return Found::Broken("expected key = value, [section] or %include file".to_owned());
        };
        self.line();
        Found::Pair { key, value: value.trim() }
    }

    fn rest(&self) -> &'a str {
        &self.text[self.at..]
    }

    /// Goes to the next line.
    fn line(&mut self) {
        self.at += self.rest().find('\n').map_or(self.rest().len(), |end| end + 1);
    }

    fn place(&mut self) -> usize {
        let (line, at) = self.counted;
        self.counted = (line + self.text[at..self.at].matches('\n').count(), self.at);
        self.counted.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Disk(&'static [(&'static str, &'static str)]);

    impl Outside for Disk {
        fn env(&self, _: &str) -> Option<String> {
            None
        }

        fn read(&self, path: &Path) -> Result<String, String> {
            let found = self.0.iter().find(|(name, _)| Path::new(name) == path);
            found.map(|(_, text)| (*text).to_owned()).ok_or_else(|| "no such file".to_owned())
        }
    }

    const DISK: Disk = Disk(&[
        ("more.ini", "[databases]\nb = host=h\n"),
        ("plain.ini", "verbose = 1\n"),
        ("self.ini", "%include self.ini\n"),
        ("bad.ini", "\n\nwhat?\n"),
    ]);

    /// Each entry as `table.key=value@place`, each mistake as `!place key: text`, each doubt with `?`.
    fn told(text: &str) -> Vec<String> {
        let draft = parse(Path::new("p.ini"), text, &DISK);
        let place = |line: usize| draft.files.place(line).to_string();
        let mut out = Vec::new();
        for table in &draft.entries {
            let Written::Table(entries) = &table.value else { panic!("a table") };
            for entry in entries {
                let value = match &entry.value {
                    Written::Text(text) => text.clone(),
                    Written::Table(inner) => {
                        let pairs = inner.iter().map(|pair| match &pair.value {
                            Written::Text(text) => format!("{}:{text}", pair.name),
                            other => panic!("{other:?}"),
                        });
                        pairs.collect::<Vec<_>>().join("|")
                    }
                    other => panic!("{other:?}"),
                };
                out.push(format!("{}.{}={value}@{}", table.name, entry.name, place(entry.line)));
            }
        }
        out.extend(draft.mistakes.iter().map(|it| format!("!{} {}: {}", place(it.line), it.key, it.expected)));
        out.extend(draft.doubts.iter().map(|it| format!("?{} {}: {}", place(it.line), it.key, it.text)));
        out
    }

    #[test]
    fn lines_sections_and_comments_are_pgbouncers() {
        let text = "; one\n\n  # two\n[databases]\n  a.b-c_1* = host=h port = 1\tuser='o''k n'\n\
            'my ''db''' =dbname=x\n* =\n[users] u = pool_mode=session\n\t[pgbouncer] ; three\r\n\
            listen_addr =  *, ::1 \t\r\nauth_file=\nignore = a;b # c\n[peers]\n1 = host=h\n";
        assert_eq!(
            told(text),
            [
                "pgweir.listen_addr=*, ::1@p.ini:10",
                "pgweir.auth_file=@p.ini:11",
                "pgweir.ignore=a;b # c@p.ini:12",
                "databases.a.b-c_1*=host:h|port:1|user:o'k n@p.ini:5",
                "databases.my 'db'=dbname:x@p.ini:6",
                "databases.*=@p.ini:7",
                "users.u=pool_mode:session@p.ini:8",
                "peers.1=host:h@p.ini:14",
            ]
        );
    }

    #[test]
    fn included_files_stand_where_they_are_named() {
        let text = "[pgbouncer]\n%include plain.ini\n%include more.ini\nc = host=h\n%include  bad.ini \n";
        assert_eq!(
            told(text),
            [
                "pgweir.verbose=1@plain.ini:1",
                "databases.b=host:h@more.ini:2",
                "databases.c=host:h@p.ini:4",
                "!bad.ini:3 ini: expected key = value, [section] or %include file",
            ]
        );
        assert_eq!(
            told("[pgbouncer]\n%include none.ini\n"),
            ["!p.ini:2 %include: expected a readable file; none.ini: no such file"]
        );
        let told = told("[pgbouncer]\n%include self.ini\n");
        assert_eq!(told, ["!self.ini:1 %include: expected at most 10 files that include each other"]);
    }

    #[test]
    fn the_last_one_holds_and_a_doubt_says_so() {
        let text = "[pgbouncer]\nauth_file = a\npool_mode = session\npool_mode = transaction\n[databases]\n\
            d = host=a\nd = host=b host=c\n[pgbouncer]\n";
        assert_eq!(
            told(text),
            [
                "pgweir.auth_file=a@p.ini:2",
                "databases.d=host:c@p.ini:7",
                "?p.ini:3 pgbouncer.pool_mode: has no effect: it stands again at p.ini:4",
                "?p.ini:7 databases.d.host: stands twice; the last one holds",
                "?p.ini:6 databases.d: has no effect: it stands again at p.ini:7",
                "?p.ini:4 pgbouncer.pool_mode: has no effect: [pgbouncer] begins again at p.ini:8, where every default \
                 returns",
            ]
        );
    }

    #[test]
    fn broken_lines_are_named_and_show_no_value() {
        let pair = "expected key = value, [section] or %include file";
        let string = "expected key=value, with blanks between several";
        let table = [
            ("", "!p.ini:1 pgbouncer: expected a section [pgbouncer]".to_owned()),
            ("a = 1\nb = 2", "!p.ini:1 a: expected a section before it, as [pgbouncer]".to_owned()),
            ("[databases\n", "!p.ini:1 ini: expected a ] behind the name of a section".to_owned()),
            ("[pgbouncer]\nhush\n", format!("!p.ini:2 ini: {pair}")),
            ("[pgbouncer]\n= hush\n", format!("!p.ini:2 ini: {pair}")),
            ("[pgbouncer]\nkey hush\n", format!("!p.ini:2 ini: {pair}")),
            ("[pgbouncer]\nmy key = hush\n", format!("!p.ini:2 ini: {pair}")),
            ("[pgbouncer]\n'a = hush\n", "!p.ini:2 ini: expected a ' at the end of a quoted key".to_owned()),
            (
                "[pgbouncer]\n[pgbuncer]\n",
                "!p.ini:2 pgbuncer: expected a section [pgbouncer], [databases], [users] or [peers]".to_owned(),
            ),
            ("[pgbouncer]\n[databases]\nd = hush\n", format!("!p.ini:3 databases.d: {string}")),
            ("[pgbouncer]\n[databases]\nd = host=h hush = 1 hush\n", format!("!p.ini:3 databases.d: {string}")),
            ("[pgbouncer]\n[databases]\nd = a hush=b\n", format!("!p.ini:3 databases.d: {string}")),
            (
                "[pgbouncer]\n[databases]\nd = password='hush\n",
                "!p.ini:3 databases.d: expected a ' at the end of a quoted value".to_owned(),
            ),
            (
                "[pgbouncer]\n[databases]\nd = host= \n",
                "!p.ini:3 databases.d: expected a value of `host`; it is empty".to_owned(),
            ),
        ];
        for (text, expected) in table {
            let told = told(text);
            assert_eq!(told.iter().filter(|line| line.starts_with('!')).collect::<Vec<_>>(), [&expected], "{text}");
            assert!(!told.concat().contains("hush"), "{told:?}");
        }
    }

    #[test]
    fn a_grammar_is_known_by_what_only_it_can_hold() {
        let table = [
            ("[databases]\na = host=h\n[pgbouncer]\n", true),
            ("; x\n[databases]\n", true),
            ("%include other\n", true),
            ("[pgweir]\nlisten_port = 1\n", false),
            ("[pgbouncer]\n[databases.x]\n", false),
            ("# x\n[databases]\n", false),
            ("", false),
        ];
        for (text, expected) in table {
            assert_eq!(is_ini(text), expected, "{text}");
        }
    }
}

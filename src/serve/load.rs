//! From a path to everything that a config leads to: checked, read and built, or refused whole.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::auth::hba::{self, Method};
use crate::auth::{Flaw, Userlist, names};
use crate::client::house::Doors;
use crate::cluster::backends::Ground;
use crate::config::{self, Config, Global, Outside, Parsed, Problem, Source, SslMode, Tls};
use crate::net::tls::{Acceptor, Connector};

/// A config and what was built from the files that it names.
pub struct Loaded {
    path: PathBuf,
    ground: Ground,
    doors: Doors,
    source: Source,
    pub warnings: Vec<Problem>,
}

impl Loaded {
    /// What the console's SET starts from.
    pub fn source(&self) -> &Source {
        &self.source
    }

    pub fn config(&self) -> &Config {
        &self.ground.config
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    pub fn into_parts(self) -> (Ground, Doors) {
        (self.ground, self.doors)
    }
}

/// What a load led to.
pub enum Outcome {
    Loaded(Box<Loaded>),
    /// Every problem that was found.
    Refused(Vec<Problem>),
}

/// The environment and the files, for the config's `${NAME}` and `*_file` values.
struct Machine;

impl Outside for Machine {
    fn env(&self, name: &str) -> Option<String> {
        std::env::var(name).ok()
    }

    fn read(&self, path: &Path) -> Result<String, String> {
        std::fs::read_to_string(path).map_err(|error| error.to_string())
    }
}

/// Reads everything anew.
pub fn load(path: &Path) -> Outcome {
    build(path, read(path), None)
}

/// The same; server TLS is kept as it is where neither its keys nor its files changed, so that no pool is recycled.
pub fn reload(path: &Path, before: &Ground) -> Outcome {
    build(path, read(path), Some(before))
}

/// The same of a changed source, whose own file is not read again.
pub fn changed(path: &Path, source: &Source, before: &Ground) -> Outcome {
    build(path, source.parse(&Machine), Some(before))
}

/// The TOML of an ini, its relative paths under the working directory.
pub fn import(path: &Path) -> Result<String, Vec<Problem>> {
    let unreadable = |what: std::io::Error| vec![problem(path, 0, "file", format!("a readable file: {what}"))];
    let text = std::fs::read_to_string(path).map_err(unreadable)?;
    let dir = std::env::current_dir().map_err(unreadable)?;
    config::import(path, &text, &Machine, &dir)
}

fn read(path: &Path) -> Result<Parsed, Vec<Problem>> {
    match Machine.read(path) {
        Ok(text) => config::parse(path, &text, &Machine),
        Err(error) => Err(vec![problem(path, 0, "file", format!("a readable file: {error}"))]),
    }
}

fn build(path: &Path, parsed: Result<Parsed, Vec<Problem>>, before: Option<&Ground>) -> Outcome {
    let mut problems = Vec::new();
    let parsed = match parsed {
        Ok(parsed) => parsed,
        Err(problems) => return Outcome::Refused(problems),
    };
    let global = &parsed.config.global;
    let userlist = read_list(global.auth_file.as_deref(), Userlist::parse, &mut problems);
    let names = read_list(global.auth_ident_file.as_deref(), names::Map::parse, &mut problems);
    let hba = rules(global, &names, &mut problems);
    let acceptor = Acceptor::build(&global.client_tls).map_err(|fault| (fault, "client_tls_sslmode"));
    let server_tls = match before.filter(|before| same_files(before, &global.server_tls)) {
        Some(before) => Ok(before.server_tls.clone()),
        None => Connector::build(&global.server_tls).map_err(|fault| (fault, "server_tls_sslmode")),
    };
    match (acceptor, server_tls) {
        (Ok(acceptor), Ok(server_tls)) if problems.is_empty() => {
            let stamp = stamp(&global.server_tls);
            let ground = Ground {
                config: Arc::new(parsed.config),
                userlist: Arc::new(userlist),
                server_tls,
                server_tls_stamp: stamp,
            };
            let doors = Doors { acceptor, hba, names };
            let Parsed { source, warnings, .. } = parsed;
            Outcome::Loaded(Box::new(Loaded { path: path.to_owned(), ground, doors, source, warnings }))
        }
        (acceptor, server_tls) => {
            for (fault, key) in acceptor.err().into_iter().chain(server_tls.err()) {
                problems.push(problem(path, 0, key, fault.to_string()));
            }
            Outcome::Refused(problems)
        }
    }
}

/// A file of lines, or an empty one where none is named.
fn read_list<T: Default>(
    path: Option<&Path>,
    parse: impl Fn(&str) -> Result<T, Vec<Flaw>>,
    problems: &mut Vec<Problem>,
) -> T {
    let Some(path) = path else { return T::default() };
    let parsed = match Machine.read(path) {
        Ok(text) => parse(&text),
        Err(error) => {
            problems.push(problem(path, 0, "file", format!("a readable file: {error}")));
            return T::default();
        }
    };
    parsed.unwrap_or_else(|flaws| {
        problems.extend(flaws.into_iter().map(|flaw| problem(path, flaw.line, "line", flaw.expected)));
        T::default()
    })
}

/// The lines of auth_hba_file; and that what they need is there: maps, and certificates.
fn rules(global: &Global, names: &names::Map, problems: &mut Vec<Problem>) -> hba::Rules {
    let Some(file) = &global.auth_hba_file else { return hba::Rules::default() };
    let include = |path: &Path| Machine.read(path);
    let rules = read_list(Some(file), |text| hba::Rules::parse(file, text, &include), problems);
    if global.client_tls.sslmode < SslMode::VerifyCa
        && let Some(line) = rules.first_of(Method::Cert)
    {
        let expected = "client_tls_sslmode verify-ca or verify-full, so that clients are asked for a certificate";
        problems.push(problem(file, line, "cert", expected.to_owned()));
    }
    for (line, map) in rules.maps().filter(|(_, map)| !names.defines(map)) {
        problems.push(problem(file, line, "map", format!("a map of auth_ident_file; it has none named {map:?}")));
    }
    rules
}

fn problem(file: &Path, line: usize, key: &str, expected: String) -> Problem {
    Problem { file: file.to_owned(), line, key: key.to_owned(), expected }
}

/// The bytes of the files that a `server_tls_*` table names.
pub type Stamp = Arc<[Option<Vec<u8>>]>;

fn stamp(tls: &Tls) -> Stamp {
    let files = [&tls.ca_file, &tls.cert_file, &tls.key_file];
    files.map(|file| file.as_ref().and_then(|path| std::fs::read(path).ok())).into_iter().collect()
}

fn same_files(before: &Ground, tls: &Tls) -> bool {
    before.config.global.server_tls == *tls && before.server_tls_stamp == stamp(tls)
}

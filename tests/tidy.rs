//! The house rules, held by reading the source: each is a function from a file to its offences, and each is shown to
//! bite on a bad snippet.

use std::path::{Path, PathBuf};

type Offence = (usize, String);

struct File {
    path: String,
    /// Its first folder or file name under `src`.
    room: String,
    text: String,
}

impl File {
    fn new(path: &str, text: &str) -> File {
        let room = path.split(['/', '.']).next().unwrap_or_default().to_owned();
        File { path: path.to_owned(), room, text: text.to_owned() }
    }

    /// Lines of code before the tests, numbered from 1, without comments and what stands in string literals.
    fn code(&self) -> impl Iterator<Item = (usize, String)> {
        self.body().map(|(n, line)| (n, bare(line)))
    }

    fn body(&self) -> impl Iterator<Item = (usize, &str)> {
        let lines = self.text.lines().take_while(|line| !line.trim_start().starts_with("#[cfg(test)]"));
        lines.enumerate().map(|(n, line)| (n + 1, line))
    }

    fn is_pure(&self) -> bool {
        self.text.starts_with("//! [pure]")
    }
}

/// A line without its comment and without the insides of its string literals.
fn bare(line: &str) -> String {
    let mut out = String::new();
    let mut chars = line.chars().peekable();
    let mut quoted = false;
    while let Some(c) = chars.next() {
        match c {
            '\\' if quoted => _ = chars.next(),
            // A character literal of a quote opens nothing.
            '\'' if !quoted && chars.peek() == Some(&'"') => _ = chars.next(),
            '"' => {
                quoted = !quoted;
                out.push(c);
            }
            '/' if !quoted && chars.peek() == Some(&'/') => break,
            _ if quoted => {}
            _ => out.push(c),
        }
    }
    out
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src")
}

fn sources() -> Vec<File> {
    let mut folders = vec![root()];
    let mut files = Vec::new();
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).expect("a folder of src") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|ext| ext == "rs") && !is_for_tests(&path) {
                let name = path.strip_prefix(root()).expect("under src").to_string_lossy().replace('\\', "/");
                files.push(File::new(&name, &std::fs::read_to_string(&path).expect("a source file")));
            }
        }
    }
    files.sort_by(|a, b| a.path.cmp(&b.path));
    files
}

/// Whether the room that a file belongs to compiles it for its tests only.
fn is_for_tests(path: &Path) -> bool {
    let room = path.with_file_name("mod.rs");
    let stem = path.file_stem().unwrap_or_default().to_string_lossy();
    std::fs::read_to_string(room).is_ok_and(|text| text.contains(&format!("#[cfg(test)]\nmod {stem};")))
}

/// Holds all files to a rule, but for the named exceptions (path, reason).
fn hold(rule: impl Fn(&File) -> Vec<Offence>, exceptions: &[(&str, &str)]) {
    let mut offences = Vec::new();
    for file in sources().iter().filter(|file| exceptions.iter().all(|(path, _)| *path != file.path)) {
        offences.extend(rule(file).into_iter().map(|(line, what)| format!("src/{}:{line}: {what}", file.path)));
    }
    assert!(offences.is_empty(), "\n{}", offences.join("\n"));
}

fn bites(rule: impl Fn(&File) -> Vec<Offence>, path: &str, bad: &str, good: &str) {
    assert!(!rule(&File::new(path, bad)).is_empty(), "passes: {bad}");
    let offences = rule(&File::new(path, good));
    assert!(offences.is_empty(), "{good}: {offences:?}");
}

fn has_word(line: &str, word: &str) -> bool {
    let part_of_name = |c: char| c.is_alphanumeric() || c == '_';
    line.match_indices(word).any(|(at, _)| {
        let before = line[..at].chars().next_back().is_some_and(part_of_name);
        let after = line[at + word.len()..].chars().next().is_some_and(part_of_name);
        !before && !after
    })
}

fn purity(file: &File) -> Vec<Offence> {
    const FORBIDDEN: &[&str] =
        &[".await", "tokio::", "Instant::now", "SystemTime", "thread_local!", "std::env", "std::fs", "getrandom"];
    const WORDS: &[&str] = &["rand", "Mutex", "RwLock"];
    if !file.is_pure() {
        return Vec::new();
    }
    let mut offences = Vec::new();
    for (n, line) in file.code() {
        let found = FORBIDDEN.iter().filter(|what| line.contains(**what));
        let words = WORDS.iter().filter(|word| has_word(&line, word));
        offences.extend(found.chain(words).map(|what| (n, format!("{what} in a [pure] file"))));
        if has_word(&line, "static") && !line.contains("'static") && ["Atomic", "Cell"].iter().any(|w| line.contains(w))
        {
            offences.push((n, "a global in a [pure] file".to_owned()));
        }
    }
    offences
}

#[test]
fn pure_files_neither_wait_nor_read_a_clock_nor_know_a_global() {
    hold(purity, &[]);
    bites(purity, "x.rs", "//! [pure] x\nuse tokio::net;\n", "//! x\nuse tokio::net;\n");
    bites(purity, "x.rs", "//! [pure] x\nstatic N: AtomicU8 = y;\n", "//! [pure] x\nfn f(n: &'static str) {}\n");
    bites(purity, "x.rs", "//! [pure] x\nlet m = Mutex::new(1);\n", "//! [pure] x\n// A Mutex would be wrong.\n");
}

/// The order of the rooms, from the map in lib.rs: there is one truth.
fn staircase(map: &str) -> Vec<String> {
    let text: String = map.lines().filter_map(|line| line.strip_prefix("//! ")).collect::<Vec<_>>().join(" ");
    let stairs = text.split('`').find(|part| part.contains(" < ")).expect("the staircase in lib.rs");
    stairs.split('<').map(|room| room.trim().to_owned()).collect()
}

fn climbs<'a>(stairs: &'a [String]) -> impl Fn(&File) -> Vec<Offence> + 'a {
    let step = |room: &str| stairs.iter().position(|known| known == room);
    move |file| {
        if file.path == "lib.rs" {
            return Vec::new();
        }
        let Some(own) = step(&file.room) else { return vec![(1, format!("{} is not on the staircase", file.room))] };
        let mut offences = Vec::new();
        for (n, line) in file.code() {
            for (at, _) in line.match_indices("crate::").chain(line.match_indices("pgweir::")) {
                let after = line[at..].split_once("::").map_or("", |(_, rest)| rest);
                let mut rooms = vec![after];
                if let Some((list, _)) = after.strip_prefix('{').and_then(|list| list.split_once('}')) {
                    rooms = list.split(',').map(str::trim).collect();
                }
                for path in rooms {
                    let room: String = path.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
                    match step(&room) {
                        Some(other) if other > own => {
                            offences.push((n, format!("{} imports {room} above it", file.room)))
                        }
                        Some(_) => {}
                        None => offences.push((n, format!("{room} is not on the staircase"))),
                    }
                }
            }
        }
        offences
    }
}

#[test]
fn imports_go_down_the_staircase() {
    let map = std::fs::read_to_string(root().join("lib.rs")).expect("the map");
    let stairs = staircase(&map);
    hold(climbs(&stairs), &[]);
    bites(climbs(&stairs), "wire/x.rs", "use crate::session::Frame;\n", "use crate::error::Error;\n");
    bites(climbs(&stairs), "wire/x.rs", "use crate::{error::Error, pool};\n", "// crate::pool lends.\n");
}

fn opening(file: &File) -> Vec<Offence> {
    if file.text.starts_with("//! ") { Vec::new() } else { vec![(1, "a file opens with what it is for".to_owned())] }
}

#[test]
fn every_file_says_what_it_is_for() {
    hold(opening, &[]);
    bites(opening, "x.rs", "use x;\n", "//! x\nuse x;\n");
}

const FILE_LINES: usize = 400;
const FUNCTION_LINES: usize = 80;

fn file_length(file: &File) -> Vec<Offence> {
    let lines = file.body().count();
    if lines > FILE_LINES { vec![(lines, format!("{lines} lines before the tests"))] } else { Vec::new() }
}

/// From the signature to the brace that closes it, by rustfmt's indentation.
fn function_length(file: &File) -> Vec<Offence> {
    let mut offences = Vec::new();
    let mut open: Option<(usize, usize)> = None;
    for (n, line) in file.body() {
        let indent = line.len() - line.trim_start().len();
        if open.is_none() && has_word(&bare(line), "fn") && !line.trim_end().ends_with([';', '}']) {
            open = Some((n, indent));
        }
        let Some((start, depth)) = open else { continue };
        if indent == depth && matches!(line.trim(), "}" | "};") {
            let lines = n - start + 1;
            if lines > FUNCTION_LINES {
                offences.push((start, format!("a function of {lines} lines")));
            }
            open = None;
        }
    }
    offences
}

#[test]
fn files_are_short() {
    const EXCEPTIONS: &[(&str, &str)] =
        &[("config/keys.rs", "a table of every key"), ("pool/core.rs", "one state machine with its table of waiters")];
    hold(file_length, EXCEPTIONS);
    bites(file_length, "x.rs", &"x\n".repeat(401), &format!("{}#[cfg(test)]\n{}", "x\n".repeat(400), "x\n".repeat(9)));
}

#[test]
fn functions_are_short() {
    hold(function_length, &[("config/global.rs", "one line for each key of a flat table")]);
    let function = |lines| format!("fn f() {{\n{}}}\n", "    x();\n".repeat(lines));
    bites(function_length, "x.rs", &function(79), &function(78));
}

fn names(file: &File) -> Vec<Offence> {
    const VAGUE: &[&str] = &["utils", "util", "common", "manager", "context", "helpers"];
    let mut offences = Vec::new();
    for (n, line) in file.code() {
        if line.contains("fn get_") {
            offences.push((n, "a getter is named after what it gives, without get_".to_owned()));
        }
        let module = line.trim().trim_end_matches([';', '{', ' ']);
        let module = module.strip_prefix("pub ").unwrap_or(module).strip_prefix("mod ").unwrap_or_default();
        if VAGUE.contains(&module) {
            offences.push((n, format!("a module named {module} says nothing")));
        }
    }
    offences
}

#[test]
fn names_say_something() {
    hold(names, &[]);
    bites(names, "x.rs", "pub fn get_name() {}\n", "pub fn name() {}\n");
    bites(names, "x.rs", "pub mod utils;\n", "pub mod ledger;\n");
}

fn panics(file: &File) -> Vec<Offence> {
    let mut offences = Vec::new();
    for (n, line) in file.body() {
        let code = bare(line);
        if code.contains(".unwrap()") {
            offences.push((n, "unwrap() outside tests".to_owned()));
        }
        if code.contains(".expect(") {
            let why =
                line.split_once(".expect(\"").and_then(|(_, rest)| rest.split_once('"')).map_or("", |(why, _)| why);
            if !why.contains(' ') {
                offences.push((n, "expect() without a sentence that says why it holds".to_owned()));
            }
        }
    }
    offences
}

#[test]
fn nothing_panics_without_a_reason() {
    hold(panics, &[]);
    bites(panics, "x.rs", "let x = y.unwrap();\n", "let x = y.unwrap_or(1);\n#[cfg(test)]\nlet x = y.unwrap();\n");
    bites(panics, "x.rs", "y.expect(\"why\");\n", "y.expect(\"the key was checked at start\");\n");
}

fn lints(file: &File) -> Vec<Offence> {
    let mut offences = Vec::new();
    let mut before = "";
    for (n, line) in file.text.lines().enumerate().map(|(n, line)| (n + 1, line)) {
        let code = bare(line);
        if has_word(&code, "unsafe") {
            offences.push((n, "unsafe".to_owned()));
        }
        let reason = line.contains("reason =") || line.contains("//") || before.trim_start().starts_with("//");
        if (code.contains("#[allow") || code.contains("#![allow")) && !reason {
            offences.push((n, "an allowed lint without its reason".to_owned()));
        }
        before = line;
    }
    offences
}

#[test]
fn nothing_is_unsafe_and_exceptions_have_reasons() {
    hold(lints, &[]);
    bites(lints, "x.rs", "unsafe { x }\n", "// unsafe\n");
    bites(lints, "x.rs", "#[allow(dead_code)]\n", "#[allow(dead_code, reason = \"used by one binary\")]\n");
}

fn promises(file: &File) -> Vec<Offence> {
    let mut offences = Vec::new();
    for (n, line) in file.text.lines().enumerate() {
        let Some(at) = ["TODO", "FIXME"].iter().find_map(|word| line.find(word)) else { continue };
        let number = line[at..].split_once('#').is_some_and(|(_, rest)| rest.starts_with(|c: char| c.is_ascii_digit()));
        if !number {
            offences.push((n + 1, "a TODO without the number of its issue".to_owned()));
        }
    }
    offences
}

#[test]
fn promises_have_numbers() {
    hold(promises, &[]);
    bites(promises, "x.rs", "// TODO later\n", "// TODO(#12): later\n");
}

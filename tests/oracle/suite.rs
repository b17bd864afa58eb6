//! The statements of PostgreSQL's regression suite, cut by the parser's own splitter.

use std::path::PathBuf;

pub struct Suite {
    pub files: usize,
    pub statements: Vec<String>,
}

impl Suite {
    /// From where `make oracle` has put it.
    pub fn read() -> Suite {
        let folder: PathBuf =
            std::env::var("PGWEIR_ORACLE_SUITE").expect("`make oracle` says where the suite is").into();
        let entries = std::fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
        let mut paths: Vec<_> = entries.map(|entry| entry.expect("an entry").path()).collect();
        paths.retain(|path| path.extension().is_some_and(|ext| ext == "sql"));
        paths.sort();
        let mut suite = Suite { files: paths.len(), statements: Vec::new() };
        for path in paths {
            // Some files are in the encodings that they test.
            let text = String::from_utf8_lossy(&std::fs::read(&path).expect("a file of the suite")).into_owned();
            suite.take(&for_server(&text));
        }
        suite
    }

    /// Piece by piece: a text that the splitter cannot scan (an open quote is tested, too) costs its own piece only.
    fn take(&mut self, text: &str) {
        match pg_query::split_with_scanner(text) {
            Ok(statements) => self.statements.extend(statements.into_iter().map(str::to_owned)),
            Err(_) => match half(text) {
                Some((first, second)) => [first, second].into_iter().for_each(|half| self.take(half)),
                None => self.statements.push(text.to_owned()),
            },
        }
    }
}

/// Cut behind the line that ends with a semicolon and is nearest to the middle.
fn half(text: &str) -> Option<(&str, &str)> {
    let ends = text.match_indices(";\n").map(|(at, _)| at + 2).filter(|at| *at < text.len());
    ends.min_by_key(|at| at.abs_diff(text.len() / 2)).map(|at| text.split_at(at))
}

/// What psql sends of a script: without its own commands, and without the rows behind COPY … FROM STDIN.
fn for_server(script: &str) -> String {
    let mut out = String::new();
    let mut copying = false;
    for line in script.lines() {
        if copying {
            copying = line != "\\.";
            continue;
        }
        if line.starts_with('\\') {
            continue;
        }
        // `\gset`, `\gexec`, `\;` and others end a statement where they stand.
        let ends =
            ["\\g", "\\;", "\\crosstab", "\\bind", "\\watch"].iter().filter_map(|command| line.find(command)).min();
        match ends {
            Some(at) => out.extend([&line[..at], ";\n"]),
            None => out.extend([line, "\n"]),
        }
        let lower = line.to_ascii_lowercase();
        copying = line.ends_with(';') && (lower.contains("from stdin") || lower.contains("from stdout"));
    }
    out
}

//! [pure] A config as its files wrote it, whatever their grammar: entries, and what is wrong or doubtful about the text.
//!
//! Lines are numbered through all files in the order in which they were opened, so that one number says both.

use std::fmt;
use std::path::{Path, PathBuf};

use super::keys::Grammar;
use super::value::Entry;

/// What a file and those that it includes say.
pub(crate) struct Draft {
    pub(crate) grammar: Grammar,
    /// The tables `pgweir`, `databases`, `users` and `peers`, and in TOML whatever else stands there.
    pub(crate) entries: Vec<Entry>,
    pub(crate) mistakes: Vec<Mistake>,
    pub(crate) doubts: Vec<Doubt>,
    pub(crate) files: Files,
}

/// A place where the text breaks its grammar.
#[derive(Debug, PartialEq)]
pub(crate) struct Mistake {
    pub(crate) kind: MistakeKind,
    pub(crate) line: usize,
    /// The name of the key or table that stands there, where one does.
    pub(crate) key: String,
    pub(crate) expected: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum MistakeKind {
    /// Of one line or table, as one that stands twice; the rest of the file is as it should be.
    Local,
    Syntax,
}

/// What holds, and what its writer may not have meant.
#[derive(Debug, PartialEq)]
pub(crate) struct Doubt {
    pub(crate) line: usize,
    pub(crate) key: String,
    pub(crate) text: String,
}

/// The file itself and those that it includes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Files {
    /// Each with the number before its first line.
    files: Vec<(usize, PathBuf)>,
    lines: usize,
}

/// A line of a file, 1-based; 0: the file as a whole.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Place<'a> {
    /// In the order of the files.
    number: usize,
    pub(crate) line: usize,
    pub(crate) file: &'a Path,
}

impl Files {
    /// Those of a file that includes none.
    pub(crate) fn one(file: &Path) -> Files {
        Files { files: vec![(0, file.to_owned())], lines: 0 }
    }

    /// Takes one more file in; the number that stands before its first line.
    pub(crate) fn add(&mut self, file: &Path, text: &str) -> usize {
        let base = self.lines;
        self.files.push((base, file.to_owned()));
        // An empty text has a line, and so does what follows the last line's end.
        self.lines += text.matches('\n').count() + 1;
        base
    }

    /// The file that was named at the start.
    pub(crate) fn first(&self) -> &Path {
        self.files.first().map_or(Path::new(""), |(_, file)| file)
    }

    pub(crate) fn place(&self, line: usize) -> Place<'_> {
        let number = self.files.iter().rposition(|(base, _)| line > *base).unwrap_or(0);
        let (base, file) = self.files.get(number).map_or((0, Path::new("")), |(base, file)| (*base, file));
        Place { number, line: line - base, file }
    }
}

impl fmt::Display for Place<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.file.display(), self.line)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_those_of_their_files() {
        let mut files = Files::default();
        assert_eq!(files.add(Path::new("a"), "1\n2\n3"), 0);
        assert_eq!(files.add(Path::new("b"), ""), 3);
        assert_eq!(files.add(Path::new("c"), "1\n"), 4);
        let places = [0, 1, 3, 4, 5, 6].map(|line| files.place(line).to_string());
        assert_eq!(places, ["a:0", "a:1", "a:3", "b:1", "c:1", "c:2"]);
        assert_eq!(files.first(), Path::new("a"));
        assert_eq!(Files::one(Path::new("x")).place(7).to_string(), "x:7");
    }
}

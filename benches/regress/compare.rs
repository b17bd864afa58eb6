//! Where two runs of a test said different things.
//!
//! Lines are compared as psql wrote them, by `diff`. What differs between two direct runs is no difference of pgweir's.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::process::Command;

use pgweir::demo::{Problem, Result, Trying};

/// A run's outputs, by test.
pub type Outputs = BTreeMap<String, PathBuf>;

/// One test, directly and through pgweir.
pub struct Compared {
    pub test: String,
    pub hunks: Vec<Hunk>,
    /// Hunks in lines that differ between two direct runs.
    pub unstable: usize,
}

/// A place where they differ.
#[derive(Debug, PartialEq, Eq)]
pub struct Hunk {
    /// Of the direct run; where lines were added, the one in front of them.
    left: RangeInclusive<usize>,
    /// As `diff` prints it, with `<` for the direct run and `>` for the other.
    pub text: String,
}

pub fn compare(tests: &[String], direct: &Outputs, again: &Outputs, through: &Outputs) -> Result<Vec<Compared>> {
    tests.iter().map(|test| one(test, &direct[test], &again[test], &through[test])).collect()
}

fn one(test: &str, direct: &Path, again: &Path, through: &Path) -> Result<Compared> {
    let moves = diff(direct, again)?;
    let all = diff(direct, through)?;
    let found = all.len();
    let hunks: Vec<Hunk> = all.into_iter().filter(|hunk| !lies_in(hunk, &moves)).collect();
    Ok(Compared { test: test.to_owned(), unstable: found - hunks.len(), hunks })
}

fn lies_in(hunk: &Hunk, others: &[Hunk]) -> bool {
    others.iter().any(|other| other.left.contains(hunk.left.start()) && other.left.contains(hunk.left.end()))
}

fn diff(left: &Path, right: &Path) -> Result<Vec<Hunk>> {
    let what = || format!("comparing {} with {}", left.display(), right.display());
    let output = Command::new("diff").arg("--text").arg(left).arg(right).output().trying(what)?;
    match output.status.code() {
        Some(0 | 1) => Ok(hunks(&String::from_utf8_lossy(&output.stdout))),
        _ => Err(Problem::new(what(), String::from_utf8_lossy(&output.stderr))),
    }
}

/// The hunks of diff's normal form: `3,4c5`, its lines, `7a9`, …
pub fn hunks(text: &str) -> Vec<Hunk> {
    let mut all: Vec<Hunk> = Vec::new();
    for line in text.lines() {
        match head(line) {
            Some(left) => all.push(Hunk { left, text: format!("{line}\n") }),
            None => {
                if let Some(hunk) = all.last_mut() {
                    hunk.text.push_str(line);
                    hunk.text.push('\n');
                }
            }
        }
    }
    all
}

/// The direct run's lines that a hunk's head names.
fn head(line: &str) -> Option<RangeInclusive<usize>> {
    let (left, _) = line.split_once(['a', 'c', 'd'])?;
    let (first, last) = left.split_once(',').unwrap_or((left, left));
    Some(first.parse().ok()?..=last.parse().ok()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    const DIFF: &str = "3,4c3\n< 12a1\n< b\n---\n> c\n7a7\n> 9d9\n10d9\n< x\n\\ No newline at end of file\n";

    #[test]
    fn hunks_are_cut_at_their_heads() {
        let found = hunks(DIFF);
        assert_eq!(found.iter().map(|hunk| hunk.left.clone()).collect::<Vec<_>>(), [3..=4, 7..=7, 10..=10]);
        assert_eq!(found[1].text, "7a7\n> 9d9\n");
        assert_eq!(hunks(""), []);
    }

    #[test]
    fn what_moves_by_itself_covers_only_its_own_lines() {
        let moves = hunks("3,5c3,5\n< a\n");
        let covered: Vec<bool> = hunks(DIFF).iter().map(|hunk| lies_in(hunk, &moves)).collect();
        assert_eq!(covered, [true, false, false]);
    }
}

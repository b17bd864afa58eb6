//! What went wrong while servers were set up: what was tried, and what the system or the program said.

use std::fmt;
use std::path::Path;

/// One expected failure, told in two parts: `starting PostgreSQL on port 5432: …`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    pub tried: String,
    pub cause: String,
}

pub type Result<T> = std::result::Result<T, Problem>;

impl Problem {
    pub fn new(tried: impl Into<String>, cause: impl fmt::Display) -> Problem {
        Problem { tried: tried.into(), cause: cause.to_string() }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.tried, self.cause)
    }
}

impl std::error::Error for Problem {}

/// Says what was tried when a system call failed.
pub trait Trying<T> {
    fn trying(self, what: impl FnOnce() -> String) -> Result<T>;
}

impl<T, E: fmt::Display> Trying<T> for std::result::Result<T, E> {
    fn trying(self, what: impl FnOnce() -> String) -> Result<T> {
        self.map_err(|error| Problem::new(what(), error))
    }
}

/// The last lines of a text: enough to see the reason, never a whole log.
pub(super) fn tail(text: &str) -> String {
    let lines: Vec<&str> = text.lines().filter(|line| !line.trim().is_empty()).collect();
    lines[lines.len().saturating_sub(TAIL_LINES)..].join("\n")
}

/// The end of a log file, or why there is none.
pub fn log_tail(path: &Path) -> String {
    match std::fs::read(path) {
        Ok(bytes) => tail(&String::from_utf8_lossy(&bytes)),
        Err(error) => format!("{}: {error}", path.display()),
    }
}

const TAIL_LINES: usize = 12;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tail_is_the_last_lines_without_blanks() {
        assert_eq!(tail("a\n\nb\n"), "a\nb");
        let long: String = (0..40).map(|n| format!("{n}\n")).collect();
        assert!(tail(&long).starts_with("28\n") && tail(&long).ends_with("39"));
        assert_eq!(tail(""), "");
    }
}

//! The differences that are known, each with its reason (`known.toml`), and what a run shows beside them.

use std::fmt::Write;

use serde::Deserialize;

use crate::compare::{Compared, Hunk};

/// All entries.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Known {
    #[serde(default, rename = "difference")]
    differences: Vec<Difference>,
}

/// A reason for some of a test's differences.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Difference {
    test: String,
    /// The run that it is seen in; without it, each.
    run: Option<String>,
    /// What a hunk has, if this explains it; without it, any of the test's.
    has: Option<String>,
    /// It depends on what happens at the same time, and may be missing.
    #[serde(default)]
    sometimes: bool,
    why: String,
}

impl Difference {
    fn explains(&self, run: &str, test: &str, hunk: &Hunk) -> bool {
        self.concerns(run, test) && self.has.as_ref().is_none_or(|has| hunk.text.contains(has))
    }

    fn concerns(&self, run: &str, test: &str) -> bool {
        self.test == test && self.run.as_deref().is_none_or(|only| only == run)
    }
}

/// A run as it is printed.
pub struct Judged {
    pub table: String,
    pub faults: usize,
}

impl Known {
    pub fn read(text: &str) -> Result<Known, String> {
        let known: Known = toml::from_str(text).map_err(|error| error.to_string())?;
        let empty = |one: &&Difference| one.why.trim().is_empty() || one.has.as_ref().is_some_and(String::is_empty);
        known
            .differences
            .iter()
            .find(empty)
            .map_or(Ok(known.differences.len()), |one| Err(format!("an entry of {} says too little", one.test)))?;
        Ok(known)
    }

    pub fn judge(&self, run: &str, all: &[Compared]) -> Judged {
        let mut judged = Judged { table: "| test | |\n|---|---|\n".to_owned(), faults: 0 };
        let mut details = String::new();
        for one in all {
            let unexplained: Vec<&Hunk> = one.hunks.iter().filter(|hunk| self.why(run, one, hunk).is_none()).collect();
            let stale: Vec<&Difference> = self.stale(run, one).collect();
            judged.faults += unexplained.len() + stale.len();
            let _infallible = writeln!(judged.table, "| {} | {} |", one.test, verdict(one, unexplained.len()));
            for hunk in unexplained {
                let _infallible = writeln!(details, "\n{}, not explained:\n{}", one.test, hunk.text);
            }
            for entry in stale {
                let _infallible =
                    writeln!(details, "\n{}: nothing needs this any more: {}", one.test, entry.why.trim());
            }
        }
        judged.table.push_str(&self.reasons(run, all));
        judged.table.push_str(&details);
        judged
    }

    fn why(&self, run: &str, one: &Compared, hunk: &Hunk) -> Option<&Difference> {
        self.differences.iter().find(|entry| entry.explains(run, &one.test, hunk))
    }

    fn stale(&self, run: &str, one: &Compared) -> impl Iterator<Item = &Difference> {
        let needed = self.differences.iter().filter(move |entry| !entry.sometimes && entry.concerns(run, &one.test));
        needed.filter(move |entry| !one.hunks.iter().any(|hunk| entry.explains(run, &one.test, hunk)))
    }

    /// The entries that something needed.
    fn reasons(&self, run: &str, all: &[Compared]) -> String {
        let mut text = String::new();
        for entry in &self.differences {
            let one = all.iter().find(|one| entry.concerns(run, &one.test));
            let count = one.map_or(0, |one| {
                one.hunks
                    .iter()
                    .filter(|hunk| self.why(run, one, hunk).is_some_and(|why| std::ptr::eq(why, entry)))
                    .count()
            });
            if count > 0 {
                let _infallible = writeln!(text, "\n{}, {count}: {}", entry.test, entry.why.trim());
            }
        }
        text
    }
}

fn verdict(one: &Compared, unexplained: usize) -> String {
    let mut words = match (one.hunks.len(), unexplained) {
        (0, _) => "same".to_owned(),
        (all, 0) => format!("{all} differences, explained"),
        (all, some) => format!("**{all} differences, {some} not explained**"),
    };
    if one.unstable > 0 {
        let _infallible = write!(words, " ({} in lines that differ between two direct runs)", one.unstable);
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compare::hunks;

    const KNOWN: &str = "[[difference]]\ntest = \"a\"\nhas = \"pid\"\nwhy = \"a process id\"\n\
                         [[difference]]\ntest = \"a\"\nrun = \"other\"\nhas = \"x\"\nwhy = \"x\"\n\
                         [[difference]]\ntest = \"a\"\nrun = \"any\"\nsometimes = true\nwhy = \"a race\"\n";

    fn compared(diff: &str) -> Vec<Compared> {
        vec![Compared { test: "a".to_owned(), hunks: hunks(diff), unstable: 0 }]
    }

    #[test]
    fn what_is_not_explained_is_a_fault_and_so_is_an_idle_reason() {
        let known = Known::read(KNOWN).expect("it is read");
        let faults = |run, diff| known.judge(run, &compared(diff)).faults;
        assert_eq!(faults("plain", "1c1\n< pid 1\n---\n> pid 2\n"), 0);
        assert_eq!(faults("plain", "1c1\n< pid 1\n---\n> pid 2\n3a3\n> x\n"), 1);
        assert_eq!(faults("other", "1c1\n< pid 1\n---\n> pid 2\n3a3\n> x\n"), 0);
        assert_eq!(faults("plain", ""), 1);
        assert_eq!(faults("other", ""), 2);
        assert_eq!(faults("any", "1c1\n< pid\n---\n> p\n7d7\n< b\n"), 0);
    }

    #[test]
    fn an_entry_says_why() {
        assert!(Known::read("[[difference]]\ntest = \"a\"\nhas = \"b\"\nwhy = \" \"\n").is_err());
        assert!(Known::read(include_str!("known.toml")).is_ok());
    }
}

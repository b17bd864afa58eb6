//! The last way out: a shell that waits for our death by whatever cause, ends our servers and removes the room.
//!
//! An orderly drop of the room leaves it nothing to do; it signals only processes whose mark stands in the room and
//! whose working directory lies there.

use super::problem::{Result, Trying};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};

pub(super) struct Watchdog(Child);

impl Watchdog {
    pub(super) fn over(room: &Path) -> Result<Watchdog> {
        let mut shell = Command::new("/bin/sh");
        shell.args(["-c", SCRIPT, "pgweir-watchdog"]).arg(room).current_dir("/").process_group(0);
        shell.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
        shell.spawn().map(Watchdog).trying(|| format!("starting the watchdog over {}", room.display()))
    }
}

impl Drop for Watchdog {
    /// Lets go of the pipe (`wait` closes it) and reaps the shell.
    fn drop(&mut self) {
        let _reaped = self.0.wait();
    }
}

const SCRIPT: &str = include_str!("watchdog.sh");

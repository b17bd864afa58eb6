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

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::{create_dir, create_dir_all, write};

    /// A process with a working directory and a mark in the room, as `Process` leaves them.
    fn sleeper(room: &Path, dir: &Path) -> Child {
        let sleep = Command::new("sleep").arg("60").current_dir(dir).spawn().expect("sleep starts");
        write(room.join("pids").join(sleep.id().to_string()), "").expect("the mark is written");
        sleep
    }

    #[test]
    fn an_abandoned_room_goes_with_its_processes_and_no_others() {
        let room = std::env::temp_dir().join(format!("pgweir-watchdog-{}", std::process::id()));
        create_dir_all(room.join("pids")).expect("the room is made");
        create_dir(room.join("data")).expect("the room is made");
        let (mut ours, mut anothers) = (sleeper(&room, &room.join("data")), sleeper(&room, Path::new("/")));
        // A zombie keeps no working directory: reaping it at once is what a dead owner's init does.
        let reaper = std::thread::spawn(move || ours.wait());

        drop(Watchdog::over(&room).expect("a shell starts"));

        assert!(!room.exists());
        assert!(!reaper.join().expect("no panic").expect("it is our child").success());
        assert_eq!(anothers.try_wait().expect("it is our child"), None, "its pid was reused: it is not in the room");
        anothers.kill().and_then(|()| anothers.wait()).expect("sleep ends");
    }
}

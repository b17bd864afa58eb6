//! Programs that we start: run to their end, or kept running and stopped for certain.
//!
//! Never signals a process that it did not start or that was reaped already.

use super::problem::{Problem, Result, Trying, tail};
use rustix::process::{Pid, Signal, kill_process};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

/// Runs a command to its end with a text on its standard input; its standard output, or the tail of its errors.
pub fn run(command: &mut Command, input: &str) -> Result<String> {
    run_heard(command, input).map(|(said, _)| said)
}

/// The same, and what it wrote to standard error.
pub(super) fn run_heard(command: &mut Command, input: &str) -> Result<(String, String)> {
    let tried = format!("running {}", describe(command));
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().trying(|| tried.clone())?;
    let stdin = child.stdin.take();
    let output = std::thread::scope(|scope| {
        // A program that ends early closes its input; its exit code tells the story, not the failed write.
        scope.spawn(move || stdin.map(|mut pipe| pipe.write_all(input.as_bytes())));
        child.wait_with_output()
    });
    let output = output.trying(|| tried.clone())?;
    if output.status.success() {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim_end().to_owned();
        return Ok((text(&output.stdout), text(&output.stderr)));
    }
    let said = [&output.stdout[..], &output.stderr[..]].concat();
    Err(Problem::new(tried, format!("{}\n{}", output.status, tail(&String::from_utf8_lossy(&said)))))
}

/// The program's name and arguments, never its environment, where passwords stand.
pub(super) fn describe(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    words.map(|word| word.to_string_lossy()).collect::<Vec<_>>().join(" ")
}

/// A child that lives on. A file named after its pid stands in the room while it does, for the watchdog.
/// Exits: it ends by itself (seen by `ended`), `stop`, or the drop, which kills.
pub struct Process {
    child: Child,
    ended: Option<ExitStatus>,
    mark: PathBuf,
}

impl Process {
    pub fn spawn(command: &mut Command, marks: &Path) -> Result<Process> {
        let child = command.spawn().trying(|| format!("starting {}", describe(command)))?;
        let mark = marks.join(child.id().to_string());
        let process = Process { child, ended: None, mark };
        std::fs::write(&process.mark, b"").trying(|| format!("writing {}", process.mark.display()))?;
        Ok(process)
    }

    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// How it ended, if it did.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        if self.ended.is_none() {
            self.ended = self.child.try_wait().ok().flatten();
            self.ended.inspect(|_| drop(std::fs::remove_file(&self.mark)));
        }
        self.ended
    }

    /// Does nothing to a process that has ended: its pid may be somebody else's by now.
    pub fn signal(&mut self, signal: Signal) {
        if self.ended().is_none() {
            let _gone_already = kill_process(Pid::from_child(&self.child), signal);
        }
    }

    /// Asks it to end, waits, and kills it when its time is over.
    pub fn stop(&mut self, signal: Signal, grace: Duration) {
        self.signal(signal);
        if wait_until(grace, || self.ended().is_some()) {
            return;
        }
        self.signal(Signal::KILL);
        wait_until(AFTER_KILL, || self.ended().is_some());
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.stop(Signal::KILL, AFTER_KILL);
    }
}

/// Polls until the condition holds (true) or the time is over (false).
pub fn wait_until(limit: Duration, mut condition: impl FnMut() -> bool) -> bool {
    let deadline = Instant::now() + limit;
    while !condition() {
        if Instant::now() >= deadline {
            return false;
        }
        std::thread::sleep(POLL);
    }
    true
}

const AFTER_KILL: Duration = Duration::from_secs(5);
const POLL: Duration = Duration::from_millis(5);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_tells_the_command_and_its_last_words() {
        let problem = run(Command::new("sh").args(["-c", "echo why >&2; exit 3"]), "").expect_err("it exits with 3");
        assert_eq!(problem.tried, "running sh -c echo why >&2; exit 3");
        assert_eq!(problem.cause, "exit status: 3\nwhy");
    }

    #[test]
    fn input_longer_than_a_pipe_passes_both_ways() {
        let text = "x".repeat(1 << 20);
        assert_eq!(run(&mut Command::new("cat"), &text).as_deref(), Ok(&*text));
    }

    #[test]
    fn a_dropped_process_is_gone_with_its_mark() {
        let process = Process::spawn(Command::new("sleep").arg("60"), &std::env::temp_dir()).expect("sleep starts");
        let (proc_dir, mark) = (PathBuf::from(format!("/proc/{}", process.child.id())), process.mark.clone());
        assert!(proc_dir.exists() && mark.exists());
        drop(process);
        assert!(!proc_dir.exists() && !mark.exists());
    }
}

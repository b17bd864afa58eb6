//! A command run between servers: the tests' and the benches' clusters, started once and told by the environment.
//!
//! | variable | what |
//! |---|---|
//! | `PGWEIR_TEST_PRIMARY15`, `PGWEIR_TEST_STANDBY15` | ports of the pair on the machine's own PostgreSQL (Debian 12: 15) |
//! | `PGWEIR_TEST_PRIMARY18`, `PGWEIR_TEST_STANDBY18` | ports of the second pair; unset where no second set was given |
//! | `PGWEIR_TEST_BINDIR15`, `PGWEIR_TEST_BINDIR18` | the programs of each, readable by the servers' account |
//! | `PGWEIR_TEST_SOCKETS` | the directory of all unix sockets |
//! | `PGWEIR_TEST_PASSWORD` | the password of every role |

use super::SLOT;
use super::binaries::Binaries;
use super::cluster::Cluster;
use super::ports::free_ports;
use super::problem::{Problem, Result, Trying};
use super::room::Room;
use super::signals::{Caught, Signals};
use rustix::process::{Pid, Signal, kill_process};
use std::ffi::OsString;
use std::io::IsTerminal;
use std::path::Path;
use std::process::{Child, Command, ExitCode, ExitStatus};
use std::time::{Duration, Instant};

/// Runs the command among the clusters; its exit code.
pub(super) fn exec(words: &[OsString], second: Option<&Path>, base: u16, signals: &Signals) -> Result<ExitCode> {
    let (program, arguments) = words.split_first().ok_or_else(|| Problem::new("running a command", "none is given"))?;
    let began = Instant::now();
    let room = Room::open("test")?;
    let first = Binaries::find()?;
    let second = second.map(|dir| room.reachable(Binaries::at(dir)?)).transpose()?;
    let ports = free_ports(base, 4)?;

    let (pair15, pair18) = std::thread::scope(|scope| {
        let other = scope.spawn(|| second.as_ref().map(|bin| pair(&room, bin, &ports[2..])).transpose());
        (pair(&room, &first, &ports[..2]), other.join())
    });
    let pair15 = pair15?;
    let pair18 = pair18.map_err(|_| Problem::new("starting the second pair", "it panicked"))??;
    signals.none_yet()?;

    let mut command = Command::new(program);
    command.args(arguments).env("PGWEIR_TEST_SOCKETS", room.sockets()).env("PGWEIR_TEST_PASSWORD", room.password());
    let pairs = [("15", Some(&pair15)), ("18", pair18.as_ref())];
    for (suffix, [primary, standby]) in pairs.into_iter().filter_map(|(suffix, pair)| Some((suffix, pair?))) {
        command.env(format!("PGWEIR_TEST_PRIMARY{suffix}"), primary.port().to_string());
        command.env(format!("PGWEIR_TEST_STANDBY{suffix}"), standby.port().to_string());
        command.env(format!("PGWEIR_TEST_BINDIR{suffix}"), &primary.binaries().dir);
    }
    let count = 1 + usize::from(pair18.is_some());
    eprintln!("pgweir: {count} primary and standby pairs up after {:.1} s", began.elapsed().as_secs_f64());
    let child = command.spawn().trying(|| format!("starting {}", program.display()))?;
    attend(child, signals)
}

fn pair(room: &Room, bin: &Binaries, ports: &[u16]) -> Result<[Cluster; 2]> {
    let primary = room.primary(bin, ports[0], &[])?;
    let standby = room.standby(&primary, ports[1], SLOT)?;
    Ok([primary, standby])
}

/// Waits for the command. A signal is handed on, but not the terminal's Ctrl-C, which has reached the command too:
/// it stops by itself, or is told to when it takes too long.
fn attend(mut child: Child, signals: &Signals) -> Result<ExitCode> {
    let mut stopping: Option<(Caught, Instant)> = None;
    loop {
        if let Some(status) = child.try_wait().trying(|| "waiting for the command".into())? {
            return Ok(exit_code(status, stopping.map(|(caught, _)| caught)));
        }
        let caught = signals.within(POLL);
        match (caught, stopping) {
            (Some(caught), None) => {
                stopping = Some((caught, Instant::now()));
                let told_by_terminal = caught == Caught::Interrupt && std::io::stdin().is_terminal();
                if !told_by_terminal {
                    tell(&child, Signal::TERM);
                }
            }
            (_, Some((_, since))) if since.elapsed() > KILL_AFTER => tell(&child, Signal::KILL),
            _ => {}
        }
    }
}

/// The child is not reaped yet, or `attend` would have returned: the pid is its own.
fn tell(child: &Child, signal: Signal) {
    let _gone_already = kill_process(Pid::from_child(child), signal);
}

fn exit_code(status: ExitStatus, caught: Option<Caught>) -> ExitCode {
    match (caught, status.code()) {
        (Some(caught), _) => caught.exit_code(),
        (None, Some(code)) => ExitCode::from(u8::try_from(code).unwrap_or(u8::MAX)),
        (None, None) => ExitCode::FAILURE,
    }
}

const POLL: Duration = Duration::from_millis(50);
/// Longer than nextest's own grace for its tests (10 s).
const KILL_AFTER: Duration = Duration::from_secs(15);

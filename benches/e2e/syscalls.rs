//! The proxy's system calls for each transaction, counted by strace. Two runs differ only in their number of
//! transactions, so logins fall out of the difference. One worker, and fewer clients than servers: nobody waits.

use super::cases::Protocol;
use super::peers::{Peer, Peers, Running};
use super::pgbench::transact;
use super::report::SyscallRow;
use super::stage::Stage;
use super::stop::Stopper;
use super::texts::syscalls;
use pgweir::demo::{Problem, Result, Trying, wait_until};
use rustix::process::Signal;
use std::fs::{read_to_string, remove_file};
use std::process::Stdio;
use std::time::Duration;

pub fn measure(peers: &Peers, stage: &Stage, stop: &Stopper) -> Result<Vec<SyscallRow>> {
    let mut rows = Vec::new();
    for mode in [Protocol::Simple, Protocol::Extended, Protocol::Prepared] {
        for peer in [Peer::HaProxy, Peer::PgBouncer, Peer::PgweirOne] {
            if peer == Peer::PgBouncer && mode == Protocol::Prepared && !peers.pgbouncer_prepares() {
                continue;
            }
            eprintln!("syscalls: {}, {}", peer.name(), mode.word());
            let calls = one(peers, peer, stage, mode, stop);
            stop.check()?;
            let calls = calls.map_err(|problem| problem.to_string());
            rows.push(SyscallRow { peer: peer.name(), mode: mode.word(), calls });
        }
    }
    Ok(rows)
}

fn one(peers: &Peers, peer: Peer, stage: &Stage, mode: Protocol, stop: &Stopper) -> Result<Vec<(String, f64)>> {
    stage.settle();
    let running = peers.start(peer, stage, false)?;
    // Opens the pool's servers, whose logins are nobody's transaction.
    transact(stage, running.port, mode, CLIENTS, FEW, stop)?;
    let few = count(stage, &running, mode, FEW, stop)?;
    let many = count(stage, &running, mode, MANY, stop)?;
    let before = |name: &str| few.iter().find(|(other, _)| other == name).map_or(0, |(_, calls)| *calls);
    let transactions = f64::from(CLIENTS * (MANY - FEW));
    Ok(many
        .iter()
        .map(|(name, calls)| (name.clone(), calls.saturating_sub(before(name)) as f64 / transactions))
        .collect())
}

fn count(stage: &Stage, running: &Running, mode: Protocol, each: u32, stop: &Stopper) -> Result<Vec<(String, u64)>> {
    let pid = running.pid().ok_or_else(|| Problem::new("counting system calls", "there is no proxy"))?;
    let table = stage.work_dir().join("strace.txt");
    let _of_the_run_before = remove_file(&table);
    let mut command = stage.command("strace");
    command.args(["-c", "-f", "-p", &pid.to_string(), "-o"]).arg(&table).stdout(Stdio::null()).stderr(Stdio::null());
    let mut strace = stage.spawn(&mut command)?;
    if !wait_until(ATTACH_LIMIT, || is_traced(pid) || strace.ended().is_some()) || strace.ended().is_some() {
        return Err(Problem::new("attaching strace", "it is not allowed to, or does not start"));
    }
    // Every thread is attached in turn.
    stop.within(ATTACH_REST)?;
    transact(stage, running.port, mode, CLIENTS, each, stop)?;
    strace.stop(Signal::INT, ATTACH_LIMIT);
    let text = read_to_string(&table).trying(|| "reading what strace counted".into())?;
    Some(syscalls(&text)).filter(|calls| !calls.is_empty()).ok_or_else(|| Problem::new("counting system calls", text))
}

fn is_traced(pid: u32) -> bool {
    let status = read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let tracer = status.lines().find_map(|line| line.strip_prefix("TracerPid:"));
    tracer.is_some_and(|tracer| tracer.trim() != "0")
}

pub const CLIENTS: u32 = 8;
const FEW: u32 = 20;
const MANY: u32 = 520;
const ATTACH_LIMIT: Duration = Duration::from_secs(5);
const ATTACH_REST: Duration = Duration::from_millis(100);

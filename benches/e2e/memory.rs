//! What an idle client costs: the proxy's private bytes with N logged-in clients less those with none, divided by N;
//! again after each has run a query, and again after each has prepared a statement. The kernel's socket buffers are not
//! in it. HAProxy takes no part: it cannot hold a client without a server.

use super::client::{Client, Login};
use super::measure::private_bytes_of;
use super::peers::{Peer, Peers, Running};
use super::report::MemoryRow;
use super::stage::Stage;
use super::stop::Stopper;
use pgweir::demo::{Problem, Result, Trying};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

pub fn measure(peers: &Peers, stage: &Stage, counts: &[usize], stop: &Stopper) -> Result<Vec<MemoryRow>> {
    let mut rows = Vec::new();
    for (tls, clients) in [false, true].into_iter().flat_map(|tls| counts.iter().map(move |clients| (tls, *clients))) {
        for peer in [Peer::PgBouncer, Peer::PgweirAll] {
            eprintln!("memory: {}, {clients} clients, {}", peer.name(), if tls { "TLS" } else { "plain" });
            let bytes = one(peers, peer, stage, tls, clients, stop);
            stop.check()?;
            rows.push(MemoryRow {
                peer: peer.name(),
                clients,
                tls,
                bytes: bytes.map_err(|problem| problem.to_string()),
            });
        }
    }
    Ok(rows)
}

/// Raises the limit of open files of this process and its children; many clients need many.
pub fn allow_open_files(wanted: u64) {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    let enough = |limit: Option<u64>| limit.is_none_or(|limit| limit >= wanted);
    if enough(current) {
        return;
    }
    // Beyond the hard limit only root may go, and not everywhere.
    let highest = if enough(maximum) { maximum } else { Some(wanted) };
    let all = Rlimit { current: Some(wanted), maximum: highest };
    if setrlimit(Resource::Nofile, all).is_err() {
        let _as_it_was = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum });
    }
}

fn one(
    peers: &Peers,
    peer: Peer,
    stage: &Stage,
    tls: bool,
    clients: usize,
    stop: &Stopper,
) -> Result<[Option<f64>; 3]> {
    enough_files_for(clients)?;
    stage.settle();
    let running = peers.start(peer, stage, tls)?;
    let before = settled_bytes(&running, stop)?;
    let each = |now: u64| Some((now as f64 - before as f64) / clients as f64);

    let mut idle = log_in(&stage.login(running.port, tls), clients, stop)?;
    let logged_in = each(settled_bytes(&running, stop)?);
    by_turns(&mut idle, stop, "running a query", |client| client.query("SELECT 1"))?;
    let queried = each(settled_bytes(&running, stop)?);
    if peer == Peer::PgBouncer && !peers.pgbouncer_prepares() {
        return Ok([logged_in, queried, None]);
    }
    by_turns(&mut idle, stop, "preparing a statement", |client| client.prepare("one", STATEMENT))?;
    let prepared = each(settled_bytes(&running, stop)?);
    Ok([logged_in, queried, prepared])
}

/// Both this process and the proxy hold a socket for each client.
fn enough_files_for(clients: usize) -> Result<()> {
    let limit = getrlimit(Resource::Nofile).current;
    match limit {
        Some(limit) if limit < (clients + SPARE_FILES) as u64 => {
            Err(Problem::new("opening sockets", format!("only {limit} open files are allowed")))
        }
        _ => Ok(()),
    }
}

/// Logins are costly on both sides, so a few go on at once.
fn log_in(login: &Login, clients: usize, stop: &Stopper) -> Result<Vec<Client>> {
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let over = &over;
        let some = |first: usize| {
            let numbers = (first..clients).step_by(THREADS).take_while(|_| !over.load(Ordering::Relaxed));
            numbers.map(|number| Client::login(login, number)).collect::<std::io::Result<Vec<_>>>()
        };
        let threads: Vec<_> = (0..THREADS).map(|first| scope.spawn(move || some(first))).collect();
        while !threads.iter().all(|thread| thread.is_finished()) {
            if stop.within(POLL).is_err() {
                over.store(true, Ordering::Relaxed);
            }
        }
        let mut all = Vec::with_capacity(clients);
        for thread in threads {
            let some = thread.join().map_err(|_| Problem::new("logging in", "it panicked"))?;
            all.extend(some.trying(|| "logging in".into())?);
        }
        stop.check().map(|()| all)
    })
}

fn by_turns(
    clients: &mut [Client],
    stop: &Stopper,
    what: &str,
    work: impl Fn(&mut Client) -> std::io::Result<()>,
) -> Result<()> {
    for some in clients.chunks_mut(100) {
        stop.check()?;
        some.iter_mut().try_for_each(&work).trying(|| what.to_owned())?;
    }
    Ok(())
}

/// A moment later, so that what is given back late is given back.
fn settled_bytes(running: &Running, stop: &Stopper) -> Result<u64> {
    stop.within(SETTLE)?;
    let bytes = running.pid().map_or(0, private_bytes_of);
    if bytes == 0 { Err(Problem::new("reading smaps_rollup", "it says nothing")) } else { Ok(bytes) }
}

const STATEMENT: &str = "SELECT abalance FROM pgbench_accounts WHERE aid = $1";
const THREADS: usize = 4;
const SPARE_FILES: usize = 100;
const SETTLE: Duration = Duration::from_millis(500);
const POLL: Duration = Duration::from_millis(50);

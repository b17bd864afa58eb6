//! The process: start, run, reload, pause, drain, stop.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::watch;

use crate::client::House;
use crate::cluster::backends::Ground;
use crate::cluster::holds::Mode;
use crate::config::{self, ErrorCodes, Global, Problem, Put, Source};
use crate::control::{self, Phase, Reply};
use crate::error;
use crate::http;
use crate::net::listen::{self, Listener};
use crate::stats;

mod balance;
mod ears;
mod handover;
mod held;
pub mod load;
pub mod log;
mod reception;
mod syslog;
mod systemd;
mod tenure;
mod workers;

use ears::{Ears, Told};
use handover::{Inheritance, Post};
use load::{Loaded, Outcome};
use reception::Reception;
use tenure::Tenure;
use workers::Crew;

/// How often limits and idle servers are looked at.
const JANITOR: Duration = Duration::from_millis(100);

/// How long a process that stops at once still talks to its clients.
const LAST_WORDS: Duration = Duration::from_millis(300);

/// What ended the process otherwise than by a signal.
#[derive(Debug)]
pub struct Fault(pub String);

impl std::fmt::Display for Fault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

/// Whether a process that runs already is to be replaced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start {
    Fresh,
    /// If there is one (`-R`).
    InPlace,
}

/// Serves a loaded config until a signal ends it. This thread is the first worker.
pub fn run(loaded: Loaded, log: log::Handle, start: Start) -> Result<(), Fault> {
    let count = match loaded.config().global.workers {
        0 => std::thread::available_parallelism().map_or(1, usize::from),
        some => some,
    };
    let fault = |error| Fault(format!("cannot start the runtime: {error}"));
    let runtime = workers::runtime().map_err(fault)?;
    let (crew, others) = workers::start(count, &runtime, LAST_WORDS).map_err(fault)?;
    let served = runtime.block_on(serve(loaded, log, crew, start));
    // A name that is being looked up holds a thread: it is not waited for.
    runtime.shutdown_timeout(LAST_WORDS);
    others.stop();
    served
}

async fn serve(loaded: Loaded, log: log::Handle, crew: Arc<Crew>, start: Start) -> Result<(), Fault> {
    // First of all, so that no signal meets its default action once somebody may know of us.
    let (bell, rung) = control::bell();
    let mut ears = Ears::new(rung).map_err(|error| Fault(format!("cannot take signals: {error}")))?;
    let (phase, seen) = watch::channel(Phase::Running);
    let global = loaded.config().global.clone();
    let path = loaded.path().to_owned();
    let mut inheritance = match start {
        Start::Fresh => None,
        Start::InPlace => Inheritance::ask(&global).await?,
    };
    let listeners = listeners(&global, inheritance.as_mut()).await.map_err(|fault| Fault(fault.to_string()))?;
    let fresh = if inheritance.is_none() { Post::open(&global)? } else { None };
    let source = Mutex::new(loaded.source().clone());
    let (ground, doors) = loaded.into_parts();
    speak(&ground);
    let house = House::new(ground, doors, seen, bell);
    if let Some(file) = &global.topology_state_file {
        house.backends.keep_state_in(file).map_err(Fault)?;
    }
    house.backends.watch_all();

    if let Some(inheritance) = &inheritance {
        inheritance.ready(&house).await?;
    }
    let tenure = Tenure::begin(&global).map_err(|error| Fault(format!("cannot write the pid file: {error}")))?;
    let tenure = Arc::new(tenure);
    let reception = Arc::new(Reception::open(listeners, &house, &crew));
    let post = match inheritance {
        Some(inheritance) => inheritance.taken(&global, &house, &reception).await?,
        None => fresh,
    };
    if let Some(post) = post {
        tokio::spawn(post.attend(Arc::clone(&reception), Arc::clone(&house), Arc::clone(&tenure)));
    }
    tokio::spawn(tend(Arc::clone(&house), Arc::clone(&crew)));
    tokio::spawn(held::keep_told(Arc::clone(&house)));
    let port = http::Port::open(&house, global.http_listen.as_deref());
    tracing::info!(pid = std::process::id(), config = %path.display(), "process up: pgweir {}", env!("CARGO_PKG_VERSION"));
    tenure.tell(&[sd_notify::NotifyState::MainPid(std::process::id()), sd_notify::NotifyState::Ready]);
    Process { house, phase, crew, path, log, source, reception, port, tenure }.live(&mut ears).await;
    Ok(())
}

/// Where clients come in: systemd's sockets if it passed any, else what the config names.
async fn listeners(global: &Global, inheritance: Option<&mut Inheritance>) -> Result<Vec<Listener>, listen::Fault> {
    let passed = systemd::sockets().map_err(listen::Fault::activation)?;
    if !passed.is_empty() {
        return listen::activated(passed);
    }
    let given = inheritance.map(|inheritance| std::mem::take(&mut inheritance.sockets));
    listen::open(global, given.unwrap_or_default()).await
}

/// The process while it lives.
struct Process {
    house: Arc<House>,
    phase: watch::Sender<Phase>,
    crew: Arc<Crew>,
    path: PathBuf,
    log: log::Handle,
    /// The config as written, with what SET changed since.
    source: Mutex<Source>,
    reception: Arc<Reception>,
    port: http::Port,
    tenure: Arc<Tenure>,
}

impl Process {
    /// PgBouncer's signals, as 1.23 and later have them, and the console's commands.
    async fn live(&self, ears: &mut Ears) {
        loop {
            let told = tokio::select! {
                biased;
                told = ears.next() => told,
                () = self.tenure.ended(), if !self.is_closing() => {
                    self.give_way();
                    continue;
                }
                () = self.crew.all_gone(), if self.is_closing() => break,
            };
            match told {
                Told::Reload(reply) => answer(reply, self.reload()),
                Told::Set { key, value, reply } => answer(Some(reply), self.set(&key, &value)),
                Told::Pause => {
                    tracing::info!("got SIGUSR1, PAUSE");
                    self.house.backends.hold_all(Mode::Paused);
                }
                Told::Resume => {
                    tracing::info!("got SIGUSR2, RESUME");
                    self.house.backends.release_all();
                }
                Told::Close => break self.close(ears).await,
                Told::Drain => break self.drain(ears).await,
                Told::Stop => break,
            }
        }
        self.tenure.tell(&[sd_notify::NotifyState::Stopping]);
        self.reception.shut();
        self.enter(Phase::Stopping);
        let _ = tokio::time::timeout(LAST_WORDS, self.crew.all_gone()).await;
        self.house.backends.close();
        tracing::info!("process down");
    }

    fn enter(&self, phase: Phase) {
        self.phase.send_replace(phase);
        self.house.entries.enter_phase(phase);
    }

    /// Another process listens in our place: the clients that we have stay until they leave.
    fn give_way(&self) {
        tracing::info!("a new process took over: waiting for clients to leave");
        self.port.close();
        self.enter(Phase::Closing);
    }

    fn is_closing(&self) -> bool {
        *self.phase.borrow() > Phase::Running
    }

    /// SIGTERM: no new clients; the present ones leave when they like, until shutdown_timeout.
    async fn close(&self, ears: &mut Ears) {
        tracing::info!("shutting down: waiting for clients to leave");
        self.reception.close().await;
        self.enter(Phase::Closing);
        let limit = self.house.backends.ground().config.global.shutdown_timeout;
        let patience = async {
            match limit {
                Some(limit) => tokio::time::sleep(limit).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = self.crew.all_gone() => {}
            () = ears.again() => {}
            () = patience => self.drain(ears).await,
        }
    }

    /// SIGINT: each client is ended when its transaction ends.
    async fn drain(&self, ears: &mut Ears) {
        tracing::info!("shutting down: waiting for transactions to end");
        self.reception.close().await;
        self.reception.shut();
        self.house.backends.release_everything();
        self.enter(Phase::Draining);
        tokio::select! {
            () = self.crew.all_gone() => {}
            () = ears.again() => {}
        }
    }

    /// SIGHUP: the whole file, or nothing of it.
    fn reload(&self) -> Result<(), String> {
        self.tenure.tell(&[sd_notify::NotifyState::Reloading]);
        self.log.reopen();
        let before = self.house.backends.ground();
        let outcome = self.take(&before, load::reload(&self.path, &before));
        match &outcome {
            Ok(()) => tracing::info!("config reloaded"),
            Err(problems) => {
                problems.iter().for_each(|problem| tracing::error!("config not reloaded: {problem}"));
            }
        }
        self.tenure.tell(&[sd_notify::NotifyState::Ready]);
        outcome.map_err(said)
    }

    /// The console's SET: until the next reload.
    fn set(&self, key: &str, value: &str) -> Result<(), String> {
        let put = self.source.lock().put(key, value).map_err(|why| format!("{key}: {why}"))?;
        let Put::Changed(source) = put else { return Ok(()) };
        let before = self.house.backends.ground();
        self.take(&before, load::changed(&self.path, &source, &before)).map_err(said)
    }

    /// A config takes effect, unless it is refused.
    fn take(&self, before: &Ground, outcome: Outcome) -> Result<(), Vec<Problem>> {
        let loaded = match outcome {
            Outcome::Loaded(loaded) => loaded,
            Outcome::Refused(problems) => return Err(problems),
        };
        for change in config::diff(&before.config, loaded.config()) {
            match change.is_late() {
                true => tracing::warn!("config: {change}"),
                false => tracing::info!("config: {change}"),
            }
        }
        if let Err(why) = self.log.follow(&loaded.config().global) {
            tracing::error!("the log stays where it is: {why}");
        }
        *self.source.lock() = loaded.source().clone();
        let (ground, doors) = loaded.into_parts();
        speak(&ground);
        *self.house.doors.write() = Arc::new(doors);
        self.house.interner.share_after(ground.config.global.share_unnamed_after);
        self.house.backends.change(ground);
        self.house.generation.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }
}

fn said(problems: Vec<Problem>) -> String {
    problems.iter().map(|problem| format!("{}: {}", problem.key, problem.expected)).collect::<Vec<_>>().join("; ")
}

/// The SQLSTATEs of our own errors from now on.
fn speak(ground: &Ground) {
    error::speak_as_pgbouncer(ground.config.global.error_codes == ErrorCodes::PgBouncer);
}

/// The janitor, and whoever balances the workers.
async fn tend(house: Arc<House>, crew: Arc<Crew>) {
    let mut ticks = tokio::time::interval(JANITOR);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut round = 0u32;
    loop {
        ticks.tick().await;
        crew.balance();
        house.tend();
        turn_stats(&house);
        round = round.wrapping_add(1);
        if round.is_multiple_of(10) {
            house.look_at_pins();
        }
        if round.is_multiple_of(100) {
            house.sweep();
        }
    }
}

/// At the end of a stats_period its averages begin anew, and are logged.
fn turn_stats(house: &House) {
    let (stats, config) = (&house.backends.stats, house.backends.ground().config);
    if !stats.is_due(config.global.stats_period) {
        return;
    }
    let averages = stats.turn();
    if config.global.log_stats {
        tracing::info!("{}", stats::line(&averages));
    }
}

fn answer(reply: Option<Reply>, outcome: Result<(), String>) {
    // Who asked may have left.
    let _ = reply.map(|reply| reply.send(outcome));
}

//! The process: start, run, reload, pause, drain, stop.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;

use crate::client::House;
use crate::config::{self, Global};
use crate::control::Phase;
use crate::http;
use crate::net::listen::{self, Listener};
use crate::stats;

mod balance;
mod handover;
pub mod load;
pub mod log;
mod reception;
mod systemd;
mod tenure;
mod workers;

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
    let mut signals = Signals::new().map_err(|error| Fault(format!("cannot take signals: {error}")))?;
    let (phase, seen) = watch::channel(Phase::Running);
    let global = loaded.config().global.clone();
    let path = loaded.path().to_owned();
    let mut inheritance = match start {
        Start::Fresh => None,
        Start::InPlace => Inheritance::ask(&global).await?,
    };
    let listeners = listeners(&global, inheritance.as_mut()).await.map_err(|fault| Fault(fault.to_string()))?;
    let fresh = if inheritance.is_none() { Post::open(&global)? } else { None };
    let (ground, doors) = loaded.into_parts();
    let house = House::new(ground, doors, seen);
    if let Some(file) = &global.topology_state_file {
        house.backends.keep_state_in(file).map_err(Fault)?;
    }
    house.backends.watch_all();

    if let Some(inheritance) = &inheritance {
        inheritance.ready().await?;
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
    let port = http::Port::open(&house, global.http_listen.as_deref());
    tracing::info!(pid = std::process::id(), config = %path.display(), "process up: pgweir {}", env!("CARGO_PKG_VERSION"));
    tenure.tell(&[sd_notify::NotifyState::MainPid(std::process::id()), sd_notify::NotifyState::Ready]);
    Process { house, phase, crew, path, log, reception, port, tenure }.live(&mut signals).await;
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
    reception: Arc<Reception>,
    port: http::Port,
    tenure: Arc<Tenure>,
}

impl Process {
    /// PgBouncer's signals, as 1.23 and later have them.
    async fn live(&self, signals: &mut Signals) {
        loop {
            let told = tokio::select! {
                biased;
                told = signals.next() => told,
                () = self.tenure.ended(), if !self.is_closing() => {
                    self.give_way();
                    continue;
                }
                () = self.crew.all_gone(), if self.is_closing() => break,
            };
            match told {
                Told::Reload => self.reload(),
                Told::Pause => {
                    tracing::info!("got SIGUSR1, PAUSE");
                    self.house.backends.pause(true);
                }
                Told::Resume => {
                    tracing::info!("got SIGUSR2, RESUME");
                    self.house.backends.pause(false);
                }
                Told::Close => break self.close(signals).await,
                Told::Drain => break self.drain(signals).await,
                Told::Stop => break,
            }
        }
        self.tenure.tell(&[sd_notify::NotifyState::Stopping]);
        self.reception.shut();
        self.enter(Phase::Stopping);
        let _ = tokio::time::timeout(LAST_WORDS, self.crew.all_gone()).await;
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
    async fn close(&self, signals: &mut Signals) {
        tracing::info!("got SIGTERM, shutting down: waiting for clients to leave");
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
            () = signals.again() => {}
            () = patience => self.drain(signals).await,
        }
    }

    /// SIGINT: each client is ended when its transaction ends.
    async fn drain(&self, signals: &mut Signals) {
        tracing::info!("shutting down: waiting for transactions to end");
        self.reception.close().await;
        self.house.backends.pause(false);
        self.enter(Phase::Draining);
        tokio::select! {
            () = self.crew.all_gone() => {}
            () = signals.again() => {}
        }
    }

    /// SIGHUP: the whole file, or nothing of it.
    fn reload(&self) {
        self.tenure.tell(&[sd_notify::NotifyState::Reloading]);
        self.log.reopen();
        let before = self.house.backends.ground();
        match load::reload(&self.path, &before) {
            Outcome::Loaded(loaded) => {
                for change in config::diff(&before.config, loaded.config()) {
                    match change.is_late() {
                        true => tracing::warn!("config: {change}"),
                        false => tracing::info!("config: {change}"),
                    }
                }
                if let Err(why) = self.log.follow(&loaded.config().global) {
                    tracing::error!("the log stays where it is: {why}");
                }
                let (ground, doors) = loaded.into_parts();
                *self.house.doors.write() = Arc::new(doors);
                self.house.backends.change(ground);
                self.house.generation.fetch_add(1, Ordering::Relaxed);
                tracing::info!("got SIGHUP, config reloaded");
            }
            Outcome::Refused(problems) => {
                for problem in problems {
                    tracing::error!("config not reloaded: {problem}");
                }
            }
        }
        self.tenure.tell(&[sd_notify::NotifyState::Ready]);
    }
}

/// The janitor, and whoever balances the workers.
async fn tend(house: Arc<House>, crew: Arc<Crew>) {
    let mut ticks = tokio::time::interval(JANITOR);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut round = 0u32;
    loop {
        ticks.tick().await;
        crew.balance();
        house.entries.tend();
        house.backends.tend();
        turn_stats(&house);
        round = round.wrapping_add(1);
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

/// What a signal asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Told {
    Close,
    Drain,
    Pause,
    Reload,
    Resume,
    Stop,
}

struct Signals {
    hangup: Signal,
    interrupt: Signal,
    quit: Signal,
    terminate: Signal,
    user1: Signal,
    user2: Signal,
}

impl Signals {
    fn new() -> std::io::Result<Signals> {
        Ok(Signals {
            hangup: signal(SignalKind::hangup())?,
            interrupt: signal(SignalKind::interrupt())?,
            quit: signal(SignalKind::quit())?,
            terminate: signal(SignalKind::terminate())?,
            user1: signal(SignalKind::user_defined1())?,
            user2: signal(SignalKind::user_defined2())?,
        })
    }

    /// Cancel-safe.
    async fn next(&mut self) -> Told {
        tokio::select! {
            _ = self.hangup.recv() => Told::Reload,
            _ = self.interrupt.recv() => Told::Drain,
            _ = self.quit.recv() => Told::Stop,
            _ = self.terminate.recv() => Told::Close,
            _ = self.user1.recv() => Told::Pause,
            _ = self.user2.recv() => Told::Resume,
        }
    }

    /// A second signal that ends the process. Cancel-safe.
    async fn again(&mut self) {
        loop {
            match self.next().await {
                Told::Close | Told::Drain | Told::Stop => return,
                Told::Pause | Told::Reload | Told::Resume => tracing::info!("shutting down: signal ignored"),
            }
        }
    }
}

//! What the commands do. One that waits looks again and again, and ends when its operator cancels it or leaves.

use std::future::poll_fn;
use std::task::Poll;
use std::time::{Duration, Instant};

use super::command::{Action, Shutdown};
use super::extended::Answer;
use crate::client::House;
use crate::client::entry::{Entry, Order, State};
use crate::client::operator::{Operator, is_console};
use crate::client::sentence::Sentence;
use crate::cluster::holds::Mode;
use crate::config::keys;
use crate::control::{Command, Phase};
use crate::error::{Error, Kind, Side};

/// How often a wait looks whether it is over.
const LOOK: Duration = Duration::from_millis(10);

/// Carries out a command of an administrator's.
pub async fn act(operator: &mut Operator, action: &Action) -> Result<Answer, Error> {
    tracing::info!(client = operator.id, user = operator.user, "{} command issued", Said(action));
    let house = operator.house.clone();
    let backends = &house.backends;
    match action {
        Action::Disable(name) => backends.disable(known(&house, name, "disable")?, true),
        Action::Enable(name) => backends.disable(known(&house, name, "enable")?, false),
        Action::Kill(name) => kill(&house, name.as_deref())?,
        Action::KillClient(id) => kill_client(&house, *id)?,
        Action::Pause(name) => pause(operator, name.as_deref()).await?,
        Action::Reconnect { database, forget } => {
            let database = database.as_deref().map(|name| known(&house, name, "reconnect")).transpose()?;
            if let Some(name) = database.filter(|_| *forget) {
                backends.forget(name)?;
            }
            backends.recycle(database);
        }
        Action::Reload => {
            let done = house.bell.ask(Command::Reload).await;
            done.map_err(|why| Error::new(Kind::ReloadFailed, Side::Proxy).because(why))?;
        }
        Action::Resume(name) => resume(&house, name.as_deref())?,
        Action::Shutdown(how) => shutdown(operator, *how).await?,
        Action::Suspend => suspend(operator).await?,
        Action::WaitClose(name) => {
            let name = name.as_deref().map(|name| known(&house, name, "wait_close")).transpose()?;
            until(operator, || backends.standing(name).stale == 0).await?;
        }
    }
    Ok(Answer::tag(action.name()))
}

/// SET of a key of `[pgweir]`.
pub async fn set(house: &House, key: String, value: String) -> Result<Answer, Error> {
    let tag = format!("SET {key}={value}");
    tracing::info!("{tag} command issued");
    let passed = keys::passed(&key);
    let done = house.bell.ask(|reply| Command::Set { key, value, reply }).await;
    done.map_err(|why| Error::new(Kind::ConsoleValue, Side::Client).about(&format!("SET failed: {why}")))?;
    let notice = passed.map(|passed| ("SET has no effect", passed.why.to_owned()));
    Ok(Answer { notice, ..Answer::tag(&tag) })
}

/// A command as the log has it.
struct Said<'a>(&'a Action);

impl std::fmt::Display for Said<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let name = match self.0 {
            Action::Disable(name) | Action::Enable(name) => Some(name),
            Action::Kill(name) | Action::Pause(name) | Action::Resume(name) | Action::WaitClose(name) => name.as_ref(),
            Action::Reconnect { database, .. } => database.as_ref(),
            Action::KillClient(id) => return write!(f, "KILL_CLIENT {id}"),
            Action::Shutdown(Shutdown::WaitForClients) => return f.write_str("SHUTDOWN WAIT_FOR_CLIENTS"),
            Action::Shutdown(Shutdown::WaitForServers) => return f.write_str("SHUTDOWN WAIT_FOR_SERVERS"),
            Action::Reload | Action::Shutdown(Shutdown::AtOnce) | Action::Suspend => None,
        };
        f.write_str(self.0.name())?;
        name.map_or(Ok(()), |name| write!(f, " {name:?}"))?;
        let forget = matches!(self.0, Action::Reconnect { forget: true, .. });
        f.write_str(if forget { " FORGET" } else { "" })
    }
}

/// The name of a database that clients may ask for.
fn known<'a>(house: &House, name: &'a str, doing: &str) -> Result<&'a str, Error> {
    if is_console(name) {
        return Err(state(&format!("cannot {doing} admin db: {name}")));
    }
    match house.backends.ground().config.database(name) {
        Some(_) => Ok(name),
        None => Err(Error::new(Kind::ConsoleDatabase, Side::Client).about(name)),
    }
}

fn state(text: &str) -> Error {
    Error::new(Kind::ConsoleState, Side::Client).about(text)
}

fn is_held(house: &House) -> Result<(), Error> {
    match house.backends.mode() {
        Mode::Running => Ok(()),
        Mode::Paused | Mode::Suspended => Err(state("already suspended/paused")),
    }
}

/// Nothing is lent, and every connection closes; answered once all have.
async fn pause(operator: &mut Operator, database: Option<&str>) -> Result<(), Error> {
    let house = operator.house.clone();
    let backends = &house.backends;
    is_held(&house)?;
    let Some(name) = database else {
        if !backends.hold_all(Mode::Paused) {
            return Err(state("already suspended/paused"));
        }
        // Somebody else's RESUME ends it as well.
        let paused = until(operator, || backends.mode() != Mode::Paused || backends.standing(None).open == 0).await;
        return paused.inspect_err(|error| undo(error, || _ = backends.release_all()));
    };
    let name = known(&house, name, "pause")?;
    backends.hold(name);
    let paused = until(operator, || !backends.is_held(name) || backends.standing(Some(name)).open == 0).await;
    paused.inspect_err(|error| undo(error, || _ = backends.release(name)))
}

/// ^C at a PAUSE is a RESUME; an operator that only left wants it to stay.
fn undo(error: &Error, resume: impl FnOnce()) {
    if error.kind == Kind::CancelledWait {
        resume();
    }
}

fn resume(house: &House, database: Option<&str>) -> Result<(), Error> {
    if *house.phase.borrow() > Phase::Running {
        return Err(state("pooler is shutting down"));
    }
    let Some(name) = database else {
        return match house.backends.release_all() {
            true => {
                house.entries.suspend(false);
                Ok(())
            }
            false => Err(state("pooler is not paused/suspended")),
        };
    };
    // One that a reload took out of the config may still be held.
    match house.backends.release(name) {
        true => Ok(()),
        false => known(house, name, "resume").and_then(|_| Err(state(&format!("database {name} is not paused")))),
    }
}

/// Lends nothing, and has those with a server hold still; waits until they do, up to suspend_timeout: then those who do
/// not are ended. It ends with its console.
async fn suspend(operator: &mut Operator) -> Result<(), Error> {
    let house = operator.house.clone();
    let backends = &house.backends;
    is_held(&house)?;
    if backends.holds_some() {
        return Err(state("cannot suspend with paused databases"));
    }
    if !backends.hold_all(Mode::Suspended) {
        return Err(state("already suspended/paused"));
    }
    operator.suspends = true;
    house.entries.suspend(true);
    let limit = backends.ground().config.global.suspend_timeout;
    let began = Instant::now();
    let straggles = |entry: &Entry| entry.is_straggling() && !at_console(entry);
    let suspended = until(operator, || {
        let left = house.entries.all().iter().any(|entry| straggles(entry));
        if left && limit.is_some_and(|limit| began.elapsed() >= limit) {
            house.entries.condemn_where(Sentence::Suspend, straggles);
        }
        !left || backends.mode() != Mode::Suspended
    });
    suspended.await.inspect_err(|error| undo(error, || _ = backends.release_all()))
}

fn at_console(entry: &Entry) -> bool {
    is_console(entry.shown.tally().database())
}

/// Ends the clients and connections of a database, or of all, and holds it.
fn kill(house: &House, database: Option<&str>) -> Result<(), Error> {
    is_held(house)?;
    let names = match database {
        Some(name) => vec![known(house, name, "kill")?.to_owned()],
        None => house.backends.all().iter().map(|backed| backed.backend.database.clone()).collect(),
    };
    for name in &names {
        house.backends.hold(name);
    }
    let is_of = |entry: &Entry| names.iter().any(|name| **name == **entry.shown.tally().database());
    house.entries.condemn_where(Sentence::Database, is_of);
    Ok(())
}

fn kill_client(house: &House, id: u64) -> Result<(), Error> {
    match house.entries.condemn_where(Sentence::Client, |entry| entry.shown.who.id == id) {
        0 => Err(Error::new(Kind::ConsoleClient, Side::Client)),
        _ => Ok(()),
    }
}

/// The process does the rest. Without a wait there is no answer but the end of the connection.
async fn shutdown(operator: &mut Operator, how: Shutdown) -> Result<(), Error> {
    let bell = operator.house.bell.clone();
    match how {
        Shutdown::WaitForClients => bell.ring(Command::Close),
        Shutdown::WaitForServers => bell.ring(Command::Drain),
        Shutdown::AtOnce => {
            bell.ring(Command::Stop);
            until(operator, || false).await?;
        }
    }
    Ok(())
}

/// Waits until it is so. A cancel request ends it, and so does the operator's leave, or its end.
async fn until(operator: &mut Operator, mut over: impl FnMut() -> bool) -> Result<(), Error> {
    // A cancel request that came after the last wait is not about this one.
    let _ = operator.entry.take_order();
    operator.entry.enter(State::Waiting);
    let mut ticks = tokio::time::interval(LOOK);
    loop {
        let entry = &operator.entry;
        tokio::select! {
            biased;
            error = super::ended(entry) => return Err(error),
            () = cancelled(entry) => return Err(Error::new(Kind::CancelledWait, Side::Client)),
            () = operator.talk.hung_up() => return Err(Error::new(Kind::ClientGone, Side::Client)),
            _ = ticks.tick() => if over() { return Ok(()) },
        }
    }
}

/// Ends with a cancel request. Cancel-safe.
async fn cancelled(entry: &Entry) {
    poll_fn(|cx| {
        entry.run_by(cx.waker());
        if entry.take_order() == Order::CancelWait { Poll::Ready(()) } else { Poll::Pending }
    })
    .await;
}

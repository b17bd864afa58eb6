//! Watching one server over a connection of its own that stays open: role, identity and position in one round trip.
//!
//! Each look has a deadline; a failed one closes the connection, and the next follows after `probe_interval`. While
//! somebody waits for freshness, looks follow each other at `sampler::GAP`; while the primary may be lost, at `RUSH`.
//! Now and then the connection is replaced: a postmaster that hangs shows at new ones only.

use std::sync::{Arc, Weak};
use std::time::Duration;

use tokio::time::Instant;

use super::Cluster;
use super::answer::{self, Answer, Row};
use super::decide::Seen;
use super::judge::Look;
use super::sampler::{GAP, Sampler};
use crate::config::Address;
use crate::error::{Error, Kind, Side};
use crate::net::parting;
use crate::net::talk::Talk;
use crate::route::topology::Identity;
use crate::server::login::{self, Plan};
use crate::wire::{back, backend, encode, frame};

/// One row, which nothing but LOGIN is needed for. The outer query must not ask for what the other role refuses
/// (55000).
const WHOLE: &[u8] = b"select r, \
    case when r then pg_catalog.pg_last_wal_replay_lsn() else pg_catalog.pg_current_wal_insert_lsn() end, \
    case when r then pg_catalog.pg_is_wal_replay_paused() else false end, \
    (select system_identifier from pg_catalog.pg_control_system()), \
    case when r then pg_catalog.to_hex(greatest(\
        (select timeline_id from pg_catalog.pg_control_checkpoint()), \
        (select min_recovery_end_timeline from pg_catalog.pg_control_recovery()), \
        (select received_tli from pg_catalog.pg_stat_get_wal_receiver()))) \
    else pg_catalog.substr(pg_catalog.pg_walfile_name(pg_catalog.pg_current_wal_insert_lsn()), 1, 8) end, \
    pg_catalog.current_setting('wal_block_size'), \
    pg_catalog.pg_size_bytes(pg_catalog.current_setting('wal_segment_size')), \
    pg_catalog.current_setting('synchronous_standby_names') \
    from (select pg_catalog.pg_is_in_recovery()) as x(r)";

/// What changes from one moment to the next.
const POSITION: &[u8] = b"select r, \
    case when r then pg_catalog.pg_last_wal_replay_lsn() else pg_catalog.pg_current_wal_insert_lsn() end, \
    case when r then pg_catalog.pg_is_wal_replay_paused() else false end \
    from (select pg_catalog.pg_is_in_recovery()) as x(r)";

/// How long a server is spared a question that it refused.
const PATIENCE: Duration = Duration::from_secs(60);

/// How long a connection is kept, so that a new one is tried.
const RENEWAL: Duration = Duration::from_secs(10);

/// Between two looks at a server while the primary may be lost.
const RUSH: Duration = Duration::from_millis(15);

/// What every server answers.
const ROLE: &[u8] = b"select pg_catalog.pg_is_in_recovery()";

/// Looks at one node until its cluster is gone.
pub struct Monitor {
    cluster: Weak<Cluster>,
    sampler: Arc<Sampler>,
    plan: Plan,
    interval: Duration,
    timeout: Duration,
    line: Option<Line>,
    /// Logins that the server refused: the next one is tried at the next of the cluster's databases.
    refused: usize,
    /// A client's connection ended, or could not be opened: whether a new one can is asked too.
    summoned: bool,
}

/// An open connection and what it told.
struct Line {
    address: Address,
    talk: Talk,
    since: Instant,
    /// When the next one was last tried.
    tried: Instant,
    major: Option<u32>,
    /// In the last whole answer.
    whole: Option<Answer>,
    /// The server would not answer all of it: the user may not ask. It is asked again after this.
    restricted: Option<Instant>,
    /// Nothing is asked that was not answered.
    quiet: bool,
}

/// Why there is no look.
enum Miss {
    /// No answer in time.
    Late,
    Failed(Error),
}

impl From<Error> for Miss {
    fn from(error: Error) -> Miss {
        Miss::Failed(error)
    }
}

impl std::fmt::Display for Miss {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Miss::Late => f.write_str("no answer in time"),
            Miss::Failed(error) => error.fmt(f),
        }
    }
}

/// What ended a pause.
enum Next {
    Position,
    Whole,
}

impl Monitor {
    pub fn new(cluster: &Arc<Cluster>, plan: Plan, interval: Duration, timeout: Duration) -> Monitor {
        let sampler = Arc::clone(&cluster.sampler);
        Monitor {
            cluster: Arc::downgrade(cluster),
            sampler,
            plan,
            interval,
            timeout,
            line: None,
            refused: 0,
            summoned: false,
        }
    }

    pub async fn run(mut self) {
        let mut next = Next::Whole;
        let mut due = Instant::now();
        loop {
            if self.line.is_none() {
                let Some(cluster) = self.cluster() else { return };
                self.plan.database = cluster.place(self.refused);
                next = Next::Whole;
            }
            let sent = Instant::now();
            if matches!(next, Next::Whole) {
                due = sent + self.interval;
            }
            let outcome = match self.renew(&next).await {
                Ok(()) => in_time(self.timeout, self.look(&next)).await,
                Err(error) => Err(error),
            };
            let Some(cluster) = self.cluster() else { return };
            self.report(&cluster, outcome);
            drop(cluster);
            next = self.pause(sent, due).await;
        }
    }

    fn cluster(&self) -> Option<Arc<Cluster>> {
        self.cluster.upgrade().filter(|cluster| !cluster.is_retired())
    }

    fn report(&mut self, cluster: &Cluster, outcome: Result<Look, Miss>) {
        let node = self.plan.node;
        match outcome {
            Ok(look) => {
                let names = self.line.as_ref().and_then(|line| line.whole.as_ref()).map(|whole| whole.is_synchronous);
                cluster.look(node, &look, names.filter(|_| !look.in_recovery));
            }
            Err(miss) => {
                tracing::debug!(server = %self.plan.route.address, "probe failed: {miss}");
                if self.line.is_none() && matches!(&miss, Miss::Failed(error) if error.said.is_some()) {
                    self.refused = self.refused.wrapping_add(1);
                }
                self.line = None;
                match miss {
                    Miss::Late => cluster.see(node, Seen::Late),
                    // A server without a free slot lives: what it was stands.
                    Miss::Failed(error) if is_full(&error) && cluster.is_known(node) => cluster.spare(node),
                    Miss::Failed(_) => cluster.see(node, Seen::Failed),
                }
            }
        }
    }

    /// Until the next question is due, or wanted and allowed.
    async fn pause(&mut self, sent: Instant, due: Instant) -> Next {
        let (node, sampler) = (self.plan.node, Arc::clone(&self.sampler));
        let gap = loop {
            self.summoned |= sampler.is_summoned(node);
            if self.summoned || sampler.is_hurried(self.line.is_some()) {
                break RUSH;
            }
            let mut line = self.line.as_mut();
            if line.is_some() && sampler.is_awaited(node) {
                break GAP;
            }
            let is_open = line.is_some();
            let end = async {
                match &mut line {
                    Some(line) => ended(&mut line.talk).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = sampler.rung(node) => {
                    if self.cluster.strong_count() == 0 || (is_open && sampler.is_wanted(node)) { break GAP }
                }
                () = tokio::time::sleep_until(due) => return Next::Whole,
                () = end => return self.lost().await,
            }
        };
        tokio::time::sleep_until((sent + gap).min(due)).await;
        if self.summoned || self.line.is_none() || Instant::now() >= due { Next::Whole } else { Next::Position }
    }

    /// The server ended the connection: a sign of its loss, and it is asked at once. One that has just been opened is
    /// not opened again at once, and proves nothing.
    async fn lost(&mut self) -> Next {
        let soonest = self.line.take().map_or_else(Instant::now, |line| line.since + self.interval);
        if soonest > Instant::now() {
            tokio::time::sleep_until(soonest).await;
        } else if let Some(cluster) = self.cluster() {
            cluster.see(self.plan.node, Seen::Doubted);
        }
        Next::Whole
    }

    /// Opens a new connection where the old one is old, or somebody else's ended, and then closes the old one. A server
    /// that answers with a refusal is asked by the old one still, unless it says that it goes down or comes up.
    async fn renew(&mut self, next: &Next) -> Result<(), Miss> {
        let age = if std::mem::take(&mut self.summoned) { self.interval } else { RENEWAL };
        let Some(line) = &mut self.line else { return Ok(()) };
        if line.tried.elapsed() < age || matches!(next, Next::Position) {
            return Ok(());
        }
        line.tried = Instant::now();
        let restricted = line.restricted;
        match in_time(self.timeout, Line::open(&self.plan)).await {
            Ok(mut line) => {
                line.restricted = restricted;
                self.line = Some(line);
            }
            Err(Miss::Failed(error)) if error.said.as_ref().is_some_and(|s| !s.sqlstate.starts_with("57P")) => {}
            Err(miss) => return Err(miss),
        }
        Ok(())
    }

    /// Not cancel-safe: a look that is cut short leaves the connection in the middle of an answer, and it is closed.
    async fn look(&mut self, what: &Next) -> Result<Look, Error> {
        let mut line = match self.line.take() {
            Some(line) => line,
            None => Line::open(&self.plan).await?,
        };
        line.quiet = false;
        let look = line.look(what, &self.sampler).await;
        if look.is_ok() {
            line.quiet = true;
            self.line = Some(line);
        }
        look
    }
}

impl Line {
    async fn open(plan: &Plan) -> Result<Line, Error> {
        let found = login::login(plan).await?;
        let major = answer::major(&found.reported);
        let talk = Talk::new(found.server.stream);
        let (address, now) = (plan.route.address.clone(), Instant::now());
        Ok(Line { address, talk, since: now, tried: now, major, whole: None, restricted: None, quiet: true })
    }

    async fn look(&mut self, what: &Next, sampler: &Sampler) -> Result<Look, Error> {
        if let (Next::Position, Some(whole)) = (what, &self.whole) {
            let (page, segment, was) = (whole.page, whole.segment, whole.position.in_recovery);
            let at = sampler.clock().now();
            match ask(&mut self.talk, POSITION).await {
                Ok(row) => {
                    let answer = answer::position(&row)?;
                    if answer.in_recovery == was {
                        return Ok(answer.look(at, page, segment));
                    }
                }
                Err(error) if error.said.is_none() => return Err(error),
                Err(_) => {}
            }
            // A promotion, which is looked at whole.
        }
        if self.restricted.is_some_and(|until| Instant::now() < until) {
            return self.role(sampler).await;
        }
        let at = sampler.clock().now();
        let answer = match ask(&mut self.talk, WHOLE).await {
            Ok(row) => answer::whole(&row)?,
            Err(error) if error.said.is_some() => {
                self.restrict(&error);
                return self.role(sampler).await;
            }
            Err(error) => return Err(error),
        };
        let mut look = answer.position.look(at, answer.page, answer.segment);
        look.identity = Some(Identity { major: self.major, ..answer.identity });
        self.whole = Some(answer);
        Ok(look)
    }

    /// For a server that said no more, this time or ever. Who it is stands as long as its role does.
    async fn role(&mut self, sampler: &Sampler) -> Result<Look, Error> {
        let at = sampler.clock().now();
        let in_recovery = ask(&mut self.talk, ROLE).await.and_then(|row| answer::role(&row))?;
        self.whole = self.whole.take().filter(|whole| whole.position.in_recovery == in_recovery);
        let unknown = || Identity { major: self.major, ..Identity::default() };
        let identity = if self.whole.is_some() { None } else { Some(unknown()) };
        Ok(Look { at, in_recovery, position: None, paused: false, identity })
    }

    /// Class 42: the user may not ask, or there is nothing to ask. Other errors pass, as 55000 when a promotion falls
    /// between two parts of one answer.
    fn restrict(&mut self, error: &Error) {
        if error.said.as_ref().is_some_and(|said| said.sqlstate.starts_with("42")) {
            let server = &self.address;
            tracing::warn!(%server, "it does not tell its position, which reads on standbys need: {error}");
            self.restricted = Some(Instant::now() + PATIENCE);
        }
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        if self.quiet {
            parting::part(&mut self.talk.stream);
        }
    }
}

async fn in_time<T>(limit: Duration, work: impl Future<Output = Result<T, Error>>) -> Result<T, Miss> {
    match tokio::time::timeout(limit, work).await {
        Ok(done) => done.map_err(Miss::Failed),
        Err(_) => Err(Miss::Late),
    }
}

/// All of its slots are in use (too_many_connections).
fn is_full(error: &Error) -> bool {
    error.said.as_ref().is_some_and(|said| said.sqlstate == "53300")
}

/// Ends when the connection does, or says what nobody asked for. Cancel-safe.
async fn ended(talk: &mut Talk) {
    loop {
        match talk.message(frame::LOGIN_LIMIT).await {
            Ok(message) if [back::NOTICE, back::PARAMETER_STATUS].contains(&message.tag) => {}
            _ => return,
        }
    }
}

/// Asks a question of one row. An ErrorResponse is an error that carries the server's code and text, and leaves the
/// connection ready for the next question. Not cancel-safe.
pub async fn ask(talk: &mut Talk, question: &[u8]) -> Result<Row, Error> {
    encode::query(&mut talk.out, question);
    talk.flush().await.map_err(|error| Error::new(Kind::ServerGone, Side::Server).because(error))?;
    let mut answer = Err(Error::desync("no row in a probe's answer"));
    loop {
        let message = talk
            .message(frame::LOGIN_LIMIT)
            .await
            .map_err(|fault| Error::new(Kind::ServerGone, Side::Server).because(fault))?;
        match message.tag {
            back::DATA_ROW => answer = answer::columns(&message.body),
            back::READY_FOR_QUERY => return answer,
            back::ERROR => {
                let text = String::from_utf8_lossy(backend::field(&message.body, b'M').unwrap_or_default());
                let sqlstate = String::from_utf8_lossy(backend::sqlstate(&message.body));
                answer = Err(Error::new(Kind::ServerGone, Side::Server).said(&sqlstate, &text));
            }
            _ => {}
        }
    }
}

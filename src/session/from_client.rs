//! [pure] What becomes of what a client sends while it holds a server.

use super::ledger::{Action, Kind, Owed};
use super::outbox::Outbox;
use super::pin::Pin;
use super::prepared::Effect;
use super::reset::Resetting;
use super::unnamed::Unnamed;
use super::wishes::Wished;
use super::{Batch, Ddl, Frame, FromClient, ServerState, Session};
use crate::config::PoolMode;
use crate::error::Error;
use crate::sql::{self, End, Special, Taint, Taints};
use crate::wire::backend::TxStatus;
use crate::wire::frontend;
use crate::wire::{encode, front};

impl Session {
    /// Judges one frame. `to_server` and `to_client` take what we author; the frame itself goes behind that.
    pub fn client(
        &mut self,
        frame: Frame<'_>,
        server: &mut ServerState,
        to_server: &mut Outbox<'_>,
        to_client: &mut Outbox<'_>,
    ) -> Result<FromClient, Error> {
        let tag = frame.header.tag;
        if tag != front::TERMINATE {
            self.realign(server, to_server);
        }
        if self.holds_client() || tag == front::EXECUTE && self.must_wait(&frame, to_server) {
            return Ok(FromClient::Wait);
        }
        self.record(&frame);
        server.parsed.release();
        let (kept, pin) = (self.earlier.len(), self.pin);
        let verdict = self.judge(frame, server, to_server)?;
        if self.earlier.len() > kept {
            self.ledger.last_replaces();
        }
        self.warn_of_pin(pin);
        if matches!(tag, front::FLUSH | front::SYNC) && !self.ledger.speaks_of_shared() {
            self.replay.stop();
        }
        self.flush_fakes(to_client);
        Ok(verdict)
    }

    fn judge(
        &mut self,
        frame: Frame<'_>,
        server: &mut ServerState,
        to_server: &mut Outbox<'_>,
    ) -> Result<FromClient, Error> {
        match frame.header.tag {
            front::TERMINATE => Ok(FromClient::Terminate),
            front::COPY_DATA | front::COPY_DONE | front::COPY_FAIL => Ok(self.copy(frame.header.tag)),
            front::SYNC => Ok(self.sync()),
            _ if matches!(self.batch, Batch::Failed | Batch::Refused) => {
                known(frame.header.tag).map(|()| FromClient::Swallow)
            }
            front::QUERY | front::PARSE | front::BIND if self.forbids() => {
                self.unless_forbidden(frame, server, to_server)
            }
            _ => self.pass_on(frame, server, to_server),
        }
    }

    /// What may go to a server, as it is or with what it needs.
    pub(super) fn pass_on(
        &mut self,
        frame: Frame<'_>,
        server: &mut ServerState,
        to_server: &mut Outbox<'_>,
    ) -> Result<FromClient, Error> {
        match frame.header.tag {
            front::QUERY => self.query(&frame, server, to_server),
            front::PARSE => self.parse(&frame, server, to_server),
            front::BIND => self.bind(&frame, server, to_server),
            front::DESCRIBE => Ok(self.describe(&frame, server, to_server)),
            front::CLOSE => Ok(self.close(&frame)),
            front::EXECUTE => self.execute(&frame, server, to_server),
            front::FUNCTION_CALL => Ok(self.forward(Kind::Function)),
            front::FLUSH => Ok(FromClient::Forward),
            tag => known(tag).map(|()| FromClient::Swallow),
        }
    }

    pub(super) fn forward(&mut self, kind: Kind) -> FromClient {
        self.ledger.push(Owed::new(kind, Action::Forward));
        FromClient::Forward
    }

    /// Keeps a batch that begins with a shared statement, as long as it can be sent again.
    fn record(&mut self, frame: &Frame<'_>) {
        let tag = frame.header.tag;
        if matches!(tag, front::BIND | front::DESCRIBE) && self.may_repeat() {
            self.replay.start();
        }
        let kept = frame.whole() && !matches!(tag, front::QUERY | front::FUNCTION_CALL);
        self.replay.record(tag, kept.then_some(frame.body));
        if tag == front::SYNC {
            self.replay.complete();
        }
    }

    /// Whether a batch that begins now could be sent again.
    pub(super) fn may_repeat(&self) -> bool {
        let first = self.batch == Batch::Closed && self.ledger.is_empty();
        first && self.tracking && self.status == TxStatus::Idle && self.pin.is_none()
    }

    /// COPY data belongs to a COPY that runs or may start; what comes after its end goes nowhere (PROTOCOL 17).
    fn copy(&mut self, tag: u8) -> FromClient {
        let taken = self.copy_in || (self.batch != Batch::Failed && !self.ledger.is_empty());
        if tag != front::COPY_DATA {
            self.copy_in = false;
            self.copy_ends = self.copy_ends.saturating_add(1);
            self.ledger.seal();
        }
        if taken { FromClient::Forward } else { FromClient::Swallow }
    }

    /// Each Sync is answered by one ReadyForQuery, but for those that a server reads inside a COPY.
    fn sync(&mut self) -> FromClient {
        if self.copy_in {
            return FromClient::Forward;
        }
        if self.large_unbound {
            self.large_unbound = false;
            self.pin_for(Pin::LargeParse);
        }
        self.batch = Batch::Closed;
        let end = std::mem::take(&mut self.batch_end).unwrap_or(End::Harmless);
        self.ledger.push(Owed { ends: self.copy_ends, end, ..Owed::new(Kind::Sync, Action::Forward) });
        FromClient::Forward
    }

    fn query(
        &mut self,
        frame: &Frame<'_>,
        server: &mut ServerState,
        to_server: &mut Outbox<'_>,
    ) -> Result<FromClient, Error> {
        // A simple query destroys the unnamed statement and portal (PROTOCOL 7).
        self.replace_unnamed(Unnamed::None);
        self.set_portal_effect(b"", None);
        self.copy_ends = 0;
        if self.mode == PoolMode::Session {
            return Ok(self.forward(Kind::Query));
        }
        if !frame.whole() {
            self.move_for_large(frame.body, to_server);
            self.pin_for(Pin::LargeQuery);
            return Ok(self.forward(Kind::Query));
        }
        let Some(text) = frontend::query(frame.body) else { return Ok(self.forward(Kind::Query)) };
        self.note_ending(text);
        if self.is_plain(text) {
            // What follows would find nothing to do.
            return Ok(self.forward(Kind::Query));
        }
        let statement = self.by_tokens(text);
        self.note_catalog(statement.catalog);
        let instead = FromClient::Replaced { taken: frame.header.len };
        let effect = match self.own_effect(&statement, text) {
            Some(Wished::Effect(effect)) => Some(effect),
            Some(Wished::Refused(instead_text)) => {
                encode::query(to_server.end(), &instead_text);
                self.ledger.push(Owed::new(Kind::Query, Action::Forward));
                return Ok(instead);
            }
            None => None,
        };
        if effect == Some(Effect::DeallocateAll) && self.is_rooted() {
            return Ok(self.discard(Effect::DeallocateAll, Kind::Query, server));
        }
        if let Some(effect) = effect {
            encode::query(to_server.end(), b"");
            self.begin(effect);
            self.ledger.push(Owed::new(Kind::Query, Action::Tag));
            return Ok(instead);
        }
        if statement.special == Special::DiscardAll && self.tracking {
            return Ok(self.discard(Effect::DiscardAll, Kind::Query, server));
        }
        if let Some(all) = self.assigns(&statement, text) {
            self.send_sets(Kind::Query, all);
            return Ok(FromClient::Forward);
        }
        if statement.names && self.tracking && self.query_by_name(&statement, text, server, to_server)? {
            return Ok(instead);
        }
        let end = statement.end;
        if statement.taints.contains(Taint::Deallocate) {
            server.parsed.doubt_all();
        }
        self.note_taint(&statement, text, server, to_server);
        let verdict = self.forward(Kind::Query);
        self.ledger.last_ends(end);
        Ok(verdict)
    }

    /// What a statement's text may do to session state, or read of it. `currval` and `lastval` read what another
    /// client's `nextval` left: at the start of a loan the server forgets that, so that they answer 55000 as in a new
    /// session. Behind statements of the same transaction they find what those left.
    pub(super) fn tainted(&mut self, taints: Taints, to_server: &mut Outbox<'_>) {
        self.reads_sequences(taints, to_server);
        self.pin_for_all(taints.without(Taints::of(&[Taint::Currval])));
    }

    /// Of what a text does that is only parsed, this comes first: its Bind may stand in the same batch.
    pub(super) fn reads_sequences(&mut self, taints: Taints, to_server: &mut Outbox<'_>) {
        let begins = || self.ledger.owes_client_nothing() && self.status == TxStatus::Idle;
        let free = self.pin.is_none() && self.mode != PoolMode::Session;
        if taints.contains(Taint::Currval) && free && begins() {
            encode::query(to_server.end(), b"DISCARD SEQUENCES");
            self.ledger.push(Owed::new(Kind::Query, Action::Skip));
        }
    }

    /// A statement that changes session state pins; one that leads settings back is followed instead where it can be.
    pub(super) fn note_taint(
        &mut self,
        statement: &sql::Statement<'_>,
        text: &[u8],
        server: &ServerState,
        to_server: &mut Outbox<'_>,
    ) {
        let resetting = self.resets(statement, text, server);
        if resetting != Resetting::NOTHING {
            self.resetting = resetting;
            return;
        }
        match statement.taint {
            None if statement.special == Special::ResetAll => self.pin_for(Pin::Statement(Taint::Reset)),
            _ => self.tainted(statement.taints, to_server),
        }
    }

    /// A statement of the open batch does this to its transaction; of several the strongest counts.
    pub(super) fn note_end(&mut self, end: End) {
        self.batch_end = match (self.batch_end, end) {
            (Some(End::Commits), _) | (_, End::Commits) => Some(End::Commits),
            (Some(End::Harmless) | None, end) => Some(end),
            _ => Some(End::Open),
        };
    }

    pub(super) fn note_catalog(&mut self, changes: bool) {
        if changes {
            self.ddl = Ddl::Running;
        }
    }

    /// What comes next was looked at, and is nothing but reads: its texts need not be judged again.
    pub fn expect_reads(&mut self, all_read: bool) {
        self.expects_reads = all_read;
    }

    /// What a text may do to the session.
    pub(super) fn classified<'t>(&self, text: &'t [u8]) -> sql::Statement<'t> {
        if self.is_plain(text) { sql::Statement::READ } else { self.by_tokens(text) }
    }

    /// The same of one that is not plain.
    fn by_tokens<'t>(&self, text: &'t [u8]) -> sql::Statement<'t> {
        let mut statement = sql::classify(text, self.lexical, self.reported);
        statement.add(self.hidden_in(text));
        statement
    }

    /// Whether a text is one statement that plainly leaves nothing.
    fn is_plain(&self, text: &[u8]) -> bool {
        let judged = || sql::classify(text, self.lexical, self.reported);
        debug_assert!(!self.expects_reads || judged() == sql::Statement::READ);
        self.expects_reads || sql::is_plain(text, self.lexical) && self.hidden_in(text).is_empty()
    }

    /// DEALLOCATE of statements that exist under shared names only, and SET of what is ours: ours to do. In a failed
    /// transaction the server refuses it like anything else.
    pub(super) fn own_effect(&self, statement: &sql::Statement<'_>, text: &[u8]) -> Option<Wished> {
        if self.status == TxStatus::Failed {
            return None;
        }
        match statement.special {
            Special::Deallocate(name) if self.tracking => {
                let name = sql::fold_identifier(name);
                self.statements.find(&name).map(|_| Wished::Effect(Effect::Deallocate(name.as_ref().into())))
            }
            Special::DeallocateAll if self.tracking => Some(Wished::Effect(Effect::DeallocateAll)),
            _ if matches!(statement.taint, Some(Taint::Set | Taint::Reset)) => self.wished(text, self.lexical),
            _ => None,
        }
    }
}

/// Tags that a client may send in a session.
fn known(tag: u8) -> Result<(), Error> {
    let all = [
        front::BIND,
        front::CLOSE,
        front::DESCRIBE,
        front::EXECUTE,
        front::FLUSH,
        front::FUNCTION_CALL,
        front::PARSE,
        front::QUERY,
    ];
    if all.contains(&tag) {
        return Ok(());
    }
    Err(Error::protocol(&format!("invalid frontend message type {tag}")))
}

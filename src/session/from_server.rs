//! [pure] What becomes of what a server answers.

use super::ledger::{Action, Kind, Owed};
use super::outbox::Outbox;
use super::pin::Pin;
use super::replay::is_stale;
use super::reset::Resetting;
use super::settings;
use super::unnamed::{OnServer, Unnamed};
use super::{Batch, Ddl, Frame, FromServer, ServerState, Session};
use crate::config::PoolMode;
use crate::error::{Error, Kind as ErrorKind, Side};
use crate::wire::backend::{self, TxStatus};
use crate::wire::{back, encode};

impl Session {
    /// Judges one frame. What is authored goes in front of it.
    pub fn server(
        &mut self,
        frame: Frame<'_>,
        server: &mut ServerState,
        to_client: &mut Outbox<'_>,
    ) -> Result<FromServer, Error> {
        let tag = frame.header.tag;
        match tag {
            // A server that goes says so in a Notice, too (57P01, 57P02).
            back::NOTICE if self.may_outlive(frame.body) => Ok(FromServer::Swallow),
            back::NOTICE => Ok(self.unless_skipped()),
            back::PARAMETER_STATUS => self.parameter_status(&frame, server, to_client),
            back::NOTIFICATION => Ok(self.notification()),
            back::ERROR => self.error(&frame, server, to_client),
            back::PARAMETER_DESCRIPTION if self.keep_parameters(&frame) => Ok(FromServer::Swallow),
            back::READY_FOR_QUERY => {
                self.say_first(to_client);
                self.ready(&frame, server, to_client)
            }
            _ => {
                self.say_first(to_client);
                let verdict = self.answer(tag, &frame, server, to_client)?;
                if verdict == FromServer::Forward {
                    self.replay.stop();
                }
                Ok(verdict)
            }
        }
    }

    /// Whether a frame with this tag may pass without a look: a row or a COPY's data where the head of the ledger is one
    /// that yields rows to the client; what describes the rows of a Query, too, unless something is to be told in front.
    #[inline]
    pub fn passes(&self, tag: u8) -> bool {
        if !matches!(tag, back::DATA_ROW | back::COPY_DATA | back::ROW_DESCRIPTION) {
            return false;
        }
        let Some(owed) = self.ledger.head() else { return false };
        let seen = matches!(owed.action, Action::Forward | Action::Spliced);
        let yields = match owed.kind {
            Kind::Query => tag != back::ROW_DESCRIPTION || owed.pin.is_none(),
            Kind::Execute => tag != back::ROW_DESCRIPTION,
            _ => false,
        };
        seen && yields && !self.replay.can()
    }

    /// What stands in front of the server's answer goes out.
    #[inline]
    fn say_first(&mut self, to_client: &mut Outbox<'_>) {
        if self.ledger.head().is_some_and(|owed| owed.action == Action::Fake || owed.pin.is_some()) {
            self.release_fakes(to_client);
            self.tell_of_pin(to_client);
        }
    }

    pub(super) fn unless_skipped(&self) -> FromServer {
        match self.ledger.head() {
            Some(owed) if owed.is_unseen() || owed.action == Action::Ask => FromServer::Swallow,
            _ => FromServer::Forward,
        }
    }

    /// In transaction mode only a client that listens, and is therefore pinned, may get one. Otherwise the server has
    /// a listener's state that nobody knows of: it does not go back.
    #[cold]
    fn notification(&mut self) -> FromServer {
        if self.pin.is_some() || self.mode == PoolMode::Session {
            return FromServer::Forward;
        }
        self.pin_for(Pin::Notified);
        FromServer::Swallow
    }

    /// The messages that answer one entry each.
    fn answer(
        &mut self,
        tag: u8,
        frame: &Frame<'_>,
        server: &mut ServerState,
        to_client: &mut Outbox<'_>,
    ) -> Result<FromServer, Error> {
        use Kind::{Bind, Close, DescribePortal, DescribeStatement, Execute, Function, Parse, Query};
        let Some(head) = self.ledger.head().copied() else { return Err(self.desync(tag)) };
        if (tag, head.action) == (back::DATA_ROW, Action::Ask) {
            self.pins_answered(frame.body);
        }
        match (tag, head.kind) {
            (back::PARSE_COMPLETE, Parse) | (back::CLOSE_COMPLETE, Close) => {
                if head.statement != 0 {
                    server.parsed.answered(head.statement);
                }
                if is_unnamed_parse(&head) && is_sent_in(&self.unnamed, head.batch) {
                    self.unnamed = Unnamed::Known(OnServer::Yes);
                }
                if head.action == Action::Rename {
                    self.rare.next_rename();
                }
                Ok(self.done())
            }
            (back::BIND_COMPLETE, Bind) => Ok(self.done()),
            (back::ROW_DESCRIPTION | back::NO_DATA, DescribePortal | DescribeStatement) => {
                self.release_parameters(to_client);
                self.rows_described(frame, &head, server);
                Ok(self.done())
            }
            (back::PARAMETER_DESCRIPTION, DescribeStatement) => {
                self.parameters_described(frame, &head);
                Ok(self.unless_skipped())
            }
            (back::COMMAND_COMPLETE, Query | Execute) => {
                if head.statement != 0 {
                    server.parsed.answered(head.statement);
                }
                self.command_complete(backend::command_tag(frame.body), &head, server, to_client);
                Ok(if head.kind == Execute { self.done() } else { self.unless_skipped() })
            }
            (back::EMPTY_QUERY, Query | Execute) => Ok(self.empty_query(&head, to_client)),
            (back::PORTAL_SUSPENDED, Execute) => Ok(self.done()),
            (back::COPY_IN | back::COPY_BOTH, Query | Execute) => {
                // The data may have ended already, if the client sent it without waiting.
                let copy = self.ledger.copy_begins();
                self.copy_in = copy.open;
                if copy.unsynced && head.kind == Execute {
                    self.batch = Batch::Open;
                }
                Ok(FromServer::Forward)
            }
            (back::COPY_OUT | back::COPY_DATA | back::COPY_DONE | back::DATA_ROW, Query | Execute)
            | (back::ROW_DESCRIPTION, Query)
            | (back::FUNCTION_RESULT, Function) => Ok(self.unless_skipped()),
            _ => Err(self.desync(tag)),
        }
    }

    /// The head is answered.
    pub(super) fn done(&mut self) -> FromServer {
        let verdict = self.unless_skipped();
        if let Some(owed) = self.ledger.pop() {
            self.answered(&owed);
        }
        verdict
    }

    /// What was kept for an entry is not needed any more.
    fn answered(&mut self, owed: &Owed) {
        self.replaced(owed);
        match owed.action {
            Action::Spliced => _ = self.rare.next_splice(),
            Action::Move => self.statements.forget(owed.slot),
            _ => {}
        }
    }

    /// PROTOCOL 14: reported settings follow the client; a standby's recovery is nobody's business.
    #[cold]
    fn parameter_status(
        &mut self,
        frame: &Frame<'_>,
        server: &mut ServerState,
        to_client: &mut Outbox<'_>,
    ) -> Result<FromServer, Error> {
        let (name, value) = backend::parameter_status(frame.body).map_err(|malformed| Error::desync(malformed.0))?;
        let (Ok(name), Ok(value)) = (std::str::from_utf8(name), std::str::from_utf8(value)) else {
            return Ok(FromServer::Forward);
        };
        if name == "in_hot_standby" {
            return Ok(FromServer::Swallow);
        }
        let Some(name) = settings::followed(name) else { return Ok(FromServer::Forward) };
        let aligning = self.ledger.head().is_some_and(|owed| owed.action == Action::Skip);
        if !aligning && self.resetting.concerns(name) {
            // Of one setting the client is told when it went through.
            if self.resetting == Resetting::ALL {
                let told = self.startup.get(name).unwrap_or(value);
                encode::parameter_status(to_client.end(), name.as_bytes(), told.as_bytes());
            }
            return Ok(FromServer::Swallow);
        }
        let news = self.wanted.get(name) != Some(value);
        if news {
            self.settings_changed(name, value, server);
        } else if server.known.get(name) != Some(value) {
            server.told(name, value);
        }
        Ok(if aligning && !news { FromServer::Swallow } else { FromServer::Forward })
    }

    #[cold]
    fn error(
        &mut self,
        frame: &Frame<'_>,
        server: &mut ServerState,
        to_client: &mut Outbox<'_>,
    ) -> Result<FromServer, Error> {
        if self.may_outlive(frame.body) {
            // What it means for this client is told at the connection's end (`lose`).
            return Ok(FromServer::Swallow);
        }
        self.copy_in = false;
        self.resetting = Resetting::NOTHING;
        self.note_failed_sets();
        self.told_fatal |= matches!(backend::field(frame.body, b'V'), Some(b"FATAL" | b"PANIC"));
        let Some(head) = self.ledger.next_real().copied() else {
            // Out of turn only a FATAL comes, and the end of the connection behind it.
            return Ok(FromServer::Forward);
        };
        if head.action == Action::Skip && head.kind == Kind::Query {
            let text = String::from_utf8_lossy(backend::field(frame.body, b'M').unwrap_or_default());
            let sqlstate = String::from_utf8_lossy(backend::sqlstate(frame.body));
            return Err(Error::new(ErrorKind::AlignFailed, Side::Client).said(&sqlstate, &text));
        }
        if self.may_replay(frame, &head) {
            if self.replay.is_unread() {
                self.sharing.note_refused();
            }
            self.replay.refused();
            self.drop_parameters();
            self.doubt(&head, server);
            if head.kind == Kind::Query {
                self.rare.next_splice();
            } else {
                self.void_batch(server);
            }
            self.ledger.skip_head();
            return Ok(FromServer::Swallow);
        }
        match head.action {
            Action::Ask if !self.told_fatal => return Ok(FromServer::Swallow),
            // What it listened to is gone after all.
            Action::Listen => return Err(Error::new(ErrorKind::ServerLost, Side::Server)),
            _ => {}
        }
        self.replay.stop();
        self.flush_fakes(to_client);
        self.release_parameters(to_client);
        self.tell_of_pin(to_client);
        self.undo(&head, server);
        if head.swallowed > 0 && !ended_by_client(frame, &head) {
            self.strays = self.strays.saturating_add(head.swallowed);
            self.pin_for(Pin::CopyFailed);
        }
        if is_stale(frame, &head) {
            self.doubt(&head, server);
        }
        let reworded = self.reworded(frame.body, &head);
        if !head.ends_with_ready() {
            self.void_batch(server);
            if self.is_untold(frame, &head) {
                return Ok(FromServer::Swallow);
            }
        }
        let Some(reworded) = reworded else { return Ok(FromServer::Forward) };
        to_client.end().extend(reworded);
        Ok(FromServer::Swallow)
    }

    /// What the head speaks of is learnt anew before its next use.
    #[cold]
    fn doubt(&self, head: &Owed, server: &mut ServerState) {
        server.parsed.doubt(head.statement);
        if let Some(splice) = self.rare.splice().filter(|_| head.action == Action::Spliced) {
            splice.uses.iter().for_each(|statement| server.parsed.doubt(*statement));
        }
    }

    fn ready(
        &mut self,
        frame: &Frame<'_>,
        server: &mut ServerState,
        to_client: &mut Outbox<'_>,
    ) -> Result<FromServer, Error> {
        let status = backend::ready_for_query(frame.body).map_err(|malformed| Error::desync(malformed.0))?;
        let owed = self.ledger.head().is_some_and(Owed::ends_with_ready);
        if !owed && self.strays > 0 {
            return Ok(self.stray(status));
        }
        let head = self.ledger.pop().filter(Owed::ends_with_ready).ok_or_else(|| self.desync(back::READY_FOR_QUERY))?;
        self.status = status;
        self.copy_in = false;
        if self.ddl == Ddl::Running && status == TxStatus::Idle && self.ledger.is_empty() {
            self.ddl = Ddl::Ended;
        }
        self.answered(&head);
        if head.kind == Kind::Query {
            self.rare.take_refusal();
        }
        if (head.kind, status) == (Kind::Sync, TxStatus::Idle) {
            self.rare.end_portals(head.batch);
            if let Some(portals) = self.statements.portals() {
                portals.end_batch(head.batch);
            }
        }
        if head.action == Action::Skip {
            if self.replay.is_refused() {
                return Ok(FromServer::Replay);
            }
            self.verified = true;
            return Ok(FromServer::Swallow);
        }
        match head.action {
            Action::Ask => self.end_pins(),
            Action::Listen => self.listens_again(to_client),
            _ => return self.finish(server, to_client),
        }
        Ok(FromServer::Swallow)
    }

    /// A ReadyForQuery that is the client's.
    fn finish(&mut self, server: &mut ServerState, to_client: &mut Outbox<'_>) -> Result<FromServer, Error> {
        self.settle_sets(server);
        self.finish_reset(server, to_client);
        if self.mode == PoolMode::Statement && self.status != TxStatus::Idle {
            return Err(Error::new(ErrorKind::StatementMode, Side::Client));
        }
        Ok(FromServer::Forward)
    }

    /// A COPY failed in front of a Sync that it should have swallowed: the server answers it, and is ready.
    #[cold]
    fn stray(&mut self, status: TxStatus) -> FromServer {
        self.strays -= 1;
        self.status = status;
        if self.batch == Batch::Failed {
            self.batch = Batch::Closed;
        }
        FromServer::Forward
    }
}

/// The server had read all of a COPY's data, the Syncs among it too, and then the client's CopyFail.
fn ended_by_client(frame: &Frame<'_>, head: &Owed) -> bool {
    let reading = backend::field(frame.body, b'R').is_none_or(|routine| routine == b"CopyGetData");
    reading && head.ends >= head.copies && backend::sqlstate(frame.body) == b"57014"
}

pub(super) fn is_unnamed_parse(owed: &Owed) -> bool {
    let ours = matches!(owed.action, Action::Forward | Action::Refuse | Action::Skip | Action::Spliced);
    owed.kind == Kind::Parse && owed.statement == 0 && ours
}

pub(super) fn is_sent_in(unnamed: &Unnamed, batch: u32) -> bool {
    matches!(unnamed, Unnamed::Known(OnServer::Sent(sent)) if *sent == batch)
}

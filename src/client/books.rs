//! What a conversation enters in its pool's books, and when: at each change of its state, out of the one instant that
//! this takes, and at a query's end.

use std::time::Instant;

use super::entry::{Passed, State};
use super::relay::Conversation;
use crate::error::Error;
use crate::pool::Lent;
use crate::server::Server;
use crate::stats::{NOWHERE, Wait};

/// In a long answer, or a long COPY, the books are kept up every so many bytes.
const LARGE: u64 = 4 << 20;

impl Conversation {
    /// A new state begins, on this node or nowhere.
    pub fn enter(&mut self, state: State, node: usize) {
        if let Some(passed) = self.entry.enter(state) {
            self.book(passed, node);
        }
    }

    fn book(&mut self, passed: Passed, node: usize) {
        let here = self.tally.at(node).here();
        match passed.was {
            State::Active => {
                here.query(passed.micros);
                self.session.took(passed.micros);
            }
            State::Waiting => here.waited(self.entry.shown.waits_for(), passed.micros),
            State::Idle | State::IdleInTransaction => {}
        }
        if let Some(micros) = passed.transaction {
            here.transaction(micros);
        }
    }

    /// What it is doing now, with this server.
    pub(super) fn note_state(&mut self, server: &Server) {
        let state = match (self.session.quiet(), self.session.in_transaction()) {
            (false, _) => State::Active,
            (true, true) => State::IdleInTransaction,
            (true, false) => State::Idle,
        };
        if let Some(passed) = self.entry.enter(state) {
            self.book(passed, server.node());
            if state != State::Active {
                self.settle_books(server.node());
            }
        } else if self.traffic.received + self.traffic.sent > LARGE {
            self.settle_books(server.node());
        }
    }

    /// The client is told that a query is over. query_timeout is each query's own, also in a pipeline that never runs dry.
    pub(super) fn note_answered(&mut self, server: &Server) {
        if self.session.quiet() {
            return self.note_state(server);
        }
        let passed = self.entry.again(!self.session.in_transaction());
        self.book(passed, server.node());
    }

    /// The proxy answered a query by itself.
    pub(super) fn answered(&mut self, state: State) {
        self.tally.at(NOWHERE).here().query(0);
        self.enter(state, NOWHERE);
    }

    /// A server works for this client from now on.
    pub(super) fn begin_loan(&mut self, server: &Server) {
        self.entry.serve_by(&server.gate);
        self.enter(State::Active, server.node());
        self.tally.at(server.node()).here().assigned();
        if let Some(face) = server.gate.face() {
            face.note_request(self.entry.shown.requested());
        }
    }

    /// It was settled.
    pub(super) fn end_loan(&mut self, server: &Server) {
        self.enter(State::Idle, server.node());
        if let Some(face) = server.gate.face() {
            face.note_prepared(server.state.parsed.len());
        }
    }

    /// The client waits for a connection.
    pub(super) fn begin_wait(&mut self, why: Wait) {
        self.entry.shown.note_wait(why);
        self.enter(State::Waiting, NOWHERE);
    }

    /// A read waited for a standby to be new enough, since then.
    pub(super) fn waited_for_freshness(&self, since: Instant) {
        self.tally.at(NOWHERE).here().waited(Wait::Freshness, since.elapsed().as_micros() as u64);
    }

    /// The client is told of this error by the proxy.
    pub(super) fn book_error(&self, error: &Error) {
        self.tally.process().own_errors.add(error.sqlstate().as_bytes());
    }

    /// Enters what has gathered, and what lists show of the session.
    pub fn settle_books(&mut self, node: usize) {
        let traffic = std::mem::take(&mut self.traffic);
        let prepares = self.session.take_prepares();
        let here = self.tally.at(node).here();
        here.moved(traffic, prepares);
        here.shared(self.session.take_shares());
        if let Some(pin) = self.entry.shown.note(&self.session, self.entry.since()) {
            self.tally.pinned(pin.label());
        }
        self.report_pins();
    }

    /// What is left once there is no server any more.
    pub fn close_books(&mut self) {
        self.enter(State::Idle, NOWHERE);
        self.settle_books(NOWHERE);
    }
}

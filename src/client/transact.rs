//! From the frame that wants a server to the server's return: the loan, and what follows if a standby did not serve it.

use std::future::poll_fn;

use super::entry::State;
use super::reader::Way;
use super::relay::{Conversation, End};
use super::wait::Waited;
use super::{Client, Leave};
use crate::error::{Error, Kind, Side};
use crate::pool::{Checkout, Lease, Lent};
use crate::route::Reason;
use crate::server::{Server, cleanup};
use crate::session::Ddl;
use crate::session::hold::Refusal;
use crate::session::ledger::Settled;
use crate::session::look::Seen;
use crate::stats::NOWHERE;
use crate::wire::backend::TxStatus;

/// What follows a loan on a standby that did not serve the batch.
enum Next {
    Again(Way),
    /// The client was told.
    Done,
}

impl Client {
    /// Serves what stands in front, on one server after another if need be. None: the client goes on.
    pub(super) async fn transact(&mut self, seen: Option<Seen>) -> Option<Leave> {
        match self.look_around() {
            Ok(true) => {}
            // The pool is another one: what was seen is looked at again.
            Ok(false) => return None,
            Err(error) => return Some(Leave::Fail(error)),
        }
        self.conversation.entry.forget_cancel();
        self.conversation.learn_hidden();
        let mut way = self.way(seen);
        let mut again = false;
        loop {
            if let Way::Wait { .. } = way {
                way = Box::pin(self.catch_up(way)).await;
            }
            let standby = self.set_out(way, again);
            let reader = self.conversation.reader.as_ref();
            let pool = standby.and_then(|node| reader?.split.readers.get(node)).unwrap_or(&self.backed.pool);
            let mut lease = match pool.checkout(&mut self.seat) {
                Checkout::Ready(lease) => lease,
                Checkout::Wait(waiting) => match Box::pin(self.wait(waiting, standby)).await {
                    Waited::Lease(lease) => lease,
                    Waited::Dismissed(_) if standby.is_some() => {
                        way = self.instead(Reason::NoConnection);
                        continue;
                    }
                    Waited::Dismissed(error) => return Some(Leave::Fail(error)),
                    Waited::Leave(leave) => return Some(leave),
                    // One that waits to listen again has asked for nothing that could be refused.
                    Waited::Refused(error) if self.must_listen() && error.kind != Kind::CancelledWait => {
                        return Some(Leave::Fail(Error::new(Kind::ServerLost, Side::Server).because(error)));
                    }
                    Waited::Refused(error) => {
                        self.refuse(&error);
                        return None;
                    }
                    // The frame still stands there, and the wait goes on in the other pool.
                    Waited::Retired => return None,
                },
            };
            self.conversation.begin_loan(&lease);
            if self.conversation.entry.is_cancelled() {
                self.turn_back(lease);
                return None;
            }
            self.conversation.attach(&mut lease);
            match poll_fn(|cx| self.conversation.poll_relay(&mut lease, cx)).await {
                End::Settled(settled) => {
                    self.conversation.end_loan(&lease);
                    self.end_loan(standby);
                    self.give_back(lease, settled);
                    return None;
                }
                End::Refused { refusal, ready } => {
                    way = self.rerun(lease, standby, refusal, ready);
                    again = true;
                }
                End::Unfit(reason) => match self.move_on(lease, standby, reason) {
                    Next::Again(again) => way = again,
                    Next::Done => return None,
                },
                End::ServerGone { told: false } if self.survives() => {
                    self.lose(lease, standby);
                    return None;
                }
                end => return Some(self.part(lease, end)),
            }
        }
    }

    /// A cancel came while the batch was between two servers, or reached one that did not run it to its end: it runs
    /// nowhere. The server was told nothing of it.
    fn turn_back(&mut self, lease: Lease<Server>) {
        self.conversation.entry.serve_end();
        if let Some(settled) = Settled::after(TxStatus::Idle) {
            lease.release(settled);
        }
        self.refuse(&Error::new(Kind::CancelledWait, Side::Client));
    }

    /// The server goes back, by way of `server_reset_query` where that is always sent.
    fn give_back(&self, lease: Lease<Server>, settled: Settled) {
        match self.backed.backend.reset_query() {
            None => lease.release(settled),
            Some(query) => drop(tokio::spawn(cleanup::run(lease, vec![query]))),
        }
    }

    /// Cleaned beside the client, and then its pool's again.
    fn roll_back(&self, lease: Lease<Server>) {
        let rest = self.backed.backend.reset_query();
        tokio::spawn(cleanup::run(lease, std::iter::once("ROLLBACK".to_owned()).chain(rest).collect()));
    }

    /// The server is nobody's from now on.
    fn end_loan(&mut self, standby: Option<usize>) {
        self.conversation.entry.serve_end();
        self.conversation.session.detach();
        if let Some(reader) = &mut self.conversation.reader {
            reader.note_end(standby);
        }
    }

    /// A standby refused the batch, or was lost over it: it stands in front again, and runs on the primary. One that the
    /// primary was lost over runs wherever it may now, and is not kept a second time: it may be what ends the server.
    fn rerun(
        &mut self,
        lease: Lease<Server>,
        standby: Option<usize>,
        refusal: Refusal,
        ready: Option<TxStatus>,
    ) -> Way {
        if let (Some(reader), Some(node)) = (&self.conversation.reader, standby) {
            reader.split.note_rerun(node);
            if refusal == Refusal::Text {
                reader.remember_refused();
            }
        }
        self.end_loan(standby);
        match ready {
            Some(TxStatus::Idle) => {
                if let Some(settled) = Settled::after(TxStatus::Idle) {
                    self.give_back(lease, settled);
                }
            }
            Some(_) => self.roll_back(lease),
            // Dropped, and closed: nobody knows what it still sends.
            None => self.suspect(&lease),
        }
        match standby {
            Some(_) => self.instead(Reason::Rerun),
            None => self.way_again(),
        }
    }

    fn way_again(&mut self) -> Way {
        let Conversation { reader, session, to_server, .. } = &mut self.conversation;
        let Some(reader) = reader else { return self.instead(Reason::Rerun) };
        let seen = reader.look(session, to_server.unjudged(), true);
        match reader.way(session, seen) {
            Way::Primary { loan, .. } => Way::Primary { loan, reason: Reason::Rerun },
            way => way,
        }
    }

    /// A READ ONLY transaction on a standby comes to a statement that may not run there. Where each statement has a
    /// snapshot of its own, the rest of it can as well run on the primary; one that keeps its first snapshot cannot.
    fn move_on(&mut self, lease: Lease<Server>, standby: Option<usize>, reason: Reason) -> Next {
        let session = &mut self.conversation.session;
        let movable = session.may_move();
        if movable {
            session.move_transaction();
        } else {
            session.take_back_transaction();
        }
        self.end_loan(standby);
        self.roll_back(lease);
        if movable {
            return Next::Again(self.instead(reason));
        }
        if let Some(reader) = &self.conversation.reader {
            reader.remember_refused();
        }
        self.refuse(&Error::new(Kind::StandbyUnfit, Side::Proxy));
        Next::Done
    }

    /// Whether the client can go on without the server at hand: no message is half shown.
    fn survives(&self) -> bool {
        let session = &self.conversation.session;
        let listens = || session.may_listen_again() && self.house.lets_listen_again(&self.backed);
        (session.survives() || listens()) && !self.conversation.to_client.is_mid_frame()
    }

    /// Whether it has lost the server on which it listened.
    fn must_listen(&self) -> bool {
        self.conversation.session.wants_to_listen()
    }

    /// A connection ended: those who watch its server ask it at once.
    pub(super) fn suspect(&self, lease: &Lease<Server>) {
        if let Some(cluster) = &self.backed.backend.cluster {
            cluster.suspect(lease.node());
        }
    }

    /// The server is gone. The client is told what became of what it asked for, and stays.
    fn lose(&mut self, lease: Lease<Server>, standby: Option<usize>) {
        self.suspect(&lease);
        let node = lease.node();
        let session = &mut self.conversation.session;
        if standby.is_some() && session.quiet() && session.begun_modes().is_some() && session.may_move() {
            // Between two statements of a READ ONLY transaction: the next one begins it again.
            session.move_transaction();
        } else {
            // It may have done what it was asked.
            self.conversation.witness.wrote();
            if self.conversation.session.ddl() != Ddl::None {
                self.conversation.changed_catalog();
            }
            self.conversation.lose_server();
        }
        drop(lease);
        self.end_loan(standby);
        self.rest(node);
    }

    /// Without a server: in a transaction that was begun here, or lost, or in none.
    fn rest(&mut self, node: usize) {
        let begun = self.conversation.session.absent().is_some();
        self.conversation.enter(if begun { State::IdleInTransaction } else { State::Idle }, node);
        self.conversation.settle_books(node);
    }

    /// The frame in front is refused: the client is told, and stays.
    fn refuse(&mut self, error: &Error) {
        self.conversation.refuse(error);
        if let Some(reader) = &mut self.conversation.reader {
            reader.let_go();
        }
        self.rest(NOWHERE);
    }
}

impl Conversation {
    /// What is known now of what functions leave in a session.
    fn learn_hidden(&mut self) {
        if let Some(reader) = &self.reader {
            self.session.set_hidden(reader.split.hidden().as_ref());
        }
    }
}

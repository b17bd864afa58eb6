//! [pure] A server comes and goes: what it must be told of this client, and what of the client must be told again.

use std::sync::Arc;

use super::ledger::{Action, Kind, Owed};
use super::outbox::Outbox;
use super::reset::Resetting;
use super::unnamed::{OnServer, Unnamed};
use super::{ServerState, Session, settings};
use crate::config::PoolMode;
use crate::wire::backend::TxStatus;
use crate::wire::encode;

impl Session {
    /// A server was lent: what makes it this client's goes in front of everything else.
    pub fn attach(&mut self, server: &mut ServerState, to_server: &mut Outbox<'_>) {
        self.status = TxStatus::Idle;
        self.strange_unnamed = true;
        self.reported = server.reported;
        if self.mode != PoolMode::Session || !self.verified {
            self.align(server, to_server);
        }
        self.listen_again(to_server);
        self.send_prelude(to_server);
    }

    fn align(&mut self, server: &mut ServerState, to_server: &mut Outbox<'_>) {
        if settings::agree(&mut self.wanted, &mut server.known) {
            self.verified = true;
            return;
        }
        if let Some(text) = server.known.alignment(&self.wanted) {
            // Nothing may run where it was refused.
            self.verified &= !self.wanted.may_be_refused(&server.known);
            encode::query(to_server.end(), text.as_bytes());
            self.ledger.push(Owed::new(Kind::Query, Action::Skip));
        }
        server.known = Arc::clone(&self.wanted);
    }

    /// A RESET has led a server that stays to its own default, not to what the client's startup packet said: it is told in
    /// front of the client's next message, within the transaction, if there is one, whose end concerns both alike.
    pub(super) fn realign(&mut self, server: &mut ServerState, to_server: &mut Outbox<'_>) {
        let stays = self.pin.is_some() || self.status == TxStatus::InBlock;
        let settled = self.quiet() && self.status != TxStatus::Failed && self.mode != PoolMode::Session;
        if stays && settled && !Arc::ptr_eq(&self.wanted, &server.known) {
            self.align(server, to_server);
        }
    }

    /// While settings that no server took before are on their way, nothing else may be sent; nor between the error
    /// of a batch and its repetition, nor before a Describe of ours is answered on which the next message depends, or a
    /// RESET behind which the server is to be told something.
    pub fn holds_client(&self) -> bool {
        let unsure = !self.verified || self.resetting != Resetting::NOTHING;
        unsure && !self.ledger.is_empty() || self.replay.is_refused() || self.waits && self.ledger.asks()
    }

    /// The server goes, settled or not: what the next one must be told again.
    pub fn detach(&mut self) {
        self.expects_reads = false;
        if let Unnamed::Known(there) = &mut self.unnamed {
            *there = OnServer::No;
        }
        if matches!(self.unnamed, Unnamed::Large) {
            self.unnamed = Unnamed::None;
        }
        self.forget_ended();
        self.ledger.shrink();
        self.rare.forget_portals();
        if let Some(portals) = self.statements.portals() {
            portals.clear();
        }
        self.waits = false;
        self.earlier.clear();
        self.sharing.forget_use();
        self.replay.stop();
    }
}

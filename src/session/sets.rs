//! [pure] Settings that no server reports: SET, RESET and set_config on them, followed by what the client sends.
//!
//! A statement's settings count from its CommandComplete on, and are taken back where its transaction is. Where that
//! cannot be told (a savepoint that was rolled back to may stand before or behind them), the server stays with its client.

use std::collections::VecDeque;
use std::sync::Arc;

use super::ledger::{Action, Kind, Owed};
use super::pin::Pin;
use super::settings::Settings;
use super::{ServerState, Session};
use crate::config::PoolMode;
use crate::sql::{self, Assign, Statement, Taint};
use crate::wire::backend::TxStatus;

/// What the texts under way set, and what stood there before those of the open transaction.
#[derive(Debug, Default)]
pub struct Sets {
    /// Of the `Action::Set` entries in the ledger, in order.
    sent: VecDeque<Arc<[Assign]>>,
    undo: Vec<Undo>,
    /// A ROLLBACK, or what is rolled back without one, came since the first of `undo`.
    rolled: bool,
}

/// What a setting was.
#[derive(Debug)]
struct Undo {
    name: Box<str>,
    wanted: Option<Box<str>>,
    known: Option<Box<str>>,
}

impl Sets {
    pub fn send(&mut self, all: Arc<[Assign]>) {
        self.sent.push_back(all);
    }

    /// The oldest is answered, or skipped.
    pub fn next(&mut self) -> Option<Arc<[Assign]>> {
        self.sent.pop_front()
    }
}

impl Session {
    /// What this text sets, if it is followed. Not in session mode, where the server stays.
    pub(super) fn assigns(&self, statement: &Statement<'_>, text: &[u8]) -> Option<Arc<[Assign]>> {
        let follows = self.mode != PoolMode::Session && self.status != TxStatus::Failed;
        let taints = matches!(statement.taint, Some(Taint::Set | Taint::SetConfig | Taint::Reset | Taint::Role));
        if !follows || !taints {
            return None;
        }
        let all = sql::assignments(text, self.lexical)?;
        // Of those that are reported, a RESET leads to what the server says (`reset`).
        let told = |one: &Assign| one.value.is_some() || !self.reports(&one.name);
        all.iter().all(told).then(|| all.into())
    }

    /// The text goes out.
    pub(super) fn send_sets(&mut self, kind: Kind, all: Arc<[Assign]>) {
        self.rare.sets_mut().send(all);
        self.ledger.push(Owed::new(kind, Action::Set));
    }

    /// It went through.
    pub(super) fn set(&mut self, server: &mut ServerState) {
        self.ledger.forward_head();
        let Some(all) = self.rare.sets_mut().next() else { return };
        let (mut wanted, mut known) = (Settings::clone(&self.wanted), Settings::clone(&server.known));
        for Assign { name, value } in all.iter() {
            if self.reports(name) {
                continue;
            }
            let before = |settings: &Settings| settings.get(name).map(Box::from);
            let undo = Undo { name: name.clone(), wanted: before(&wanted), known: before(&known) };
            self.rare.sets_mut().undo.push(undo);
            let set = value.as_deref();
            known.put(name, set.or(server.base.get(name)));
            wanted.put(name, set.or(self.startup.get(name)).or(server.base.get(name)));
        }
        (self.wanted, server.known) = (Arc::new(wanted), Arc::new(known));
        self.note_settings();
    }

    /// The tag of a statement that ends a transaction, or part of one.
    pub(super) fn note_end_tag(&mut self, tag: &[u8]) {
        let Some(sets) = self.rare.sets().filter(|sets| !sets.undo.is_empty()) else { return };
        match tag {
            b"ROLLBACK" => sets.rolled = true,
            b"COMMIT" | b"PREPARE TRANSACTION" if sets.rolled => self.lose_track(),
            b"COMMIT" | b"PREPARE TRANSACTION" => sets.undo.clear(),
            _ => {}
        }
    }

    /// An error outside a block takes back what stood in front of it in its batch.
    pub(super) fn note_failed_sets(&mut self) {
        if self.status == TxStatus::Idle
            && let Some(sets) = self.rare.sets().filter(|sets| !sets.undo.is_empty())
        {
            sets.rolled = true;
        }
    }

    /// ReadyForQuery: outside a transaction it is known what stays.
    pub(super) fn settle_sets(&mut self, server: &mut ServerState) {
        let Some(sets) = self.rare.sets().filter(|sets| !sets.undo.is_empty()) else { return };
        match (self.status, sets.rolled) {
            (TxStatus::Idle, false) => sets.undo.clear(),
            (TxStatus::Idle, true) => {
                let mut known = Settings::clone(&server.known);
                self.take_back(Some(&mut known));
                server.known = Arc::new(known);
            }
            (_, false) => {}
            (_, true) => self.lose_track(),
        }
    }

    /// The server is gone, and what its transaction had set.
    pub(super) fn forget_sets(&mut self) {
        if self.rare.sets().is_some() {
            self.take_back(None);
            self.rare.sets_mut().sent.clear();
        }
    }

    fn take_back(&mut self, mut known: Option<&mut Settings>) {
        let Some(sets) = self.rare.sets() else { return };
        sets.rolled = false;
        let undo = std::mem::take(&mut sets.undo);
        let mut wanted = Settings::clone(&self.wanted);
        for before in undo.into_iter().rev() {
            wanted.put(&before.name, before.wanted.as_deref());
            if let Some(known) = &mut known {
                known.put(&before.name, before.known.as_deref());
            }
        }
        self.wanted = Arc::new(wanted);
        self.note_settings();
    }

    /// Nobody can tell what the server has now.
    fn lose_track(&mut self) {
        if let Some(sets) = self.rare.sets() {
            (sets.rolled, sets.undo) = (false, Vec::new());
        }
        self.pin_for(Pin::Statement(Taint::Set));
    }
}

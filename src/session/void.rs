//! [pure] What the server skips did not happen: what a batch did to the client's statements is undone. The same for a
//! batch that will be run elsewhere.

use super::from_server::{is_sent_in, is_unnamed_parse};
use super::ledger::{Action, Kind};
use super::unnamed::{Earlier, OnServer, Unnamed};
use super::{Batch, ServerState, Session};

impl Session {
    /// What the server skips did not happen.
    pub(super) fn void_batch(&mut self, server: &mut ServerState) {
        let Session { ledger, statements, rare, unnamed, earlier, strange_unnamed, sharing, .. } = self;
        let batch = ledger.head().map_or(0, |owed| owed.batch);
        let mut refused = true;
        let mut replaced = Replaced::Nothing;
        // A name that was closed and then parsed again: first the later statement goes, then the earlier is back.
        let mut closes = Vec::new();
        sharing.forget_use();
        let found = ledger.void_to_sync(|owed| {
            let before = if owed.replaces { earlier.pop() } else { None };
            replaced = match (std::mem::take(&mut replaced), before) {
                // PostgreSQL drops the earlier one before it reads the text of a Parse.
                (Replaced::Nothing, _) if refused && is_unnamed_parse(&owed) && owed.action != Action::Skip => {
                    Replaced::Gone
                }
                (Replaced::Nothing, Some(before)) => Replaced::By(before),
                (replaced, _) => replaced,
            };
            refused = false;
            if owed.action == Action::Spliced {
                rare.next_splice();
            }
            match (owed.kind, owed.action) {
                (Kind::Execute | Kind::Parse, Action::Move) => closes.push(owed.slot),
                (Kind::Bind | Kind::Close, Action::Move) => {}
                (Kind::Execute | Kind::Query, Action::Skip | Action::Spliced) if owed.statement != 0 => {
                    statements.forget(owed.slot);
                    server.parsed.voided(owed.statement, owed.batch);
                }
                (Kind::Parse, Action::Rename) => {
                    rare.next_rename();
                }
                (Kind::Parse, Action::Fake) => statements.forget(owed.slot),
                (Kind::Parse, _) if is_unnamed_parse(&owed) && is_sent_in(unnamed, owed.batch) => {
                    // A skipped repetition leaves it as it was: known to us, and not to this server.
                    *unnamed = if owed.action == Action::Skip { Unnamed::Known(OnServer::No) } else { Unnamed::None };
                }
                (Kind::Parse, _) => {
                    // It was not skipped, being the first of its batch.
                    if is_shared_in(unnamed, owed.batch) {
                        *unnamed = Unnamed::None;
                    }
                    statements.forget(owed.slot);
                    server.parsed.voided(owed.statement, owed.batch);
                }
                (Kind::Close, Action::Skip) if owed.statement == 0 => *strange_unnamed = true,
                (Kind::Close, Action::Skip) => server.parsed.voided(owed.statement, owed.batch),
                (Kind::Close, _) => closes.push(owed.slot),
                (_, Action::Set) => _ = rare.sets_mut().next(),
                (_, Action::Tag | Action::Discard) => closes.extend(Session::undo_effect(rare)),
                _ => {}
            }
        });
        match replaced {
            Replaced::By(before) => self.restore_unnamed(before, batch),
            // So is what came behind it in its batch, whichever of them was answered.
            Replaced::Gone if self.unnamed_batch == batch => self.unnamed = Unnamed::None,
            _ => {}
        }
        let statements = &mut self.statements;
        if let Some(portals) = statements.portals() {
            portals.end_batch(batch);
        }
        closes.into_iter().for_each(|slot| statements.restore(slot));
        if !found {
            self.batch = Batch::Failed;
        }
    }
}

impl Session {
    /// What was sent and not answered counts as never sent: the batch will be run somewhere else. Only for one that was
    /// looked at (`look`): nothing else of the session depends on it.
    pub fn unsend(&mut self, server: &mut ServerState) {
        // What a standby says of a plan is not seen here.
        self.ledger.shared().for_each(|statement| server.parsed.doubt(statement));
        while let Some(owed) = self.ledger.head().copied() {
            if !owed.ends_with_ready() {
                self.void_batch(server);
            }
            if let Some(owed) = self.ledger.pop() {
                self.replaced(&owed);
            }
        }
        self.batch = Batch::Closed;
        self.copy_in = false;
        self.replay.stop();
        self.take_back_transaction();
    }
}

/// What a batch that fails would have done to the unnamed statement.
#[derive(Default)]
enum Replaced {
    #[default]
    Nothing,
    Gone,
    By(Earlier),
}

fn is_shared_in(unnamed: &Unnamed, batch: u32) -> bool {
    matches!(unnamed, Unnamed::Known(OnServer::Shared(shared)) if *shared == batch)
}

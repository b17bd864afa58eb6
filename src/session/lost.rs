//! [pure] A server was lost in the middle of a conversation: what became of what it was asked, and what the client is told.
//!
//! Nothing is sent again from here. What certainly did not happen gets 40001, which is what retry loops handle: a
//! transaction whose end was not asked for, a batch without its Sync. What may have happened gets 08007: a commit, or a
//! statement of its own, that was sent and not answered. Each answer that the client still waits for is given, and the
//! client keeps its connection (FAILOVER.md C3).

use super::absent::Place;
use super::ledger::{Action, Kind, Owed};
use super::outbox::Outbox;
use super::reset::Resetting;
use super::{Batch, Session};
use crate::config::PoolMode;
use crate::error::{Error, Kind as ErrorKind, Side};
use crate::sql::End;
use crate::wire::backend::{self, TxStatus};
use crate::wire::encode;

/// What the messages that were not answered may have done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outcome {
    /// Whatever they were, it is as if they had never been sent.
    Undone,
    /// They ask for just that.
    RolledBack,
    Unknown,
}

impl Session {
    /// Whether this client can go on without the server at hand: nothing of its session is on it, but a transaction.
    pub fn survives(&self) -> bool {
        self.forgiving && self.pin.is_none() && self.mode == PoolMode::Transaction && self.strays == 0
    }

    /// A server says goodbye to a client that may go on without it.
    pub(super) fn may_outlive(&self, message: &[u8]) -> bool {
        backend::is_farewell(message) && (self.survives() || self.clustered && self.only_listens())
    }

    /// A reload may change it.
    pub fn set_forgiving(&mut self, forgiving: bool) {
        self.forgiving = forgiving;
    }

    /// The server at hand is gone. Tells the client what is to be told now; the rest it learns at its next statement.
    /// `reads`: what was sent in autocommit is proven to read. Returns the error that was told, if one was.
    pub fn lose(&mut self, reads: bool, to_client: &mut Outbox<'_>) -> Option<ErrorKind> {
        let begun = self.status != TxStatus::Idle;
        let owed: Vec<Owed> = std::iter::from_fn(|| self.ledger.pop()).filter(|owed| !is_ours(owed)).collect();
        self.forget_unanswered(&owed);
        let outcome = outcome(&owed, begun, reads);
        let after = if begun && outcome == Outcome::Undone { TxStatus::Failed } else { TxStatus::Idle };
        let mut told = false;
        for owed in &owed {
            if !std::mem::replace(&mut told, true) {
                tell(outcome, to_client);
            }
            if owed.ends_with_ready() {
                encode::ready_for_query(to_client.end(), after);
                told = false;
            }
        }
        if matches!(self.batch, Batch::Open | Batch::Failed) {
            // An error was told already in a batch that had failed; the rest of it goes nowhere, up to its Sync.
            if self.batch == Batch::Open && !told {
                tell(outcome, to_client);
            }
            self.batch = Batch::Refused;
        }
        let was_told = !owed.is_empty() || self.batch == Batch::Refused;
        self.forget_server();
        if after == TxStatus::Failed {
            self.begin_lost(if was_told { Place::Failed } else { Place::Lost });
        }
        outcome.kind().filter(|_| was_told)
    }

    /// What was to be prepared or closed, and is not known to be, is not.
    fn forget_unanswered(&mut self, owed: &[Owed]) {
        for owed in owed {
            match owed.kind {
                Kind::Execute | Kind::Parse | Kind::Query => self.statements.forget(owed.slot),
                Kind::Close => self.statements.restore(owed.slot),
                _ => {}
            }
        }
    }

    fn forget_server(&mut self) {
        self.status = TxStatus::Idle;
        (self.copy_in, self.copy_ends) = (false, 0);
        self.large_unbound = false;
        self.resetting = Resetting::NOTHING;
        while let Some(begun) = self.rare.next_begun() {
            begun.hidden().iter().for_each(|slot| self.statements.restore(*slot));
        }
        self.rare.forget_names();
        self.forget_sets();
        self.absent = None;
    }
}

/// Nobody waits for its answer but we.
fn is_ours(owed: &Owed) -> bool {
    owed.is_unseen() || owed.action == Action::Ask
}

/// What came of the messages that are owed an answer.
fn outcome(owed: &[Owed], begun: bool, reads: bool) -> Outcome {
    if begun {
        return match owed {
            [only] if only.kind == Kind::Query && only.end == End::RollsBack => Outcome::RolledBack,
            _ if owed.iter().any(|owed| owed.end == End::Commits || owed.kind == Kind::Function) => Outcome::Unknown,
            _ => Outcome::Undone,
        };
    }
    // Outside a transaction each Query commits by itself, and each batch with its Sync, however much of it was answered.
    let acts = owed.iter().any(|owed| owed.ends_with_ready() && owed.end != End::Harmless);
    if acts && !reads { Outcome::Unknown } else { Outcome::Undone }
}

impl Outcome {
    /// None: what the client wanted has happened.
    fn kind(self) -> Option<ErrorKind> {
        match self {
            Outcome::RolledBack => None,
            Outcome::Undone => Some(ErrorKind::TransactionLost),
            Outcome::Unknown => Some(ErrorKind::OutcomeUnknown),
        }
    }
}

fn tell(outcome: Outcome, to_client: &mut Outbox<'_>) {
    match outcome.kind() {
        None => encode::command_complete(to_client.end(), "ROLLBACK"),
        Some(kind) => encode::error(to_client.end(), &Error::new(kind, Side::Server)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn owed(kind: Kind, end: End) -> Owed {
        Owed { end, ..Owed::new(kind, Action::Forward) }
    }

    #[test]
    fn in_a_transaction_only_what_may_end_it_is_unknown() {
        let query = |end| [owed(Kind::Query, end)];
        for (end, expected) in [
            (End::Open, Outcome::Undone),
            (End::Harmless, Outcome::Undone),
            (End::Commits, Outcome::Unknown),
            (End::RollsBack, Outcome::RolledBack),
        ] {
            assert_eq!(outcome(&query(end), true, false), expected, "{end:?}");
        }
        assert_eq!(outcome(&[], true, false), Outcome::Undone);
        assert_eq!(outcome(&[owed(Kind::Function, End::Open)], true, false), Outcome::Unknown);
        let pipeline = [owed(Kind::Query, End::Open), owed(Kind::Query, End::Commits)];
        assert_eq!(outcome(&pipeline, true, false), Outcome::Unknown);
    }

    #[test]
    fn outside_a_transaction_what_was_synced_is_unknown_unless_it_reads() {
        let query = [owed(Kind::Query, End::Open)];
        assert_eq!(outcome(&query, false, false), Outcome::Unknown);
        assert_eq!(outcome(&query, false, true), Outcome::Undone);
        assert_eq!(outcome(&[owed(Kind::Query, End::Harmless)], false, false), Outcome::Undone, "a BEGIN");
        let batch = [owed(Kind::Bind, End::Open), owed(Kind::Execute, End::Open), owed(Kind::Sync, End::Open)];
        assert_eq!(outcome(&batch[2..], false, false), Outcome::Unknown, "answered, and not committed yet");
        assert_eq!(outcome(&batch[..2], false, false), Outcome::Undone, "without its Sync");
        assert_eq!(outcome(&batch, false, false), Outcome::Unknown);
        assert_eq!(
            outcome(&[owed(Kind::Parse, End::Open), owed(Kind::Sync, End::Harmless)], false, false),
            Outcome::Undone
        );
    }
}

//! [pure] The replies that a server owes, in order.
//!
//! Each message that will be answered puts an entry here; each answer takes one off. An error in an extended batch
//! voids what stands before the next Sync, as the server skips it (manual, "Pipelining"). Only an empty ledger mints
//! `Settled`, without which no server returns to a pool.

use std::collections::VecDeque;

use super::pin::Pin;
use crate::sql::End;
use crate::wire::backend::TxStatus;

/// The message that an entry answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Bind,
    Close,
    DescribePortal,
    DescribeStatement,
    Execute,
    Function,
    Parse,
    Query,
    Sync,
}

/// What becomes of the answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// We ask whether what pins is still there; nobody sees the answer.
    Ask,
    /// It is a DISCARD ALL's: it goes to the client, whose statements go with it.
    Discard,
    /// It sets what no server reports, which counts once it went through; it goes to the client.
    Set,
    /// The server sends nothing: we author the answer when its turn comes.
    Fake,
    /// It goes to the client.
    Forward,
    /// It makes the server listen for a client whose own was lost: nobody sees the answer but as a warning.
    Listen,
    /// It stands for a statement that would pin: its error becomes ours, with the entry's reason.
    Refuse,
    /// It moves a statement of the client's to a server that stays: nobody sees the answer, be it an error.
    Move,
    /// It goes to the client with the client's own statement name in an error's text.
    Rename,
    /// We sent the message: nobody sees its answer.
    Skip,
    /// It goes to the client, whose text names prepared statements by its own names (`splice`).
    Spliced,
    /// It stands for one whose rows are not what the client was told: its error becomes PostgreSQL's own for that.
    Stale,
    /// It is an empty query in place of DEALLOCATE: EmptyQueryResponse becomes that command's tag.
    Tag,
}

/// One reply owed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Owed {
    pub kind: Kind,
    pub action: Action,
    /// The shared statement that the message speaks of; 0 for none.
    pub statement: u64,
    /// The client's slot for it (`prepared::Statements`); `NO_SLOT` for none.
    pub slot: u32,
    /// The batch in which it was sent: Syncs count them.
    pub batch: u32,
    /// Of a statement: how many ends of COPY data were sent for it. Of a Sync: how many stand between the statement
    /// before it and itself; a COPY swallows what comes before its own end.
    pub ends: u16,
    /// It replaces the unnamed statement, and may be skipped (`Session::replace_unnamed`).
    pub replaces: bool,
    /// What its text does to the transaction that it stands in.
    pub end: End,
    /// Why it is refused; of one that is not, the pin that the client is to be warned of in front of the answer.
    pub pin: Option<Pin>,
    /// How many COPYs the statement has begun.
    pub copies: u16,
    /// How many Syncs they swallowed, unless the COPY failed before it read them.
    pub swallowed: u16,
}

/// No slot of a client.
pub const NO_SLOT: u32 = u32::MAX;

impl Owed {
    pub const fn new(kind: Kind, action: Action) -> Owed {
        Owed {
            kind,
            action,
            statement: 0,
            slot: NO_SLOT,
            batch: 0,
            replaces: false,
            end: End::Open,
            pin: None,
            ends: 0,
            copies: 0,
            swallowed: 0,
        }
    }

    pub const fn of(mut self, statement: u64, slot: u32) -> Owed {
        self.statement = statement;
        self.slot = slot;
        self
    }

    /// Whether the client knows nothing of it.
    pub fn is_unseen(&self) -> bool {
        matches!(self.action, Action::Listen | Action::Move | Action::Skip)
    }

    /// Whether a ReadyForQuery ends it.
    pub fn ends_with_ready(&self) -> bool {
        matches!(self.kind, Kind::Query | Kind::Sync | Kind::Function)
    }
}

/// What a COPY that begins finds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CopyIn {
    /// The end of its data was not sent yet.
    pub open: bool,
    /// No Sync stands behind it.
    pub unsynced: bool,
}

/// Proof that a server owes nothing and stands outside a transaction. Only this file makes one.
#[derive(Debug)]
#[must_use = "a settled server should return to its pool"]
pub struct Settled(());

impl Settled {
    /// What a login or a clean-up ends with: its ReadyForQuery, and nothing sent behind it.
    pub fn after(status: TxStatus) -> Option<Settled> {
        (status == TxStatus::Idle).then_some(Settled(()))
    }
}

/// The queue. Its capacity is kept between transactions, up to `KEEP` entries.
#[derive(Debug, Default)]
pub struct Ledger {
    owed: VecDeque<Owed>,
    /// How many Syncs were sent.
    batch: u32,
}

const KEEP: usize = 64;

impl Ledger {
    pub fn push(&mut self, owed: Owed) {
        self.owed.push_back(Owed { batch: self.batch, ..owed });
        if owed.kind == Kind::Sync {
            self.batch = self.batch.wrapping_add(1);
        }
    }

    /// The number of the batch to which the next message belongs.
    pub fn batch(&self) -> u32 {
        self.batch
    }

    /// Whether a reply is owed to the batch to which the next message belongs. What aligns a server is of no batch.
    pub fn has_open_batch(&self) -> bool {
        let ours = |owed: &&Owed| owed.action == Action::Skip && owed.kind == Kind::Query;
        let last = self.owed.iter().rev().find(|owed| !ours(owed));
        last.is_some_and(|owed| owed.batch == self.batch && owed.kind != Kind::Sync)
    }

    /// The message sent last replaces the unnamed statement.
    pub fn last_replaces(&mut self) {
        if let Some(owed) = self.owed.back_mut() {
            owed.replaces = true;
        }
    }

    /// The message sent last does this to its transaction.
    pub fn last_ends(&mut self, end: End) {
        if let Some(owed) = self.owed.back_mut() {
            owed.end = end;
        }
    }

    /// The message sent last led to this pin.
    pub fn last_pins(&mut self, pin: Option<Pin>) {
        if let Some(owed) = self.owed.back_mut() {
            owed.pin = pin;
        }
    }

    /// What the client is to be warned of in front of the head's answer, once.
    pub fn take_warning(&mut self) -> Option<Pin> {
        let head = self.owed.front_mut().filter(|head| head.pin.is_some() && head.action != Action::Refuse)?;
        head.pin.take()
    }

    pub fn head(&self) -> Option<&Owed> {
        self.owed.front()
    }

    pub fn pop(&mut self) -> Option<Owed> {
        self.owed.pop_front()
    }

    /// The first reply that the server itself must give.
    pub fn next_real(&self) -> Option<&Owed> {
        self.owed.iter().find(|owed| owed.action != Action::Fake)
    }

    /// Whether one is owed that may say that a shared statement is stale.
    pub fn speaks_of_shared(&self) -> bool {
        self.shared().next().is_some()
    }

    /// The shared statements that may be called stale.
    pub fn shared(&self) -> impl Iterator<Item = u64> {
        let speaks = |owed: &&Owed| matches!(owed.kind, Kind::Bind | Kind::DescribeStatement) && owed.statement != 0;
        self.owed.iter().filter(speaks).map(|owed| owed.statement)
    }

    /// Whether a description of ours is owed.
    pub fn asks(&self) -> bool {
        self.owed.iter().any(|owed| owed.kind == Kind::DescribeStatement && owed.action == Action::Skip)
    }

    /// Whether the batch to which the next message belongs will tell the client what the rows of this slot are.
    pub fn describes(&self, slot: u32) -> bool {
        let of_batch = self.owed.iter().rev().take_while(|owed| owed.batch == self.batch);
        of_batch.filter(|owed| owed.slot == slot).any(|owed| owed.kind == Kind::DescribeStatement)
    }

    /// Whether a Parse of the statement in this slot is under way.
    pub fn parses(&self, slot: u32) -> bool {
        self.owed.iter().any(|owed| owed.kind == Kind::Parse && owed.slot == slot)
    }

    /// Takes the head off if it is a reply that we author ourselves.
    pub fn pop_fake(&mut self) -> Option<Owed> {
        self.owed.pop_front_if(|owed| owed.action == Action::Fake)
    }

    pub fn is_empty(&self) -> bool {
        self.owed.is_empty()
    }

    /// Whether the client itself awaits nothing: what is owed answers messages of ours.
    pub fn owes_client_nothing(&self) -> bool {
        self.owed.iter().all(Owed::is_unseen)
    }

    pub fn len(&self) -> usize {
        self.owed.len()
    }

    /// How many messages other than a Sync are not answered, the one that is being answered among them.
    pub fn unanswered(&self) -> usize {
        self.owed.iter().filter(|owed| owed.kind != Kind::Sync).count()
    }

    /// How many ReadyForQuery messages are owed.
    pub fn readies(&self) -> usize {
        self.owed.iter().filter(|owed| owed.ends_with_ready()).count()
    }

    /// An error in an extended batch: all that stands before the next Sync goes to `void`. True if there was a Sync;
    /// without one the server skips whatever comes until it.
    pub fn void_to_sync(&mut self, mut void: impl FnMut(Owed)) -> bool {
        while let Some(owed) = self.owed.front() {
            if owed.kind == Kind::Sync {
                return true;
            }
            void(*owed);
            self.owed.pop_front();
        }
        false
    }

    /// CopyDone or CopyFail: it ends what the last statement may have begun.
    pub fn seal(&mut self) {
        let mut statements = self.owed.iter_mut().filter(|owed| matches!(owed.kind, Kind::Query | Kind::Execute));
        if let Some(last) = statements.next_back() {
            last.ends = last.ends.saturating_add(1);
        }
    }

    /// CopyInResponse: a server that reads COPY data ignores the Syncs that were sent before the data's end.
    pub fn copy_begins(&mut self) -> CopyIn {
        let Some(head) = self.owed.front_mut() else { return CopyIn::default() };
        head.copies = head.copies.saturating_add(1);
        let copies = head.copies;
        let open = head.ends < copies;
        let mut swallowed = 0_u16;
        while self.owed.get(1).is_some_and(|owed| owed.kind == Kind::Sync && owed.ends < copies) {
            self.owed.remove(1);
            swallowed = swallowed.saturating_add(1);
        }
        if let Some(head) = self.owed.front_mut() {
            head.swallowed = head.swallowed.saturating_add(swallowed);
        }
        CopyIn { open, unsynced: !self.owed.iter().any(|owed| owed.kind == Kind::Sync) }
    }

    /// The Sync at the head is to be answered to nobody (its batch is sent again).
    pub fn skip_head(&mut self) {
        if let Some(owed) = self.owed.front_mut() {
            owed.action = Action::Skip;
        }
    }

    /// What was special about the head is done: the rest of its answer goes to the client.
    pub fn forward_head(&mut self) {
        if let Some(owed) = self.owed.front_mut() {
            owed.action = Action::Forward;
        }
    }

    /// The proof, if nothing is owed and the server said `I`.
    pub fn settled(&self, status: TxStatus) -> Option<Settled> {
        (self.owed.is_empty() && status == TxStatus::Idle).then_some(Settled(()))
    }

    /// Gives back what a long pipeline made it grow to.
    pub fn shrink(&mut self) {
        if self.owed.capacity() > KEEP && self.owed.is_empty() {
            self.owed = VecDeque::new();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn owed(kind: Kind) -> Owed {
        Owed::new(kind, Action::Forward)
    }

    #[test]
    fn an_error_voids_up_to_the_next_sync_only() {
        let mut ledger = Ledger::default();
        for kind in [Kind::Parse, Kind::Bind, Kind::Query, Kind::Sync, Kind::Parse, Kind::Sync] {
            ledger.push(owed(kind));
        }
        let mut voided = 0;
        assert!(ledger.void_to_sync(|_| voided += 1));
        assert_eq!((voided, ledger.len(), ledger.readies()), (3, 3, 2));
        ledger.pop();
        ledger.pop();
        ledger.pop();
        assert!(!ledger.void_to_sync(|_| ()));
    }

    #[test]
    fn only_an_empty_ledger_outside_a_transaction_settles() {
        let mut ledger = Ledger::default();
        assert!(ledger.settled(TxStatus::Idle).is_some());
        assert!(ledger.settled(TxStatus::InBlock).is_none());
        assert!(ledger.settled(TxStatus::Failed).is_none());
        ledger.push(owed(Kind::Sync));
        assert!(ledger.settled(TxStatus::Idle).is_none());
    }

    #[test]
    fn copy_in_forgets_the_syncs_right_behind_its_execute() {
        let mut ledger = Ledger::default();
        for kind in [Kind::Execute, Kind::Sync, Kind::Sync, Kind::Query, Kind::Sync] {
            ledger.push(owed(kind));
        }
        assert_eq!(ledger.copy_begins(), CopyIn { open: true, unsynced: false });
        assert_eq!(ledger.len(), 3);
        assert_eq!(ledger.head().map(|head| head.swallowed), Some(2));
    }

    #[test]
    fn copy_in_keeps_the_sync_behind_its_end() {
        let mut ledger = Ledger::default();
        ledger.push(owed(Kind::Execute));
        ledger.push(owed(Kind::Sync));
        ledger.push(Owed { ends: 1, ..owed(Kind::Sync) });
        assert!(!ledger.copy_begins().unsynced);
        assert_eq!(ledger.len(), 2);
        // A second COPY of the same Query reads on, up to its own end.
        assert!(ledger.copy_begins().unsynced);
    }
}

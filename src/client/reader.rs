//! A client's side of the read/write split: what it has seen, what it asks for, and what its present loan may do.

use std::sync::Arc;
use std::time::Duration;

use super::verdicts;
use crate::cluster::backends::Backed;
use crate::cluster::sampler::Missed;
use crate::cluster::split::{Policy, Split};
use crate::config::{PrimaryReads, ReadConsistency, ReadWriteSplit};
use crate::net::buffer::Buffer;
use crate::route::Reason;
use crate::session::Session;
use crate::session::look::Seen;
use crate::sql::{Isolation, Modes, Why, Within};

/// A longer batch is not kept to be run again: it goes to the primary.
pub const KEPT: usize = 64 << 10;

/// A commit that waits for its standbys for longer is stuck: reads go on.
const STUCK_COMMIT: Duration = Duration::from_secs(1);

/// What the present loan may do with what the client sends.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Loan {
    /// On the primary: anything goes, and anything may write.
    #[default]
    Whole,
    /// On the primary, a batch that reads: so many bytes of it are still to come. What stands behind them may write.
    /// `shown`: something of the answer was, or the batch is not kept.
    Reads { left: usize, shown: bool },
    /// On a standby: so many bytes are cleared to go there. `shown`: something of the answer was.
    Standby { left: usize, shown: bool },
}

/// Where a batch goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    Primary {
        loan: Loan,
        reason: Reason,
    },
    Standby {
        node: usize,
        len: usize,
        begins: Option<Modes>,
        reason: Reason,
    },
    /// To a standby that is complete as of later than `floor`, if one gets there in time.
    Wait {
        floor: u64,
        len: usize,
        begins: Option<Modes>,
        reason: Reason,
    },
}

/// One client that reads.
pub struct Reader {
    pub split: Arc<Split>,
    pub policy: Arc<Policy>,
    pub loan: Loan,
    /// When its last batch on the primary ended: it may have seen a commit that nobody else has heard of.
    primary_until: u64,
    /// The standby that it read last, and until when: another one must be newer.
    last: Option<(usize, u64)>,
    /// The batch on a standby begins a transaction of these modes, in front of what it reads.
    pub begins: Option<Modes>,
    /// What the loan was cleared for is nothing but reads.
    pub all_read: bool,
    /// What was looked at last has to do with cursors.
    pub cursors: bool,
    /// It is not kept, and not run twice.
    pub once: bool,
    /// What was looked at last was judged without the database's own catalog.
    by_stock: bool,
    /// Nothing else was on its way to the client when the batch set out: what is judged of its answer waits.
    pub keeps_quiet: bool,
    kept: Buffer,
    kept_len: usize,
    /// The texts of the batch that was looked at last, and of the one that was kept last.
    texts: u64,
    kept_texts: u64,
}

impl Reader {
    fn new(split: Arc<Split>) -> Reader {
        Reader {
            policy: split.policy(),
            split,
            loan: Loan::Whole,
            primary_until: 0,
            last: None,
            begins: None,
            all_read: false,
            cursors: false,
            once: false,
            by_stock: false,
            keeps_quiet: false,
            kept: Buffer::default(),
            kept_len: 0,
            texts: 0,
            kept_texts: 0,
        }
    }

    /// For a client of this pool, if the pool's reads are split.
    pub fn of(backed: &Backed) -> Option<Box<Reader>> {
        let split = backed.split.as_ref()?;
        let mut reader = Reader::new(Arc::clone(split));
        // Whatever it saw elsewhere, it saw before now.
        reader.primary_until = split.cluster.now();
        Some(Box::new(reader))
    }

    /// Whether this client's batches are looked at at all.
    pub fn splits(&self) -> bool {
        self.policy.mode != ReadWriteSplit::Off
    }

    /// A reload came.
    pub fn look_around(&mut self) {
        self.policy = self.split.policy();
    }

    /// Looks at the client's next batch, by the catalog as it is now.
    pub fn look(&mut self, session: &Session, bytes: &[u8], alone: bool) -> Seen {
        let catalog = self.split.catalog();
        let stock = if catalog.is_none() { self.split.stock() } else { None };
        let known = catalog.as_deref().or(stock);
        let by_stock = stock.is_some();
        let mut texts = 0_u64;
        let seen = session.look(bytes, KEPT, alone, &mut |text, lexical| {
            let (access, hash) = verdicts::judge(text, lexical, known);
            texts = texts.rotate_left(5) ^ hash;
            access
        });
        (self.texts, self.by_stock) = (texts, by_stock);
        self.cursors = matches!(seen, Seen::Within { .. });
        self.once = false;
        seen
    }

    /// The same for a batch that may be the first of a READ ONLY transaction: one that prepares, or ends in a Flush, is
    /// not kept, and may yet go to a standby.
    pub fn look_first(&mut self, session: &Session, bytes: &[u8]) -> Seen {
        let seen = self.look(session, bytes, true);
        let read_only = session.begun_modes().is_some_and(|modes| session.is_read_only(&modes));
        let prepares = matches!(seen, Seen::Other(Reason::DescribeOnly | Reason::Flush | Reason::Prepare));
        if !read_only || !prepares {
            return seen;
        }
        match self.look(session, bytes, false) {
            Seen::Reads { len, begins: None } => {
                self.once = true;
                Seen::Reads { len, begins: None }
            }
            Seen::More => Seen::More,
            _ => seen,
        }
    }

    /// Where the batch goes that was looked at.
    pub fn way(&self, session: &Session, seen: Seen) -> Way {
        let whole = |reason| Way::Primary { loan: Loan::Whole, reason };
        let (len, begins) = match seen {
            Seen::Reads { len, begins } => (len, begins),
            Seen::Within { len, within: Within::Cursor } if session.begun_modes().is_some() => (len, None),
            Seen::Within { .. } => return whole(Reason::Text(Why::Utility)),
            Seen::Other(reason) => return whole(reason),
            _ => return whole(Reason::InTransaction),
        };
        // Inside a transaction a batch is never by itself: what comes later may write.
        let modes = session.begun_modes().or(begins);
        let declared = modes.map(|modes| session.is_read_only(&modes));
        let serializable = modes.is_some_and(|modes| modes.isolation == Some(Isolation::Serializable));
        let stay = |reason| {
            let loan = if declared.is_some() { Loan::Whole } else { Loan::Reads { left: len, shown: false } };
            Way::Primary { loan, reason }
        };
        let reason = match (declared, self.policy.mode) {
            // It may write all the same.
            (None, _) if self.by_stock && !session.defaults_to_read_only() => {
                return whole(Reason::Text(Why::NoCatalog));
            }
            _ if session.wishes().primary => return stay(Reason::Chosen),
            _ if serializable => return stay(Reason::Serializable),
            (Some(false), _) => return stay(Reason::InTransaction),
            // A BEGIN inside a transaction: PostgreSQL warns of it.
            (Some(true), _) if begins.is_some() && session.begun_modes().is_some() => {
                return stay(Reason::InTransaction);
            }
            (Some(true), _) => Reason::DeclaredReadOnly,
            (None, ReadWriteSplit::Auto) => Reason::Select,
            (None, ReadWriteSplit::Declared) if session.defaults_to_read_only() => Reason::DeclaredReadOnly,
            (None, _) => return stay(Reason::Off),
        };
        if self.split.was_refused(self.texts) {
            // What it was taken for, it is not.
            return whole(Reason::Refused);
        }
        let floor = self.floor(session);
        match self.find(floor) {
            Found::Node(node) if declared.is_some() && self.split.cluster.is_vacated(node) => stay(Reason::Lost),
            Found::Node(node) => Way::Standby { node, len, begins, reason },
            Found::Primary => stay(Reason::Shared),
            Found::Stale if self.patience().is_zero() => stay(Reason::TooStale),
            Found::Stale => Way::Wait { floor, len, begins, reason },
            Found::Nobody(reason) => stay(reason),
        }
    }

    /// As of when a standby must be complete.
    fn floor(&self, session: &Session) -> u64 {
        let split = &*self.split;
        let (policy, now) = (&self.policy, || split.cluster.now());
        // The operator's level is the least.
        let level = match session.wishes().consistency {
            Some(wish) if caution(wish) > caution(policy.consistency) => wish,
            _ => policy.consistency,
        };
        match level {
            ReadConsistency::Pool => split.last_write().max(self.primary_until),
            ReadConsistency::Strict => now(),
            ReadConsistency::Session => self.primary_until,
            ReadConsistency::Bounded => now().saturating_sub(nanos(policy.max_staleness)).max(self.primary_until),
        }
    }

    /// A standby that is fit and complete as of later than `floor`.
    pub fn find(&self, floor: u64) -> Found {
        let split = &*self.split;
        let floor_of = |node| match self.last {
            _ if split.is_benched(node) => None,
            // What it saw on one standby, another one must have.
            Some((last, until)) if last != node => Some(floor.max(until)),
            _ => Some(floor),
        };
        let (max_lag, shares) = (self.policy.max_lag, self.policy.primary_reads == PrimaryReads::Share);
        match split.cluster.reader(floor_of, max_lag) {
            Ok(_) if shares && split.is_primarys_turn() => Found::Primary,
            Ok(node) => Found::Node(node),
            Err(Missed::TooStale) if split.are_all_benched(max_lag) => Found::Nobody(Reason::Benched),
            Err(Missed::TooStale) => Found::Stale,
            Err(Missed::NoStandby(unfit)) => Found::Nobody(Reason::NoStandby(unfit)),
        }
    }

    /// How long this client may be kept from the primary by a read. Where commits wait for standbys, it may have seen one
    /// that the primary does not show yet: until a standby is newer than what it saw, or it has written, the primary would
    /// take it back in time.
    pub fn patience(&self) -> Duration {
        let seen_more = self.last.is_some_and(|(_, until)| until > self.primary_until);
        if seen_more && self.split.cluster.is_synchronous() { STUCK_COMMIT } else { self.policy.read_wait }
    }

    /// As of when a standby is waited for: new enough whichever it is.
    pub fn wait_for(&self, floor: u64) -> u64 {
        self.last.map_or(floor, |(_, until)| floor.max(until))
    }

    /// A batch is about to run that may have to run elsewhere: it is kept until the answer is shown.
    pub fn keep(&mut self, batch: &[u8]) {
        self.kept.take();
        if self.kept.len() < batch.len() {
            self.kept.grow(0..0);
        }
        if let Some(room) = self.kept.take().get_mut(..batch.len()) {
            room.copy_from_slice(batch);
        }
        self.kept_len = batch.len();
        self.kept_texts = self.texts;
    }

    /// One is about to that is not kept: from now on its answer is the client's.
    pub fn keep_nothing(&mut self) {
        self.let_go();
        self.kept_texts = self.texts;
    }

    pub fn kept(&self) -> &[u8] {
        self.kept.bytes().get(..self.kept_len).unwrap_or_default()
    }

    /// Whether the frame in front is part of a batch that was looked at and only reads.
    pub fn expects_reads(&self) -> bool {
        let cleared = matches!(self.loan, Loan::Reads { left: 1.., .. } | Loan::Standby { left: 1.., .. });
        cleared && self.all_read
    }

    /// A frame of this length was judged.
    pub fn took(&mut self, len: usize) {
        if let Loan::Reads { left, .. } | Loan::Standby { left, .. } = &mut self.loan {
            *left = left.saturating_sub(len);
        }
    }

    /// The answer goes to the client from now on.
    pub fn show(&mut self) {
        if let Loan::Standby { shown, .. } | Loan::Reads { shown, .. } = &mut self.loan {
            *shown = true;
        }
        self.let_go();
    }

    /// Something of the answer was shown, or the batch has gone elsewhere.
    pub fn let_go(&mut self) {
        self.kept.release();
        self.kept_len = 0;
        self.begins = None;
    }

    /// The texts of the batch that was kept last are not tried on a standby for a while.
    pub fn remember_refused(&self) {
        self.split.remember_refused(self.kept_texts);
    }

    /// The loan ended: `standby`, where it was on one.
    pub fn note_end(&mut self, standby: Option<usize>) {
        let now = self.split.cluster.now();
        match standby {
            Some(node) => self.last = Some((node, now)),
            None => self.primary_until = now,
        }
        self.loan = Loan::Whole;
        self.let_go();
    }

    /// Whether what the server at hand answers may acknowledge a write.
    pub fn may_write(&self) -> bool {
        self.loan == Loan::Whole
    }
}

/// What a look among the standbys led to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Found {
    Node(usize),
    /// It takes part, and it is its turn.
    Primary,
    /// There are standbys, none of them new enough.
    Stale,
    Nobody(Reason),
}

/// How much a level asks for.
fn caution(level: ReadConsistency) -> u8 {
    match level {
        ReadConsistency::Session => 0,
        ReadConsistency::Bounded => 1,
        ReadConsistency::Pool => 2,
        ReadConsistency::Strict => 3,
    }
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

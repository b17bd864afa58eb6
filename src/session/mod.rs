//! [pure] One conversation between a client and the servers that it is lent, without sockets.
//!
//! `client` judges what the client sends, `server` what a server answers; both say what becomes of the frame and
//! write what we author into an `Outbox`. `settled` mints the proof that the server may go back. What is kept here
//! follows the client: its settings, its prepared statements, its unnamed statement, its pin.

use std::sync::Arc;

use crate::config::{Pinning, PoolMode};
use crate::error::{Error, Kind as ErrorKind, Side};
use crate::sql::{End, Lexical, Reported};
use crate::stats::Prepares;
use crate::wire::backend::TxStatus;
use crate::wire::{back, frame, front};

mod absent;
mod by_name;
mod by_sql;
mod customs;
mod effects;
mod fakes;
mod from_client;
mod from_server;
pub mod hold;
pub mod ledger;
mod lending;
pub mod look;
mod lost;
mod moved;
pub mod outbox;
mod parsed;
pub mod pin;
mod pinning;
mod pins;
mod portals;
pub mod prepared;
mod rare;
mod relisten;
pub mod repeats;
mod replay;
mod reset;
mod reworded;
mod server_state;
mod sets;
pub mod settings;
mod shape;
mod sharing;
mod splice;
mod statements_in;
mod teach;
mod unattended;
mod unnamed;
mod void;
pub mod wishes;

use absent::Absent;
pub use customs::Ddl;
use customs::{Customs, lexical};
use ledger::{Action, Kind, Ledger, Settled};
use pin::Pin;
pub use pinning::News;
use prepared::{Intern, Statements};
use rare::Rare;
use replay::Replay;
use reset::Resetting;
pub use server_state::ServerState;
use settings::Settings;
use sharing::Sharing;
use unnamed::{Replacements, Unnamed};
use wishes::Wishes;

/// A Query or Parse is collected up to this size to be read; a longer one is passed on unread and pins.
pub const COLLECT: usize = 64 << 10;

/// A message, or as much of it as is there.
#[derive(Clone, Copy, Debug)]
pub struct Frame<'a> {
    pub header: frame::Header,
    /// The body's bytes that have arrived; all of them if the frame is whole.
    pub body: &'a [u8],
}

impl Frame<'_> {
    pub fn whole(&self) -> bool {
        self.body.len() + frame::HEADER == self.header.len
    }
}

/// What becomes of a client's frame.
#[derive(Debug, PartialEq, Eq)]
pub enum FromClient {
    /// To the server as it is.
    Forward,
    /// The first bytes (header included) were replaced by what is in the outbox; the rest goes as it is.
    Replaced { taken: usize },
    /// Nowhere.
    Swallow,
    /// Terminate: the client leaves.
    Terminate,
    /// It stays where it is, and is judged again when `holds_client` no longer says so.
    Wait,
}

/// What becomes of a server's frame.
#[derive(Debug, PartialEq, Eq)]
pub enum FromServer {
    /// To the client as it is.
    Forward,
    /// The batch is to be sent again from `Session::replayed`; the frame goes nowhere.
    Replay,
    /// Nowhere.
    Swallow,
}

/// Where the client stands in the extended protocol.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Batch {
    /// No extended message since the last Sync.
    #[default]
    Closed,
    /// Messages without their Sync yet.
    Open,
    /// The server answered with an error: it skips what comes until the Sync, which it must still be sent.
    Failed,
    /// No server was found for it: what comes until the Sync goes nowhere.
    Refused,
}

/// What a session is made with.
pub struct Origin {
    pub mode: PoolMode,
    /// What the client was told at login, with its startup settings over it.
    pub settings: Arc<Settings>,
    pub intern: Arc<dyn Intern>,
    /// A lost server ends its transaction with 40001 or 08007 (`failover_error`).
    pub forgiving: bool,
    /// Its server is one of several, of which another may take over.
    pub clustered: bool,
    /// Its startup packet's `pgweir.*`.
    pub wishes: Wishes,
    /// Named statements follow the client (`max_prepared_statements` is not 0).
    pub prepared: bool,
    pub pinning: Pinning,
}

/// One client's conversation.
pub struct Session {
    mode: PoolMode,
    pinning: Pinning,
    ledger: Ledger,
    status: TxStatus,
    batch: Batch,
    copy_in: bool,
    /// How many CopyDone or CopyFail were sent behind the last statement that may be a COPY.
    copy_ends: u16,
    /// ReadyForQuery messages that may come beside those owed: of Syncs that a COPY swallowed, or failed in front of.
    strays: u16,
    pin: Option<Pin>,

    /// Named statements are renamed and follow the client.
    tracking: bool,
    statements: Statements,
    unnamed: Unnamed,
    /// The last unnamed Parse without its name; kept as a buffer, so that a steady client allocates nothing.
    unnamed_rest: Vec<u8>,
    /// The batch that set or used it last.
    unnamed_batch: u32,
    sharing: Sharing,
    /// What the `Owed::replaces` entries in the ledger replaced, in order.
    earlier: Replacements,
    /// A large unnamed Parse in this batch that no Bind took yet.
    large_unbound: bool,
    /// What comes next was proven to read (`expect_reads`).
    expects_reads: bool,
    rare: Rare,
    /// The server at hand may have an unnamed statement of another client.
    strange_unnamed: bool,
    intern: Arc<dyn Intern>,

    wanted: Arc<Settings>,
    startup: Arc<Settings>,
    /// How this client's texts are cut, by its settings.
    lexical: Lexical,
    /// What its settings mean for the read/write split.
    customs: Customs,
    wishes: Wishes,
    startup_wishes: Wishes,
    /// A lost server costs this client its transaction, and not its connection.
    forgiving: bool,
    /// Another server may take over.
    clustered: bool,
    /// What the statements of the open batch do to their transaction, if there are any.
    batch_end: Option<End>,
    unnamed_end: End,
    ddl: Ddl,
    /// A transaction that was begun here, as long as it lasts.
    absent: Option<Box<Absent>>,
    /// What the server at hand reports beyond what all do.
    reported: Reported,
    /// A server took these settings once: they may go in the same write as a statement.
    verified: bool,
    resetting: Resetting,
    told_fatal: bool,
    /// The client's next message waits for a Describe of ours.
    waits: bool,
    replay: Replay,
    /// Since they were last taken.
    prepares: Prepares,
}

impl Session {
    pub fn new(origin: Origin) -> Session {
        let (lexical, customs) = (lexical(&origin.settings), Customs::of(&origin.settings));
        Session {
            mode: origin.mode,
            pinning: origin.pinning,
            ledger: Ledger::default(),
            status: TxStatus::Idle,
            batch: Batch::Closed,
            copy_in: false,
            copy_ends: 0,
            strays: 0,
            pin: None,
            tracking: origin.prepared && origin.mode != PoolMode::Session,
            statements: Statements::default(),
            unnamed: Unnamed::None,
            unnamed_rest: Vec::new(),
            unnamed_batch: 0,
            sharing: Sharing::default(),
            earlier: Replacements::default(),
            large_unbound: false,
            expects_reads: false,
            rare: Rare::default(),
            strange_unnamed: false,
            intern: origin.intern,
            startup: Arc::clone(&origin.settings),
            wanted: origin.settings,
            lexical,
            customs,
            wishes: origin.wishes,
            startup_wishes: origin.wishes,
            forgiving: origin.forgiving,
            clustered: origin.clustered,
            batch_end: None,
            unnamed_end: End::Open,
            ddl: Ddl::None,
            absent: None,
            reported: Reported::default(),
            verified: false,
            resetting: Resetting::NOTHING,
            told_fatal: false,
            waits: false,
            replay: Replay::default(),
            prepares: Prepares::default(),
        }
    }

    /// How many bytes of a client's frame must be there before `client` can judge it.
    pub fn client_needs(header: &frame::Header) -> usize {
        match header.tag {
            front::QUERY | front::PARSE | front::BIND | front::DESCRIBE | front::CLOSE | front::EXECUTE => {
                header.len.min(COLLECT)
            }
            _ => frame::HEADER,
        }
    }

    /// The same for a server's frame.
    pub fn server_needs(header: &frame::Header) -> usize {
        match header.tag {
            back::READY_FOR_QUERY | back::PARAMETER_STATUS | back::COMMAND_COMPLETE | back::ERROR | back::NOTICE => {
                header.len.min(COLLECT)
            }
            // A row that is not just passed on is one of an answer to us.
            back::ROW_DESCRIPTION | back::PARAMETER_DESCRIPTION | back::DATA_ROW => header.len.min(COLLECT),
            _ => frame::HEADER,
        }
    }

    /// The proof that the server may go back, if it may: nothing owed, no batch open, outside a transaction, no pin.
    pub fn settled(&self) -> Option<Settled> {
        let free = self.rests() && self.pin.is_none() && self.strays == 0;
        if free && self.mode != PoolMode::Session { self.ledger.settled(self.status) } else { None }
    }

    /// The same for a client that leaves, whatever its pool mode: its server may be cleaned and kept.
    pub fn settled_at_end(&self) -> Option<Settled> {
        let free = self.rests() && self.pin.is_none() && self.strays == 0;
        if free { self.ledger.settled(self.status) } else { None }
    }

    /// Nothing is in flight: the client holds its server only for a transaction, a pin or its pool mode.
    pub fn quiet(&self) -> bool {
        self.ledger.is_empty() && self.rests()
    }

    /// Neither a batch nor a COPY is open.
    fn rests(&self) -> bool {
        !self.in_batch() && !self.copy_in
    }

    /// A server waits for the Sync of a batch, be it that it skips the rest of it.
    fn in_batch(&self) -> bool {
        matches!(self.batch, Batch::Open | Batch::Failed)
    }

    /// How many answers are owed.
    pub fn owed(&self) -> usize {
        self.ledger.len()
    }

    pub fn in_transaction(&self) -> bool {
        self.status != TxStatus::Idle
    }

    /// The next answer is one that the client does not see: what it was sent for stands in front of its own messages.
    pub fn skips_next(&self) -> bool {
        self.ledger.head().is_some_and(|owed| owed.action == Action::Skip && owed.kind == Kind::Query)
    }

    /// The server said goodbye to the client itself, by a FATAL error.
    pub fn told_fatal(&self) -> bool {
        self.told_fatal
    }

    /// What it did with named statements since this was last asked.
    pub fn take_prepares(&mut self) -> Prepares {
        std::mem::take(&mut self.prepares)
    }

    /// How many named statements it has.
    pub fn prepared(&self) -> usize {
        self.statements.len()
    }

    pub fn mode(&self) -> PoolMode {
        self.mode
    }

    /// As the client has them now.
    pub fn settings(&self) -> &Arc<Settings> {
        &self.wanted
    }

    pub fn pin(&self) -> Option<Pin> {
        self.pin
    }

    /// After `FromServer::Replay`: the batch that is to be judged again. Its statement is in doubt, so that judging it
    /// closes and parses it anew.
    pub fn replayed(&mut self) -> Vec<u8> {
        self.replay.take()
    }

    #[cold]
    fn desync(&self, tag: u8) -> Error {
        let owed = self.ledger.head().map(|owed| owed.kind);
        Error::new(ErrorKind::ServerDesync, Side::Server)
            .because(format_args!("{:?} while {owed:?} was owed", char::from(tag)))
    }
}

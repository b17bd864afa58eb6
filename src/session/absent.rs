//! [pure] A transaction that only its client knows of: BEGIN was answered, and no server has heard of it yet.
//!
//! A plain BEGIN says nothing about where its transaction must run; its first statement does. So BEGIN is answered at
//! once and sent in front of that statement, as a message of its own in the same write. A transaction that ends before
//! it began costs no server anything. What a client can see of it: `now()` is the time of the first statement.

use super::Session;
use super::ledger::{Action, Kind, Owed};
use super::outbox::Outbox;
use super::unnamed::{OnServer, Unnamed};
use crate::error::{Error, Kind as ErrorKind, Side};
use crate::sql::Modes;
use crate::wire::backend::TxStatus;
use crate::wire::frontend::{self, Named};
use crate::wire::{back, cstr, encode, frame, front};

/// A client that sends more than these before its first statement gets a server for it.
const PRELUDE: usize = 4;

/// Takes a snapshot, and no more.
const FIRST_QUERY: &[u8] = b"SELECT 1";

/// What stands between a client's BEGIN and its transaction on a server.
#[derive(Debug)]
pub struct Absent {
    /// The texts of BEGIN and of each SET TRANSACTION behind it.
    prelude: Vec<Box<[u8]>>,
    modes: Modes,
    place: Place,
    /// Something of it lives on its server: a cursor, a named portal, a savepoint.
    anchored: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// With the client alone.
    Here,
    /// With the client alone, and failed: only its end is left.
    Failed,
    /// With the client alone: its server was lost, which the client was not told yet.
    Lost,
    /// A server has it. The prelude is kept: the transaction may have to begin again elsewhere.
    There,
}

impl Session {
    /// A transaction that no server knows: its status, for a client without a server.
    pub fn absent(&self) -> Option<TxStatus> {
        match self.absent.as_ref()?.place {
            Place::Here | Place::Lost => Some(TxStatus::InBlock),
            Place::Failed => Some(TxStatus::Failed),
            Place::There => None,
        }
    }

    /// The modes of the transaction that was begun here, wherever it is now.
    pub fn begun_modes(&self) -> Option<Modes> {
        self.absent.as_ref().map(|absent| absent.modes)
    }

    /// BEGIN, alone in a whole batch of an idle client: answered, and kept.
    pub fn begin_absent(&mut self, batch: &[u8], modes: Modes, to_client: &mut Outbox<'_>) {
        let text: Box<[u8]> = self.first_text(batch).into();
        let tag = if starts_transaction(&text) { "START TRANSACTION" } else { "BEGIN" };
        self.absent = Some(Box::new(Absent { prelude: vec![text], modes, place: Place::Here, anchored: false }));
        self.answer_batch(batch, tag, TxStatus::InBlock, to_client);
    }

    /// The same for a BEGIN that a server has answered, in front of others of its batch.
    pub fn begun_there(&mut self, batch: &[u8], modes: Modes) {
        self.absent = Some(Box::new(Absent {
            prelude: vec![self.first_text(batch).into()],
            modes,
            place: Place::There,
            anchored: false,
        }));
    }

    /// SET TRANSACTION before the first statement; false: it is for a server.
    pub fn set_absent(&mut self, batch: &[u8], modes: Modes, to_client: &mut Outbox<'_>) -> bool {
        let text: Box<[u8]> = self.first_text(batch).into();
        let Some(absent) = self.absent.as_mut().filter(|absent| absent.place == Place::Here) else { return false };
        if absent.prelude.len() >= PRELUDE {
            return false;
        }
        absent.prelude.push(text);
        let before = absent.modes;
        absent.modes = Modes {
            read_only: modes.read_only.or(before.read_only),
            isolation: modes.isolation.or(before.isolation),
            deferrable: modes.deferrable.or(before.deferrable),
        };
        self.answer_batch(batch, "SET", TxStatus::InBlock, to_client);
        true
    }

    /// A transaction whose server was lost, for its client to end.
    pub(super) fn begin_lost(&mut self, place: Place) {
        self.absent = Some(Box::new(Absent { prelude: Vec::new(), modes: Modes::default(), place, anchored: false }));
    }

    /// The server of its transaction was lost, and the client does not know it.
    pub fn is_lost(&self) -> bool {
        self.absent.as_ref().is_some_and(|absent| absent.place == Place::Lost)
    }

    /// COMMIT or ROLLBACK of a transaction that no server knows.
    pub fn end_absent(&mut self, batch: &[u8], to_client: &mut Outbox<'_>) {
        let failed = self.absent() == Some(TxStatus::Failed);
        let lost = self.is_lost();
        self.absent = None;
        let rolls_back = rolls_back(self.first_text(batch));
        if lost && !rolls_back {
            // What was to be committed is gone.
            return self.refuse_batch(batch, to_client);
        }
        let tag = if failed || rolls_back { "ROLLBACK" } else { "COMMIT" };
        self.answer_batch(batch, tag, TxStatus::Idle, to_client);
    }

    /// Its transaction failed before a server knew of it (a cancelled wait), as far as there is one.
    pub(super) fn fail_absent(&mut self) {
        if let Some(absent) = self.absent.as_mut().filter(|absent| absent.place != Place::There) {
            absent.place = Place::Failed;
        }
    }

    /// From now on the transaction can go on nowhere else.
    pub fn anchor(&mut self) {
        if let Some(absent) = &mut self.absent {
            absent.anchored = true;
        }
    }

    pub(super) fn is_anchored(&self) -> bool {
        self.absent.as_ref().is_some_and(|absent| absent.anchored)
    }

    /// In front of the first statement; `attach`'s part.
    pub(super) fn send_prelude(&mut self, to_server: &mut Outbox<'_>) {
        let Some(absent) = self.absent.as_mut().filter(|absent| absent.place == Place::Here) else { return };
        absent.place = Place::There;
        for text in &absent.prelude {
            encode::query(to_server.end(), text);
            self.ledger.push(Owed::new(Kind::Query, Action::Skip));
        }
        self.status = TxStatus::InBlock;
    }

    /// The transaction leaves its server and will begin again on another one. Only for one that has read so far, each
    /// statement with a snapshot of its own.
    pub fn take_back_transaction(&mut self) {
        if let Some(absent) = &mut self.absent {
            absent.place = Place::Here;
        }
        self.status = TxStatus::Idle;
    }

    /// The same for one that begins again behind what it has read: PostgreSQL lets no mode be changed behind a first query,
    /// so one goes in front here too.
    pub fn move_transaction(&mut self) {
        self.take_back_transaction();
        if let Some(absent) = &mut self.absent {
            absent.prelude.push(FIRST_QUERY.into());
        }
    }

    /// The loan ends: a transaction that was there has ended with it.
    pub(super) fn forget_ended(&mut self) {
        if self.absent.as_ref().is_some_and(|absent| absent.place == Place::There) {
            self.absent = None;
        }
    }

    /// Answers each message of a batch that runs one command without rows or parameters, as a server would: a Query, or
    /// Parse of the unnamed statement to Sync.
    fn answer_batch(&mut self, batch: &[u8], tag: &str, status: TxStatus, to_client: &mut Outbox<'_>) {
        for (kind, body) in frames(batch) {
            let out = to_client.end();
            match kind {
                front::QUERY => {
                    // It does to the unnamed statement what it does on a server (PROTOCOL 7).
                    self.replace_unnamed(Unnamed::None);
                    encode::command_complete(out, tag);
                    encode::ready_for_query(out, status);
                }
                front::PARSE => {
                    encode::raw(out, back::PARSE_COMPLETE, &[]);
                    self.replace_unnamed(Unnamed::Known(OnServer::No));
                    self.rare.set_unnamed(None);
                    self.unnamed_rest.clear();
                    self.unnamed_rest.extend(frontend::parse(body).map_or(&b""[..], |parse| parse.rest));
                }
                front::BIND => encode::raw(out, back::BIND_COMPLETE, &[]),
                front::DESCRIBE => {
                    if matches!(frontend::named(body), Some(Named::Statement(_))) {
                        encode::raw(out, back::PARAMETER_DESCRIPTION, &[0, 0]);
                    }
                    encode::raw(out, back::NO_DATA, &[]);
                }
                front::EXECUTE => encode::command_complete(out, tag),
                front::CLOSE => encode::close_complete(out),
                front::SYNC => encode::ready_for_query(out, status),
                _ => {}
            }
        }
    }
}

impl Session {
    /// A whole batch that asks for the commit of what is gone.
    fn refuse_batch(&mut self, batch: &[u8], to_client: &mut Outbox<'_>) {
        encode::error(to_client.end(), &Error::new(ErrorKind::TransactionLost, Side::Server));
        encode::ready_for_query(to_client.end(), TxStatus::Idle);
        if frames(batch).any(|(kind, _)| kind == front::QUERY) {
            self.replace_unnamed(Unnamed::None);
        }
    }

    /// The text of the first statement of a batch, by whatever name.
    fn first_text<'a>(&'a self, batch: &'a [u8]) -> &'a [u8] {
        let found = text_of(batch);
        if !found.is_empty() {
            return found;
        }
        let bound = frames(batch).find(|(kind, _)| *kind == front::BIND).and_then(|(_, body)| frontend::bind(body));
        let statement = bound.and_then(|names| self.statements.find(names.statement));
        statement.and_then(|(_, statement)| cstr(&statement.rest)).map_or(&[], |(text, _)| text)
    }
}

/// The messages of a whole batch: tag and body.
fn frames(mut batch: &[u8]) -> impl Iterator<Item = (u8, &[u8])> {
    std::iter::from_fn(move || {
        let header = frame::scan(batch, frame::MESSAGE_LIMIT).ok()??;
        let body = batch.get(frame::HEADER..header.len)?;
        batch = batch.get(header.len..)?;
        Some((header.tag, body))
    })
}

/// The text of the first statement of a batch.
fn text_of(batch: &[u8]) -> &[u8] {
    let text = frames(batch).find_map(|(kind, body)| match kind {
        front::QUERY => frontend::query(body),
        front::PARSE => frontend::parse(body).map(|parse| parse.text),
        _ => None,
    });
    text.unwrap_or_default()
}

/// START TRANSACTION has a tag of its own. Comments may stand in front: the first letter outside them decides.
fn starts_transaction(text: &[u8]) -> bool {
    first_word(text).eq_ignore_ascii_case(b"START")
}

fn rolls_back(text: &[u8]) -> bool {
    let word = first_word(text);
    word.eq_ignore_ascii_case(b"ROLLBACK") || word.eq_ignore_ascii_case(b"ABORT")
}

fn first_word(text: &[u8]) -> &[u8] {
    let words = crate::sql::Lexer::new(text, crate::sql::Lexical::STANDARD);
    let mut words = words.filter(|token| token.kind == crate::sql::Kind::Word);
    words.next().map_or(&[], |token| token.text)
}

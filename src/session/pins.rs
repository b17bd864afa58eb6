//! [pure] When a pin ends: the server itself is asked whether what pinned it is still there.
//!
//! A table may be dropped with its schema, a lock let go by a function: no text tells for certain. So, once a text may
//! have ended what pins, and when it has just begun (`ON COMMIT DROP`, a rollback), and nothing is in flight, the server
//! is asked in its catalogs; the client sees nothing of it. Where the reason is none that a server can tell, the pin
//! lasts until the client leaves, or until DISCARD ALL ends it.

use super::ledger::{Action, Kind, Owed};
use super::pin::Pin;
use super::pinning::News;
use super::{PoolMode, Session};
use crate::config::Pinning;
use crate::sql::{self, Special, Statement, Taint, Taints};
use crate::wire::backend::{self, TxStatus};
use crate::wire::encode;
use crate::wire::startup::Replication;

/// What a server can tell of, and the condition under which nothing is left. Everything is qualified: the client's
/// search_path is its own.
const TOLD: [(Taint, &str); 5] = [
    (Taint::Listen, "NOT EXISTS (SELECT FROM pg_catalog.pg_listening_channels())"),
    (Taint::HoldCursor, "NOT EXISTS (SELECT FROM pg_catalog.pg_cursors WHERE is_holdable)"),
    // Ours are everybody's.
    (
        Taint::Prepare,
        "NOT EXISTS (SELECT FROM pg_catalog.pg_prepared_statements \
         WHERE pg_catalog.left(name, 7) OPERATOR(pg_catalog.<>) 'pgweir_')",
    ),
    (
        Taint::AdvisoryLock,
        "NOT EXISTS (SELECT FROM pg_catalog.pg_locks WHERE locktype OPERATOR(pg_catalog.=) 'advisory' \
         AND pid OPERATOR(pg_catalog.=) pg_catalog.pg_backend_pid())",
    ),
    (
        Taint::TempTable,
        "NOT EXISTS (SELECT FROM pg_catalog.pg_depend WHERE refclassid OPERATOR(pg_catalog.=) 2615::pg_catalog.oid \
         AND refobjid OPERATOR(pg_catalog.=) pg_catalog.pg_my_temp_schema())",
    ),
];

/// The text that makes another server listen to the same.
const CHANNELS: &str = ", (SELECT pg_catalog.string_agg(pg_catalog.format('LISTEN %I', channel), ';') \
    FROM pg_catalog.pg_listening_channels() AS listened (channel))";

const CAN_BE_TOLD: Taints = Taints::of(&[
    Taint::AdvisoryLock,
    Taint::Deallocate,
    Taint::HoldCursor,
    Taint::Listen,
    Taint::Prepare,
    Taint::TempTable,
]);

/// What RESET ALL leads back.
const RESET: Taints = Taints::of(&[Taint::Reset, Taint::Set, Taint::SetConfig]);

/// What DISCARD ALL ends.
const DISCARDED: Taints = CAN_BE_TOLD.with(RESET).with(Taints::of(&[Taint::Role]));

/// What may have prepared statements unseen.
const NAMING: Taints = Taints::of(&[Taint::Call, Taint::Do, Taint::Prepare, Taint::Unreadable]);

/// Why the server stays, beyond the first reason.
#[derive(Debug, Default)]
pub struct Pins {
    taints: Taints,
    /// There is a reason that nothing ends.
    lasting: bool,
    /// A text went unread.
    unread: bool,
    /// What pins may have ended since the server was last asked.
    doubt: bool,
    /// The server's answer: nothing is left.
    clear: bool,
    /// The same: the text that listens to what this session listens to.
    heard: Option<Box<[u8]>>,
    /// That of the last answer, as long as nothing may have changed it.
    channels: Option<Box<[u8]>>,
    pub(super) news: News,
}

impl Pins {
    fn may_ask(&self) -> bool {
        self.doubt && !self.lasting && self.taints.is_within(CAN_BE_TOLD)
    }

    /// What pins may have ended, or come.
    pub(super) fn doubt(&mut self) {
        self.doubt = true;
        self.channels = None;
    }

    /// Another server is to say the same.
    pub(super) fn ask_again(&mut self) {
        self.doubt = true;
    }

    /// Whether these are all reasons.
    pub(super) fn is_all(&self, taints: Taints) -> bool {
        !self.lasting && self.taints == taints
    }

    /// The text that listens to what the session listens to, where that is known.
    pub(super) fn channels(&self) -> Option<&[u8]> {
        self.channels.as_deref()
    }

    /// Whether the server may have prepared statements under names of the client's own.
    pub fn may_hold_names(&self) -> bool {
        self.unread || NAMING.iter().any(|taint| self.taints.contains(taint))
    }

    fn is_over(&self) -> bool {
        !self.lasting && self.taints.is_empty()
    }

    /// The conditions of what pins; the truth, if all of that has ended by itself. Beside them, what is listened to.
    fn question(&self) -> String {
        let mut text = "SELECT true".to_owned();
        for (_, nothing_left) in TOLD.iter().filter(|(taint, _)| self.taints.contains(*taint)) {
            text.push_str(" AND ");
            text.push_str(nothing_left);
        }
        if self.taints.contains(Taint::Listen) {
            text.push_str(CHANNELS);
        }
        text
    }
}

impl Session {
    pub(super) fn pin_for(&mut self, pin: Pin) {
        if self.mode == PoolMode::Session {
            return;
        }
        let told = self.pinning != Pinning::Allow && self.pin.is_none() && pin != Pin::Unread;
        self.pin.get_or_insert(pin);
        let pins = self.rare.pins_mut();
        if told {
            pins.news.pinned = Some(pin);
        }
        pins.doubt();
        pins.unread |= pin == Pin::LargeQuery;
        match pin {
            Pin::Statement(taint) => pins.taints = pins.taints.with(Taints::of(&[taint])),
            Pin::Unread => pins.taints = pins.taints.with(CAN_BE_TOLD),
            Pin::CopyFailed | Pin::LargeParse | Pin::LargeQuery | Pin::Notified | Pin::Replication(_) => {
                pins.lasting = true;
            }
        }
    }

    /// A replication connection: in session mode, and its server is nobody's after it.
    pub fn keep_for_replication(&mut self, replication: Replication) {
        self.pin = Some(Pin::Replication(replication));
    }

    pub fn is_replication(&self) -> bool {
        matches!(self.pin, Some(Pin::Replication(_)))
    }

    pub(super) fn pin_for_all(&mut self, taints: Taints) {
        for taint in taints.iter() {
            self.pin_for(Pin::Statement(taint));
        }
    }

    /// A text that goes out may end what pins.
    pub(super) fn note_ending(&mut self, text: &[u8]) {
        if self.pin.is_some() && self.mode != PoolMode::Session && sql::may_end_state(text, self.lexical) {
            self.rare.pins_mut().doubt();
        }
    }

    /// Whether the server should be asked now: nothing is in flight, and the pin may be over.
    pub fn may_ask(&self) -> bool {
        self.pin.is_some()
            && self.quiet()
            && self.status == TxStatus::Idle
            && self.strays == 0
            && self.rare.pins().is_some_and(Pins::may_ask)
    }

    /// Asks. The answer's ReadyForQuery may end the pin, and the loan with it.
    pub fn ask(&mut self, to_server: &mut Vec<u8>) {
        let pins = self.rare.pins_mut();
        (pins.doubt, pins.clear, pins.heard) = (false, false, None);
        encode::query(to_server, pins.question().as_bytes());
        self.ledger.push(Owed::new(Kind::Query, Action::Ask));
    }

    pub(super) fn pins_answered(&mut self, row: &[u8]) {
        let pins = self.rare.pins_mut();
        pins.clear = backend::value(row, 0) == Some(b"t");
        pins.heard = backend::value(row, 1).map(Box::from);
    }

    /// The answer is whole. What the client sent behind the question may pin again: then it was noted since.
    #[cold]
    pub(super) fn end_pins(&mut self) {
        let pins = self.rare.pins_mut();
        let (clear, heard) = (std::mem::take(&mut pins.clear), pins.heard.take());
        if pins.doubt || self.status != TxStatus::Idle {
            return;
        }
        pins.channels = heard;
        if clear {
            pins.taints = Taints::NONE;
            self.pin = None;
        }
    }

    /// RESET ALL went through, or DISCARD ALL.
    pub(super) fn pins_discarded(&mut self, all: bool) {
        if self.pin.is_none() || self.mode == PoolMode::Session {
            return;
        }
        // A RESET ALL counts once its ReadyForQuery is there.
        let behind = self.ledger.unanswered() > usize::from(all);
        let pins = self.rare.pins_mut();
        // What stands behind it may pin, and was noted when it was sent: the server is to say what there is.
        if behind {
            return pins.doubt();
        }
        pins.taints = pins.taints.without(if all { DISCARDED } else { RESET });
        if pins.is_over() {
            self.pin = None;
        }
    }
}

/// What executing a statement by itself may leave, if none of its effects is followed. What it reads of a sequence is
/// nothing that it leaves.
pub(super) fn left_by(statement: &Statement<'_>) -> Taints {
    match statement.special {
        Special::ResetAll => Taints::of(&[Taint::Reset]),
        _ => statement.taints.without(Taints::of(&[Taint::Currval])),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_pins_is_asked_for() {
        let taints = Taints::of(&[Taint::Listen, Taint::Prepare, Taint::Deallocate]);
        let pins = Pins { taints, doubt: true, ..Pins::default() };
        assert!(pins.may_ask());
        assert_eq!(
            pins.question(),
            "SELECT true AND NOT EXISTS (SELECT FROM pg_catalog.pg_listening_channels()) \
             AND NOT EXISTS (SELECT FROM pg_catalog.pg_prepared_statements \
             WHERE pg_catalog.left(name, 7) OPERATOR(pg_catalog.<>) 'pgweir_')"
                .to_owned()
                + CHANNELS
        );
        assert!(!Pins { taints: taints.with(Taints::of(&[Taint::Load])), doubt: true, ..Pins::default() }.may_ask());
        assert!(!Pins { taints, doubt: true, lasting: true, ..Pins::default() }.may_ask());
        assert!(!Pins { taints, ..Pins::default() }.may_ask());
    }
}

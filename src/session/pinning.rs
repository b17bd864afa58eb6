//! [pure] `pinning`: a client is warned of what keeps its server, or the statement is refused.
//!
//! No byte of what is refused reaches a server. In its place goes a text that PostgreSQL refuses while it reads it, so
//! that the transaction, the batch and what stands behind it fail there as by any wrong statement; the client gets that
//! error in our words. A failed transaction stays PostgreSQL's to speak of (25P02).
//!
//! Absence: what shows only afterwards (a COPY that failed in front of its Sync, a SET that a savepoint may have taken
//! back, a stray notification) pins whatever `pinning` says. A client whose server is pinned already is refused nothing.

use super::by_name::left_by_target;
use super::ledger::{Action, Kind, NO_SLOT, Owed};
use super::outbox::Outbox;
use super::pin::Pin;
use super::pins::left_by;
use super::reset::Resetting;
use super::statements_in::{DECOY, DECOY_ID};
use super::unnamed::Unnamed;
use super::{Batch, Frame, FromClient, ServerState, Session};
use crate::config::{Pinning, PoolMode};
use crate::error::{Error, Kind as ErrorKind, Side};
use crate::sql::{End, Taint, Taints};
use crate::wire::{backend, encode, front, frontend};

/// Whatever a session has and is set to, it fails while it is read, with this code.
const STAND_IN: &str = "SELECT \"pgweir: pinning is forbidden\"";
const UNDEFINED_COLUMN: &[u8] = b"42703";

/// What an operator is to be told of a client's pins.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct News {
    /// The latest pin that `pinning` does not just allow.
    pub pinned: Option<Pin>,
    /// The latest reason for which a statement was refused.
    pub refused: Option<Pin>,
    /// How many were.
    pub refusals: u32,
}

impl Session {
    /// A reload may change it; what is pinned stays so.
    pub fn set_pinning(&mut self, pinning: Pinning) {
        self.pinning = pinning;
    }

    /// What came since this was last asked.
    pub fn take_pin_news(&mut self) -> News {
        match self.rare.pins() {
            Some(pins) if pins.news != News::default() => std::mem::take(&mut self.rare.pins_mut().news),
            _ => News::default(),
        }
    }

    /// The client is warned of a pin that its last message led to, in front of the answer to it.
    pub(super) fn warn_of_pin(&mut self, before: Option<Pin>) {
        // Of one that most often ends with its statement nobody needs to know.
        let lasts = self.pin.filter(|pin| *pin != Pin::Unread);
        if self.pinning == Pinning::Warn && before.is_none() && lasts.is_some() {
            self.ledger.last_pins(lasts);
        }
    }

    /// The answer to this entry begins.
    pub(super) fn tell_of_pin(&mut self, to_client: &mut Outbox<'_>) {
        if let Some(pin) = self.ledger.take_warning() {
            let text = format!("this statement keeps its server for one client ({})", pin.label());
            encode::warning(to_client.end(), &text, pin.hint());
        }
    }

    pub(super) fn forbids(&self) -> bool {
        self.pinning == Pinning::Forbid && self.pin.is_none() && self.mode != PoolMode::Session
    }

    /// A Query, Parse or Bind where pins are forbidden.
    pub(super) fn unless_forbidden(
        &mut self,
        frame: Frame<'_>,
        server: &mut ServerState,
        to_server: &mut Outbox<'_>,
    ) -> Result<FromClient, Error> {
        let pin = match frame.header.tag {
            front::QUERY if !frame.whole() => Some(Pin::LargeQuery),
            front::PARSE if !frame.whole() => Some(Pin::LargeParse),
            front::QUERY => frontend::query(frame.body).and_then(|text| self.pin_of(text, Some(server))),
            front::PARSE => frontend::parse(frame.body).and_then(|parse| self.pin_of(parse.text, None)),
            _ => frontend::bind(frame.body).and_then(|names| self.pin_of_bound(names.statement)),
        };
        match (pin, frame.header.tag) {
            (None, _) => self.pass_on(frame, server, to_server),
            (Some(pin), front::QUERY) => Ok(self.refuse_query(pin, to_server)),
            (Some(pin), _) => Ok(self.refuse_in_batch(&frame, pin, to_server)),
        }
    }

    /// Why this text would keep its server, if none of its effects is followed. `server`: as a Query, which may also lead
    /// settings back.
    fn pin_of(&self, text: &[u8], server: Option<&ServerState>) -> Option<Pin> {
        let statement = self.classified(text);
        let resets = |server| self.resets(&statement, text, server) != Resetting::NOTHING;
        let followed = self.own_effect(&statement, text).is_some() || self.assigns(&statement, text).is_some();
        if followed || server.is_some_and(resets) {
            return None;
        }
        strongest(self.left_by_name(&statement, text).unwrap_or_else(|| left_by(&statement)))
    }

    fn pin_of_bound(&self, name: &[u8]) -> Option<Pin> {
        let named = || self.statements.find(name).map(|(_, of)| of.taints.with(left_by_target(of.effect.as_ref())));
        let unnamed = || self.rare.unnamed_taints().with(left_by_target(self.rare.unnamed()));
        let taints = if name.is_empty() { Some(unnamed()) } else { named() };
        taints.and_then(strongest)
    }

    fn refuse_query(&mut self, pin: Pin, to_server: &mut Outbox<'_>) -> FromClient {
        // Of the unnamed statement and portal a Query makes an end in any case (PROTOCOL 7).
        self.replace_unnamed(Unnamed::None);
        self.set_portal_effect(b"", None);
        self.copy_ends = 0;
        encode::query(to_server.end(), STAND_IN.as_bytes());
        self.ledger.push(refusal(Kind::Query, pin));
        FromClient::Swallow
    }

    /// In the place of a Parse or Bind.
    fn refuse_in_batch(&mut self, frame: &Frame<'_>, pin: Pin, to_server: &mut Outbox<'_>) -> FromClient {
        self.batch = Batch::Open;
        let unnamed = frame.header.tag == front::PARSE && frame.body.first() == Some(&0);
        if unnamed {
            // PostgreSQL forgets the earlier one before it reads the text.
            self.replace_unnamed(Unnamed::None);
            self.rare.set_unnamed(None);
            self.unnamed_rest.clear();
        }
        let rest = [STAND_IN.as_bytes(), &[0; 3]].concat();
        encode::parse(to_server.end(), if unnamed { b"" } else { DECOY }, &rest);
        let id = if unnamed { 0 } else { DECOY_ID };
        self.ledger.push(refusal(Kind::Parse, pin).of(id, NO_SLOT));
        FromClient::Swallow
    }

    /// The server refused what stood in a statement's place: our own error.
    pub(super) fn refused(&mut self, error: &[u8], head: &Owed) -> Option<Vec<u8>> {
        let pin = head.pin.filter(|_| head.action == Action::Refuse)?;
        if backend::sqlstate(error) != UNDEFINED_COLUMN {
            return None;
        }
        let news = &mut self.rare.pins_mut().news;
        (news.refused, news.refusals) = (Some(pin), news.refusals.saturating_add(1));
        let mut message = Vec::new();
        let error = Error::new(ErrorKind::PinForbidden, Side::Client).about(pin.label());
        encode::error_with_hint(&mut message, &error, pin.hint());
        Some(message)
    }

    /// The next answer is an error that the client is told in our words.
    pub fn refuses_next(&self) -> bool {
        self.ledger.next_real().is_some_and(|owed| owed.action == Action::Refuse)
    }
}

/// It changes nothing, whatever becomes of its server.
fn refusal(kind: Kind, pin: Pin) -> Owed {
    Owed { end: End::Harmless, pin: Some(pin), ..Owed::new(kind, Action::Refuse) }
}

/// Of what a statement leaves. What reads of a sequence is no pin.
fn strongest(taints: Taints) -> Option<Pin> {
    taints.without(Taints::of(&[Taint::Currval])).iter().next().map(Pin::Statement)
}

//! [pure] A listener whose server was lost: it listens again on the next one (`listen_failover`).
//!
//! Which channels a session listens to the server itself says whenever it is asked about the pin (`pins`). Where that is
//! known to be so still, and LISTEN is all that pins, the client can go on: its pin stays while it has no server, and the
//! next one is told to listen in front of everything else. What was notified in between is lost, of which the client is
//! warned.

use super::ledger::{Action, Kind, Owed};
use super::outbox::Outbox;
use super::{PoolMode, Session};
use crate::sql::{Taint, Taints};
use crate::wire::backend::TxStatus;
use crate::wire::encode;

const TOLD: &str = "the server was lost: listening again on another one";
const HINT: &str = "Notifications that were sent in between are lost: read again what they tell of.";

impl Session {
    /// Whether nothing of this session is on its server but the channels that it listens to, which are known.
    pub(super) fn only_listens(&self) -> bool {
        let listens = Taints::of(&[Taint::Listen]);
        let of_pins = self.pin.is_some() && self.mode == PoolMode::Transaction && self.strays == 0;
        of_pins && self.rare.pins().is_some_and(|pins| pins.is_all(listens) && pins.channels().is_some())
    }

    /// Whether the client can go on without the server at hand if it listens again. One whose lost work ends its
    /// connection (`failover_error`) must not have any under way.
    pub fn may_listen_again(&self) -> bool {
        let idle = self.quiet() && self.status == TxStatus::Idle;
        self.only_listens() && (self.forgiving || idle)
    }

    /// A client without a server that must have one, though it has sent nothing.
    pub fn wants_to_listen(&self) -> bool {
        self.pin.is_some() && self.absent.is_none()
    }

    /// In front of the client's first message to a new server.
    pub(super) fn listen_again(&mut self, to_server: &mut Outbox<'_>) {
        let Some(text) = self.rare.pins().and_then(|pins| pins.channels()).filter(|_| self.pin.is_some()) else {
            return;
        };
        encode::query(to_server.end(), text);
        self.ledger.push(Owed::new(Kind::Query, Action::Listen));
        self.rare.pins_mut().ask_again();
    }

    /// It does.
    #[cold]
    pub(super) fn listens_again(&self, to_client: &mut Outbox<'_>) {
        encode::warning(to_client.end(), TOLD, HINT);
    }
}

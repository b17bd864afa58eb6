//! [pure] Answers that we author in a server's stead: of a Parse that it knows already, of a Close of a shared statement.

use super::Session;
use super::ledger::{Action, Kind};
use super::outbox::Outbox;
use crate::wire::encode;

impl Session {
    /// Whether the next answer is one that we author: `flush_fakes` is due once the last frame has been passed on.
    pub fn fakes_due(&self) -> bool {
        !self.replay.holds() && self.ledger.head().is_some_and(|owed| owed.action == Action::Fake)
    }

    /// The server answers: what we held back for a batch that might be sent again goes in front of that.
    pub(super) fn release_fakes(&mut self, to_client: &mut Outbox<'_>) {
        if self.ledger.head().is_some_and(|owed| owed.action == Action::Fake) {
            self.replay.stop();
            self.flush_fakes(to_client);
        }
    }

    /// Authors the answers whose turn has come, but for those of a batch that may be sent again.
    pub fn flush_fakes(&mut self, to_client: &mut Outbox<'_>) {
        if self.replay.holds() {
            return;
        }
        while self.fakes_due() {
            self.tell_of_pin(to_client);
            let Some(owed) = self.ledger.pop_fake() else { return };
            match owed.kind {
                Kind::Close => {
                    self.statements.forget(owed.slot);
                    encode::close_complete(to_client.end());
                }
                _ => encode::parse_complete(to_client.end()),
            }
        }
    }
}

//! What the log says of pins: those that `pinning` warns of or refuses, and those that last (`pin_warn_after`).

use std::time::Duration;

use super::House;
use super::relay::Conversation;
use crate::error::{Error, Kind, Side};
use crate::session::News;

impl Conversation {
    pub(super) fn report_pins(&mut self) {
        let News { pinned, refused, refusals } = self.session.take_pin_news();
        if pinned.is_none() && refused.is_none() {
            return;
        }
        let (client, database, user) = (self.entry.shown.who.id, &**self.tally.database(), &**self.tally.user());
        if let Some(pin) = pinned {
            let reason = pin.label();
            tracing::warn!(client, database, user, reason, "pinned: a statement keeps its server for this client");
        }
        if let Some(pin) = refused {
            let reason = pin.label();
            (0..refusals).for_each(|_| self.book_error(&Error::new(Kind::PinForbidden, Side::Client)));
            tracing::info!(client, database, user, reason, refusals, "refused: pinning is forbidden");
        }
    }
}

impl House {
    /// The janitor's look at clients whose server stays with them: each that has outlasted `pin_warn_after` is named once.
    pub fn look_at_pins(&self) {
        let Some(limit) = self.backends.ground().config.global.pin_warn_after else { return };
        let now = self.epoch.elapsed();
        for entry in self.entries.all().into_iter().filter(|entry| entry.shown.is_pinned()) {
            let Some((reason, lasted)) = entry.shown.outlasts(now, limit) else { continue };
            let (tally, client) = (entry.shown.tally(), entry.shown.who.id);
            let (database, user, seconds) = (&**tally.database(), &**tally.user(), lasted.as_secs());
            tracing::warn!(client, database, user, reason, seconds, "pinned: this client has kept its server for long");
        }
    }

    /// Whether a pin of this age is one that the log names.
    pub fn is_long_pin(&self, lasted: Duration) -> bool {
        self.backends.ground().config.global.pin_warn_after.is_some_and(|limit| lasted >= limit)
    }
}

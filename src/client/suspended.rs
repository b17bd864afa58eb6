//! SUSPEND: whoever has a server gets out what was read, and then reads nothing more, on either side, until RESUME. What
//! runs goes on at the server.

use std::sync::atomic::Ordering;

use super::entry::{Entries, Entry};
use super::relay::Conversation;
use crate::net::pipe::Pipe;

/// How a client stands to SUSPEND.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Stillness {
    /// Nobody asks for it.
    None = 0,
    Asked,
    /// Nothing of what was read is left, and nothing more is read.
    Still,
}

impl Entries {
    /// Everybody holds still from now on, or no longer.
    pub fn suspend(&self, suspended: bool) {
        self.map.iter().for_each(|entry| entry.suspend(suspended));
    }
}

impl Entry {
    pub(super) fn suspend(&self, suspended: bool) {
        if suspended != self.is_suspended() {
            let asked = if suspended { Stillness::Asked } else { Stillness::None };
            self.stillness.store(asked as u8, Ordering::Release);
            self.rouse();
        }
    }

    fn is_suspended(&self) -> bool {
        self.stillness.load(Ordering::Acquire) != Stillness::None as u8
    }

    /// Has a server, and something on its way to or from it that was read already.
    pub fn is_straggling(&self) -> bool {
        self.stillness.load(Ordering::Acquire) != Stillness::Still as u8 && self.target().is_some()
    }
}

impl Conversation {
    /// Whether it is to read nothing. One that stands within a message reads on to its end.
    pub(super) fn holds_still(&self) -> bool {
        if !self.entry.is_suspended() {
            return false;
        }
        let (to, from) = (&self.to_server, &self.to_client);
        let busy = |pipe: &Pipe| pipe.has_pending() || pipe.has_unjudged() || pipe.is_mid_frame();
        let still = !busy(to) && !busy(from);
        let now = if still { Stillness::Still } else { Stillness::Asked };
        // Only if it is still asked for: RESUME may come between.
        let _ = self.entry.stillness.fetch_update(Ordering::AcqRel, Ordering::Acquire, |was| {
            (was != Stillness::None as u8).then_some(now as u8)
        });
        still
    }
}

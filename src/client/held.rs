//! What waits while there is no primary, counted over all clients, so that it can be bounded (`max_held_clients`,
//! `max_held_bytes`). Nobody counts where neither bound is set.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use crate::error::Kind;

/// What may be held.
#[derive(Clone, Copy, Debug)]
pub struct Hold {
    /// How long, where it is not the client's `query_wait_timeout`; `Some(None)`: for ever.
    pub time: Option<Option<Duration>>,
    pub bounds: Bounds,
}

/// The bounds; 0: none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Bounds {
    pub clients: usize,
    pub bytes: usize,
}

/// All that is held in this process.
#[derive(Debug, Default)]
pub struct Held {
    clients: AtomicUsize,
    bytes: AtomicUsize,
}

/// One client's share; given back when it is dropped.
#[derive(Debug)]
pub struct Place {
    held: Arc<Held>,
    bytes: usize,
}

impl Held {
    /// One more client, which has sent so many bytes; or the bound that it would pass.
    pub fn enter(self: &Arc<Held>, bytes: usize, bounds: Bounds) -> Result<Place, Kind> {
        let mut place = Place { held: Arc::clone(self), bytes: 0 };
        let before = self.clients.fetch_add(1, Ordering::AcqRel);
        if bounds.clients != 0 && before >= bounds.clients {
            return Err(Kind::HeldClients);
        }
        place.grow(bytes, bounds)?;
        Ok(place)
    }

    /// Clients and bytes.
    pub fn count(&self) -> (usize, usize) {
        (self.clients.load(Ordering::Relaxed), self.bytes.load(Ordering::Relaxed))
    }
}

impl Place {
    /// So many bytes stand there by now.
    pub fn grow(&mut self, bytes: usize, bounds: Bounds) -> Result<(), Kind> {
        let more = bytes.saturating_sub(self.bytes);
        if more == 0 {
            return Ok(());
        }
        let before = self.held.bytes.fetch_add(more, Ordering::AcqRel);
        self.bytes = bytes;
        if bounds.bytes != 0 && before + more > bounds.bytes { Err(Kind::HeldBytes) } else { Ok(()) }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.held.clients.fetch_sub(1, Ordering::AcqRel);
        self.held.bytes.fetch_sub(self.bytes, Ordering::AcqRel);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bound_refuses_who_would_pass_it_and_a_place_is_given_back() {
        let held = Arc::new(Held::default());
        let bounds = Bounds { clients: 2, bytes: 100 };
        let mut first = held.enter(60, bounds).expect("room");
        assert_eq!(held.enter(50, bounds).err(), Some(Kind::HeldBytes));
        let second = held.enter(40, bounds).expect("room");
        assert_eq!((held.enter(0, bounds).err(), held.count()), (Some(Kind::HeldClients), (2, 100)));
        assert_eq!(first.grow(61, bounds), Err(Kind::HeldBytes));
        drop(first);
        assert_eq!(held.count(), (1, 40));
        assert!(held.enter(1 << 30, Bounds::default()).is_ok(), "0 is no bound");
        drop(second);
        assert_eq!(held.count(), (0, 0));
    }
}

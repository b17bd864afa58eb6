//! What others have decided of a client that has a server: timeouts, shutdowns, and what becomes of its server.

use super::entry::Order;
use super::relay::{Conversation, Stop};
use crate::error::{Error, Kind, Side};
use crate::server::Server;
use crate::session::hold::Refusal;

impl Conversation {
    /// Orders that end a loan at once, or when nothing is in flight.
    pub(super) fn obey(&mut self, server: &mut Server) -> Result<(), Stop> {
        // A stream of changes has no end that could be waited for.
        let over = self.session.quiet() && !self.session.in_transaction() || self.session.is_replication();
        let kind = match self.entry.take_order() {
            _ if self.entry.is_stopping() || (over && self.entry.is_draining()) => self.entry.farewell(),
            Order::ServerLost if self.is_returnable() => return Err(self.take_back(Refusal::Moment, None, server)),
            Order::Vacate if self.session.in_transaction() => return Err(self.vacate(server)),
            Order::LetGo if over => Kind::Reconfigured,
            // One that is silent may yet answer; one that is replaced is seen in the loop.
            Order::None
            | Order::CancelWait
            | Order::LetGo
            | Order::QueryWait
            | Order::ServerLost
            | Order::Vacate
            | Order::WaitNotice => return Ok(()),
            Order::ClientIdle => Kind::ClientIdle,
            Order::IdleTransaction => Kind::IdleTransaction,
            Order::QueryTimeout => Kind::QueryTimeout,
            Order::TransactionTimeout => Kind::TransactionTimeout,
        };
        Err(Error::new(kind, Side::Proxy).into())
    }
}

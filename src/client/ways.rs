//! Where a batch goes: to a standby, to the primary, or first to wait until a standby is new enough.

use std::time::Instant;

use super::Client;
use super::reader::{Found, Loan, Reader, Way};
use super::relay::Conversation;
use crate::route::Reason;
use crate::session::look::Seen;
use crate::sql::Modes;
use crate::wire::encode;

impl Client {
    pub(super) fn way(&self, seen: Option<Seen>) -> Way {
        match (&self.conversation.reader, seen) {
            (Some(reader), Some(seen)) => reader.way(&self.conversation.session, seen),
            _ => Way::Primary { loan: Loan::Whole, reason: Reason::Off },
        }
    }

    /// Notes where the batch goes; the standby's node, if it goes to one. `again`: a server was lost over it.
    pub(super) fn set_out(&mut self, way: Way, again: bool) -> Option<usize> {
        let Conversation { reader, session, to_server, to_client, .. } = &mut self.conversation;
        let reader = reader.as_mut()?;
        let (standby, reason) = match way {
            Way::Standby { node, len, begins, reason } => {
                match reader.once {
                    true => reader.keep_nothing(),
                    false => reader.keep(to_server.unjudged().get(..len).unwrap_or_default()),
                }
                if reader.cursors {
                    session.anchor();
                }
                reader.begins = begins;
                reader.all_read = begins.is_none() && !reader.cursors;
                reader.loan = Loan::Standby { left: len, shown: reader.once };
                (Some(node), reason)
            }
            Way::Primary { loan, reason } => {
                reader.let_go();
                if let Loan::Reads { left, .. } = loan {
                    reader.keep(to_server.unjudged().get(..left).unwrap_or_default());
                }
                reader.loan = loan;
                reader.all_read = loan != Loan::Whole;
                (None, reason)
            }
            Way::Wait { reason, .. } => (None, reason),
        };
        reader.split.count(reason);
        if session.wishes().explain {
            encode::notice(to_client.author(), &explanation(reader, standby, reason));
        }
        reader.keeps_quiet = !to_client.has_pending();
        if standby.is_none() && (again || !reader.keeps_quiet) {
            // It may be what ends the server; and what goes out now may carry answers of our own to it.
            reader.show();
        }
        standby
    }

    /// Waits, for a moment, for a standby to be new enough. Cancel-safe.
    pub(super) async fn catch_up(&self, way: Way) -> Way {
        let Way::Wait { floor, len, begins, reason } = way else { return way };
        let Some(reader) = &self.conversation.reader else { return self.instead(Reason::Off) };
        let began = Instant::now();
        let found = find_in_time(reader, floor, began + reader.patience()).await;
        self.conversation.waited_for_freshness(began);
        match found {
            Ok(node) => self.read_there(node, len, begins, reason),
            Err(instead) => self.read_instead(len, begins, instead),
        }
    }

    fn is_in_transaction(&self, begins: Option<Modes>) -> bool {
        self.conversation.session.begun_modes().or(begins).is_some()
    }

    /// A standby serves it, unless it begins a transaction where none is to begin.
    fn read_there(&self, node: usize, len: usize, begins: Option<Modes>, reason: Reason) -> Way {
        let cluster = self.backed.backend.cluster.as_ref();
        match cluster.is_some_and(|cluster| cluster.is_vacated(node)) && self.is_in_transaction(begins) {
            true => self.read_instead(len, begins, Reason::Lost),
            false => Way::Standby { node, len, begins, reason },
        }
    }

    /// The primary serves a batch that reads. Inside a transaction what comes later may write.
    fn read_instead(&self, len: usize, begins: Option<Modes>, reason: Reason) -> Way {
        let whole = self.is_in_transaction(begins);
        Way::Primary { loan: if whole { Loan::Whole } else { Loan::Reads { left: len, shown: false } }, reason }
    }

    /// The primary serves it, whatever it is.
    pub(super) fn instead(&self, reason: Reason) -> Way {
        Way::Primary { loan: Loan::Whole, reason }
    }
}

/// A standby that is new enough, or gets there before the deadline; or why the primary reads instead.
async fn find_in_time(reader: &Reader, floor: u64, deadline: Instant) -> Result<usize, Reason> {
    loop {
        match reader.find(floor) {
            Found::Node(node) => return Ok(node),
            Found::Primary => return Err(Reason::Shared),
            Found::Nobody(reason) => return Err(reason),
            Found::Stale => {}
        }
        let waited = reader.split.cluster.caught_up(reader.wait_for(floor), deadline, reader.policy.max_lag).await;
        if waited.is_err() || Instant::now() >= deadline {
            break;
        }
    }
    match reader.find(floor) {
        Found::Node(node) => Ok(node),
        _ => Err(Reason::TooStale),
    }
}

/// `pgweir.explain`: where a batch goes, and why.
fn explanation(reader: &Reader, standby: Option<usize>, reason: Reason) -> String {
    let topology = reader.split.cluster.topology();
    let node = standby.or_else(|| topology.primary()).and_then(|node| topology.nodes.get(node));
    let place = if standby.is_some() { "standby" } else { "primary" };
    match node {
        Some(node) => format!("pgweir: {place} {} ({})", node.listed.address, reason.label()),
        None => format!("pgweir: {place} ({})", reason.label()),
    }
}

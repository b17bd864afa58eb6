//! [pure] Why a server must stay with its client.
//!
//! A pin lasts until the server says that nothing of it is left (`pins`), or until the client leaves: the server is then
//! closed. What a function hides in its body is seen where the catalog shows it (`sql::hidden`).

use crate::sql::Taint;
use crate::wire::startup::Replication;

/// The reason, first one wins: it is what an operator is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pin {
    /// A COPY failed, and nobody knows whether it had read the Sync behind its Execute: a ReadyForQuery more may come.
    CopyFailed,
    /// A Parse longer than what is collected: its text was not read.
    LargeParse,
    /// A Query longer than what is collected.
    LargeQuery,
    /// A notification came on a server that nobody should be listening on.
    Notified,
    /// A replication connection, which is its client's alone from its login on.
    Replication(Replication),
    /// A statement that changes session state.
    Statement(Taint),
    /// A text longer than what is collected was executed, and the server is asked what it left.
    Unread,
}

impl Pin {
    /// As it stands in logs and metrics.
    pub fn label(self) -> &'static str {
        match self {
            Pin::CopyFailed => "copy_failed",
            Pin::LargeParse => "large_parse",
            Pin::LargeQuery => "large_query",
            Pin::Notified => "notified",
            Pin::Replication(_) => "replication",
            Pin::Statement(taint) => taint.label(),
            Pin::Unread => "unread",
        }
    }

    /// What its client may do instead.
    pub fn hint(self) -> &'static str {
        match self {
            Pin::LargeParse | Pin::LargeQuery | Pin::Unread => {
                "Send values as parameters, or with COPY: a text of up to 64 kB is read."
            }
            Pin::Statement(Taint::AdvisoryLock) => "Use pg_advisory_xact_lock, which ends with its transaction.",
            Pin::Statement(Taint::Currval | Taint::Deallocate | Taint::Prepare | Taint::Reset) => {
                "Send it as a statement of its own."
            }
            Pin::Statement(Taint::HoldCursor) => "Declare the cursor without HOLD, inside a transaction.",
            Pin::Statement(Taint::Set | Taint::SetConfig | Taint::Role) => {
                "Use SET LOCAL, or set_config with is_local, inside a transaction; or SET it alone, to a plain value."
            }
            Pin::Statement(Taint::Unreadable) => "Its strings or names are written in a way that pgweir does not read.",
            Pin::CopyFailed | Pin::Notified | Pin::Replication(_) | Pin::Statement(_) => {
                "Use a connection past pgweir, or a database of its config whose pinning is \"allow\"."
            }
        }
    }
}

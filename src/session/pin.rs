//! [pure] Why a server must stay with its client.
//!
//! A pin lasts until the client leaves; the server is then closed. What a function hides in its body is not seen.

use crate::sql::Taint;

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
    /// A statement that changes session state.
    Statement(Taint),
}

impl Pin {
    /// As it stands in logs and metrics.
    pub fn label(self) -> &'static str {
        match self {
            Pin::CopyFailed => "copy_failed",
            Pin::LargeParse => "large_parse",
            Pin::LargeQuery => "large_query",
            Pin::Notified => "notified",
            Pin::Statement(taint) => taint.label(),
        }
    }
}

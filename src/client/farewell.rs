//! What a client is told at an end: its server's, or its own.

use std::task::{Context, Poll};

use super::reader::Loan;
use super::relay::Conversation;
use crate::error::{Error, Side};
use crate::session::outbox::Outbox;
use crate::wire::encode;

/// PgBouncer's words.
const LONG_WAIT: &str = "No server connection available in postgres backend, client being queued";

impl Conversation {
    /// What the server still said counts for nothing; what the client is owed instead goes behind what it was shown.
    pub(super) fn lose_server(&mut self) {
        let unread = self.to_client.unjudged().len();
        self.to_client.swallow(unread);
        self.to_server.lose_pending();
        let reads = self.reader.as_ref().is_some_and(|reader| reader.loan != Loan::Whole);
        let (staged, span, _) = self.to_client.parts();
        let mut out = Outbox::new(staged, span);
        let told = self.session.lose(reads, &mut out);
        if out.folded() {
            self.to_client.folded();
        }
        if let Some(kind) = told {
            self.book_error(&Error::new(kind, Side::Server));
        }
    }

    /// Last words to a client; what cannot be sent at once is given up.
    pub fn last_words(&mut self, error: &Error) {
        self.book_error(error);
        if !self.to_client.is_mid_frame() {
            encode::error(self.to_client.author(), error);
        }
    }

    /// It waits for a server, and for long.
    pub fn tell_of_wait(&mut self) {
        self.entry.note_notice();
        if !self.to_client.is_mid_frame() {
            encode::notice(self.to_client.author(), LONG_WAIT);
        }
    }

    /// Drains what is left for the client. Cancel-safe.
    pub fn poll_farewell(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        match self.drain_client(cx) {
            Ok(true) | Err(_) => self.stream.poll_shutdown(cx).map(|_| ()),
            Ok(false) => Poll::Pending,
        }
    }
}

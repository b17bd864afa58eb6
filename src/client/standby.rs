//! A loan on a standby, or one of the primary for a read: what may go there, and what is shown of its answer. On a standby
//! its first bytes are held back until they are known to be good.
//!
//! A standby gets one batch at a time. Until something of its answer is shown the batch is kept, and whatever goes wrong
//! (an error, the standby's end) puts it back in front of what the client sent since: it then runs on the primary, and
//! the client sees that answer alone. Errors that the primary gives too are the client's own. A read that the primary was
//! lost over runs again as well, once.

use super::cancel;
use super::reader::{Loan, Reader};
use super::relay::{Conversation, End, Stop};
use crate::error::{Error, Kind, Side};
use crate::route::Reason;
use crate::server::Server;
use crate::session::Session;
use crate::session::hold::{self, First, Opening, Refusal};
use crate::session::look::{Seen, batch_len};
use crate::sql::{Why, Within};
use crate::wire::backend::TxStatus;
use crate::wire::{back, frame};

/// A statement that is no query.
const NO_READ: Reason = Reason::Text(Why::Utility);

impl Conversation {
    /// Whether the client's next frame may go to the server at hand.
    pub(super) fn is_cleared(&mut self) -> Result<bool, Stop> {
        let Some(reader) = &mut self.reader else { return Ok(true) };
        let cleared = match reader.loan {
            Loan::Reads { left: 0, .. } => {
                reader.loan = Loan::Whole;
                reader.let_go();
                true
            }
            Loan::Standby { left: 0, .. } => self.clear_next()?,
            Loan::Whole | Loan::Reads { .. } | Loan::Standby { .. } => true,
        };
        if let Some(reader) = &self.reader {
            self.session.expect_reads(reader.expects_reads());
        }
        Ok(cleared)
    }

    /// On a standby, once the batch before it is answered: in a transaction the next one may follow if it reads, too.
    fn clear_next(&mut self) -> Result<bool, Stop> {
        if self.session.skips_to_sync() {
            return Ok(self.clear_frame());
        }
        if !(self.session.quiet() || self.session.is_flushed()) || !self.session.in_transaction() {
            return Ok(false);
        }
        self.entry.forget_cancel();
        let Some(reader) = &mut self.reader else { return Ok(true) };
        let seen = reader.look(&self.session, self.to_server.unjudged(), false);
        reader.all_read = matches!(seen, Seen::Reads { begins: None, .. });
        match seen {
            Seen::More => Ok(false),
            // Behind a first query a standby answers BEGIN and SET TRANSACTION as the primary does: before it asks whether
            // it is one.
            Seen::Reads { len: batch, .. }
            | Seen::Begin { len: batch, .. }
            | Seen::SetTransaction { len: batch, .. }
            | Seen::End { len: batch }
            | Seen::Nothing { len: batch } => {
                reader.loan = Loan::Standby { left: batch, shown: true };
                Ok(true)
            }
            // What may not write in any READ ONLY transaction fails here in the same words, and a failed one runs nothing.
            Seen::Other(reason) if self.session.fails_alike(reason) => Ok(self.clear_batch()),
            // A savepoint is no reason to stay, but for a transaction that must.
            Seen::Within { len: batch, within } if within == Within::Cursor || !self.session.may_move() => {
                self.session.anchor();
                reader.loan = Loan::Standby { left: batch, shown: true };
                Ok(true)
            }
            Seen::Within { .. } if self.session.fails_alike(NO_READ) => Ok(self.clear_batch()),
            Seen::Within { .. } => Err(Stop::End(End::Unfit(NO_READ))),
            Seen::Other(reason) => Err(Stop::End(End::Unfit(reason))),
        }
    }

    /// The message in front, of any length.
    fn clear_frame(&mut self) -> bool {
        let Ok(Some(header)) = frame::scan(self.to_server.unjudged(), self.limit) else { return false };
        if let Some(reader) = &mut self.reader {
            reader.all_read = false;
            reader.loan = Loan::Standby { left: header.len, shown: true };
        }
        true
    }

    /// Whatever comes up to the batch's end goes to the standby at hand, once it is there.
    fn clear_batch(&mut self) -> bool {
        let Some(left) = batch_len(self.to_server.unjudged()) else { return false };
        if let Some(reader) = &mut self.reader {
            reader.all_read = false;
            reader.loan = Loan::Standby { left, shown: true };
        }
        true
    }

    /// Whether the server's next frame may be judged: on a standby, not before the first bytes are known to be good.
    pub(super) fn may_show(&mut self, server: &mut Server) -> Result<bool, Stop> {
        if matches!(self.reader.as_ref().map(|reader| reader.loan), Some(Loan::Reads { shown: false, .. })) {
            return self.may_show_read(server);
        }
        if !self.is_held() || self.session.skips_next() {
            return Ok(true);
        }
        if self.session.holds_client() {
            return self.may_tell(server);
        }
        match hold::first(self.to_client.unjudged()) {
            First::Wait => return Ok(false),
            First::Good => {}
            First::Refused { error, ready } => {
                match hold::judge(self.to_client.unjudged().get(error).unwrap_or_default()) {
                    Refusal::Final => {}
                    refusal => return Err(self.take_back(refusal, ready, server)),
                }
            }
        }
        if let Some(reader) = &mut self.reader {
            if let Some(modes) = reader.begins {
                self.session.begun_there(reader.kept(), modes);
            }
            reader.show();
        }
        Ok(true)
    }

    /// On the primary nothing is held back: a read is shown with the first message that answers it. A farewell answers
    /// nothing.
    fn may_show_read(&mut self, server: &mut Server) -> Result<bool, Stop> {
        match hold::opening(self.to_client.unjudged()) {
            Opening::More => return Ok(false),
            Opening::Farewell => return Err(self.take_back(Refusal::Moment, None, server)),
            Opening::Answer if self.session.skips_next() => {}
            Opening::Answer => self.reader.iter_mut().for_each(|reader| reader.show()),
        }
        Ok(true)
    }

    /// The session waits for an answer to a message of its own, behind answers that are the client's. They are judged, and
    /// stay where they are: nothing goes out. Where something else still has to go out they are shown with it.
    fn may_tell(&mut self, server: &mut Server) -> Result<bool, Stop> {
        match hold::next(self.to_client.unjudged()) {
            None => return Ok(false),
            Some(back::ERROR) => return Err(self.take_back(Refusal::Moment, None, server)),
            Some(_) => {}
        }
        if let Some(reader) = self.reader.as_mut().filter(|reader| !reader.keeps_quiet) {
            reader.show();
        }
        Ok(true)
    }

    /// Whether what was judged stays where it is, since all of it is of a batch that may run elsewhere.
    pub(super) fn keeps_quiet(&self) -> bool {
        self.is_returnable() && self.reader.as_ref().is_some_and(|reader| reader.keeps_quiet)
    }

    /// Whether a standby has the batch and nothing of its answer was shown.
    pub(super) fn is_held(&self) -> bool {
        matches!(self.reader.as_ref().map(|reader| reader.loan), Some(Loan::Standby { shown: false, .. }))
    }

    /// Whether a server has a batch that reads, nothing of its answer was shown, and it can run elsewhere.
    pub(super) fn is_returnable(&self) -> bool {
        let loan = self.reader.as_ref().map(|reader| reader.loan);
        matches!(loan, Some(Loan::Standby { shown: false, .. } | Loan::Reads { shown: false, .. }))
    }

    /// The standby may have to take over: what runs there of this transaction is cancelled, and its connection ends.
    pub(super) fn vacate(&mut self, server: &mut Server) -> Stop {
        if let Some(raised) = self.entry.abandon().filter(|_| !self.session.quiet()) {
            tokio::spawn(cancel::send(raised));
        }
        self.unless_held(Stop::End(End::ServerGone { told: false }), server)
    }

    /// A loan that ends badly, seen as a standby's refusal where the batch can still run elsewhere.
    #[cold]
    pub(super) fn unless_held(&mut self, stop: Stop, server: &mut Server) -> Stop {
        match &stop {
            Stop::End(End::ServerGone { .. } | End::Fail(_)) if self.is_returnable() => {
                self.take_back(Refusal::Moment, None, server)
            }
            _ => stop,
        }
    }

    /// The batch stands in front again, as if no server had had it.
    pub(super) fn take_back(&mut self, refusal: Refusal, ready: Option<TxStatus>, server: &mut Server) -> Stop {
        let out = !self.to_server.has_pending() && !self.to_server.is_mid_frame();
        if self.keeps_quiet() {
            self.to_client.lose_pending();
        }
        let answer = self.to_client.unjudged().len();
        self.to_client.swallow(answer);
        self.to_server.lose_pending();
        self.session.unsend(&mut server.state);
        let Some(reader) = &mut self.reader else { return Stop::End(End::ServerGone { told: false }) };
        let (Loan::Standby { left, .. } | Loan::Reads { left, .. }) = std::mem::take(&mut reader.loan) else {
            return Stop::End(End::ServerGone { told: false });
        };
        // What of the batch was not sent yet is part of what was kept.
        self.to_server.swallow(left);
        let back = self.to_server.put_back(reader.kept());
        reader.let_go();
        match back {
            true => Stop::End(End::Refused { refusal, ready: ready.filter(|_| out && left == 0) }),
            false => Error::new(Kind::Internal, Side::Proxy).because("no room to repeat a batch").into(),
        }
    }

    /// A batch that PostgreSQL refused before it ran is judged again, in front of what came behind it.
    #[cold]
    pub(super) fn replay(&mut self) -> Result<(), Stop> {
        let batch = self.session.replayed();
        match self.to_server.put_back(&batch) {
            true => Ok(()),
            false => Err(Error::new(Kind::Internal, Side::Proxy).because("no room to repeat a batch").into()),
        }
    }
}

/// A standby's error that the client will see: where the text is to blame, and it ran by itself, it runs on the primary
/// the next time. (In a READ ONLY transaction the primary says the same.)
pub(super) fn note_shown_error(reader: Option<&Reader>, session: &Session, error: &[u8]) {
    let Some(reader) = reader else { return };
    let shown = matches!(reader.loan, Loan::Standby { shown: true, .. });
    if shown && session.begun_modes().is_none() && hold::judge(error) == Refusal::Text {
        reader.remember_refused();
    }
}

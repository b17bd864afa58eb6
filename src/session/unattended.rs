//! [pure] What a client without a server is answered.

use super::outbox::Outbox;
use super::{Batch, Frame, FromClient, Session};
use crate::error::Error;
use crate::wire::{encode, front};

impl Session {
    /// Whether a frame of an idle client needs a server at all; if not, `unattended` answers it.
    pub fn wants_server(&self, tag: u8) -> bool {
        match tag {
            front::SYNC => self.in_batch(),
            front::FLUSH | front::TERMINATE | front::COPY_DATA | front::COPY_DONE | front::COPY_FAIL => false,
            _ => self.batch != Batch::Refused,
        }
    }

    /// Judges a frame that needs no server: a bare Sync is answered, leftovers of a COPY or of a refused batch go nowhere.
    pub fn unattended(&mut self, frame: Frame<'_>, to_client: &mut Outbox<'_>) -> FromClient {
        match frame.header.tag {
            front::TERMINATE => return FromClient::Terminate,
            front::SYNC => {
                self.batch = Batch::Closed;
                encode::ready_for_query(to_client.end(), self.absent().unwrap_or_default());
            }
            _ => {}
        }
        FromClient::Swallow
    }

    /// The request that waits for a server is refused: an error, and the ReadyForQuery that ends a simple query. The
    /// rest of an extended batch goes to `unattended` until its Sync.
    pub fn refuse(&mut self, tag: u8, error: &Error, to_client: &mut Outbox<'_>) {
        self.fail_absent();
        encode::error(to_client.end(), error);
        match tag {
            front::QUERY | front::FUNCTION_CALL => {
                encode::ready_for_query(to_client.end(), self.absent().unwrap_or_default());
            }
            _ => self.batch = Batch::Refused,
        }
    }
}

//! [pure] Where we write what we author, in the right place among what is only passed on.
//!
//! Bytes that pass untouched are sent from the buffer into which they were read. When something of ours must go
//! between them, the span that is already approved is copied in front of it; nothing is copied otherwise.

/// One direction's pending bytes: `staged` goes out first, then `span`.
pub struct Outbox<'a> {
    staged: &'a mut Vec<u8>,
    span: &'a [u8],
    folded: bool,
}

impl<'a> Outbox<'a> {
    /// `span`: approved bytes of the read buffer that were not sent yet.
    pub fn new(staged: &'a mut Vec<u8>, span: &'a [u8]) -> Outbox<'a> {
        Outbox { staged, span, folded: false }
    }

    /// The place behind everything that is pending.
    pub fn end(&mut self) -> &mut Vec<u8> {
        if !self.folded {
            self.staged.extend_from_slice(self.span);
            self.folded = true;
        }
        self.staged
    }

    /// Whether the span was copied: the caller then counts it as taken.
    pub fn folded(&self) -> bool {
        self.folded
    }
}

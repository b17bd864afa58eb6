//! One direction of a conversation: read, judged, written; three cursors over one buffer, `done <= judged <= end`.
//!
//! What passes untouched is written from the buffer into which it was read. What we author stands in `staged` and goes
//! out first, in the same system call. A frame longer than the buffer is streamed: `through` bytes pass unjudged, or
//! `void` bytes are dropped.

use std::io;
use std::task::{Context, Poll};

use super::buffer::{Buffer, LARGE};
use super::stream::Stream;

/// The bytes on their way from one peer to the other.
#[derive(Debug, Default)]
pub struct Pipe {
    buffer: Buffer,
    /// Up to here written.
    done: usize,
    /// Up to here approved.
    judged: usize,
    /// Up to here read.
    end: usize,
    staged: Vec<u8>,
    staged_done: usize,
    /// Bytes of the present frame that still have to come and pass: at most `frame::MESSAGE_LIMIT`.
    through: u32,
    /// Bytes of the present frame that still have to come and go nowhere.
    void: u32,
    /// The last read filled the buffer: the next one may take a large one.
    bulk: bool,
    /// TLS took all of it and holds a part back, since the socket has no room: there is still something to do.
    unflushed: bool,
}

/// What `staged` may keep of its capacity when nothing is pending.
const STAGED_KEEP: usize = 256;

/// A span up to this size is copied behind what we author: cheaper than a system call with two slices.
const FOLD: usize = 1024;

/// What one read led to.
#[derive(Debug, PartialEq, Eq)]
pub enum Read {
    Bytes(usize),
    /// The peer ended its side.
    End,
    /// No room until something is written.
    Full,
}

impl Pipe {
    /// What was read and not judged.
    pub fn unjudged(&self) -> &[u8] {
        &self.buffer.bytes()[self.judged..self.end]
    }

    /// Splits off what a judge needs: the place for authored bytes, the approved span before them, the unjudged bytes.
    pub fn parts(&mut self) -> (&mut Vec<u8>, &[u8], &[u8]) {
        let bytes = self.buffer.bytes();
        (&mut self.staged, &bytes[self.done..self.judged], &bytes[self.judged..self.end])
    }

    /// The approved span was copied in front of what we author.
    pub fn folded(&mut self) {
        self.done = self.judged;
    }

    /// The frame of this length passes as it is, as much of it as is there; the rest when it comes.
    pub fn pass(&mut self, len: usize) {
        let here = len.min(self.end - self.judged);
        self.judged += here;
        self.through = (len - here) as u32;
    }

    /// `taken` bytes go nowhere (something authored stands for them), the rest of the frame passes.
    pub fn replace(&mut self, taken: usize, len: usize) {
        self.drop_judged(taken);
        if len > taken {
            self.pass(len - taken);
        }
    }

    /// The frame of this length goes nowhere.
    pub fn swallow(&mut self, len: usize) {
        let here = len.min(self.end - self.judged);
        self.drop_judged(here);
        self.void = (len - here) as u32;
    }

    /// Cuts bytes out behind the approved span, which is folded if it is not empty.
    fn drop_judged(&mut self, count: usize) {
        if self.done < self.judged {
            self.staged.extend_from_slice(&self.buffer.bytes()[self.done..self.judged]);
        }
        self.judged += count;
        self.done = self.judged;
    }

    /// Bytes in the middle of a frame that was judged: they pass or go nowhere. True while the frame's end is not there.
    #[inline]
    pub fn in_frame(&mut self) -> bool {
        self.is_mid_frame() && self.goes_on()
    }

    fn goes_on(&mut self) -> bool {
        if self.through > 0 {
            self.pass(self.through as usize);
        } else {
            self.swallow(self.void as usize);
        }
        self.is_mid_frame()
    }

    /// Whether a frame has passed in part only.
    #[inline]
    pub fn is_mid_frame(&self) -> bool {
        self.through > 0 || self.void > 0
    }

    /// Appends bytes of ours behind everything approved.
    pub fn author(&mut self) -> &mut Vec<u8> {
        self.drop_judged(0);
        &mut self.staged
    }

    /// Whether something is still to be written, or held back by TLS.
    pub fn has_pending(&self) -> bool {
        self.unflushed || self.pending() > 0
    }

    /// Bytes that were not written yet.
    pub fn pending(&self) -> usize {
        self.staged.len() - self.staged_done + self.judged - self.done
    }

    pub fn has_unjudged(&self) -> bool {
        self.judged < self.end
    }

    /// Reads once. The buffer is compacted or grown first where the unjudged bytes leave no room. Cancel-safe.
    pub fn poll_fill(&mut self, from: &mut Stream, cx: &mut Context<'_>) -> Poll<io::Result<Read>> {
        if !self.make_room() {
            return Poll::Ready(Ok(Read::Full));
        }
        let read = |room: &mut [u8]| from.poll_read(cx, room);
        match self.buffer.fill(self.end, read, |read| matches!(read, Poll::Ready(Ok(1..)))) {
            Poll::Ready(Ok(0)) => Poll::Ready(Ok(Read::End)),
            Poll::Ready(Ok(n)) => {
                self.end += n;
                self.bulk = self.end == self.buffer.len();
                Poll::Ready(Ok(Read::Bytes(n)))
            }
            Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
            Poll::Pending => {
                self.rest();
                Poll::Pending
            }
        }
    }

    /// So much was authored, or folded into it, that all of it must be written before more is read or judged: the rest
    /// of a partly written `staged` is not moved to its front, so its whole length counts.
    pub fn is_heavy(&self) -> bool {
        self.staged.len() >= LARGE
    }

    #[inline]
    fn make_room(&mut self) -> bool {
        if self.is_heavy() {
            return false;
        }
        if self.done == self.end {
            self.rewind();
            if self.bulk && self.buffer.len() < LARGE {
                self.buffer.grow(0..0);
            }
            return true;
        }
        self.end < self.buffer.len() || self.make_more_room()
    }

    fn make_more_room(&mut self) -> bool {
        // Full. What is approved must be written first; a frame that must be seen whole may need the large size.
        if self.done < self.judged {
            return false;
        }
        let kept = self.judged..self.end;
        let size = kept.len();
        if self.judged > 0 {
            self.buffer.compact(kept);
        } else if self.buffer.len() < LARGE {
            self.buffer.grow(kept);
        } else {
            return false;
        }
        (self.done, self.judged, self.end) = (0, 0, size);
        true
    }

    fn rewind(&mut self) {
        (self.done, self.judged, self.end) = (0, 0, 0);
    }

    /// Writes what is pending; Ready when all of it is out. Cancel-safe.
    pub fn poll_drain(&mut self, to: &mut Stream, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if !self.staged.is_empty() && self.judged - self.done <= FOLD {
            self.drop_judged(0);
        }
        while self.pending() > 0 {
            let staged = &self.staged[self.staged_done..];
            let span = &self.buffer.bytes()[self.done..self.judged];
            let written = match to.poll_write(cx, staged, span) {
                Poll::Ready(Ok(0)) => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                Poll::Ready(Ok(n)) => n,
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                Poll::Pending => return Poll::Pending,
            };
            let from_staged = written.min(staged.len());
            self.staged_done += from_staged;
            self.done += written - from_staged;
        }
        self.staged.clear();
        self.staged_done = 0;
        let flushed = to.poll_flush(cx);
        self.unflushed = flushed.is_pending();
        if let Poll::Ready(Ok(())) = flushed {
            self.rest();
        }
        flushed
    }

    /// Nothing is held: the buffer goes back.
    #[inline]
    pub fn rest(&mut self) {
        if self.done == self.end && !self.has_pending() {
            self.rewind();
            self.buffer.release();
            if self.staged.capacity() > STAGED_KEEP {
                self.staged = Vec::new();
            }
        }
    }

    /// A batch that is judged again comes before what has not been judged yet.
    pub fn put_back(&mut self, bytes: &[u8]) -> bool {
        let unjudged = self.unjudged().to_vec();
        let total = bytes.len() + unjudged.len();
        self.drop_judged(0);
        if total > LARGE {
            return false;
        }
        self.buffer.take();
        if self.buffer.len() < total {
            self.buffer.grow(0..0);
        }
        let room = self.buffer.take();
        room[..bytes.len()].copy_from_slice(bytes);
        room[bytes.len()..total].copy_from_slice(&unjudged);
        (self.done, self.judged, self.end) = (0, 0, total);
        true
    }

    /// Nobody takes what is written any more. Where frames begin is still known, so that what comes is judged rightly.
    pub fn lose_pending(&mut self) {
        self.staged.clear();
        self.staged_done = 0;
        self.done = self.judged;
        self.void += std::mem::take(&mut self.through);
        self.unflushed = false;
        self.rest();
    }
}

#[cfg(test)]
mod tests {
    use std::task::Waker;

    use tokio::io::AsyncWriteExt;

    use super::*;

    #[test]
    fn a_frame_whose_head_was_lost_is_lost_to_its_end() {
        let mut pipe = Pipe::default();
        pipe.put_back(b"headfram");
        pipe.pass(10);
        pipe.lose_pending();
        assert!(!pipe.has_pending() && pipe.is_mid_frame());
        pipe.put_back(b"e.next");
        assert!(!pipe.in_frame());
        assert_eq!((pipe.unjudged(), pipe.pending()), (&b"next"[..], 0));
    }

    /// Small pieces behind something authored are folded into it: a peer that does not read must not make that grow.
    #[tokio::test]
    async fn what_is_authored_is_bounded_while_the_peer_does_not_read() {
        let (near, _stuck) = tokio::net::UnixStream::pair().expect("a pair");
        let (source, mut feed) = tokio::net::UnixStream::pair().expect("a pair");
        let (mut to, mut from) = (Stream::Unix(near), Stream::Unix(source));
        let mut cx = Context::from_waker(Waker::noop());
        let mut pipe = Pipe::default();
        pipe.author().extend_from_slice(b"authored");
        let mut full = false;
        for _ in 0..4096 {
            feed.write_all(&[b'x'; 1000]).await.expect("room");
            tokio::task::yield_now().await;
            match pipe.poll_fill(&mut from, &mut cx) {
                Poll::Ready(Ok(Read::Bytes(_))) => pipe.pass(pipe.unjudged().len()),
                Poll::Ready(Ok(Read::Full)) => {
                    full = true;
                    break;
                }
                _ => {}
            }
            pipe.author().push(b'a');
            let _ = pipe.poll_drain(&mut to, &mut cx);
        }
        assert!(full && pipe.pending() < 2 * LARGE, "pending: {}", pipe.pending());
    }
}

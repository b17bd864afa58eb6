//! Buffers that exist only while they hold something.
//!
//! Each thread keeps a few spare ones of two sizes; a connection takes one when its socket becomes readable and gives
//! it back when it has been drained, so that an idle connection holds none.

use std::cell::RefCell;

/// What one read takes. At least 16 kB, since an answer may be held back in it.
pub const SMALL: usize = 16 << 10;

/// What a bulk transfer reads, and what a message that must be seen whole may need: `session::COLLECT` and a header.
pub const LARGE: usize = 128 << 10;

/// Spare buffers per thread: of the small size as many as a queue of clients holds, of the large one a few.
const SPARE_SMALL: usize = 256;
const SPARE_LARGE: usize = 8;

thread_local! {
    static SMALL_SPARES: RefCell<Vec<Box<[u8]>>> = const { RefCell::new(Vec::new()) };
    static LARGE_SPARES: RefCell<Vec<Box<[u8]>>> = const { RefCell::new(Vec::new()) };
}

/// A buffer of `SMALL` or `LARGE` bytes, or none at all.
#[derive(Debug, Default)]
pub struct Buffer {
    bytes: Box<[u8]>,
}

impl Buffer {
    /// The bytes, of the smaller size if there were none.
    pub fn take(&mut self) -> &mut [u8] {
        if self.bytes.is_empty() {
            self.bytes = spare(SMALL);
        }
        &mut self.bytes
    }

    /// Has the bytes from `end` on read into. If there are none, one of the thread's spare buffers is shown, and taken only
    /// if something `came`: most looks at a socket find nothing. What reads must not take or give back a buffer itself.
    #[inline]
    pub fn fill<R>(&mut self, end: usize, read: impl FnOnce(&mut [u8]) -> R, came: impl FnOnce(&R) -> bool) -> R {
        if !self.bytes.is_empty() {
            return read(&mut self.bytes[end..]);
        }
        SMALL_SPARES.with_borrow_mut(|spares| {
            if spares.is_empty() {
                spares.push(vec![0; SMALL].into_boxed_slice());
            }
            let read = read(spares.last_mut().map(|bytes| &mut bytes[..]).unwrap_or_default());
            if came(&read) {
                self.bytes = spares.pop().unwrap_or_default();
            }
            read
        })
    }

    #[inline]
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    pub fn len(&self) -> usize {
        self.bytes.len()
    }

    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// Becomes large, with the bytes of `keep` at its front.
    pub fn grow(&mut self, keep: std::ops::Range<usize>) {
        let mut large = spare(LARGE);
        let kept = self.bytes.get(keep).unwrap_or(&[]);
        large[..kept.len()].copy_from_slice(kept);
        give_back(std::mem::replace(&mut self.bytes, large));
    }

    /// Moves `keep` to the front.
    pub fn compact(&mut self, keep: std::ops::Range<usize>) {
        self.bytes.copy_within(keep, 0);
    }

    /// Gives the bytes back to the thread.
    #[inline]
    pub fn release(&mut self) {
        if !self.bytes.is_empty() {
            give_back(std::mem::take(&mut self.bytes));
        }
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        self.release();
    }
}

fn spare(size: usize) -> Box<[u8]> {
    let spares = if size == SMALL { &SMALL_SPARES } else { &LARGE_SPARES };
    let found = spares.try_with(|spares| spares.borrow_mut().pop()).ok().flatten();
    found.unwrap_or_else(|| vec![0; size].into_boxed_slice())
}

fn give_back(bytes: Box<[u8]>) {
    let (spares, most) = match bytes.len() {
        SMALL => (&SMALL_SPARES, SPARE_SMALL),
        LARGE => (&LARGE_SPARES, SPARE_LARGE),
        _ => return,
    };
    // A thread that ends has no spares any more: the bytes are simply freed.
    let _ = spares.try_with(|spares| {
        let mut spares = spares.borrow_mut();
        if spares.len() < most {
            spares.push(bytes);
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_idle_buffer_holds_nothing_and_its_bytes_are_used_again() {
        let mut buffer = Buffer::default();
        let at = buffer.take().as_ptr();
        buffer.release();
        assert!(buffer.is_empty());
        let mut other = Buffer::default();
        assert_eq!(other.take().as_ptr(), at);
    }

    #[test]
    fn a_look_that_finds_nothing_takes_nothing() {
        let mut buffer = Buffer::default();
        assert_eq!((buffer.fill(0, |room| room.len(), |_| false), buffer.len()), (SMALL, 0));
        buffer.fill(0, |room| room[..3].copy_from_slice(b"abc"), |()| true);
        assert_eq!((buffer.len(), &buffer.bytes()[..3]), (SMALL, &b"abc"[..]));
        assert_eq!(buffer.fill(3, |room| room.len(), |_| false), SMALL - 3);
        assert_eq!((buffer.len(), &buffer.bytes()[..3]), (SMALL, &b"abc"[..]));
    }

    #[test]
    fn growing_keeps_what_is_asked() {
        let mut buffer = Buffer::default();
        buffer.take()[10..13].copy_from_slice(b"abc");
        buffer.grow(10..13);
        assert_eq!((buffer.len(), &buffer.bytes()[..3]), (LARGE, &b"abc"[..]));
    }
}

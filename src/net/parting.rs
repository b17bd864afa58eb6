//! Leaving a server in good order: Terminate and the end of TLS, as far as the socket takes them at once. A server logs
//! what hangs up on it, and counts it as abandoned.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::task::{Context, Poll, Waker};

use super::stream::Stream;
use crate::wire::encode;

/// To be closed next. Only where the server owes nothing and has whole messages: behind a part of one these bytes would be
/// its end.
pub fn part(stream: &mut Stream) {
    let mut words = Vec::new();
    encode::terminate(&mut words);
    let say = poll_fn(|cx| match stream.poll_write(cx, &words, &[]) {
        Poll::Ready(Ok(written)) if written == words.len() && stream.is_tls() => stream.poll_shutdown(cx).map(|_| ()),
        _ => Poll::Ready(()),
    });
    // A task that has used up its turn would be told to wait, and nobody waits here.
    let _ = pin!(tokio::task::unconstrained(say)).poll(&mut Context::from_waker(Waker::noop()));
}

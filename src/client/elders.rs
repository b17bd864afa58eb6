//! The processes whose place this one took (`serve::handover`): each still serves the clients that it had, and knows
//! their cancel keys.
//!
//! A cancel request for a key that is not known here is put before all of them, with one end of a socket pair; whoever
//! knows the key closes it when the request is done, the others at once.

use std::os::fd::AsFd;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::io::AsyncReadExt;
use tokio::net::UnixStream;

use crate::net::packets::{Packet, Packets};

/// The first byte of a packet that asks for a cancel; the key follows.
const CANCEL: u8 = b'C';

/// Connections to those that may still live.
#[derive(Default)]
pub struct Elders(Mutex<Vec<Arc<Packets>>>);

impl Elders {
    pub fn add(&self, elder: Packets) {
        self.0.lock().push(Arc::new(elder));
    }

    /// For the process that takes our place in turn.
    pub fn all(&self) -> Vec<Arc<Packets>> {
        self.0.lock().clone()
    }

    /// Ends when each has done what there was to do. Cancel-safe.
    pub async fn cancel(&self, pid: i32, secret: &[u8]) {
        let request = [&[CANCEL][..], &pid.to_be_bytes(), secret].concat();
        let mut answers = Vec::new();
        for elder in self.all() {
            let Ok((ours, theirs)) = UnixStream::pair() else { return };
            match elder.send(&request, &[theirs.as_fd()]).await {
                Ok(()) => answers.push(ours),
                // Its last client has left.
                Err(_) => self.0.lock().retain(|known| !Arc::ptr_eq(known, &elder)),
            }
        }
        for mut answer in answers {
            let _ = answer.read(&mut [0]).await;
        }
    }
}

/// A cancel request that another process passes on: the key's two parts. Its descriptor is to be closed when it is done.
pub fn request(packet: &Packet) -> Option<(i32, &[u8])> {
    let (&CANCEL, key) = packet.bytes.split_first()? else { return None };
    let (pid, secret) = key.split_first_chunk::<4>()?;
    Some((i32::from_be_bytes(*pid), secret))
}

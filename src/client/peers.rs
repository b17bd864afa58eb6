//! Other processes behind the same port (`[peers]`): a cancel request for one of their clients goes on to them.
//!
//! The kernel gives a connection to any of the processes that share a port, and so does a load balancer. A cancel key
//! therefore carries the number of its process, and how often a request may go on, as PgBouncer's does: both may stand
//! behind one port.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::Semaphore;

use crate::config::{Config, Peer};
use crate::server::connect::{self, Route};
use crate::server::names::Names;

/// The lowest bits of a key's last byte: how often a request with it may go on.
const TTL: u8 = 0x03;

/// How each is reached.
#[derive(Default)]
pub struct Peers {
    /// How many requests may be on their way to each.
    ways: Mutex<HashMap<u32, (usize, Arc<Semaphore>)>>,
    names: Arc<Names>,
}

/// Writes this process's number into the first part of a key; 0 leaves it as it is.
pub fn sign_pid(id: u32, pid: i32) -> i32 {
    if id == 0 {
        return pid;
    }
    let [first, .., last] = pid.to_be_bytes();
    let [low, high, ..] = id.to_le_bytes();
    i32::from_be_bytes([first, low, high, last])
}

/// Lets requests with a key go on as often as they may; without a number it stays as it is.
pub fn sign_secret(id: u32, secret: &mut [u8]) {
    if let Some(last) = secret.last_mut().filter(|_| id != 0) {
        *last |= TTL;
    }
}

/// The number in a key.
pub fn signer(pid: i32) -> u32 {
    let [_, low, high, _] = pid.to_be_bytes();
    u32::from(u16::from_le_bytes([low, high]))
}

/// The key as it was given to its client, however often its request went on.
pub fn whole(id: u32, secret: &[u8]) -> Vec<u8> {
    let mut whole = secret.to_vec();
    sign_secret(id, &mut whole);
    whole
}

/// The key for the next process; None: it went on often enough.
fn spent(secret: &[u8]) -> Option<Vec<u8>> {
    let mut next = secret.to_vec();
    let last = next.last_mut().filter(|last| **last & TTL != 0)?;
    *last -= 1;
    Some(next)
}

impl Peers {
    /// Passes a request on to the process that the key names, and waits until that has done it. Where nobody is to be
    /// found that is for the log.
    pub async fn cancel(&self, config: &Config, pid: i32, secret: &[u8]) {
        let id = signer(pid);
        let Some(peer) = config.peers.get(&id) else {
            return tracing::debug!(peer = id, "could not find peer to forward request to");
        };
        let Some(secret) = spent(secret) else {
            return tracing::warn!(peer = id, "failed to forward cancel request because its TTL was exhausted");
        };
        let way = self.way(id, peer, config);
        let (global, names) = (Arc::new(config.global.clone()), Arc::clone(&self.names));
        let route = Route { address: peer.address.clone(), tls: None, global, names };
        let forward = async {
            let _place = way.acquire().await;
            connect::cancel(&route, pid, &secret).await
        };
        let done = match config.global.cancel_wait_timeout {
            Some(limit) => tokio::time::timeout(limit, forward).await,
            None => Ok(forward.await),
        };
        match done {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::warn!(peer = id, "cancel request failed: {error}"),
            Err(_) => tracing::warn!(peer = id, "cancel request failed: cancel_wait_timeout"),
        }
    }

    fn way(&self, id: u32, peer: &Peer, config: &Config) -> Arc<Semaphore> {
        let size = match peer.pool_size.unwrap_or(config.global.default_pool_size) {
            0 => Semaphore::MAX_PERMITS,
            size => size,
        };
        let mut ways = self.ways.lock();
        let way = ways.entry(id).or_insert_with(|| (size, Arc::new(Semaphore::new(size))));
        if way.0 != size {
            // Those who are under way keep the old one.
            *way = (size, Arc::new(Semaphore::new(size)));
        }
        Arc::clone(&way.1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_names_its_process() {
        for (id, pid) in [(1, 0x7fff_ffff), (0x3fff, 1), (258, 0x0102_0304)] {
            let mut secret = [0x10, 0x20, 0x30, 0x40];
            sign_secret(id, &mut secret);
            let signed = sign_pid(id, pid);
            assert_eq!((signer(signed), secret), (id, [0x10, 0x20, 0x30, 0x43]));
            assert!(signed > 0 && (signed ^ pid) & 0x7f00_00ff == 0);
        }
        // PgBouncer's octets: the number's low one first.
        assert_eq!(sign_pid(0x0102, 0), 0x0002_0100);
        let mut secret = [4];
        sign_secret(0, &mut secret);
        assert_eq!((sign_pid(0, 5), secret), (5, [4]));
    }

    #[test]
    fn a_request_goes_on_three_times() {
        let mut secret = vec![0xf0, 0xf3];
        for left in [2, 1, 0] {
            secret = spent(&secret).unwrap();
            assert_eq!(secret[1] & TTL, left);
            assert_eq!(whole(1, &secret), [0xf0, 0xf3]);
        }
        assert_eq!(spent(&secret), None);
        assert_eq!(spent(&[]), None);
    }
}

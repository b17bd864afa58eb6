//! PAUSE and DISABLE over a handover: the old process tells the new one what it holds, and from then on the new one the
//! old ones, so that one console is enough.
//!
//! Each hold is a packet: `H`, its sort, and the database's name. Those who do not know them pass them over.

use std::io;
use std::sync::Arc;

use crate::client::House;
use crate::cluster::holds::Hold;
use crate::net::packets::Packets;

/// Behind what a new process holds from now on.
pub const END: &[u8] = b"E";

/// What a packet says, if it is one of these.
pub fn read(packet: &[u8]) -> Option<Hold> {
    let [b'H', sort, name @ ..] = packet else { return None };
    let name = || String::from_utf8_lossy(name).into_owned();
    match sort {
        b'a' => Some(Hold::All),
        b'p' => Some(Hold::Database(name())),
        b'd' => Some(Hold::Disabled(name())),
        _ => None,
    }
}

fn written(hold: &Hold) -> Vec<u8> {
    let (sort, name) = match hold {
        Hold::All => (b'a', ""),
        Hold::Database(name) => (b'p', name.as_str()),
        Hold::Disabled(name) => (b'd', name.as_str()),
    };
    [&[b'H', sort], name.as_bytes()].concat()
}

pub async fn tell(other: &Packets, holds: &[Hold]) -> io::Result<()> {
    for hold in holds {
        other.send(&written(hold), &[]).await?;
    }
    Ok(())
}

/// Tells the processes whose place this one took, as long as it lives. One that has ended hears nothing.
pub async fn keep_told(house: Arc<House>) {
    let mut changes = house.backends.holding();
    while changes.changed().await.is_ok() {
        let holds = house.backends.held();
        for elder in house.elders.all() {
            if tell(&elder, &holds).await.is_ok() {
                let _ = elder.send(END, &[]).await;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        for hold in [Hold::All, Hold::Database("my db".into()), Hold::Disabled(String::new())] {
            assert_eq!(read(&written(&hold)), Some(hold));
        }
        for other in [&b"Y"[..], b"E", b"H", b"Hx", b""] {
            assert_eq!(read(other), None);
        }
    }
}

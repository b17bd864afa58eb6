//! CancelRequest: to the server that runs this client's statement, and to no other.

use super::{House, peers};
use crate::server::{Raised, connect};

/// Handles one request. Nothing is answered, whatever happens (PROTOCOL 24).
pub async fn request(house: &House, pid: i32, secret: &[u8]) {
    house.backends.stats.process().cancels.received();
    if house.peer_id != 0 && peers::signer(pid) != house.peer_id {
        house.peers.cancel(&house.backends.ground().config, pid, secret).await;
    } else if !own(house, pid, secret).await {
        house.elders.cancel(pid, secret).await;
    }
}

/// Handles one for a client of this process. False: the key is nobody's here.
pub async fn own(house: &House, pid: i32, secret: &[u8]) -> bool {
    let signed = peers::whole(house.peer_id, secret);
    let Some(entry) = house.entries.find(pid, &signed) else { return false };
    match entry.cancel() {
        // In a task of its own: a client that hangs up, or client_login_timeout, must not lower the gate before the
        // server has closed its end.
        Some(raised) => {
            house.backends.stats.process().cancels.sent();
            drop(tokio::spawn(send(raised)).await);
        }
        None => tracing::debug!("cancel request for nothing that runs"),
    }
    true
}

/// Sends it on. The server's gate falls when its end of that connection is closed: from then on no signal is under way.
pub async fn send(raised: Raised) {
    let gate = raised.gate();
    if let Err(error) = connect::cancel(&gate.route, gate.pid, &gate.secret).await {
        tracing::warn!(server = %gate.route.address, "cancel request failed: {error}");
    }
}

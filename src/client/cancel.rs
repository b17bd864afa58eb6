//! CancelRequest: to the server that runs this client's statement, and to no other.

use crate::client::House;
use crate::server::{Raised, connect};

/// Handles one request. Nothing is answered, whatever happens (PROTOCOL 24).
pub async fn request(house: &House, pid: i32, secret: &[u8]) {
    let raised = house.entries.find(pid).and_then(|entry| entry.cancel(secret));
    match raised {
        // In a task of its own: a client that hangs up, or client_login_timeout, must not lower the gate before the
        // server has closed its end.
        Some(raised) => drop(tokio::spawn(send(raised)).await),
        None => tracing::debug!("cancel request for nothing that runs"),
    }
}

/// Sends it on. The server's gate falls when its end of that connection is closed: from then on no signal is under way.
pub async fn send(raised: Raised) {
    let gate = raised.gate();
    if let Err(error) = connect::cancel(&gate.route, gate.pid, &gate.secret).await {
        tracing::warn!(server = %gate.route.address, "cancel request failed: {error}");
    }
}

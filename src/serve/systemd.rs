//! What systemd passes to a service of a socket unit: its listening sockets (`LISTEN_FDS`, `LISTEN_PID`).

use std::io;
use std::os::fd::OwnedFd;

use listenfd::ListenFd;

/// All of them; none where nobody passed any, or to another process. Fails where one is no socket for connections.
pub fn sockets() -> io::Result<Vec<OwnedFd>> {
    let mut passed = ListenFd::from_env();
    let mut sockets = Vec::new();
    for at in 0..passed.len() {
        let socket = match passed.take_tcp_listener(at) {
            Ok(listener) => listener.map(OwnedFd::from),
            Err(_) => passed.take_unix_listener(at)?.map(OwnedFd::from),
        };
        sockets.extend(socket);
    }
    Ok(sockets)
}

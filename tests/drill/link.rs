//! A wire between a proxy and a server that can be cut: then nothing is refused and nothing ends, and no byte arrives.

use std::sync::Arc;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

/// Leads from a port of its own to a server's.
pub struct Link {
    pub port: u16,
    /// How often it was cut or mended: odd while it is cut.
    state: Arc<watch::Sender<u64>>,
}

impl Link {
    pub async fn to(server: u16) -> Link {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a port is free");
        let port = listener.local_addr().expect("it is bound").port();
        let state = Arc::new(watch::Sender::new(0));
        let changes = state.subscribe();
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                tokio::spawn(carry(client, server, changes.clone()));
            }
        });
        Link { port, state }
    }

    /// From now on bytes go nowhere, in either direction; a new connection is accepted, and hears nothing.
    pub fn cut(&self) {
        self.state.send_if_modified(|state| set(state, true));
    }

    /// New connections pass; those that were cut end.
    pub fn mend(&self) {
        self.state.send_if_modified(|state| set(state, false));
    }
}

fn set(state: &mut u64, cut: bool) -> bool {
    let changes = (*state % 2 == 1) != cut;
    *state += u64::from(changes);
    changes
}

/// One connection, until either side ends it. One that was cut ends when the link is mended.
async fn carry(client: TcpStream, server: u16, state: watch::Receiver<u64>) {
    let begun = *state.borrow();
    let mut changes = state.clone();
    let mended = changes.wait_for(|now| now.is_multiple_of(2) && *now > begun);
    if begun % 2 == 1 {
        let _gone = mended.await;
        return;
    }
    let Ok(upstream) = TcpStream::connect(("127.0.0.1", server)).await else { return };
    let _best_effort = (client.set_nodelay(true), upstream.set_nodelay(true));
    let (from_client, to_client) = client.into_split();
    let (from_server, to_server) = upstream.into_split();
    tokio::select! {
        () = pass(from_client, to_server, &state) => {}
        () = pass(from_server, to_client, &state) => {}
        _ = mended => {}
    }
}

/// One direction. While the link is cut what arrives is lost, an end as well.
async fn pass(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, state: &watch::Receiver<u64>) {
    let mut bytes = vec![0; 16 << 10];
    loop {
        let read = from.read(&mut bytes).await;
        if *state.borrow() % 2 == 1 {
            if !matches!(read, Ok(1..)) {
                return std::future::pending().await;
            }
            continue;
        }
        match read {
            Ok(n @ 1..) if to.write_all(&bytes[..n]).await.is_ok() => {}
            _ => return,
        }
    }
}

//! What one idle TLS client costs, measured as the growth of this process' resident memory; run by hand:
//! `cargo test --lib --release tls::memory -- --ignored --nocapture --test-threads 1`.

use std::task::Poll;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::server::TlsStream;

use super::lab::{Lab, P256};
use super::{Acceptor, Connector};
use crate::config::SslMode::{Require, VerifyFull};
use crate::config::Tls;

const CLIENTS: usize = 1000;

/// The target for an idle TLS client in all, task and session included.
const TARGET: usize = 12 * 1024;

#[tokio::test]
#[ignore = "measures memory; meaningful alone and in release builds only"]
async fn an_idle_tls_client_is_small() {
    let mut kept = Vec::new(); // or the next row would live in what this row gave back
    let lab = Lab::new();
    lab.self_signed("peer", "localhost", P256, &[]);
    for (label, mode, tls13) in
        [("TLS 1.3", Require, true), ("TLS 1.2", Require, false), ("TLS 1.3, client certificate", VerifyFull, true)]
    {
        let client_tls = Tls { tls13, ..lab.tls(mode, "peer", "peer.crt") };
        let acceptor = Acceptor::build(&client_tls).expect("files").expect("enabled");
        let connector = Connector::build(&lab.tls(Require, "peer", "peer.crt")).expect("files").expect("enabled");
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        // The first connections fill what is allocated once.
        kept.push(idle_clients(&listener, &acceptor, &connector, 50).await);
        let before = resident();
        let held = idle_clients(&listener, &acceptor, &connector, CLIENTS).await;
        let each = (resident() - before) / CLIENTS;
        println!("{label}: {each} bytes each, {} of them the stream itself", size_of_val(&held[0]));
        assert!(each < TARGET, "{label}: {each}");
        kept.push(held);
    }
}

/// Server ends that have shaken hands, answered some records and now wait in a read; their peers are gone by then,
/// so that only one end is counted.
async fn idle_clients(
    listener: &TcpListener,
    acceptor: &Acceptor,
    connector: &Connector,
    count: usize,
) -> Vec<TlsStream<TcpStream>> {
    let mut held = Vec::with_capacity(count);
    for _ in 0..count {
        let near = TcpStream::connect(listener.local_addr().expect("bound")).await.expect("connected");
        let (far, _) = listener.accept().await.expect("accepted");
        near.set_nodelay(true).expect("set");
        far.set_nodelay(true).expect("set");
        let (server, client) = tokio::join!(acceptor.accept(far, false), connector.connect(near, "localhost"));
        let (mut server, mut client) = (server.expect("server end"), client.expect("client end").0);
        let mut answer = [0; 2000];
        for _ in 0..3 {
            client.write_all(&[1; 300]).await.expect("sent");
            server.read_exact(&mut answer[..300]).await.expect("received");
            server.write_all(&[2; 2000]).await.expect("answered");
            server.flush().await.expect("flushed");
            client.read_exact(&mut answer).await.expect("read");
        }
        wait_in_a_read(&mut server).await;
        held.push(server);
    }
    held
}

/// One poll that finds nothing, as every idle client's task has done.
async fn wait_in_a_read(stream: &mut TlsStream<TcpStream>) {
    let mut byte = [0; 1];
    std::future::poll_fn(|cx| {
        let mut buffer = ReadBuf::new(&mut byte);
        assert!(std::pin::Pin::new(&mut *stream).poll_read(cx, &mut buffer).is_pending());
        Poll::Ready(())
    })
    .await;
}

fn resident() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").expect("Linux");
    let line = status.lines().find(|line| line.starts_with("RssAnon:")).expect("RssAnon");
    line.split_whitespace().nth(1).and_then(|kb| kb.parse::<usize>().ok()).expect("a number") * 1024
}

//! What no honest client sends: refused with its reason, and never anybody else's trouble.

use crate::support::proxy::value;
use crate::support::wire::say;
use crate::support::*;

const OWN: [(&str, &str); 2] = [("user", "app"), ("database", "test1")];

/// These bytes on a new connection: what it is told at its end.
async fn first_bytes(proxy: &Proxy, bytes: &[u8]) -> String {
    let mut wire = Wire::open(proxy.port).await;
    wire.send_perhaps(bytes).await;
    wire.last_words().await
}

async fn before_a_session(pg: Servers) {
    let proxy = Setup::new(&pg).global("ignore_startup_parameters = ''").start().await;
    let startup = say::startup(say::V3_0, &OWN);
    let length = |length: u32| [&length.to_be_bytes()[..], &startup[4..]].concat();
    let cut = |mut packet: Vec<u8>, by: usize| {
        packet.truncate(packet.len() - by);
        let length = u32::try_from(packet.len()).expect("short");
        packet[..4].copy_from_slice(&length.to_be_bytes());
        packet
    };
    let violation = "FATAL 08P01 protocol violation: ";
    for (bytes, expected) in [
        (length(0), "startup packet length below 8"),
        (length(7), "startup packet length below 8"),
        (length(10_001), "startup packet over 10 kB"),
        (length(0xffff_ffff), "startup packet over 10 kB"),
        (cut(startup.clone(), 1), "startup packet without its terminator"),
        (say::startup(say::V3_0, &[("user", "app"), ("", "x")]), "startup packet with bytes after its terminator"),
        (
            say::startup(say::V3_0, &[("user", "app"), ("database", "test1"), ("a", &"x".repeat(10_000))]),
            "startup packet over 10 kB",
        ),
        (b"GET / HTTP/1.1\r\n\r\n".to_vec(), "startup packet over 10 kB"),
    ] {
        assert_eq!(first_bytes(&proxy, &bytes).await, format!("{violation}{expected}"));
    }
    assert_eq!(first_bytes(&proxy, &say::startup(say::V3_0, &[])).await, "FATAL 28000 no username supplied");
    assert_eq!(
        first_bytes(&proxy, &say::startup(say::V3_0, &[("user", "")])).await,
        "FATAL 28000 no username supplied"
    );
    let replication = say::startup(say::V3_0, &[("user", "app"), ("replication", "maybe")]);
    let said = "FATAL 22023 invalid value for parameter \"replication\": \"maybe\"";
    assert_eq!(first_bytes(&proxy, &replication).await, said);
    let options = say::startup(say::V3_0, &[("user", "app"), ("options", "-F")]);
    assert_eq!(first_bytes(&proxy, &options).await, "FATAL 42704 unsupported startup parameter: -F");
    assert_eq!(value(&proxy.app().await, "SELECT 1").await, "1");
}

async fn encryption_requests(pg: Servers) {
    let proxy = Proxy::start(&pg).await;
    let early = "FATAL 08P01 received unencrypted data after SSL request";
    for request in [say::ssl_request(), say::gss_request()] {
        let bytes = [request.clone(), say::startup(say::V3_0, &OWN)].concat();
        assert_eq!(first_bytes(&proxy, &bytes).await, early);
        assert_eq!(first_bytes(&proxy, &[&request[..], b"x"].concat()).await, early);
    }
    // One after the other they are answered with N, and the startup packet may follow.
    let mut wire = Wire::open(proxy.port).await;
    for request in [say::gss_request(), say::ssl_request()] {
        wire.send(&request).await;
        let mut answer = [0];
        tokio::io::AsyncReadExt::read_exact(&mut wire.stream, &mut answer).await.expect("an answer");
        assert_eq!(answer, [b'N']);
    }
    wire.send(&say::startup(say::V3_0, &OWN)).await;
    wire.greet().await;
    assert_eq!(wire.query("SELECT 1").await, "T D(1) C(SELECT 1) Z(I)");
}

async fn a_request_too_many(pg: Servers) {
    let proxy = Proxy::start(&pg).await;
    let mut wire = Wire::open(proxy.port).await;
    let mut answers = Vec::new();
    for _ in 0..10 {
        wire.send_perhaps(&say::ssl_request()).await;
        let mut answer = [0];
        let read = tokio::io::AsyncReadExt::read_exact(&mut wire.stream, &mut answer);
        if soon("an answer or the end", read).await.is_err() || answer != [b'N'] {
            break;
        }
        answers.push(answer[0]);
    }
    assert!(answers.len() <= 3, "{answers:?}");
}

async fn within_a_session(pg: Servers) {
    let proxy = Setup::new(&pg).global("default_pool_size = 1\nmax_packet_size = '1MB'").start().await;
    let length = |tag: u8, length: u32| [&[tag][..], &length.to_be_bytes()].concat();
    let violation = "FATAL 08P01 protocol violation: ";
    for (bytes, expected) in [
        (length(b'Q', 3), "message length below 4"),
        (length(b'Q', 0), "message length below 4"),
        (length(b'Q', 0x8000_0000), "message length over the limit"),
        (length(b'Q', 0xffff_ffff), "message length over the limit"),
        (length(b'd', 2 << 20), "message length over the limit"),
        (say::message(b'?', b"x"), "invalid frontend message type 63"),
        (say::message(0, b""), "invalid frontend message type 0"),
        (say::message(0xff, b""), "invalid frontend message type 255"),
        (say::message(b'p', b"again\0"), "invalid frontend message type 112"),
    ] {
        for inside in ["SELECT 1", "BEGIN"] {
            let mut wire = Wire::login(&proxy).await;
            assert!(wire.query(inside).await.contains(" Z("));
            wire.send_perhaps(&bytes).await;
            assert_eq!(wire.last_words().await, format!("{violation}{expected}"), "{bytes:?} after {inside}");
        }
    }
    let mut wire = Wire::login(&proxy).await;
    assert_eq!(wire.query(&format!("SELECT 1 -- {}", "x".repeat(1 << 19))).await, "T D(1) C(SELECT 1) Z(I)");
}

async fn bodies_that_the_server_refuses(pg: Servers) {
    let proxy = Proxy::of_size(&pg, 1).await;
    let mut wire = Wire::login(&proxy).await;
    for broken in [
        say::message(b'Q', b"SELECT 1"),
        say::message(b'Q', b""),
        say::message(b'Q', b"SELECT 1\0\0"),
        say::message(b'F', b""),
    ] {
        assert_eq!(wire.ask(std::slice::from_ref(&broken)).await, "E(08P01) Z(I)", "{broken:?}");
    }
    for broken in [
        say::message(b'P', b"s\0SELECT 1"),
        say::message(b'P', b"s"),
        say::message(b'P', b"s\0SELECT 1\0\0\x05"),
        say::message(b'B', b"\0"),
        say::message(b'B', b""),
        say::message(b'D', b""),
        say::message(b'D', b"S"),
        say::message(b'C', b"S"),
        say::message(b'E', b"\0"),
        say::message(b'E', b""),
    ] {
        let answer = wire.ask(&[broken.clone(), say::sync()]).await;
        assert_eq!(answer, "E(08P01) Z(I)", "{broken:?}");
    }
    assert_eq!(wire.query("SELECT 1").await, "T D(1) C(SELECT 1) Z(I)");
    assert_eq!(value(&proxy.app().await, "SELECT 2").await, "2");
}

async fn copy_messages_out_of_place(pg: Servers) {
    let proxy = Proxy::of_size(&pg, 1).await;
    let mut wire = Wire::login(&proxy).await;
    wire.send(&[say::copy_data(b"x"), say::copy_done(), say::copy_fail("x")].concat()).await;
    assert_eq!(wire.query("SELECT 1").await, "T D(1) C(SELECT 1) Z(I)");
    wire.query("BEGIN").await;
    wire.send(&[say::copy_data(b"x"), say::copy_done(), say::copy_fail("x")].concat()).await;
    assert_eq!(wire.query("SELECT 2").await, "T D(2) C(SELECT 1) Z(T)");
    assert_eq!(wire.query("COMMIT").await, "C(COMMIT) Z(I)");
}

async fn proofs_that_are_none(pg: Servers) {
    let proxy = Setup::new(&pg).global("auth_type = 'scram-sha-256'").start().await;
    let sasl = |mechanism: &str, data: &[u8]| {
        let length = u32::try_from(data.len()).expect("short").to_be_bytes();
        say::message(b'p', &[mechanism.as_bytes(), &[0], &length, data].concat())
    };
    for message in [
        say::password("plain text"),
        say::query("SELECT 1"),
        say::message(b'p', b""),
        say::message(b'p', &[b'x'; 60_000]),
        sasl("SCRAM-SHA-256-PLUS", b"p=tls-server-end-point,,n=,r=abc"),
        sasl("SCRAM-SHA-1", b"n,,n=,r=abc"),
        sasl("SCRAM-SHA-256", b""),
        sasl("SCRAM-SHA-256", b"\xff\xfe"),
        sasl("SCRAM-SHA-256", &[b'n'; 5_000]),
        [b'p', 0x7f, 0xff, 0xff, 0xff].to_vec(),
    ] {
        let mut wire = Wire::open(proxy.port).await;
        wire.send(&say::startup(say::V3_0, &OWN)).await;
        assert_eq!(wire.read(1).await, "R");
        wire.send_perhaps(&message).await;
        let words = wire.last_words().await;
        assert!(words.starts_with("FATAL "), "{message:?}: {words:?}");
    }
    assert_eq!(value(&proxy.app().await, "SELECT 1").await, "1");
}

tests! {
    on both: [bodies_that_the_server_refuses],
    on 15: [
        a_request_too_many, before_a_session, copy_messages_out_of_place, encryption_requests, proofs_that_are_none,
        within_a_session,
    ]
}

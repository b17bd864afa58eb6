//! A proxy in front of pgweir: whom its PROXY protocol header makes a client, and whose header is believed.

use crate::support::wire::{line, say};
use crate::support::*;

const V1: &[u8] = b"PROXY TCP4 10.9.8.7 10.0.0.1 4242 5432\r\n";

/// The same in version 2, with a TLV behind the addresses.
fn v2(command: u8) -> Vec<u8> {
    let ends = [10, 9, 8, 7, 10, 0, 0, 1, 0x10, 0x92, 0x15, 0x38];
    [&b"\r\n\r\n\0\r\nQUIT\n"[..], &[command, 0x11, 0, 17], &ends, &[0x04, 0, 2, 7, 7]].concat()
}

fn setup(pg: &Servers) -> Setup {
    let setup = Setup::new(pg).global(
        "auth_type = 'hba'\nauth_hba_file = 'hba.conf'\nproxy_protocol_from = ['127.0.0.0/8']\n\
         application_name_add_host = true",
    );
    setup.file("hba.conf", "host all app 10.9.8.0/24 trust\nhost all other 127.0.0.1/32 trust\n")
}

fn hello(user: &str) -> Vec<u8> {
    say::startup(say::V3_0, &[("user", user), ("database", "test1"), ("application_name", "shop")])
}

async fn knock(proxy: &Proxy, bytes: &[u8]) -> Wire {
    let mut wire = Wire::open(proxy.port).await;
    wire.send(bytes).await;
    wire
}

async fn the_client_that_it_names(pg: Servers) {
    let proxy = setup(&pg).start().await;
    for header in [V1.to_vec(), v2(0x21)] {
        let mut wire = knock(&proxy, &[&header[..], &hello("app")].concat()).await;
        wire.greet().await;
        let told = line(&wire.greeting);
        assert!(told.contains("S(application_name=shop - 10.9.8.7:4242)"), "{told}");
        assert_eq!(wire.query("SHOW application_name").await, "T D(shop - 10.9.8.7:4242) C(SHOW) Z(I)");
        let mut refused = knock(&proxy, &[&header[..], &hello("other")].concat()).await;
        assert_eq!(refused.last_words().await, "FATAL 28000 no authentication method is found");
    }
    proxy.wait_for_log("address=10.9.8.7:4242").await;
}

/// Byte by byte, and with the SSLRequest right behind it: nothing behind the header is swallowed.
async fn a_header_in_pieces(pg: Servers) {
    let proxy = setup(&pg).start().await;
    for header in [V1.to_vec(), v2(0x21)] {
        let mut wire = Wire::open(proxy.port).await;
        for byte in header.iter().chain(&say::ssl_request()) {
            wire.send(&[*byte]).await;
            tokio::task::yield_now().await;
        }
        let mut answer = [0];
        tokio::io::AsyncReadExt::read_exact(&mut wire.stream, &mut answer).await.expect("an answer");
        assert_eq!(answer, [b'N']);
        wire.send(&hello("app")).await;
        wire.greet().await;
    }
}

async fn a_proxy_that_speaks_for_itself(pg: Servers) {
    let proxy = setup(&pg).start().await;
    for header in [b"PROXY UNKNOWN\r\n".to_vec(), v2(0x20)] {
        let mut wire = knock(&proxy, &[&header[..], &hello("other")].concat()).await;
        wire.greet().await;
        assert!(line(&wire.greeting).contains("S(application_name=shop - 127.0.0.1:"));
        let mut refused = knock(&proxy, &[&header[..], &hello("app")].concat()).await;
        assert_eq!(refused.last_words().await, "FATAL 28000 no authentication method is found");
    }
}

async fn without_a_header_nobody_comes_in(pg: Servers) {
    let proxy = setup(&pg).start().await;
    for bytes in [hello("other"), b"PROXY TCP4 10.9.8.7 10.0.0.1 4242 nonsense\r\n".to_vec(), v2(0x2f)] {
        assert_eq!(knock(&proxy, &bytes).await.frame().await, None);
    }
    proxy.wait_for_log("a PROXY protocol header was expected").await;
    let both = || async { proxy.log().matches("broken PROXY protocol header").count() == 2 };
    eventually("both are logged", both).await;
    // A health check that connects and leaves is no event.
    let before = proxy.log();
    drop(Wire::open(proxy.port).await);
    drop(knock(&proxy, &V1[..9]).await);
    tokio::time::sleep(MOMENT).await;
    assert_eq!(proxy.log(), before);
}

async fn a_header_from_elsewhere_is_not_believed(pg: Servers) {
    let proxy = Setup::new(&pg).global("proxy_protocol_from = ['10.0.0.0/8', '127.0.0.2']").start().await;
    let mut wire = knock(&proxy, &[V1, &hello("app")].concat()).await;
    assert!(wire.last_words().await.starts_with("FATAL 08P01 protocol violation"));
    assert_eq!(Wire::login(&proxy).await.query("SELECT 1").await, "T D(1) C(SELECT 1) Z(I)");
}

/// Two addresses, and a header at one of them only.
async fn a_listener_without_headers(pg: Servers) {
    let lines = "listen_addr = ['127.0.0.1', '127.0.0.2']\nproxy_protocol_from = ['127.0.0.0/8']\nproxy_protocol_on = ['127.0.0.2']";
    let proxy = Setup::new(&pg).global(lines).start().await;
    assert_eq!(Wire::login(&proxy).await.query("SELECT 1").await, "T D(1) C(SELECT 1) Z(I)");
    let stream = tokio::net::TcpStream::connect(("127.0.0.2", proxy.port)).await.expect("it listens there");
    let mut wire = Wire::over(stream);
    wire.send(&[V1, &hello("app")].concat()).await;
    wire.greet().await;
    proxy.wait_for_log("address=10.9.8.7:4242").await;
    let stream = tokio::net::TcpStream::connect(("127.0.0.2", proxy.port)).await.expect("it listens there");
    let mut without = Wire::over(stream);
    without.send(&hello("app")).await;
    assert_eq!(without.frame().await, None);
}

async fn a_cancel_behind_a_header(pg: Servers) {
    let proxy = setup(&pg).start().await;
    let direct = pg.direct("test1").await;
    let mut wire = knock(&proxy, &[V1, &hello("app")].concat()).await;
    wire.greet().await;
    wire.send(&say::query("SELECT pg_sleep(1000)")).await;
    let key = wire.key();
    // pg_stat_activity has the name that the client came with.
    let running = "SELECT 1 FROM pg_stat_activity WHERE application_name = 'shop - 10.9.8.7:4242' AND state = 'active'";
    eventually("it runs", || async { !direct.query(running, &[]).await.expect("an answer").is_empty() }).await;
    let mut other = knock(&proxy, &[&v2(0x21)[..], &say::cancel(&key)].concat()).await;
    assert_eq!(other.frame().await, None);
    assert_eq!(wire.ready().await, "T E(57014) Z(I)");
}

tests! {
    on both: [],
    on 15: [
        a_cancel_behind_a_header, a_header_from_elsewhere_is_not_believed, a_header_in_pieces,
        a_listener_without_headers,
        a_proxy_that_speaks_for_itself, the_client_that_it_names, without_a_header_nobody_comes_in,
    ]
}

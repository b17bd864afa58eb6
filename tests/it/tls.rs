//! TLS on both sides, as libpq's sslmodes have it.

use std::sync::Arc;

use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::support::certs::{Certs, Identity};
use crate::support::proxy::value;
use crate::support::tool::{Said, psql, psql18};
use crate::support::wire::{Wire, say};
use crate::support::*;

const MODES: [&str; 6] = ["disable", "allow", "prefer", "require", "verify-ca", "verify-full"];

fn with_tls(setup: Setup, mode: &str, server: &Identity, certs: &Certs) -> Setup {
    let ca = certs.ca();
    setup.global(&format!(
        "client_tls_sslmode = '{mode}'\nclient_tls_ca_file = '{}'\n{}",
        ca.display(),
        server.lines("client")
    ))
}

/// How a connection looks to libpq.
fn seen(said: &Said) -> &'static str {
    match said {
        Said { success: false, .. } => "refused",
        Said { out, .. } if out.contains("SSL connection") => "tls",
        Said { .. } => "plain",
    }
}

async fn modes_of_clients_and_of_libpq(pg: Servers) {
    let certs = Certs::new();
    let (server, client) = (certs.server(), certs.client("app"));
    let ca = certs.ca().display().to_string();
    // Rows: pgweir's mode. Columns: libpq's, without a client certificate.
    let table = [
        ("disable", ["plain", "plain", "plain", "refused", "refused", "refused"]),
        ("allow", ["plain", "plain", "tls", "tls", "tls", "tls"]),
        ("prefer", ["plain", "plain", "tls", "tls", "tls", "tls"]),
        ("require", ["refused", "tls", "tls", "tls", "tls", "tls"]),
        ("verify-ca", ["refused"; 6]),
        ("verify-full", ["refused"; 6]),
    ];
    for (ours, row) in table {
        let proxy = with_tls(Setup::new(&pg), ours, &server, &certs).start().await;
        let verified = ours.starts_with("verify");
        for (theirs, expected) in MODES.into_iter().zip(row) {
            let base =
                format!("host=127.0.0.1 port={} user=app dbname=test1 sslmode={theirs} sslrootcert={ca}", proxy.port);
            let said = psql(&base, "", "\\conninfo").await;
            assert_eq!(seen(&said), expected, "{ours} and {theirs}: {said:?}");
            if verified && theirs != "disable" {
                let (cert, key) = (client.cert.display(), client.key.display());
                let said = psql(&format!("{base} sslcert={cert} sslkey={key}"), "", "\\conninfo").await;
                assert_eq!(seen(&said), "tls", "{ours} and {theirs} with a certificate: {said:?}");
            }
        }
    }
}

async fn names_and_signers_are_checked_by_libpq(pg: Servers) {
    let certs = Certs::new();
    let ca = certs.ca().display().to_string();
    let proxy = with_tls(Setup::new(&pg), "require", &certs.stranger(), &certs).start().await;
    let base = format!("host=127.0.0.1 port={} user=app dbname=test1 sslrootcert={ca}", proxy.port);
    assert_eq!(seen(&psql(&format!("{base} sslmode=verify-ca"), "", "\\conninfo").await), "tls");
    let said = psql(&format!("{base} sslmode=verify-full"), "", "\\conninfo").await;
    assert!(!said.success && said.err.contains("does not match"), "{said:?}");
}

async fn a_certificate_is_a_proof(pg: Servers) {
    let certs = Certs::new();
    let (server, app, ops) = (certs.server(), certs.client("app"), certs.client("operator"));
    let idents = certs.dir().join("idents");
    std::fs::write(&idents, "cert operator other\n").expect("the map is written");
    let setup = with_tls(Setup::new(&pg), "verify-full", &server, &certs);
    let setup = setup.global(&format!("auth_type = 'cert'\nauth_ident_file = '{}'", idents.display()));
    let proxy = setup.start().await;
    for (identity, user, expected) in [
        (&app, "app", Some("app")),
        (&app, "other", None),
        (&ops, "other", Some("other")),
        (&ops, "app", None),
        (&ops, "operator", None),
    ] {
        let conninfo = format!(
            "host=127.0.0.1 port={} user={user} dbname=test1 sslmode=require sslcert={} sslkey={}",
            proxy.port,
            identity.cert.display(),
            identity.key.display()
        );
        let said = psql(&conninfo, "", "SELECT session_user").await;
        match expected {
            Some(name) => assert_eq!(said.out, name, "{said:?}"),
            None => assert!(!said.success, "{user}: {said:?}"),
        }
    }
}

async fn passwords_are_bound_to_the_channel(pg: Servers) {
    let certs = Certs::new();
    for (key, binds) in [("rsa:2048", true), ("ed25519", false)] {
        let server = certs.self_signed(&key.replace(':', "-"), key);
        let setup = with_tls(Setup::new(&pg), "require", &server, &certs).global("auth_type = 'scram-sha-256'");
        let proxy = setup.start().await;
        let base = format!("host=127.0.0.1 port={} user=app dbname=test1 sslmode=require", proxy.port);
        let bound = psql(&format!("{base} channel_binding=require"), &pg.password, "SELECT 1").await;
        assert_eq!(bound.success, binds, "{key}: {bound:?}");
        for mode in ["prefer", "disable"] {
            let said = psql(&format!("{base} channel_binding={mode}"), &pg.password, "SELECT 1").await;
            assert_eq!(said.out, "1", "{key} {mode}: {said:?}");
        }
        let wrong = psql(&format!("{base} channel_binding=prefer"), "wrong", "SELECT 1").await;
        assert!(wrong.err.contains("password authentication failed"), "{wrong:?}");
    }
}

async fn tls_without_a_question(pg: Servers) {
    let certs = Certs::new();
    let proxy = with_tls(Setup::new(&pg), "require", &certs.server(), &certs).start().await;
    let base = format!("host=127.0.0.1 port={} user=app dbname=test1 sslrootcert={}", proxy.port, certs.ca().display());
    for mode in ["require", "verify-full"] {
        let said = psql18(&format!("{base} sslmode={mode} sslnegotiation=direct"), "", "SELECT 1").await;
        assert_eq!(said.out, "1", "{said:?}");
    }
    let said = psql18(&format!("{base} sslmode=require min_protocol_version=3.2"), "", "SELECT 1").await;
    assert_eq!(said.out, "1", "{said:?}");
}

/// A TLS client of our own: for what libpq 15 does not do.
async fn encrypted(port: u16, certs: &Certs, identity: Option<&Identity>) -> TlsStream<TcpStream> {
    let mut tcp = TcpStream::connect(("127.0.0.1", port)).await.expect("pgweir accepts");
    tcp.write_all(&say::ssl_request()).await.expect("it reads");
    assert_eq!(tcp.read_u8().await.expect("it answers"), b'S');
    let mut roots = rustls::RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(certs.ca()).expect("a certificate")).expect("a root");
    let config = rustls::ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()));
    let config = config.with_safe_default_protocol_versions().expect("TLS").with_root_certificates(roots);
    let config = match identity {
        None => config.with_no_client_auth(),
        Some(identity) => {
            let cert = CertificateDer::from_pem_file(&identity.cert).expect("a certificate");
            let key = PrivateKeyDer::from_pem_file(&identity.key).expect("a key");
            config.with_client_auth_cert(vec![cert], key).expect("they fit")
        }
    };
    let name = ServerName::try_from("localhost").expect("a name");
    TlsConnector::from(Arc::new(config)).connect(name, tcp).await.expect("a handshake")
}

async fn a_cancel_may_be_encrypted(pg: Servers) {
    let certs = Certs::new();
    let proxy = with_tls(Setup::new(&pg), "require", &certs.server(), &certs).start().await;
    let direct = pg.direct("test1").await;
    for is_encrypted in [true, false] {
        let mut tls = encrypted(proxy.port, &certs, None).await;
        tls.write_all(&say::startup(say::V3_2, &[("user", "app"), ("database", "test1")])).await.expect("it reads");
        let key = loop {
            let (tag, body) = message(&mut tls).await;
            if tag == b'K' {
                let (pid, secret) = body.split_first_chunk::<4>().expect("a key");
                break crate::support::wire::Key { pid: i32::from_be_bytes(*pid), secret: secret.to_vec() };
            }
        };
        assert_eq!(message(&mut tls).await.0, b'Z');
        tls.write_all(&say::query("SELECT pg_sleep(1000)")).await.expect("it reads");
        let running = || async { proxy.servers(&direct).await.iter().any(|row| row.state == "active") };
        eventually("it runs", running).await;
        if is_encrypted {
            let mut cancel = encrypted(proxy.port, &certs, None).await;
            cancel.write_all(&say::cancel(&key)).await.expect("it reads");
            let mut nothing = Vec::new();
            let _end = soon("its end", cancel.read_to_end(&mut nothing)).await;
            assert!(nothing.is_empty());
        } else {
            crate::support::wire::cancel(proxy.port, &key).await;
        }
        let mut tags = Vec::new();
        while tags.last() != Some(&b'Z') {
            tags.push(message(&mut tls).await.0);
        }
        assert_eq!(tags, b"TEZ");
    }
}

async fn message(tls: &mut TlsStream<TcpStream>) -> (u8, Vec<u8>) {
    let read = async {
        let tag = tls.read_u8().await.expect("a message");
        let length = tls.read_u32().await.expect("its length") as usize;
        let mut body = vec![0; length - 4];
        tls.read_exact(&mut body).await.expect("its body");
        (tag, body)
    };
    soon("a message", read).await
}

async fn requests_within_and_bytes_before_tls_are_refused(pg: Servers) {
    let certs = Certs::new();
    let proxy = with_tls(Setup::new(&pg), "prefer", &certs.server(), &certs).start().await;
    let mut wire = Wire::open(proxy.port).await;
    wire.send(&[say::ssl_request(), b"\x16\x03\x01".to_vec()].concat()).await;
    assert_eq!(wire.last_words().await, "FATAL 08P01 received unencrypted data after SSL request");
    let mut tls = encrypted(proxy.port, &certs, None).await;
    tls.write_all(&say::ssl_request()).await.expect("it reads");
    let mut answer = Vec::new();
    let _end = soon("an answer or its end", tls.read_buf(&mut answer)).await;
    assert_ne!(answer, b"S", "there is no TLS within TLS");
    // A handshake that is none, and one that never ends.
    let mut wire = Wire::open(proxy.port).await;
    wire.send(&[say::ssl_request()].concat()).await;
    assert_eq!(tokio::io::AsyncReadExt::read_u8(&mut wire.stream).await.expect("an answer"), b'S');
    wire.send(b"this is no handshake at all").await;
    let mut rest = Vec::new();
    let _end = soon("its end", wire.stream.read_to_end(&mut rest)).await;
    assert_eq!(value(&proxy.app().await, "SELECT 1").await, "1");
}

async fn large_results_pass_through_tls(pg: Servers) {
    let certs = Certs::new();
    let proxy = with_tls(Setup::new(&pg), "require", &certs.server(), &certs).start().await;
    let conninfo = format!("host=127.0.0.1 port={} user=app dbname=test1 sslmode=require", proxy.port);
    let said = psql(&conninfo, "", "SELECT repeat('x', 20000000)").await;
    assert_eq!(said.out.len(), 20_000_000, "{}", said.err);
    let said = psql(&conninfo, "", "SELECT n, repeat('y', 1000) FROM generate_series(1, 20000) n").await;
    assert_eq!(said.out.lines().count(), 20_000, "{}", said.err);
}

/// TLS may hold back the end of an answer that the socket has no room for: it goes out when there is room, though nothing
/// follows it.
async fn a_slow_reader_gets_the_end_of_its_answer(pg: Servers) {
    let certs = Certs::new();
    let proxy = with_tls(Setup::new(&pg), "require", &certs.server(), &certs).start().await;
    let mut tls = encrypted(proxy.port, &certs, None).await;
    tls.write_all(&say::startup(say::V3_2, &[("user", "app"), ("database", "test1")])).await.expect("it reads");
    while message(&mut tls).await.0 != b'Z' {}
    for _ in 0..3 {
        tls.write_all(&say::query("SELECT repeat('x', 8000000)")).await.expect("it reads");
        let (mut read, mut piece) = (0, vec![0; 1 << 15]);
        // RowDescription, one DataRow, CommandComplete, ReadyForQuery.
        let whole = 1 + 4 + 2 + 7 + 18 + (1 + 4 + 2 + 4 + 8_000_000) + (1 + 4 + 9) + (1 + 4 + 1);
        while read < whole {
            tokio::time::sleep(std::time::Duration::from_millis(1)).await;
            read += soon("more of the answer", tls.read(&mut piece)).await.expect("it goes on");
        }
        assert_eq!(read, whole);
    }
}

tests! {
    on both: [large_results_pass_through_tls],
    on 15: [
        a_cancel_may_be_encrypted, a_certificate_is_a_proof, a_slow_reader_gets_the_end_of_its_answer, modes_of_clients_and_of_libpq,
        names_and_signers_are_checked_by_libpq, passwords_are_bound_to_the_channel,
        requests_within_and_bytes_before_tls_are_refused, tls_without_a_question,
    ]
}

/// Servers with ssl = on, in a room of the test's own.
mod room {
    use pgweir::demo::{Cluster, Room, free_ports};

    use super::*;
    use crate::support::servers::{bin15, direct};

    fn open(certs: &Certs, identity: &Identity) -> (Room, Cluster) {
        let room = Room::open("it-tls").expect("a room");
        let mine = |from: &std::path::Path, name: &str| {
            let path = room.dir().join(name);
            std::fs::copy(from, &path).expect("a copy");
            room.account().give(&path).expect("it is given");
            path.display().to_string()
        };
        let (cert, key) = (mine(&identity.cert, "server.crt"), mine(&identity.key, "server.key"));
        let ca = mine(&certs.ca(), "ca.crt");
        let port = free_ports(21_000, 1).expect("a port is free")[0];
        let settings = [("ssl", "on"), ("ssl_cert_file", &*cert), ("ssl_key_file", &*key), ("ssl_ca_file", &*ca)];
        let cluster = room.primary(&bin15(), port, &settings).expect("a server");
        (room, cluster)
    }

    const IS_ENCRYPTED: &str = "SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()";

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn modes_towards_a_server() {
        let certs = Certs::new();
        let identity = certs.server();
        let (room, cluster) = open(&certs, &identity);
        let ca = format!("server_tls_ca_file = '{}'", certs.ca().display());
        for (mode, expected) in [
            ("disable", "f"),
            ("allow", "f"),
            ("prefer", "t"),
            ("require", "t"),
            ("verify-ca", "t"),
            ("verify-full", "t"),
        ] {
            let setup = Setup::before(cluster.port(), room.password());
            let proxy = setup.global(&format!("server_tls_sslmode = '{mode}'\n{ca}")).start().await;
            let client = proxy.app().await;
            assert_eq!(value(&client, IS_ENCRYPTED).await, expected, "{mode}");
            // A cancel takes the same way.
            let token = client.cancel_token();
            let query = tokio::spawn(async move { client.batch_execute("SELECT pg_sleep(1000)").await });
            let watch = direct(cluster.port(), room.password(), "test1").await;
            let running = || async { proxy.servers(&watch).await.iter().any(|row| row.state == "active") };
            eventually("it runs", running).await;
            token.cancel_query(tokio_postgres::NoTls).await.expect("it is sent");
            assert_eq!(sqlstate(soon("it ends", query).await.expect("no panic")), "57014", "{mode}");
        }
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn servers_that_are_not_who_they_say() {
        let certs = Certs::new();
        let (room, cluster) = open(&certs, &certs.stranger());
        let other = Certs::new();
        for (ca, mode, lets_in) in [
            (&certs, "require", true),
            (&certs, "verify-ca", true),
            (&certs, "verify-full", false),
            (&other, "verify-ca", false),
            (&other, "verify-full", false),
        ] {
            let lines = format!(
                "server_tls_sslmode = '{mode}'\nserver_tls_ca_file = '{}'\nclient_login_timeout = '2s'",
                ca.ca().display()
            );
            let proxy = Setup::before(cluster.port(), room.password()).global(&lines).start().await;
            assert_eq!(proxy.try_connect("app", "test1").await.is_ok(), lets_in, "{mode}");
            assert_eq!(proxy.log().contains("server login failed"), !lets_in, "{mode}");
        }
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn servers_that_ask_who_we_are() {
        let certs = Certs::new();
        let (room, cluster) = open(&certs, &certs.server());
        let hba = "hostssl all app all cert\nhostssl all other all scram-sha-256 clientcert=verify-ca\n\
                   host all postgres all scram-sha-256\nlocal all all scram-sha-256\n";
        std::fs::write(cluster.data_dir().join("pg_hba.conf"), hba).expect("it is written");
        cluster.psql("postgres", "SELECT pg_reload_conf()").expect("it is read");
        let client = certs.client("app");
        for (identity, mode, lets_in) in
            [(Some(&client), "verify-full", true), (None, "require", false), (Some(&client), "disable", false)]
        {
            let mut lines = format!(
                "server_tls_sslmode = '{mode}'\nserver_tls_ca_file = '{}'\nclient_login_timeout = '2s'\n",
                certs.ca().display()
            );
            lines.push_str(&identity.map(|identity| identity.lines("server")).unwrap_or_default());
            for user in ["app", "other"] {
                let proxy = Setup::before(cluster.port(), room.password()).global(&lines).start().await;
                match proxy.try_connect(user, "test1").await {
                    Ok(client) => {
                        assert!(lets_in, "{user} {mode}");
                        assert_eq!(value(&client, IS_ENCRYPTED).await, "t");
                    }
                    Err(error) => assert!(!lets_in, "{user} {mode}: {error:?}"),
                }
            }
        }
    }
}

//! Whole handshakes between an `Acceptor` and a `Connector`, as tables: who is let in, who is refused, and why.

use std::io;
use std::sync::Arc;

use rustls::ClientConfig;
use rustls_pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, duplex};
use tokio_rustls::TlsConnector;

use super::lab::{ED25519, Lab, P256, P384, RSA};
use super::verifier::{Demand, ServerVerifier};
use super::{ALPN, Acceptor, CertNames, Connector, binding, client_names, provider};
use crate::config::SslMode::{self, Allow, Disable, Prefer, Require, VerifyCa, VerifyFull};
use crate::config::Tls;

/// Both ends of a handshake and one byte each way (with TLS 1.3 a client learns of a refusal only by reading).
async fn meet(client_tls: &Tls, server_tls: &Tls, host: &str) -> io::Result<Option<CertNames>> {
    let acceptor = Acceptor::build(client_tls).expect("files").expect("enabled");
    let connector = Connector::build(server_tls).expect("files").expect("enabled");
    let (near, far) = duplex(4096);
    let server = async {
        let mut stream = acceptor.accept(far, false).await?;
        echo_one(&mut stream).await?;
        assert_eq!(stream.get_ref().1.alpn_protocol(), Some(ALPN));
        Ok::<_, io::Error>(client_names(&stream))
    };
    let client = async {
        let (mut stream, end_point) = connector.connect(near, host).await?;
        assert_eq!(end_point.as_deref(), acceptor.end_point());
        say_one(&mut stream).await
    };
    let (server, client) = tokio::join!(server, client);
    // The refusing end has the reason; the other one sees an alert or an end of file.
    let is_echo = |error: &io::Error| {
        error.kind() == io::ErrorKind::UnexpectedEof || error.to_string().contains("received fatal alert")
    };
    match (server, client) {
        (Ok(names), Ok(())) => Ok(names),
        (Err(error), Ok(())) | (Ok(_), Err(error)) => Err(error),
        (Err(server), Err(client)) => Err(if is_echo(&server) { client } else { server }),
    }
}

async fn echo_one<S: AsyncRead + AsyncWrite + Unpin>(stream: &mut S) -> io::Result<()> {
    let byte = stream.read_u8().await?;
    stream.write_u8(byte).await?;
    stream.flush().await
}

async fn say_one<S: AsyncRead + AsyncWrite + Unpin>(stream: &mut S) -> io::Result<()> {
    stream.write_u8(7).await?;
    stream.flush().await?;
    stream.read_u8().await.map(drop)
}

fn assert_outcome<T: std::fmt::Debug>(row: &str, outcome: io::Result<T>, expected: &str) {
    match outcome {
        Ok(_) => assert_eq!(expected, "", "{row}: accepted"),
        Err(error) => {
            let text = error.to_string();
            assert!(!expected.is_empty() && text.contains(expected), "{row}: {text:?}, not {expected:?}");
        }
    }
}

#[tokio::test]
async fn servers_are_judged_as_libpq_judges_them() {
    let lab = Lab::new();
    for name in ["root", "other"] {
        lab.root(name);
    }
    lab.intermediate("inter", "root");
    lab.self_signed("self", "db.test", P256, &[]);
    lab.self_signed("clientonly", "db.test", P256, &["-addext", "extendedKeyUsage=clientAuth"]);
    lab.self_signed("noca", "db.test", P256, &["-addext", "basicConstraints=critical,CA:false"]);
    lab.self_signed_v1("v1", "db.test", "365");
    lab.self_signed_v1("v1old", "db.test", "-1");
    lab.plain_leaf("plain", "db.test", "root");
    lab.plain_leaf("deep", "db.test", "inter");
    lab.concat(&["deep.crt", "inter.crt"], "chain.crt");
    lab.concat(&["deep.key"], "chain.key");
    lab.leaf("deep3", "db.test", "inter", "subjectAltName=DNS:db.test\n");
    lab.concat(&["deep3.crt", "inter.crt"], "chain3.crt");
    lab.concat(&["deep3.key"], "chain3.key");
    lab.leaf("san", "cn.test", "root", "subjectAltName=DNS:san.test\n");
    lab.leaf("wild", "cn.test", "root", "subjectAltName=DNS:*.wild.test\n");
    lab.leaf("ip", "cn.test", "root", "subjectAltName=IP:10.0.0.7,IP:fd00::7\n");
    lab.leaf("email", "cn.test", "root", "subjectAltName=email:a@b.test\n");
    lab.plain_leaf("ipcn", "10.0.0.8", "root");
    lab.plain_leaf("wildcn", "*.wild.test", "root");
    lab.issue("expired", "db.test", "root", P256, "subjectAltName=DNS:db.test\n", "-1");
    lab.issue("expired1", "db.test", "root", P256, "", "-1");
    lab.leaf("critical", "db.test", "root", "1.2.3.4=critical,ASN1:NULL\n");
    lab.leaf("signonly", "db.test", "root", "keyUsage=critical,keyCertSign\n");
    lab.leaf("caleaf", "db.test", "root", "basicConstraints=critical,CA:true\n");
    lab.leaf("fake", "db.test", "noca", "subjectAltName=DNS:db.test\n");
    lab.plain_leaf("fake1", "db.test", "noca");
    lab.plain_leaf("leafchild", "db.test", "plain");
    lab.concat(&["leafchild.crt", "plain.crt"], "leafchain.crt");
    lab.concat(&["leafchild.key"], "leafchain.key");
    lab.issue("short", "short", "root", P256, "basicConstraints=critical,CA:true,pathlen:0\n", "365");
    lab.intermediate("toodeep", "short");
    lab.plain_leaf("deepest", "db.test", "toodeep");
    lab.concat(&["deepest.crt", "toodeep.crt", "short.crt"], "longchain.crt");
    lab.concat(&["deepest.key"], "longchain.key");
    lab.issue("oldroot", "oldroot", "root", P256, "basicConstraints=critical,CA:true\n", "-1");
    lab.leaf("stale", "db.test", "oldroot", "subjectAltName=DNS:db.test\n");
    lab.plain_leaf("stale1", "db.test", "oldroot");

    let unknown = "UnknownIssuer";
    let name = "not valid for name";
    let table: &[(SslMode, &str, &str, &str, &str)] = &[
        // mode, server's certificate, root file, host, refusal
        (Allow, "self", "", "db.test", ""),
        (Prefer, "self", "other.crt", "db.test", ""),
        (Require, "self", "", "db.test", ""),
        (Require, "v1old", "", "db.test", ""),
        (Require, "self", "", "not a name", ""),
        (Require, "self", "other.crt", "db.test", unknown),
        (Require, "plain", "root.crt", "elsewhere", ""),
        // Listed in the root file itself.
        (VerifyCa, "self", "self.crt", "elsewhere", ""),
        (VerifyFull, "self", "self.crt", "db.test", ""),
        (VerifyFull, "self", "self.crt", "elsewhere", name),
        (VerifyFull, "noca", "noca.crt", "db.test", ""),
        (VerifyFull, "v1", "v1.crt", "db.test", ""),
        (VerifyFull, "plain", "plain.crt", "db.test", ""),
        (VerifyCa, "v1old", "v1old.crt", "db.test", "Expired"),
        (VerifyCa, "clientonly", "clientonly.crt", "db.test", "InvalidPurpose"),
        (VerifyCa, "v1", "self.crt", "db.test", unknown),
        // Chains.
        (VerifyFull, "plain", "root.crt", "db.test", ""),
        (VerifyFull, "plain", "other.crt", "db.test", unknown),
        (VerifyFull, "chain", "root.crt", "db.test", ""),
        (VerifyFull, "chain3", "root.crt", "db.test", ""),
        (VerifyFull, "deep", "root.crt", "db.test", unknown),
        (VerifyFull, "deep3", "root.crt", "db.test", unknown),
        (VerifyFull, "deep", "inter.crt", "db.test", ""),
        (VerifyFull, "chain", "other.crt", "db.test", unknown),
        (VerifyFull, "chain3", "other.crt", "db.test", unknown),
        (VerifyFull, "caleaf", "root.crt", "db.test", ""),
        (VerifyFull, "caleaf", "other.crt", "db.test", unknown),
        (VerifyCa, "expired", "root.crt", "db.test", "Expired"),
        (VerifyCa, "expired1", "root.crt", "db.test", "Expired"),
        (VerifyCa, "critical", "root.crt", "db.test", "UnhandledCriticalExtension"),
        (VerifyCa, "signonly", "root.crt", "db.test", "InvalidPurpose"),
        // Who may not sign does not vouch: no CA mark, a leaf as issuer, a path too long, a root out of date.
        (VerifyCa, "fake", "noca.crt", "db.test", unknown),
        (VerifyCa, "fake1", "noca.crt", "db.test", unknown),
        (VerifyCa, "leafchain", "root.crt", "db.test", unknown),
        (VerifyCa, "longchain", "root.crt", "db.test", unknown),
        (VerifyCa, "stale", "oldroot.crt", "db.test", unknown),
        (VerifyCa, "stale1", "oldroot.crt", "db.test", unknown),
        // Names.
        (VerifyFull, "san", "root.crt", "san.test", ""),
        (VerifyFull, "san", "root.crt", "SAN.Test", ""),
        (VerifyFull, "san", "root.crt", "cn.test", name),
        (VerifyFull, "wild", "root.crt", "db.wild.test", ""),
        (VerifyFull, "wild", "root.crt", "a.db.wild.test", name),
        (VerifyFull, "wild", "root.crt", "wild.test", name),
        (VerifyFull, "wildcn", "root.crt", "db.wild.test", ""),
        (VerifyFull, "ip", "root.crt", "10.0.0.7", ""),
        (VerifyFull, "ip", "root.crt", "fd00::7", ""),
        (VerifyFull, "ip", "root.crt", "10.0.0.9", name),
        (VerifyFull, "ip", "root.crt", "cn.test", ""),
        (VerifyFull, "email", "root.crt", "cn.test", ""),
        (VerifyFull, "ipcn", "root.crt", "10.0.0.8", ""),
        (VerifyFull, "ipcn", "root.crt", "10.0.0.9", name),
        (VerifyFull, "san", "root.crt", "not a name", "no certificate can be checked"),
    ];
    for &(mode, cert, ca, host, refusal) in table {
        let outcome = meet(&lab.tls(Require, cert, ""), &lab.tls(mode, "", ca), host).await;
        assert_outcome(&format!("{mode:?} {cert} by {ca:?} for {host}"), outcome, refusal);
    }
}

#[tokio::test]
async fn clients_are_let_in_by_their_certificates() {
    let lab = Lab::new();
    for name in ["root", "other"] {
        lab.root(name);
    }
    lab.intermediate("inter", "root");
    lab.self_signed("server", "localhost", P256, &[]);
    lab.self_signed("own", "own", P256, &[]);
    lab.plain_leaf("good", "alice", "root");
    lab.leaf("san", "alice", "root", "subjectAltName=DNS:app.test,email:x@y,DNS:b.test\nextendedKeyUsage=clientAuth\n");
    lab.plain_leaf("deep", "bob", "inter");
    lab.concat(&["deep.crt", "inter.crt"], "chain.crt");
    lab.concat(&["deep.key"], "chain.key");
    lab.plain_leaf("foreign", "alice", "other");
    lab.leaf("foreign3", "alice", "other", "subjectAltName=DNS:app.test\n");
    lab.issue("expired", "alice", "root", P256, "", "-1");
    lab.leaf("serveronly", "alice", "root", "extendedKeyUsage=serverAuth\n");
    lab.concat(&["root.crt", "own.crt"], "both.crt");

    let alice = |dns: &[&str]| Some((Some("alice"), dns.iter().map(|s| (*s).to_owned()).collect::<Vec<_>>()));
    let table = [
        // mode, client's certificate, names, refusal
        (Allow, "", None, ""),
        (Prefer, "good", None, ""),
        (Require, "foreign", None, ""),
        (VerifyCa, "good", alice(&[]), ""),
        (VerifyFull, "good", alice(&[]), ""),
        (VerifyFull, "san", alice(&["app.test", "b.test"]), ""),
        (VerifyFull, "chain", Some((Some("bob"), vec![])), ""),
        (VerifyFull, "own", Some((Some("own"), vec![])), ""),
        (VerifyCa, "", None, "peer sent no certificates"),
        (VerifyFull, "", None, "peer sent no certificates"),
        (VerifyCa, "deep", None, "UnknownIssuer"),
        (VerifyCa, "foreign", None, "UnknownIssuer"),
        (VerifyFull, "foreign3", None, "UnknownIssuer"),
        (VerifyFull, "expired", None, "Expired"),
        (VerifyFull, "serveronly", None, "InvalidPurpose"),
    ];
    for (tls12, tls13) in [(true, false), (false, true)] {
        for (mode, client, names, refusal) in table.clone() {
            let client_tls = Tls { tls12, tls13, ..lab.tls(mode, "server", "both.crt") };
            let outcome = meet(&client_tls, &lab.tls(Require, client, ""), "localhost").await;
            let row = format!("{mode:?} {client:?} 1.2={tls12}");
            if let Ok(found) = &outcome {
                let found = found.clone().map(|found| (found.common_name, found.dns));
                let names = names.map(|(cn, dns)| (cn.map(str::to_owned), dns));
                assert_eq!(found, names, "{row}");
            }
            assert_outcome(&row, outcome, refusal);
        }
    }
}

#[tokio::test]
async fn every_kind_of_key_works_in_both_versions() {
    let lab = Lab::new();
    lab.root("root");
    let kinds: [(&str, &[&str], &[&str]); 5] = [
        ("rsa", RSA, &[]),
        ("p256", P256, &[]),
        ("p384", P384, &["-sha384"]),
        ("ed", ED25519, &[]),
        ("pss", RSA, &["-sigopt", "rsa_padding_mode:pss"]),
    ];
    for (name, key, more) in kinds {
        lab.self_signed(name, "db.test", key, more);
    }
    lab.self_signed_v1("v1", "db.test", "365");
    lab.plain_leaf("plain", "db.test", "root");
    lab.concat(&["rsa.crt"], "pkcs1.crt");
    lab.openssl(&["rsa", "-in", "rsa.key", "-traditional", "-out", "pkcs1.key"]);
    lab.concat(&["p256.crt"], "sec1.crt");
    lab.openssl(&["ec", "-in", "p256.key", "-out", "sec1.key"]);
    lab.concat(&["rsa.crt", "p256.crt", "p384.crt", "ed.crt", "pss.crt", "v1.crt", "root.crt"], "all.crt");

    for name in ["rsa", "p256", "p384", "ed", "pss", "v1", "plain", "pkcs1", "sec1"] {
        for (tls12, tls13) in [(true, false), (false, true)] {
            let client_tls = Tls { tls12, tls13, ..lab.tls(VerifyFull, name, "all.crt") };
            let server_tls = lab.tls(VerifyFull, name, "all.crt");
            assert_outcome(&format!("{name} 1.2={tls12}"), meet(&client_tls, &server_tls, "db.test").await, "");
        }
    }
    let old = Tls { tls13: false, ..lab.tls(Require, "p256", "") };
    let new = Tls { tls12: false, ..lab.tls(Require, "", "") };
    assert_outcome("no version in common", meet(&old, &new, "db.test").await, "Tls12NotOffered");
}

#[test]
fn the_end_point_is_the_hash_that_openssl_makes() {
    let lab = Lab::new();
    type Row<'a> = (&'a str, &'a [&'a str], &'a [&'a str], Option<&'a str>);
    let table: [Row<'_>; 9] = [
        ("rsa256", RSA, &["-sha256"], Some("-sha256")),
        ("rsa384", RSA, &["-sha384"], Some("-sha384")),
        ("rsa512", RSA, &["-sha512"], Some("-sha512")),
        ("rsa1", RSA, &["-sha1"], Some("-sha256")),
        ("md5", RSA, &["-md5"], Some("-sha256")),
        ("ec256", P256, &["-sha256"], Some("-sha256")),
        ("ec384", P384, &["-sha384"], Some("-sha384")),
        ("pss", RSA, &["-sha384", "-sigopt", "rsa_padding_mode:pss"], Some("-sha384")),
        ("ed", ED25519, &[], None),
    ];
    for (name, key, more, hash) in table {
        lab.self_signed(name, "db.test", key, more);
        let der = lab.der(&format!("{name}.crt"));
        std::fs::write(lab.path("cert.der"), &der).expect("written");
        let expected = hash.map(|hash| lab.openssl(&["dgst", hash, "-r", "cert.der"]));
        let found = binding::end_point(&der).map(|bytes| bytes.iter().map(|b| format!("{b:02x}")).collect::<String>());
        assert_eq!(found.as_deref(), expected.as_deref().and_then(|line| line.split(' ').next()), "{name}");
    }
    assert_eq!(binding::end_point(b"not a certificate"), None);
}

#[tokio::test]
async fn direct_tls_needs_alpn_and_an_sslrequest_does_not() {
    let lab = Lab::new();
    lab.self_signed("server", "localhost", P256, &[]);
    let acceptor = Acceptor::build(&lab.tls(Require, "server", "")).expect("files").expect("enabled");
    let none: &[&[u8]] = &[];
    let table: [(bool, &[&[u8]], &str); 6] = [
        (false, none, ""),
        (false, &[ALPN], ""),
        (false, &[b"h2", ALPN], ""),
        (false, &[b"h2"], "known protocol"),
        (true, &[ALPN], ""),
        (true, none, "without the ALPN protocol"),
    ];
    for (direct, offered, refusal) in table {
        let (near, far) = duplex(4096);
        let client = stranger(offered);
        let (outcome, _) = tokio::join!(async { echo_one(&mut acceptor.accept(far, direct).await?).await }, async {
            let mut stream = client.connect(ServerName::try_from("localhost").expect("a name"), near).await?;
            say_one(&mut stream).await
        });
        assert_outcome(&format!("direct={direct} {offered:?}"), outcome, refusal);
    }
}

#[tokio::test]
async fn openssl_begins_with_tls_and_shows_its_certificate() {
    let lab = Lab::new();
    lab.root("root");
    lab.plain_leaf("server", "localhost", "root");
    lab.plain_leaf("client", "alice", "root");
    let acceptor = Acceptor::build(&lab.tls(VerifyFull, "server", "root.crt")).expect("files").expect("enabled");
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("bound").to_string();
    for version in ["-tls1_2", "-tls1_3"] {
        let arguments = ["s_client", "-connect", &address, version, "-alpn", "postgresql", "-CAfile", "root.crt"];
        let mut openssl = std::process::Command::new("openssl")
            .args(arguments)
            .args([
                "-cert",
                "client.crt",
                "-key",
                "client.key",
                "-verify_return_error",
                "-verify_hostname",
                "localhost",
            ])
            .current_dir(lab.path(""))
            .stdin(std::process::Stdio::null())
            .stdout(std::process::Stdio::null())
            .stderr(std::process::Stdio::null())
            .spawn()
            .expect("openssl is installed");
        let (stream, _) = listener.accept().await.expect("a connection");
        let stream = acceptor.accept(stream, true).await.unwrap_or_else(|error| panic!("{version}: {error}"));
        assert_eq!(client_names(&stream).and_then(|names| names.common_name).as_deref(), Some("alice"), "{version}");
        drop(stream);
        tokio::task::spawn_blocking(move || openssl.wait()).await.expect("no panic").expect("openssl ends");
    }
}

/// A TLS client that is not ours.
fn stranger(alpn: &[&[u8]]) -> TlsConnector {
    let provider = provider();
    let verifier = ServerVerifier::new(Demand::Nothing, provider.signature_verification_algorithms);
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("versions")
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier))
        .with_no_client_auth();
    config.alpn_protocols = alpn.iter().map(|name| name.to_vec()).collect();
    TlsConnector::from(Arc::new(config))
}

#[test]
fn a_fault_names_the_file_and_no_secret() {
    let lab = Lab::new();
    lab.self_signed("server", "localhost", P256, &[]);
    lab.self_signed("second", "localhost", P256, &[]);
    lab.openssl(&["ec", "-in", "server.key", "-aes256", "-passout", "pass:hush", "-out", "locked.key"]);
    lab.openssl(&["pkcs8", "-topk8", "-in", "server.key", "-passout", "pass:hush", "-out", "locked8.key"]);
    lab.write("empty.pem", "");
    lab.write("broken.pem", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n");
    let good = lab.tls(VerifyFull, "server", "server.crt");
    let file = |name: &str| Some(lab.path(name));
    let table = [
        (Tls { cert_file: file("missing"), ..good.clone() }, "missing", "No such file"),
        (Tls { cert_file: file("empty.pem"), ..good.clone() }, "empty.pem", "holds no certificate"),
        (Tls { cert_file: file("broken.pem"), ..good.clone() }, "broken.pem", "certificate 1 cannot be read"),
        (Tls { cert_file: file("second.crt"), ..good.clone() }, "server.key", "does not belong to"),
        (Tls { key_file: file("locked.key"), ..good.clone() }, "locked.key", "pass phrase"),
        (Tls { key_file: file("locked8.key"), ..good.clone() }, "locked8.key", "pass phrase"),
        (Tls { key_file: file("server.crt"), ..good.clone() }, "server.crt", "holds no private key"),
        (Tls { ca_file: file("broken.pem"), ..good.clone() }, "broken.pem", "certificate 1 cannot be read"),
        (Tls { ca_file: None, ..good.clone() }, "tls_ca_file", "is not set"),
        (Tls { key_file: None, ..good.clone() }, "tls_key_file", "is not set"),
        (Tls { cert_file: None, ..good.clone() }, "tls_cert_file", "is not set"),
        (Tls { tls12: false, tls13: false, ..good.clone() }, "tls_protocols", "neither"),
    ];
    for (tls, file, reason) in table {
        for fault in [Acceptor::build(&tls).err(), Connector::build(&tls).err()] {
            let text = fault.expect("a fault").to_string();
            assert!(text.contains(file) && text.contains(reason), "{text:?}, not {file}: {reason}");
        }
    }
    let off = lab.tls(Disable, "", "");
    assert!(matches!(Acceptor::build(&off), Ok(None)) && matches!(Connector::build(&off), Ok(None)));
    let acceptor = Acceptor::build(&good).expect("files").expect("enabled");
    let connector = Connector::build(&good).expect("files").expect("enabled");
    assert_eq!((acceptor.mode(), connector.mode()), (VerifyFull, VerifyFull));
    assert_eq!(connector.not_after(), Some(acceptor.not_after()));
    assert!(acceptor.not_after() > 1_700_000_000);
}

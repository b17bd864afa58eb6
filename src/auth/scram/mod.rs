//! [pure] SCRAM-SHA-256 and SCRAM-SHA-256-PLUS (RFC 5802, RFC 7677), on both sides of the proxy.
//!
//! ```text
//! client                                 server
//!   |-- client-first  gs2 header, nonce --->|    client_start   -> ClientFirst
//!   |<- server-first  nonces, salt, count --|    server_start   -> ServerFinal
//!   |-- client-final  binding, proof ------>|    answer         -> Answered
//!   |<- server-final  signature ------------|    finish         -> Keys
//! ```
//!
//! Each state is a value that its step consumes. An exchange cannot be relayed: both sides mix their nonce, and with
//! PLUS the certificate of their own connection, into the proof. What passes through is the [`Keys`] that a client's
//! proof reveals to whoever holds the verifier: they log in to every server that holds the *same* verifier.
//!
//! As in PostgreSQL the user is the one of the StartupMessage and the name inside SCRAM is ignored; the only channel
//! binding is `tls-server-end-point` (RFC 5929); base64 is the one deviation: it must be canonical, without blanks.

mod client;
mod keys;
mod message;
mod saslprep;
mod server;

pub use client::{Answered, Challenged, ClientFirst, MAX_ITERATIONS, client_start};
pub use keys::{Keys, Verifier};
pub use server::{ServerFinal, server_start};

pub const SCRAM_SHA_256: &str = "SCRAM-SHA-256";
pub const SCRAM_SHA_256_PLUS: &str = "SCRAM-SHA-256-PLUS";

/// What a connection can be bound to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Binding {
    /// No TLS, or the certificate's signature algorithm gives no hash (RFC 5929, section 4.1).
    None,
    /// The hash of the server's certificate. Never empty.
    EndPoint(Vec<u8>),
}

/// The mechanisms to name in AuthenticationSASL, best first.
pub fn offered(binding: &Binding) -> &'static [&'static str] {
    match binding {
        Binding::None => &[SCRAM_SHA_256],
        Binding::EndPoint(_) => &[SCRAM_SHA_256_PLUS, SCRAM_SHA_256],
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::Refusal;
    use postgres_protocol::authentication::sasl;
    use std::sync::Arc;

    const SALT: &[u8] = b"0123456789abcdef";

    fn end_point(hash: &[u8]) -> Binding {
        Binding::EndPoint(hash.to_vec())
    }

    /// Both of our sides against each other.
    fn exchange(client: Binding, server: Binding, keys: &Keys, verifier: Verifier) -> Result<Keys, Refusal> {
        let have_tls = client != Binding::None;
        let (first, mechanism, message) = client_start(offered(&server), client, have_tls, "client")?;
        let (last, message) = server_start(mechanism, &message, Arc::new(verifier), true, server, "server")?;
        let (answered, message) = first.challenge(&message)?.answer(keys)?;
        let (learned, message) = last.finish(&message)?;
        answered.verify(&message)?;
        Ok(learned)
    }

    #[test]
    fn both_sides_agree() {
        let keys = Keys::derive("pencil", SALT, 3);
        let bindings = [
            (Binding::None, Binding::None),
            (end_point(b"hash"), end_point(b"hash")),
            // The client binds nothing, though the server could.
            (end_point(b"hash"), Binding::None),
        ];
        for (client, server) in bindings {
            let learned = exchange(client.clone(), server.clone(), &keys, keys.verifier()).unwrap();
            // What was learned logs in where the same verifier is, and only there.
            let again = exchange(client.clone(), server.clone(), &learned, keys.verifier());
            assert_eq!(again.unwrap().verifier(), keys.verifier());
            let other = Verifier::derive("pencil", b"another salt", 3);
            let refusal = exchange(client, server, &learned, other).unwrap_err();
            assert_eq!(refusal, Refusal::WrongVerifierSalt { known_iterations: 3, asked_iterations: 3 });
        }
    }

    #[test]
    fn disagreements() {
        let keys = Keys::derive("pencil", SALT, 3);
        let wrong = Keys::derive("pencils", SALT, 3);
        let none = || (Binding::None, Binding::None);
        let bound = |client, server| (end_point(client), end_point(server));
        let cases = [
            (none(), &wrong, Refusal::Mismatch),
            (bound(b"hash", b"hash"), &wrong, Refusal::Mismatch),
            (bound(b"mine", b"hash"), &keys, Refusal::BindingMismatch),
        ];
        for ((client, server), with, expected) in cases {
            assert_eq!(exchange(client, server, with, keys.verifier()).unwrap_err(), expected);
        }
    }

    #[test]
    fn a_list_without_plus_is_seen_by_the_server() {
        let (_, mechanism, message) = client_start(&[SCRAM_SHA_256], end_point(b"hash"), true, "client").unwrap();
        let verifier = Arc::new(Verifier::derive("pencil", SALT, 3));
        let refusal = server_start(mechanism, &message, verifier, true, end_point(b"hash"), "server").unwrap_err();
        assert_eq!(refusal, Refusal::BindingDowngrade);
    }

    #[test]
    fn a_verifier_alone_cannot_log_in() {
        let keys = Keys::derive("pencil", SALT, 3);
        let verifier = keys.verifier();
        let forged = Keys { client_key: verifier.stored_key.clone(), ..keys };
        assert_eq!(exchange(Binding::None, Binding::None, &forged, verifier).unwrap_err(), Refusal::Mismatch);
    }

    #[test]
    fn the_driver_of_rust_postgres_logs_in() {
        let cases = [
            (sasl::ChannelBinding::unsupported(), Binding::None, SCRAM_SHA_256),
            (sasl::ChannelBinding::unrequested(), Binding::None, SCRAM_SHA_256),
            (sasl::ChannelBinding::tls_server_end_point(b"hash".to_vec()), end_point(b"hash"), SCRAM_SHA_256_PLUS),
        ];
        for (driver, binding, mechanism) in cases {
            let verifier = Arc::new(Verifier::derive("pässword\u{2168}", SALT, 4096));
            let mut driver = sasl::ScramSha256::new("pässwordIX".as_bytes(), driver);
            let (last, message) = server_start(mechanism, driver.message(), verifier, true, binding, "server").unwrap();
            driver.update(&message).unwrap();
            let (_, message) = last.finish(driver.message()).unwrap();
            driver.finish(&message).unwrap();
        }
    }
}

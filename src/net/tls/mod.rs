//! TLS towards clients (`Acceptor`, we are the TLS server) and towards servers (`Connector`, we are the TLS client).
//!
//! Certificates are judged as libpq and the PostgreSQL server judge them, by a small verifier over webpki. This room
//! never uses the process-wide crypto provider, never resumes a session, never asks for a pass phrase, and never
//! puts key material into a message.
//!
//! What OpenSSL can and the ring provider cannot: RSA keys below 2048 bits, SHA-1 and MD5 signatures, P-521 (it can
//! be neither presented nor verified), RSA-PSS *keys*, and TLS 1.2 without ECDHE and an AEAD cipher.

mod binding;
mod chain;
mod client_side;
mod names;
mod pem;
mod roots;
mod server_side;
mod verifier;

#[cfg(test)]
mod lab;
#[cfg(test)]
mod tests;

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::SupportedProtocolVersion;
use rustls::crypto::CryptoProvider;

pub use client_side::{Acceptor, client_names};
pub use names::CertNames;
pub use server_side::Connector;

use crate::config::Tls;

/// The protocol name of PostgreSQL over TLS (IANA; PostgreSQL 17, `PG_ALPN_PROTOCOL`).
pub const ALPN: &[u8] = b"postgresql";

/// What one connection may hold of outgoing records: one full TLS record.
///
/// rustls' own limit is 64 kB. The relay's buffers are 16 kB, so a larger limit would only keep a second and third
/// copy of what a slow peer has not read yet.
const RECORD_LIMIT: usize = 16 * 1024;

/// Why TLS cannot be set up: the file, and what is wrong with it. Holds no secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// The file at fault, or the name of the setting that names none.
    pub file: PathBuf,
    pub reason: String,
}

impl Fault {
    fn new(file: impl AsRef<Path>, reason: impl fmt::Display) -> Fault {
        Fault { file: file.as_ref().to_path_buf(), reason: reason.to_string() }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.file.display(), self.reason)
    }
}

impl std::error::Error for Fault {}

/// The one crypto provider, passed explicitly: a library that installs another default must not change our TLS.
fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

/// The protocol versions that the configuration allows; `setting` is the key to blame when it allows none.
fn versions(tls: &Tls, setting: &str) -> Result<Vec<&'static SupportedProtocolVersion>, Fault> {
    let mut versions = Vec::new();
    if tls.tls13 {
        versions.push(&rustls::version::TLS13);
    }
    if tls.tls12 {
        versions.push(&rustls::version::TLS12);
    }
    if versions.is_empty() {
        return Err(Fault::new(setting, "neither TLS 1.2 nor TLS 1.3 is allowed"));
    }
    Ok(versions)
}

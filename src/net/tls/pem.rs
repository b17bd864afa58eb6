//! The PEM files that the configuration names: certificates, private keys, root files.
//!
//! Every failure names its file and says what was expected; no message ever holds a byte of a key. Keys are PKCS#8,
//! PKCS#1 or SEC1, without pass phrase.

use std::path::Path;

use rustls::crypto::CryptoProvider;
use rustls::sign::CertifiedKey;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use x509_parser::prelude::{FromDer, X509Certificate};
use zeroize::Zeroizing;

use super::Fault;
use super::roots::Roots;

/// A certificate chain with its key, and what is told about the leaf.
pub(super) struct Identity {
    pub(super) certified: CertifiedKey,
    /// The leaf's expiry, in seconds since 1970.
    pub(super) not_after: i64,
}

impl Identity {
    pub(super) fn load(cert_file: &Path, key_file: &Path, provider: &CryptoProvider) -> Result<Identity, Fault> {
        let chain = certificates(cert_file)?;
        let leaf = chain.first().ok_or_else(|| Fault::new(cert_file, "holds no certificate"))?;
        let (_, leaf) =
            X509Certificate::from_der(leaf).map_err(|_| Fault::new(cert_file, "certificate 1 cannot be read"))?;
        let key = provider
            .key_provider
            .load_private_key(private_key(key_file)?)
            .map_err(|_| Fault::new(key_file, "not an RSA (2048 to 8192 bits), P-256, P-384 or Ed25519 key"))?;
        // Compared here and not by rustls, which would refuse a version 1 certificate.
        if key.public_key().is_some_and(|public| public.as_ref() != leaf.public_key().raw) {
            return Err(Fault::new(key_file, format!("does not belong to the certificate in {}", cert_file.display())));
        }
        let not_after = leaf.validity().not_after.timestamp();
        Ok(Identity { certified: CertifiedKey::new(chain, key), not_after })
    }
}

/// The certificates of a `*_ca_file`.
pub(super) fn roots(ca_file: &Path, provider: &CryptoProvider) -> Result<Roots, Fault> {
    Roots::new(certificates(ca_file)?, provider.signature_verification_algorithms)
        .map_err(|position| Fault::new(ca_file, format!("certificate {position} cannot be read")))
}

fn certificates(file: &Path) -> Result<Vec<CertificateDer<'static>>, Fault> {
    let text = std::fs::read(file).map_err(|error| Fault::new(file, error))?;
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&text).collect();
    match found {
        Ok(found) if found.is_empty() => Err(Fault::new(file, "holds no certificate in PEM form")),
        Ok(found) => Ok(found),
        Err(_) => Err(Fault::new(file, "is not valid PEM")),
    }
}

fn private_key(file: &Path) -> Result<PrivateKeyDer<'static>, Fault> {
    let text = Zeroizing::new(std::fs::read(file).map_err(|error| Fault::new(file, error))?);
    PrivateKeyDer::from_pem_slice(&text).map_err(|_| {
        let encrypted = memchr::memmem::find(&text, b"ENCRYPTED").is_some();
        let reason =
            if encrypted { "the key is protected by a pass phrase" } else { "holds no private key in PEM form" };
        Fault::new(file, reason)
    })
}

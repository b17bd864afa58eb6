//! [pure] The channel binding `tls-server-end-point` (RFC 5929, 4): a hash of the server's certificate.
//!
//! SCRAM-SHA-256-PLUS proves with it that both ends saw the same certificate. It never guesses: a signature algorithm
//! that names no hash gives `None`, and then the mechanism without `-PLUS` is offered, as RFC 5929 leaves the type
//! undefined there.

use sha2::{Digest, Sha224, Sha256, Sha384, Sha512};
use x509_parser::prelude::{FromDer, X509Certificate};
use x509_parser::signature_algorithm::RsaSsaPssParams;
use x509_parser::x509::AlgorithmIdentifier;

/// The hash that the certificate's signature names; MD5 and SHA-1 are replaced by SHA-256 (RFC 5929, 4.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Hash {
    Sha224,
    Sha256,
    Sha384,
    Sha512,
}

/// The binding's bytes for a DER certificate; `None` where its signature algorithm names no hash that we know.
pub(super) fn end_point(der: &[u8]) -> Option<Vec<u8>> {
    let (_, cert) = X509Certificate::from_der(der).ok()?;
    Some(match signature_hash(&cert.signature_algorithm)? {
        Hash::Sha224 => Sha224::digest(der).to_vec(),
        Hash::Sha256 => Sha256::digest(der).to_vec(),
        Hash::Sha384 => Sha384::digest(der).to_vec(),
        Hash::Sha512 => Sha512::digest(der).to_vec(),
    })
}

fn signature_hash(algorithm: &AlgorithmIdentifier<'_>) -> Option<Hash> {
    Some(match algorithm.algorithm.to_id_string().as_str() {
        "1.2.840.113549.1.1.4" => Hash::Sha256,  // md5WithRSAEncryption
        "1.2.840.113549.1.1.5" => Hash::Sha256,  // sha1WithRSAEncryption
        "1.2.840.113549.1.1.11" => Hash::Sha256, // sha256WithRSAEncryption
        "1.2.840.113549.1.1.12" => Hash::Sha384, // sha384WithRSAEncryption
        "1.2.840.113549.1.1.13" => Hash::Sha512, // sha512WithRSAEncryption
        "1.2.840.113549.1.1.14" => Hash::Sha224, // sha224WithRSAEncryption
        "1.2.840.10045.4.1" => Hash::Sha256,     // ecdsa-with-SHA1
        "1.2.840.10045.4.3.1" => Hash::Sha224,   // ecdsa-with-SHA224
        "1.2.840.10045.4.3.2" => Hash::Sha256,   // ecdsa-with-SHA256
        "1.2.840.10045.4.3.3" => Hash::Sha384,   // ecdsa-with-SHA384
        "1.2.840.10045.4.3.4" => Hash::Sha512,   // ecdsa-with-SHA512
        "1.2.840.113549.1.1.10" => return pss_hash(algorithm),
        _ => return None, // Ed25519 and Ed448 hash inside; the rest is unknown
    })
}

/// RSASSA-PSS names its hash in the parameters; SHA-1 where they are absent (RFC 8017, A.2.3).
fn pss_hash(algorithm: &AlgorithmIdentifier<'_>) -> Option<Hash> {
    let parameters = RsaSsaPssParams::try_from(algorithm.parameters.as_ref()?).ok()?;
    Some(match parameters.hash_algorithm_oid().to_id_string().as_str() {
        "1.2.840.113549.2.5" => Hash::Sha256,     // md5
        "1.3.14.3.2.26" => Hash::Sha256,          // sha1
        "2.16.840.1.101.3.4.2.4" => Hash::Sha224, // sha224
        "2.16.840.1.101.3.4.2.1" => Hash::Sha256, // sha256
        "2.16.840.1.101.3.4.2.2" => Hash::Sha384, // sha384
        "2.16.840.1.101.3.4.2.3" => Hash::Sha512, // sha512
        _ => return None,
    })
}

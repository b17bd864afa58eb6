//! [pure] What X.509 asks of one certificate, and a walk from a leaf to a root for the leaves that webpki refuses.
//!
//! webpki knows neither version 1 certificates, which `openssl x509 -req` without extensions makes (the PostgreSQL
//! manual's own recipe), nor a leaf that is marked as a CA; OpenSSL, and so libpq, takes both. The walk is for these
//! leaves only and is never laxer than OpenSSL: every issuer must be allowed to sign, be in date and have signed; name
//! constraints, which it does not evaluate, refuse the path. Depth and signature checks are bounded.

use rustls::CertificateError;
use rustls_pki_types::{SignatureVerificationAlgorithm, SubjectPublicKeyInfoDer, UnixTime};
use x509_parser::asn1_rs::ToDer;
use x509_parser::prelude::{KeyUsage, ParsedExtension, X509Certificate};
use x509_parser::x509::{AlgorithmIdentifier, X509Version};

/// Whose certificate is judged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Role {
    Client,
    Server,
}

/// Intermediates between a leaf and its root, as webpki's own bound.
const MAX_INTERMEDIATES: u32 = 6;

/// Signature checks for one peer: a peer chooses what it sends, and must not choose how long we compute.
const MAX_SIGNATURES: u32 = 32;

/// Checks everything about a leaf that it says itself: dates, purpose, critical extensions.
pub(super) fn leaf_permits(cert: &X509Certificate<'_>, role: Role, now: UnixTime) -> Result<(), CertificateError> {
    in_date(cert, now)?;
    if has_unknown_critical(cert) {
        return Err(CertificateError::UnhandledCriticalExtension);
    }
    let usage = cert.key_usage().map_err(|_| CertificateError::BadEncoding)?;
    let signs = usage.is_none_or(|usage| key_may_handshake(usage.value, role));
    if signs && has_purpose(cert, role) { Ok(()) } else { Err(CertificateError::InvalidPurpose) }
}

/// OpenSSL's `check_purpose_ssl_server` and `check_purpose_ssl_client`.
fn key_may_handshake(usage: &KeyUsage, role: Role) -> bool {
    let agrees = usage.digital_signature() || usage.key_agreement();
    agrees || (role == Role::Server && usage.key_encipherment())
}

/// An extended key usage, where present, must name the role; `any` does not count, as in OpenSSL.
fn has_purpose(cert: &X509Certificate<'_>, role: Role) -> bool {
    match cert.extended_key_usage() {
        Ok(None) => true,
        Ok(Some(usage)) if role == Role::Client => usage.value.client_auth,
        Ok(Some(usage)) => usage.value.server_auth,
        Err(_) => false,
    }
}

fn in_date(cert: &X509Certificate<'_>, now: UnixTime) -> Result<(), CertificateError> {
    let now = i64::try_from(now.as_secs()).unwrap_or(i64::MAX);
    if now < cert.validity().not_before.timestamp() {
        return Err(CertificateError::NotValidYet);
    }
    if now > cert.validity().not_after.timestamp() {
        return Err(CertificateError::Expired);
    }
    Ok(())
}

fn has_unknown_critical(cert: &X509Certificate<'_>) -> bool {
    cert.extensions().iter().filter(|extension| extension.critical).any(|extension| {
        !matches!(
            extension.parsed_extension(),
            ParsedExtension::BasicConstraints(_)
                | ParsedExtension::KeyUsage(_)
                | ParsedExtension::ExtendedKeyUsage(_)
                | ParsedExtension::SubjectAlternativeName(_)
                | ParsedExtension::NameConstraints(_)
                | ParsedExtension::CertificatePolicies(_)
                | ParsedExtension::CRLDistributionPoints(_)
        )
    })
}

/// Whether a certificate of the root file may vouch for others (OpenSSL's `X509_check_ca`, without the Netscape type).
pub(super) fn may_sign(cert: &X509Certificate<'_>) -> bool {
    let (Ok(usage), Ok(constraints)) = (cert.key_usage(), cert.basic_constraints()) else { return false };
    if usage.as_ref().is_some_and(|usage| !usage.value.key_cert_sign()) {
        return false;
    }
    match constraints {
        Some(constraints) => constraints.value.ca,
        None if cert.version() == X509Version::V1 => is_self_issued(cert),
        None => usage.is_some(),
    }
}

fn is_self_issued(cert: &X509Certificate<'_>) -> bool {
    cert.subject().as_raw() == cert.issuer().as_raw()
}

/// The search for a path from one leaf to a root.
pub(super) struct Walk<'a> {
    roots: &'a [X509Certificate<'a>],
    intermediates: &'a [X509Certificate<'a>],
    role: Role,
    now: UnixTime,
    algorithms: &'a [&'a dyn SignatureVerificationAlgorithm],
    signatures_left: u32,
}

impl<'a> Walk<'a> {
    pub(super) fn new(
        roots: &'a [X509Certificate<'a>],
        intermediates: &'a [X509Certificate<'a>],
        role: Role,
        now: UnixTime,
        algorithms: &'a [&'a dyn SignatureVerificationAlgorithm],
    ) -> Walk<'a> {
        Walk { roots, intermediates, role, now, algorithms, signatures_left: MAX_SIGNATURES }
    }

    /// Whether a root vouches for the leaf, itself or through intermediates.
    pub(super) fn reaches_root(mut self, leaf: &X509Certificate<'_>) -> bool {
        self.is_vouched_for(leaf, 0)
    }

    /// `below`: how many intermediates lie between `cert`'s issuer and the leaf.
    fn is_vouched_for(&mut self, cert: &X509Certificate<'_>, below: u32) -> bool {
        let (roots, intermediates) = (self.roots, self.intermediates);
        if roots.iter().any(|root| self.has_signed(root, cert, below)) {
            return true;
        }
        below < MAX_INTERMEDIATES
            && intermediates.iter().any(|issuer| {
                is_marked_ca(issuer) && self.has_signed(issuer, cert, below) && self.is_vouched_for(issuer, below + 1)
            })
    }

    fn has_signed(&mut self, issuer: &X509Certificate<'_>, cert: &X509Certificate<'_>, below: u32) -> bool {
        let is_issuer = issuer.subject().as_raw() == cert.issuer().as_raw()
            && may_sign(issuer)
            && has_room_for(issuer, below)
            && in_date(issuer, self.now).is_ok()
            && has_purpose(issuer, self.role)
            && !has_unknown_critical(issuer)
            && matches!(issuer.name_constraints(), Ok(None));
        if !is_issuer || self.signatures_left == 0 {
            return false;
        }
        self.signatures_left -= 1;
        signature_is_valid(cert, issuer, self.algorithms)
    }
}

/// An intermediate comes from the peer, so only the explicit mark counts.
fn is_marked_ca(cert: &X509Certificate<'_>) -> bool {
    matches!(cert.basic_constraints(), Ok(Some(constraints)) if constraints.value.ca)
}

fn has_room_for(issuer: &X509Certificate<'_>, below: u32) -> bool {
    match issuer.basic_constraints() {
        Ok(Some(constraints)) => constraints.value.path_len_constraint.is_none_or(|limit| below <= limit),
        Ok(None) => true,
        Err(_) => false,
    }
}

fn signature_is_valid(
    cert: &X509Certificate<'_>,
    issuer: &X509Certificate<'_>,
    algorithms: &[&dyn SignatureVerificationAlgorithm],
) -> bool {
    // RFC 5280, 4.1.1.2: both fields must name the same algorithm.
    if cert.tbs_certificate.signature != cert.signature_algorithm || cert.signature_value.unused_bits != 0 {
        return false;
    }
    let spki = SubjectPublicKeyInfoDer::from(issuer.public_key().raw);
    let Ok(key) = webpki::RawPublicKeyEntity::try_from(&spki) else { return false };
    let Some(id) = algorithm_id(&cert.signature_algorithm) else { return false };
    let (message, signature) = (cert.tbs_certificate.as_ref(), cert.signature_value.data.as_ref());
    let mut named = algorithms.iter().filter(|algorithm| algorithm.signature_alg_id().as_ref() == id);
    named.any(|algorithm| key.verify_signature(*algorithm, message, signature).is_ok())
}

/// The DER of an AlgorithmIdentifier without its outer SEQUENCE header, as rustls' table has it.
fn algorithm_id(algorithm: &AlgorithmIdentifier<'_>) -> Option<Vec<u8>> {
    let mut id = algorithm.algorithm.to_der_vec().ok()?;
    if let Some(parameters) = &algorithm.parameters {
        id.extend(parameters.to_der_vec().ok()?);
    }
    Some(id)
}

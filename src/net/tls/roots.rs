//! The certificates of a root file, and the question whether they vouch for a peer's certificate.
//!
//! A certificate passes if it is itself in the file, or webpki finds a path to a root, or `chain` does for the
//! leaves that webpki does not know. A root that may not sign, or is out of date, vouches for nobody but itself.
//!
//! Laxer than libpq in one way: what stands in the file is trusted as it stands, also a leaf or an intermediate whose
//! own issuer is not there (OpenSSL without X509_V_FLAG_PARTIAL_CHAIN wants the self-signed end of the chain).

use std::sync::Arc;

use rustls::crypto::WebPkiSupportedAlgorithms;
use rustls::{CertificateError, DistinguishedName, Error, OtherError};
use rustls_pki_types::{CertificateDer, TrustAnchor, UnixTime};
use webpki::KeyUsage;
use x509_parser::prelude::{FromDer, X509Certificate};

use super::chain::{self, Role};

/// The certificates of a root file.
#[derive(Debug)]
pub(super) struct Roots {
    /// All of them, for a peer that presents one of them itself.
    certificates: Vec<CertificateDer<'static>>,
    /// Those that may vouch for others.
    anchors: Vec<Anchor>,
    pub(super) algorithms: WebPkiSupportedAlgorithms,
}

#[derive(Debug)]
struct Anchor {
    certificate: CertificateDer<'static>,
    trust: TrustAnchor<'static>,
    /// webpki looks at no root's dates, OpenSSL does.
    not_before: i64,
    not_after: i64,
}

impl Roots {
    /// Fails with the position (from 1) of a certificate that cannot be read.
    pub(super) fn new(
        certificates: Vec<CertificateDer<'static>>,
        algorithms: WebPkiSupportedAlgorithms,
    ) -> Result<Roots, usize> {
        let mut anchors = Vec::new();
        for (index, certificate) in certificates.iter().enumerate() {
            let cert = parse(certificate).map_err(|_| index + 1)?;
            if let (true, Ok(trust)) = (chain::may_sign(&cert), webpki::anchor_from_trusted_cert(certificate)) {
                anchors.push(Anchor {
                    certificate: certificate.clone(),
                    trust: trust.to_owned(),
                    not_before: cert.validity().not_before.timestamp(),
                    not_after: cert.validity().not_after.timestamp(),
                });
            }
        }
        Ok(Roots { certificates, anchors, algorithms })
    }

    /// The subjects of those that vouch, so that a client with several certificates can choose.
    pub(super) fn subjects(&self) -> Vec<DistinguishedName> {
        self.anchors.iter().map(|anchor| DistinguishedName::in_sequence(anchor.trust.subject.as_ref())).collect()
    }

    pub(super) fn check(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        role: Role,
        now: UnixTime,
    ) -> Result<(), Error> {
        let cert = parse(leaf)?;
        chain::leaf_permits(&cert, role, now)?;
        if self.certificates.iter().any(|known| known == leaf) {
            return Ok(());
        }
        match self.check_with_webpki(leaf, intermediates, role, now) {
            Err(webpki::Error::UnsupportedCertVersion | webpki::Error::CaUsedAsEndEntity) => {
                self.check_by_walk(&cert, intermediates, role, now)
            }
            verdict => verdict.map_err(refusal),
        }
    }

    fn check_with_webpki(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        role: Role,
        now: UnixTime,
    ) -> Result<(), webpki::Error> {
        let cert = webpki::EndEntityCert::try_from(leaf)?;
        let usage = match role {
            Role::Client => KeyUsage::client_auth(),
            Role::Server => KeyUsage::server_auth(),
        };
        let anchors: Vec<TrustAnchor<'_>> = self.anchors.iter().filter(|a| a.is_in_date(now)).map(borrow).collect();
        cert.verify_for_usage(self.algorithms.all, &anchors, intermediates, now, usage, None, None)?;
        Ok(())
    }

    fn check_by_walk(
        &self,
        leaf: &X509Certificate<'_>,
        intermediates: &[CertificateDer<'_>],
        role: Role,
        now: UnixTime,
    ) -> Result<(), Error> {
        let roots: Vec<_> = self.anchors.iter().filter_map(|anchor| parse(&anchor.certificate).ok()).collect();
        let intermediates: Vec<_> = intermediates.iter().filter_map(|der| parse(der).ok()).collect();
        let walk = chain::Walk::new(&roots, &intermediates, role, now, self.algorithms.all);
        if walk.reaches_root(leaf) { Ok(()) } else { Err(CertificateError::UnknownIssuer.into()) }
    }
}

impl Anchor {
    fn is_in_date(&self, now: UnixTime) -> bool {
        i64::try_from(now.as_secs()).is_ok_and(|now| (self.not_before..=self.not_after).contains(&now))
    }
}

fn borrow(anchor: &Anchor) -> TrustAnchor<'_> {
    TrustAnchor {
        subject: anchor.trust.subject.as_ref().into(),
        subject_public_key_info: anchor.trust.subject_public_key_info.as_ref().into(),
        name_constraints: anchor.trust.name_constraints.as_ref().map(|constraints| constraints.as_ref().into()),
    }
}

pub(super) fn parse<'a>(der: &'a CertificateDer<'_>) -> Result<X509Certificate<'a>, Error> {
    match X509Certificate::from_der(der) {
        Ok(([], cert)) => Ok(cert),
        _ => Err(CertificateError::BadEncoding.into()),
    }
}

/// webpki's reasons in rustls' words, which choose the alert that the peer sees.
pub(super) fn refusal(error: webpki::Error) -> Error {
    use webpki::Error as E;
    let reason = match error {
        E::BadDer | E::BadDerTime | E::TrailingData(_) => CertificateError::BadEncoding,
        E::CertExpired { .. } | E::InvalidCertValidity => CertificateError::Expired,
        E::CertNotValidYet { .. } => CertificateError::NotValidYet,
        E::InvalidSignatureForPublicKey => CertificateError::BadSignature,
        E::RequiredEkuNotFoundContext(_) => CertificateError::InvalidPurpose,
        E::UnknownIssuer => CertificateError::UnknownIssuer,
        other => CertificateError::Other(OtherError(Arc::new(other))),
    };
    reason.into()
}

//! The two judges that rustls asks: is this the server we meant, is this a client we know.
//!
//! `Roots` judges certificates, `names` the host. Handshake signatures are verified in every mode, also where no
//! certificate is checked; nothing here ever skips that.

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{WebPkiSupportedAlgorithms, verify_tls13_signature_with_raw_key};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{CertificateError, DigitallySignedStruct, DistinguishedName, Error, SignatureScheme};
use rustls_pki_types::{CertificateDer, ServerName, SubjectPublicKeyInfoDer, UnixTime};

use super::chain::Role;
use super::names;
use super::roots::{Roots, parse, refusal};

/// What is asked of a server's certificate; the values are libpq's sslmodes from weak to strong.
#[derive(Debug)]
pub(super) enum Demand {
    /// allow, prefer, and require without a root file: any certificate.
    Nothing,
    /// verify-ca.
    KnownIssuer(Roots),
    /// verify-full.
    KnownIssuerAndHost(Roots),
}

#[derive(Debug)]
pub(super) struct ServerVerifier {
    demand: Demand,
    algorithms: WebPkiSupportedAlgorithms,
}

impl ServerVerifier {
    pub(super) fn new(demand: Demand, algorithms: WebPkiSupportedAlgorithms) -> ServerVerifier {
        ServerVerifier { demand, algorithms }
    }
}

impl ServerCertVerifier for ServerVerifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        match &self.demand {
            Demand::Nothing => {}
            Demand::KnownIssuer(roots) => roots.check(end_entity, intermediates, Role::Server, now)?,
            Demand::KnownIssuerAndHost(roots) => {
                roots.check(end_entity, intermediates, Role::Server, now)?;
                check_host(end_entity, server_name)?;
            }
        }
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        tls12_signature(message, cert, dss, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature_with_raw_key(message, &public_key(cert)?, dss, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}

/// A client must show a certificate, and it must pass: verify-ca and verify-full alike, as in PgBouncer.
#[derive(Debug)]
pub(super) struct ClientVerifier {
    roots: Roots,
    hints: Vec<DistinguishedName>,
}

impl ClientVerifier {
    pub(super) fn new(roots: Roots) -> ClientVerifier {
        ClientVerifier { hints: roots.subjects(), roots }
    }
}

impl ClientCertVerifier for ClientVerifier {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &self.hints
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        self.roots.check(end_entity, intermediates, Role::Client, now)?;
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        tls12_signature(message, cert, dss, &self.roots.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature_with_raw_key(message, &public_key(cert)?, dss, &self.roots.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.roots.algorithms.supported_schemes()
    }
}

fn check_host(end_entity: &CertificateDer<'_>, server_name: &ServerName<'_>) -> Result<(), Error> {
    let cert = parse(end_entity)?;
    if names::is_for_host(&cert, &server_name.to_str()) {
        return Ok(());
    }
    let (expected, presented) = (server_name.to_owned(), names::presented(&cert));
    Err(CertificateError::NotValidForNameContext { expected, presented }.into())
}

/// The key alone: rustls' helpers that take the certificate parse it with webpki, which knows no version 1.
fn public_key<'a>(cert: &CertificateDer<'_>) -> Result<SubjectPublicKeyInfoDer<'a>, Error> {
    Ok(SubjectPublicKeyInfoDer::from(parse(cert)?.public_key().raw.to_vec()))
}

/// As rustls' `verify_tls12_signature`: a scheme of TLS 1.2 names no curve, so each algorithm for it has its turn.
fn tls12_signature(
    message: &[u8],
    cert: &CertificateDer<'_>,
    dss: &DigitallySignedStruct,
    algorithms: &WebPkiSupportedAlgorithms,
) -> Result<HandshakeSignatureValid, Error> {
    let spki = public_key(cert)?;
    let key = webpki::RawPublicKeyEntity::try_from(&spki).map_err(refusal)?;
    let candidates = algorithms.mapping.iter().filter(|(scheme, _)| *scheme == dss.scheme).flat_map(|(_, all)| *all);
    let mut error = webpki::Error::InvalidSignatureForPublicKey;
    for algorithm in candidates {
        match key.verify_signature(*algorithm, message, dss.signature()) {
            Ok(()) => return Ok(HandshakeSignatureValid::assertion()),
            Err(reason @ webpki::Error::UnsupportedSignatureAlgorithmForPublicKeyContext(_)) => error = reason,
            Err(reason) => return Err(refusal(reason)),
        }
    }
    Err(refusal(error))
}

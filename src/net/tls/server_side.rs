//! TLS towards servers, where we are the TLS client (`server_tls_*`), with libpq's sslmodes.
//!
//! Whether to ask for TLS, and to go on without it (`allow`, `prefer`), is the dialler's question; this file never
//! falls back. What a mode demands is settled when the `Connector` is built and never looked at per connection.

use std::io;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use rustls::ClientConfig;
use rustls::client::Resumption;
use rustls::crypto::CryptoProvider;
use rustls::sign::SingleCertAndKey;
use rustls_pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::pem::{self, Identity};
use super::verifier::{Demand, ServerVerifier};
use super::{ALPN, Fault, RECORD_LIMIT, binding, provider, versions};
use crate::config::{SslMode, Tls};

/// Makes TLS connections to servers; a clone shares the roots and our certificate.
#[derive(Clone)]
pub struct Connector(Arc<Inner>);

struct Inner {
    tls: TlsConnector,
    mode: SslMode,
    not_after: Option<i64>,
}

/// The same files, read at the same time.
impl PartialEq for Connector {
    fn eq(&self, other: &Connector) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl Connector {
    /// Reads the files; `None`: `disable`.
    pub fn build(tls: &Tls) -> Result<Option<Connector>, Fault> {
        if tls.sslmode == SslMode::Disable {
            return Ok(None);
        }
        let provider = provider();
        let verifier = ServerVerifier::new(demand(tls, &provider)?, provider.signature_verification_algorithms);
        let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
            .with_protocol_versions(&versions(tls, "server_tls_protocols")?)
            .map_err(|error| Fault::new("server_tls_protocols", error))?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(verifier));
        let identity = identity(tls, &provider)?;
        let not_after = identity.as_ref().map(|identity| identity.not_after);
        let mut config = match identity {
            // Shown to every server that asks, whatever issuers it hints at, as libpq does.
            Some(own) => builder.with_client_cert_resolver(Arc::new(SingleCertAndKey::from(own.certified))),
            None => builder.with_no_client_auth(),
        };
        config.alpn_protocols = vec![ALPN.to_vec()];
        config.resumption = Resumption::disabled(); // as libpq; server connections are few and long
        Ok(Some(Connector(Arc::new(Inner { tls: TlsConnector::from(Arc::new(config)), mode: tls.sslmode, not_after }))))
    }

    pub fn mode(&self) -> SslMode {
        self.0.mode
    }

    /// When the certificate that we show to servers expires, in seconds since 1970.
    pub fn not_after(&self) -> Option<i64> {
        self.0.not_after
    }

    /// The handshake with `host`, a name or an address; the second value is the `tls-server-end-point` binding of
    /// the server's certificate (RFC 5929).
    ///
    /// Not cancel-safe: dropping the future drops the stream and so ends the connection.
    pub async fn connect<S>(&self, stream: S, host: &str) -> io::Result<(TlsStream<S>, Option<Vec<u8>>)>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let name = server_name(host, self.0.mode)?;
        let stream = self.0.tls.connect_with(name, stream, |tls| tls.set_buffer_limit(Some(RECORD_LIMIT))).await?;
        let certificate = stream.get_ref().1.peer_certificates().and_then(|chain| chain.first());
        let end_point = certificate.and_then(|leaf| binding::end_point(leaf));
        Ok((stream, end_point))
    }
}

/// libpq: `require` with a root file behaves as verify-ca; `allow` and `prefer` check nothing, since an attacker
/// could make them fall back to plain text anyway.
fn demand(tls: &Tls, provider: &CryptoProvider) -> Result<Demand, Fault> {
    let roots = || {
        let ca_file = tls.ca_file.as_deref().ok_or_else(|| Fault::new("server_tls_ca_file", "is not set"))?;
        pem::roots(ca_file, provider)
    };
    Ok(match tls.sslmode {
        SslMode::VerifyFull => Demand::KnownIssuerAndHost(roots()?),
        SslMode::VerifyCa => Demand::KnownIssuer(roots()?),
        SslMode::Require if tls.ca_file.is_some() => Demand::KnownIssuer(roots()?),
        _ => Demand::Nothing,
    })
}

fn identity(tls: &Tls, provider: &CryptoProvider) -> Result<Option<Identity>, Fault> {
    match (&tls.cert_file, &tls.key_file) {
        (Some(cert), Some(key)) => Identity::load(cert, key, provider).map(Some),
        (Some(_), None) => Err(Fault::new("server_tls_key_file", "is not set, but server_tls_cert_file is")),
        (None, Some(_)) => Err(Fault::new("server_tls_cert_file", "is not set, but server_tls_key_file is")),
        (None, None) => Ok(None),
    }
}

/// What rustls sends as SNI (names only, never addresses, as libpq) and hands to the verifier.
fn server_name(host: &str, mode: SslMode) -> io::Result<ServerName<'static>> {
    match ServerName::try_from(host.to_owned()) {
        Ok(name) => Ok(name),
        // Not a DNS name, so no certificate can be for it; where none is asked to be, rustls still wants a value,
        // and an address sends no SNI.
        Err(_) if mode < SslMode::VerifyFull => Ok(ServerName::from(IpAddr::from(Ipv4Addr::UNSPECIFIED))),
        Err(_) => {
            let reason = format!("no certificate can be checked against the host name {host:?}");
            Err(io::Error::new(io::ErrorKind::InvalidInput, reason))
        }
    }
}

//! TLS towards clients, where we are the TLS server (`client_tls_*`).
//!
//! Whether a client must use TLS is its login's question; this file never accepts plain text and never answers an
//! SSLRequest. verify-ca and verify-full ask every client for a certificate and end the handshake without a good one.

use std::io;
use std::sync::Arc;

use rustls::server::NoServerSessionStorage;
use rustls::sign::SingleCertAndKey;
use rustls::{ServerConfig, compress};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use super::names::CertNames;
use super::pem::{self, Identity};
use super::verifier::ClientVerifier;
use super::{ALPN, Fault, RECORD_LIMIT, binding, provider, versions};
use crate::config::{SslMode, Tls};

/// Takes clients' TLS handshakes; a clone shares the certificate.
#[derive(Clone)]
pub struct Acceptor(Arc<Inner>);

struct Inner {
    tls: TlsAcceptor,
    mode: SslMode,
    end_point: Option<Vec<u8>>,
    not_after: i64,
}

impl Acceptor {
    /// Reads the files; `None`: `disable`.
    pub fn build(tls: &Tls) -> Result<Option<Acceptor>, Fault> {
        if tls.sslmode == SslMode::Disable {
            return Ok(None);
        }
        let cert_file = tls.cert_file.as_deref().ok_or_else(|| Fault::new("client_tls_cert_file", "is not set"))?;
        let key_file = tls.key_file.as_deref().ok_or_else(|| Fault::new("client_tls_key_file", "is not set"))?;
        let identity = Identity::load(cert_file, key_file, &provider())?;
        let end_point = identity.certified.cert.first().and_then(|leaf| binding::end_point(leaf));
        let not_after = identity.not_after;
        let tls_config = Arc::new(server_config(tls, identity)?);
        let inner = Inner { tls: TlsAcceptor::from(tls_config), mode: tls.sslmode, end_point, not_after };
        Ok(Some(Acceptor(Arc::new(inner))))
    }

    pub fn mode(&self) -> SslMode {
        self.0.mode
    }

    /// The `tls-server-end-point` bytes of our own certificate (RFC 5929); `None` where its signature algorithm
    /// names no hash.
    pub fn end_point(&self) -> Option<&[u8]> {
        self.0.end_point.as_deref()
    }

    /// When our certificate expires, in seconds since 1970.
    pub fn not_after(&self) -> i64 {
        self.0.not_after
    }

    /// The handshake. `direct`: the client began with it, without an SSLRequest, and must then have agreed on
    /// `postgresql` by ALPN (as PostgreSQL 17 demands against cross-protocol attacks); after an SSLRequest a client
    /// need not offer ALPN, but what it offers must include `postgresql`.
    ///
    /// Not cancel-safe: dropping the future drops the stream and so ends the connection.
    pub async fn accept<S>(&self, stream: S, direct: bool) -> io::Result<TlsStream<S>>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let stream = self.0.tls.accept_with(stream, |tls| tls.set_buffer_limit(Some(RECORD_LIMIT))).await?;
        if direct && stream.get_ref().1.alpn_protocol() != Some(ALPN) {
            let reason = "direct TLS connection without the ALPN protocol \"postgresql\"";
            return Err(io::Error::new(io::ErrorKind::InvalidData, reason));
        }
        Ok(stream)
    }
}

/// The names in the certificate that the client showed and that passed; `None` where none was asked for.
pub fn client_names<S>(stream: &TlsStream<S>) -> Option<CertNames> {
    CertNames::parse(stream.get_ref().1.peer_certificates()?.first()?)
}

fn server_config(tls: &Tls, identity: Identity) -> Result<ServerConfig, Fault> {
    let provider = provider();
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_protocol_versions(&versions(tls, "client_tls_protocols")?)
        .map_err(|error| Fault::new("client_tls_protocols", error))?;
    let builder = match tls.sslmode {
        SslMode::VerifyCa | SslMode::VerifyFull => {
            let ca_file = tls.ca_file.as_deref().ok_or_else(|| Fault::new("client_tls_ca_file", "is not set"))?;
            builder.with_client_cert_verifier(Arc::new(ClientVerifier::new(pem::roots(ca_file, &provider)?)))
        }
        _ => builder.with_no_client_auth(),
    };
    let mut config = builder.with_cert_resolver(Arc::new(SingleCertAndKey::from(identity.certified)));
    config.alpn_protocols = vec![ALPN.to_vec()];
    // No resumption, as in PostgreSQL (SSL_OP_NO_TICKET, SSL_SESS_CACHE_OFF): clients stay for long, a session
    // store is memory, and a ticket would outlive a revoked client certificate. No tickets also spares each idle
    // connection the secrets that tickets are made from.
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    config.max_early_data_size = 0; // a login or a statement must never be replayable
    config.ignore_client_order = false; // the default; both ends know AES and ChaCha, and the client knows its CPU
    config.cert_compressors = Vec::new(); // a few hundred bytes once per connection are not worth a cache
    config.cert_compression_cache = Arc::new(compress::CompressionCache::Disabled);
    Ok(config)
}

//! [pure] The names in a certificate, and libpq's rules by which one of them is the host that we meant to reach.
//!
//! The rules are those of `pgtls_verify_peer_name_matches_certificate_guts` (libpq 15 and later), not RFC 6125's:
//! the common name still counts where no subjectAltName of the host's own kind is present. A name with a NUL inside
//! never matches and ends the search (CVE-2009-4034). One thing is stricter than libpq: a wildcard matches no IP
//! address.

use std::net::IpAddr;

use x509_parser::prelude::{FromDer, GeneralName, X509Certificate};

/// The names by which a client's certificate may log in (`auth_type = "cert"`).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CertNames {
    /// The subject's first common name, as PostgreSQL takes it.
    pub common_name: Option<String>,
    /// The subjectAltName entries of type dNSName.
    pub dns: Vec<String>,
}

impl CertNames {
    /// `None`: not a certificate that can be read.
    pub(super) fn parse(der: &[u8]) -> Option<CertNames> {
        let (_, cert) = X509Certificate::from_der(der).ok()?;
        let dns = alternative_names(&cert)?.iter().filter_map(|name| match name {
            GeneralName::DNSName(name) if is_clean(name) => Some((*name).to_owned()),
            _ => None,
        });
        let common_name = common_name(&cert).filter(|name| is_clean(name)).map(str::to_owned);
        Some(CertNames { common_name, dns: dns.collect() })
    }
}

/// Whether the certificate is for this host, a name or an address as the operator wrote it.
pub(super) fn is_for_host(cert: &X509Certificate<'_>, host: &str) -> bool {
    let address: Option<IpAddr> = host.parse().ok();
    let Some(names) = alternative_names(cert) else { return false };
    let mut use_common_name = true;
    for name in names {
        // Only a name of the host's own kind rules the common name out.
        let (matches, same_kind) = match name {
            GeneralName::DNSName(name) if !is_clean(name) => return false,
            GeneralName::DNSName(name) => (text_matches(name, host, address), address.is_none()),
            GeneralName::IPAddress(octets) => (address.is_some_and(|ip| ip_matches(octets, ip)), address.is_some()),
            _ => continue,
        };
        if matches {
            return true;
        }
        use_common_name &= !same_kind;
    }
    use_common_name && common_name(cert).is_some_and(|name| is_clean(name) && text_matches(name, host, address))
}

/// The names to print when none matched.
pub(super) fn presented(cert: &X509Certificate<'_>) -> Vec<String> {
    let alternative = alternative_names(cert).unwrap_or_default().iter().filter_map(|name| match name {
        GeneralName::DNSName(name) => Some((*name).to_owned()),
        GeneralName::IPAddress(octets) => ip(octets).map(|ip| ip.to_string()),
        _ => None,
    });
    alternative.chain(common_name(cert).map(str::to_owned)).collect()
}

/// `None` where the extension is there but cannot be read: nothing may then match.
fn alternative_names<'a>(cert: &'a X509Certificate<'_>) -> Option<&'a [GeneralName<'a>]> {
    let names = cert.subject_alternative_name().ok()?;
    Some(names.map(|extension| extension.value.general_names.as_slice()).unwrap_or_default())
}

fn common_name<'a>(cert: &'a X509Certificate<'_>) -> Option<&'a str> {
    cert.subject().iter_common_name().next()?.as_str().ok()
}

fn is_clean(name: &str) -> bool {
    !name.contains('\0')
}

fn text_matches(pattern: &str, host: &str, address: Option<IpAddr>) -> bool {
    pattern.eq_ignore_ascii_case(host) || (address.is_none() && wildcard_matches(pattern, host))
}

/// `*.` stands for exactly one label, the leftmost, and at least one character.
fn wildcard_matches(pattern: &str, host: &str) -> bool {
    let Some(parent) = pattern.strip_prefix("*.") else { return false };
    let Some((label, rest)) = host.split_once('.') else { return false };
    !parent.is_empty() && !label.is_empty() && rest.eq_ignore_ascii_case(parent)
}

fn ip_matches(octets: &[u8], host: IpAddr) -> bool {
    ip(octets) == Some(host)
}

fn ip(octets: &[u8]) -> Option<IpAddr> {
    match octets.len() {
        4 => <[u8; 4]>::try_from(octets).ok().map(IpAddr::from),
        16 => <[u8; 16]>::try_from(octets).ok().map(IpAddr::from),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wildcard_is_one_leftmost_label() {
        let table = [
            ("*.example.com", "db.example.com", true),
            ("*.EXAMPLE.com", "DB.example.COM", true),
            ("*.example.com", "example.com", false),
            ("*.example.com", ".example.com", false),
            ("*.example.com", "a.db.example.com", false),
            ("*", "db", false),
            ("*.", "db.", false),
            ("d*.example.com", "db.example.com", false),
            ("db.*.com", "db.example.com", false),
            ("*.0.0.1", "127.0.0.1", false),
            ("127.0.0.1", "127.0.0.1", true),
        ];
        for (pattern, host, expected) in table {
            assert_eq!(text_matches(pattern, host, host.parse().ok()), expected, "{pattern} for {host}");
        }
    }
}

//! Certificates for the tests, made by the recipes of the PostgreSQL manual ("Creating Certificates").
//!
//! Each lab is a directory that goes with it. It must never be used outside tests.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;

use crate::config::{SslMode, Tls};

pub(super) const P256: &[&str] = &["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1"];
pub(super) const P384: &[&str] = &["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:secp384r1"];
pub(super) const ED25519: &[&str] = &["-newkey", "ed25519"];
pub(super) const RSA: &[&str] = &["-newkey", "rsa:2048"];

/// The extensions that `-extensions v3_ca` of /etc/ssl/openssl.cnf adds.
const V3_CA: &str = "subjectKeyIdentifier=hash\nauthorityKeyIdentifier=keyid:always,issuer\n\
                     basicConstraints=critical,CA:true\n";

pub(super) struct Lab {
    dir: PathBuf,
}

impl Lab {
    pub(super) fn new() -> Lab {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let name = format!("pgweir-tls-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let dir = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&dir).expect("a directory for the certificates");
        Lab { dir }
    }

    pub(super) fn path(&self, file: &str) -> PathBuf {
        self.dir.join(file)
    }

    /// `openssl req -new -x509 -days 365 -nodes -text …`: a self-signed certificate, which the manual's default
    /// configuration marks as a CA.
    pub(super) fn self_signed(&self, name: &str, common_name: &str, key: &[&str], more: &[&str]) {
        let (crt, private, subject) = (format!("{name}.crt"), format!("{name}.key"), format!("/CN={common_name}"));
        let fixed = ["req", "-new", "-x509", "-days", "365", "-nodes", "-text", "-out", &crt, "-keyout", &private];
        self.openssl(&[&fixed, &["-subj", &subject][..], key, more].concat());
    }

    /// A signing request, then `openssl x509 -req … -signkey`: self-signed without extensions (version 1).
    pub(super) fn self_signed_v1(&self, name: &str, common_name: &str, days: &str) {
        let (csr, crt, key) = self.request(name, common_name, P256);
        self.openssl(&["x509", "-req", "-in", &csr, "-text", "-days", days, "-signkey", &key, "-out", &crt]);
    }

    /// A root: request, then `x509 -req -extensions v3_ca -signkey`.
    pub(super) fn root(&self, name: &str) {
        let (csr, crt, key) = self.request(name, name, P256);
        let conf = self.write(&format!("{name}.cnf"), V3_CA);
        let days = ["-days", "3650", "-extfile", &conf];
        self.openssl(&[&["x509", "-req", "-in", &csr, "-text", "-signkey", &key, "-out", &crt], &days[..]].concat());
    }

    pub(super) fn intermediate(&self, name: &str, issuer: &str) {
        self.issue(name, name, issuer, P256, V3_CA, "1825");
    }

    /// A leaf as the manual makes it: without extensions, which before OpenSSL 3.2 is a version 1 certificate.
    pub(super) fn plain_leaf(&self, name: &str, common_name: &str, issuer: &str) {
        self.issue(name, common_name, issuer, P256, "", "365");
    }

    /// A leaf with extensions, one `name=value` a line.
    pub(super) fn leaf(&self, name: &str, common_name: &str, issuer: &str, extensions: &str) {
        self.issue(name, common_name, issuer, P256, extensions, "365");
    }

    /// `cat a.crt b.crt > to.crt`.
    pub(super) fn concat(&self, files: &[&str], to: &str) {
        let all: Vec<u8> = files.iter().flat_map(|file| std::fs::read(self.path(file)).expect("a file")).collect();
        std::fs::write(self.path(to), all).expect("written");
    }

    pub(super) fn write(&self, file: &str, text: &str) -> String {
        std::fs::write(self.path(file), text).expect("written");
        file.to_owned()
    }

    pub(super) fn der(&self, file: &str) -> CertificateDer<'static> {
        CertificateDer::from_pem_file(self.path(file)).expect("a certificate")
    }

    /// The settings that use `NAME.crt` and `NAME.key`, and a root file; an empty name means none.
    pub(super) fn tls(&self, sslmode: SslMode, identity: &str, ca_file: &str) -> Tls {
        let file = |stem: &str, end: &str| (!stem.is_empty()).then(|| self.path(&format!("{stem}{end}")));
        let (cert_file, key_file) = (file(identity, ".crt"), file(identity, ".key"));
        Tls { sslmode, key_file, cert_file, ca_file: file(ca_file, ""), tls12: true, tls13: true }
    }

    pub(super) fn issue(&self, name: &str, common_name: &str, issuer: &str, key: &[&str], ext: &str, days: &str) {
        let (csr, crt, _) = self.request(name, common_name, key);
        let (ca, ca_key) = (format!("{issuer}.crt"), format!("{issuer}.key"));
        let conf = self.write(&format!("{name}.cnf"), ext);
        let signed = ["x509", "-req", "-in", &csr, "-text", "-days", days, "-CA", &ca, "-CAkey", &ca_key];
        let out = ["-CAcreateserial", "-out", &crt];
        let extensions: &[&str] = if ext.is_empty() { &[] } else { &["-extfile", &conf] };
        self.openssl(&[&signed, &out[..], extensions].concat());
    }

    fn request(&self, name: &str, common_name: &str, key: &[&str]) -> (String, String, String) {
        let (csr, crt, private) = (format!("{name}.csr"), format!("{name}.crt"), format!("{name}.key"));
        let subject = format!("/CN={common_name}");
        let fixed = ["req", "-new", "-nodes", "-text", "-out", &csr, "-keyout", &private, "-subj", &subject];
        self.openssl(&[&fixed, key].concat());
        (csr, crt, private)
    }

    pub(super) fn openssl(&self, arguments: &[&str]) -> String {
        run(&self.dir, arguments)
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.dir);
    }
}

fn run(dir: &Path, arguments: &[&str]) -> String {
    let output = Command::new("openssl").current_dir(dir).args(arguments).output().expect("openssl is installed");
    assert!(output.status.success(), "openssl {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

//! Certificates of a test's own, made by openssl in a directory that goes with them.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use super::tool::openssl;

/// A CA, and what it signed.
pub struct Certs {
    dir: PathBuf,
}

/// A certificate and its key.
pub struct Identity {
    pub cert: PathBuf,
    pub key: PathBuf,
}

impl Certs {
    /// A new CA in a new directory.
    pub fn new() -> Certs {
        let number = MADE.fetch_add(1, Ordering::Relaxed);
        let dir = std::env::temp_dir().join(format!("pgweir-certs-{}-{number}", std::process::id()));
        std::fs::create_dir(&dir).expect("the directory is new");
        let certs = Certs { dir };
        certs.openssl("req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout ca.key -out ca.crt -days 30 -subj /CN=ca");
        certs
    }

    pub fn dir(&self) -> &Path {
        &self.dir
    }

    pub fn ca(&self) -> PathBuf {
        self.dir.join("ca.crt")
    }

    /// Signed by the CA with RSA over SHA-256: for 127.0.0.1 and localhost.
    pub fn server(&self) -> Identity {
        self.issue("server", "rsa:2048", "server.test", "DNS:localhost,IP:127.0.0.1")
    }

    /// For a name that nobody asks for.
    pub fn stranger(&self) -> Identity {
        self.issue("stranger", "ec -pkeyopt ec_paramgen_curve:P-256", "stranger.test", "DNS:stranger.test")
    }

    /// For a user.
    pub fn client(&self, name: &str) -> Identity {
        self.issue(name, "ec -pkeyopt ec_paramgen_curve:P-256", name, "email:nobody@example.org")
    }

    fn issue(&self, file: &str, key: &str, common_name: &str, names: &str) -> Identity {
        std::fs::write(self.dir.join("names"), format!("subjectAltName={names}")).expect("the names are written");
        self.openssl(&format!("req -newkey {key} -nodes -keyout {file}.key -out {file}.csr -subj /CN={common_name}"));
        self.openssl(&format!(
            "x509 -req -in {file}.csr -CA ca.crt -CAkey ca.key -CAcreateserial -days 30 -sha256 -extfile names -out {file}.crt"
        ));
        self.identity(file)
    }

    /// Its own signer: by RSA over SHA-256, or by Ed25519, whose certificates nothing can be bound to.
    pub fn self_signed(&self, file: &str, key: &str) -> Identity {
        self.openssl(&format!(
            "req -x509 -newkey {key} -nodes -keyout {file}.key -out {file}.crt -days 30 -subj /CN=localhost \
             -addext subjectAltName=DNS:localhost,IP:127.0.0.1"
        ));
        self.identity(file)
    }

    fn identity(&self, file: &str) -> Identity {
        let identity =
            Identity { cert: self.dir.join(format!("{file}.crt")), key: self.dir.join(format!("{file}.key")) };
        let private = std::os::unix::fs::PermissionsExt::from_mode(0o600);
        std::fs::set_permissions(&identity.key, private).expect("the key is ours");
        identity
    }

    fn openssl(&self, words: &str) {
        openssl(&self.dir, &words.split_whitespace().collect::<Vec<_>>());
    }
}

impl Drop for Certs {
    fn drop(&mut self) {
        let _gone = std::fs::remove_dir_all(&self.dir);
    }
}

impl Identity {
    /// As lines of a config.
    pub fn lines(&self, side: &str) -> String {
        let (cert, key) = (self.cert.display(), self.key.display());
        format!("{side}_tls_cert_file = '{cert}'\n{side}_tls_key_file = '{key}'\n")
    }
}

static MADE: AtomicU32 = AtomicU32::new(0);

//! [pure] What SCRAM derives from a password (RFC 5802, section 3), and the two forms in which it is kept.
//!
//! ```text
//! SaltedPassword = PBKDF2(password, salt, iterations)
//! ClientKey      = HMAC(SaltedPassword, "Client Key")     who has it can log in
//! StoredKey      = SHA256(ClientKey)                      who has it can check a login
//! ServerKey      = HMAC(SaltedPassword, "Server Key")     who has it can pose as the server
//! ```
//!
//! A [`Verifier`] is what the side that checks must have; [`Keys`] is what the side that logs in must have.

use super::saslprep;
use base64::Engine as _;
use base64::display::Base64Display;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, Mac as _};
use sha2::{Digest as _, Sha256};
use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;
use subtle::ConstantTimeEq;
use zeroize::{Zeroize as _, Zeroizing};

/// A key that is wiped when dropped.
pub(super) type Key = Zeroizing<[u8; 32]>;

/// What PostgreSQL keeps in `rolpassword`: enough to check a login, not enough to make one.
#[derive(Clone)]
pub struct Verifier {
    pub iterations: u32,
    pub salt: Box<[u8]>,
    pub(super) stored_key: Key,
    pub(super) server_key: Key,
}

impl Verifier {
    /// Reads `SCRAM-SHA-256$iterations:salt$StoredKey:ServerKey`.
    pub fn parse(text: &str) -> Option<Verifier> {
        let (iterations, rest) = text.strip_prefix("SCRAM-SHA-256$")?.split_once(':')?;
        let (salt, rest) = rest.split_once('$')?;
        let (stored_key, server_key) = rest.split_once(':')?;
        Some(Verifier {
            iterations: positive(iterations.as_bytes())?,
            salt: STANDARD.decode(salt).ok()?.into(),
            stored_key: decode_key(stored_key.as_bytes())?,
            server_key: decode_key(server_key.as_bytes())?,
        })
    }

    /// The verifier of a password. As dear as [`Keys::derive`]; whoever needs both derives the keys and asks them.
    pub fn derive(password: &str, salt: &[u8], iterations: u32) -> Verifier {
        Keys::derive(password, salt, iterations).verifier()
    }

    /// A verifier that no password matches, for a user whom we do not know: without it the exchange (or the time that a
    /// clear password takes) would tell who exists. As a true one would, it has the same salt at every attempt of one
    /// user: it follows from `key`, which must be secret and should stay the same as long as users do.
    pub fn mock(key: &[u8; 32], user: &str, iterations: u32) -> Verifier {
        const SALT_LENGTH: usize = 16; // PostgreSQL's
        let part = |label: &[u8]| Zeroizing::new(hmac(key, &[label, user.as_bytes()]));
        Verifier {
            iterations,
            salt: part(b"salt:")[..SALT_LENGTH].into(),
            stored_key: part(b"stored:"),
            server_key: part(b"server:"),
        }
    }

    /// Whether `password` is the one that this was derived from; costs a whole derivation.
    pub fn matches(&self, password: &[u8]) -> bool {
        let (_, server_key) = derive(password, &self.salt, self.iterations);
        server_key.ct_eq(&*self.server_key).into()
    }
}

/// As in `rolpassword`. This *is* the secret: for files, never for logs.
impl fmt::Display for Verifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = |bytes| Base64Display::new(bytes, &STANDARD);
        let (salt, stored, server) = (text(&self.salt), text(&*self.stored_key), text(&*self.server_key));
        write!(f, "SCRAM-SHA-256${}:{salt}${stored}:{server}", self.iterations)
    }
}

impl fmt::Debug for Verifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Verifier").field("iterations", &self.iterations).finish_non_exhaustive()
    }
}

impl PartialEq for Verifier {
    fn eq(&self, other: &Verifier) -> bool {
        let same_keys = self.stored_key.ct_eq(&*other.stored_key) & self.server_key.ct_eq(&*other.server_key);
        self.iterations == other.iterations && self.salt == other.salt && same_keys.into()
    }
}

impl Eq for Verifier {}

/// What one login can be done with: learned from a client's verified login, or derived from a password.
#[derive(Clone)]
pub struct Keys {
    pub(super) client_key: Key,
    pub(super) server_key: Key,
    pub iterations: u32,
    pub salt: Arc<[u8]>,
}

impl Keys {
    /// PBKDF2 with `iterations` rounds of two SHA-256 blocks each: 0.55 ms for PostgreSQL's 4096 on a CPU with SHA
    /// instructions, several times that without, and in proportion for more. That is hundreds of transactions' worth of
    /// our time, so callers keep the result for as long as password, salt and count stay the same, and run large counts
    /// aside from the event loop.
    pub fn derive(password: &str, salt: &[u8], iterations: u32) -> Keys {
        let (client_key, server_key) = derive(password.as_bytes(), salt, iterations);
        Keys { client_key, server_key, iterations, salt: salt.into() }
    }

    /// Whether a server that asks for this count and salt can be answered with these keys.
    pub fn fits(&self, iterations: u32, salt: &[u8]) -> bool {
        self.iterations == iterations && *self.salt == *salt
    }

    /// The verifier that checks these keys, without another derivation.
    pub fn verifier(&self) -> Verifier {
        Verifier {
            iterations: self.iterations,
            salt: (*self.salt).into(),
            stored_key: Zeroizing::new(sha256(&*self.client_key)),
            server_key: self.server_key.clone(),
        }
    }
}

impl fmt::Debug for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Keys").field("iterations", &self.iterations).finish_non_exhaustive()
    }
}

pub(super) fn hmac(key: &[u8; 32], parts: &[&[u8]]) -> [u8; 32] {
    let mut mac = keyed(key);
    for part in parts {
        mac.update(part);
    }
    mac.finalize().into_bytes().into()
}

pub(super) fn sha256(bytes: &[u8]) -> [u8; 32] {
    Sha256::digest(bytes).into()
}

/// `one XOR two`: a proof from a key and its signature, and the key back from both.
pub(super) fn xor(one: &[u8; 32], two: &[u8; 32]) -> [u8; 32] {
    std::array::from_fn(|at| one[at] ^ two[at])
}

pub(super) fn decode_key(text: &[u8]) -> Option<Key> {
    let bytes = Zeroizing::new(STANDARD.decode(text).ok()?);
    let key: [u8; 32] = bytes.as_slice().try_into().ok()?;
    Some(Zeroizing::new(key))
}

/// RFC 5802's `posit-number`, within PostgreSQL's `int`.
pub(super) fn positive(digits: &[u8]) -> Option<u32> {
    let (first, _) = digits.split_first()?;
    if !matches!(first, b'1'..=b'9') {
        return None;
    }
    let number: i32 = std::str::from_utf8(digits).ok()?.parse().ok()?;
    number.try_into().ok()
}

/// ClientKey and ServerKey.
fn derive(password: &[u8], salt: &[u8], iterations: u32) -> (Key, Key) {
    let mut prepared = saslprep::prepare(password);
    let salted = pbkdf2(&prepared, salt, iterations);
    if let Cow::Owned(copy) = &mut prepared {
        copy.zeroize();
    }
    let part = |label: &[u8]| Zeroizing::new(hmac(&salted, &[label]));
    (part(b"Client Key"), part(b"Server Key"))
}

/// RFC 5802's `Hi`: one block of PBKDF2. The key is absorbed once and its state copied for each round.
fn pbkdf2(password: &[u8], salt: &[u8], iterations: u32) -> Key {
    let keyed = keyed(password);
    let round = |parts: [&[u8]; 2]| -> [u8; 32] {
        keyed.clone().chain_update(parts[0]).chain_update(parts[1]).finalize().into_bytes().into()
    };
    let mut last = Zeroizing::new(round([salt, &[0x00, 0x00, 0x00, 0x01]]));
    let mut sum = last.clone();
    for _ in 1..iterations {
        *last = round([&*last, &[]]);
        *sum = xor(&sum, &last);
    }
    sum
}

fn keyed(key: &[u8]) -> Hmac<Sha256> {
    Hmac::new_from_slice(key).expect("HMAC takes a key of any length")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `ALTER ROLE … PASSWORD 'pencil'` on PostgreSQL 15.
    const STORED: &str = "SCRAM-SHA-256$4096:mySdG41LenV+P3Ag58KfHg==$ncpueh0fgFE7oqoF9UImmEwMaazrbmuQKzWEbPwgbLg=:3tCS/pcuCy0ZUQC6T970IC4/NeYJmRQyVpNsfEjo3vM=";

    #[test]
    fn rfc_7677_keys() {
        let keys = Keys::derive("pencil", &STANDARD.decode("W22ZaJ0SNY7soEsUEjb6gQ==").unwrap(), 4096);
        let text = "SCRAM-SHA-256$4096:W22ZaJ0SNY7soEsUEjb6gQ==$WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY=:wfPLwcE6nTWhTAmQ7tl2KeoiWGPlZqQxSrmfPwDl2dU=";
        assert_eq!(keys.verifier().to_string(), text);
    }

    #[test]
    fn what_postgresql_stored_is_what_we_derive() {
        let verifier = Verifier::parse(STORED).unwrap();
        assert_eq!(verifier.to_string(), STORED);
        assert_eq!(Verifier::derive("pencil", &verifier.salt, verifier.iterations), verifier);
        assert!(verifier.matches(b"pencil"));
        assert!(!verifier.matches(b"pencils"));
    }

    #[test]
    fn texts_that_are_no_verifier() {
        let (keys, salt) = (&STORED[STORED.rfind('$').unwrap()..], "W22ZaJ0SNY7soEsUEjb6gQ==");
        let short = format!("SCRAM-SHA-256$4096:{salt}$AAAA:AAAA");
        let mut texts = vec![String::new(), short, STORED.replace("256", "512"), STORED.to_lowercase()];
        for count in ["", "0", "-1", "+1", " 1", "1 ", "04096", "4096x", "2147483648", "99999999999999999999", "١"] {
            texts.push(format!("SCRAM-SHA-256${count}:{salt}{keys}"));
        }
        for salt in ["*", "AAA", "AA A", "AAA=A"] {
            texts.push(format!("SCRAM-SHA-256$4096:{salt}{keys}"));
        }
        texts.extend((0..STORED.len()).map(|end| STORED[..end].to_owned()));
        texts.push(format!("{STORED}="));
        texts.push(format!("{STORED}:"));
        texts.push(format!("{STORED} "));
        for text in texts {
            assert!(Verifier::parse(&text).is_none(), "{text}");
        }
    }

    #[test]
    fn counts_at_their_bounds() {
        assert_eq!(positive(b"1"), Some(1));
        assert_eq!(positive(b"2147483647"), Some(2_147_483_647));
        assert_eq!(positive(b"\xff"), None);
    }

    #[test]
    fn pbkdf2_vectors() {
        // RFC 7914, section 11, the first 32 octets of each.
        let one = pbkdf2(b"passwd", b"salt", 1);
        assert_eq!(one[..8], [0x55, 0xac, 0x04, 0x6e, 0x56, 0xe3, 0x08, 0x9f]);
        // The protocol crate derives the same through a whole exchange; see `client`.
        let many = pbkdf2(b"password", b"salt", 4096);
        assert_eq!(many[..8], [0xc5, 0xe4, 0x78, 0xd5, 0x92, 0x88, 0xc8, 0x41]);
    }

    #[test]
    fn a_mock_is_steady_per_user_and_key() {
        let mock = |key: u8, user| Verifier::mock(&[key; 32], user, 4096);
        assert_eq!(mock(1, "joe"), mock(1, "joe"));
        assert_ne!(mock(1, "joe").salt, mock(1, "jim").salt);
        assert_ne!(mock(1, "joe").salt, mock(2, "joe").salt);
        assert_eq!(mock(1, "joe").salt.len(), 16);
        assert!(Verifier::parse(&mock(1, "joe").to_string()).is_some());
    }

    #[test]
    fn keys_fit_their_salt_and_count_only() {
        let keys = Keys::derive("pencil", b"salt", 2);
        assert!(keys.fits(2, b"salt"));
        assert!(!keys.fits(3, b"salt"));
        assert!(!keys.fits(2, b"salz"));
        assert!(!keys.fits(2, b""));
    }

    #[test]
    fn debug_prints_nothing_secret() {
        let keys = Keys::derive("pencil", b"salt", 2);
        assert_eq!(format!("{keys:?}"), "Keys { iterations: 2, .. }");
        assert_eq!(format!("{:?}", keys.verifier()), "Verifier { iterations: 2, .. }");
    }
}
